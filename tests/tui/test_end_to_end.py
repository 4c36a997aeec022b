"""The whole of it in a real terminal: train, talk, prefer, align, compare; and what a closed window leaves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxllm import paths
from mlxllm.runs import ACTIVE, effective_status, find_run
from tests.tui.harness import write
from tests.tui.tmux import PATIENCE, Tmux

pytestmark = pytest.mark.slow

APPLICATION = (sys.executable, "-m", "mlxllm")
RUN, ALIGNED = "tiny-1", "tiny-1-dpo-1"


@pytest.fixture
def dataset(tmp_path: Path) -> None:
    """The dataset `tiny`: sentences of one small world, each a document, that a tiny model learns in seconds."""
    order = random.Random(1)
    sentences = [
        f"{giver} found a {thing} and gave it to {other}. {other} was {mood}."
        for giver, other in (("Ben", "Tom"), ("Tom", "Ben"))
        for thing in ("hat", "ball")
        for mood in ("glad", "happy")
        for _ in range(40)
    ]
    order.shuffle(sentences)
    source = write(tmp_path / "tiny.txt", "\n<|endoftext|>\n".join(sentences) + "\n")
    command = [*APPLICATION, "data", "build", "tiny", "--source", f"text:{source}", "--tokenizer", "char"]
    subprocess.run([*command, "--val-split", "0.05"], check=True, capture_output=True)


def new_run(terminal: Tmux, steps: int) -> None:
    """Go to New run and choose the smallest preset and its steps."""
    terminal.wait_for("Next")
    terminal.press("3")
    terminal.wait_for("What it costs")
    terminal.press("Down", "Left", "Left", "Left")
    terminal.wait_for("--preset char-tiny --data tiny")
    terminal.press("s")
    terminal.wait_for("section.key")
    terminal.type(f"train.max_steps={steps}")
    terminal.press("Enter")
    terminal.wait_for(lambda seen: "yours" in seen and str(steps) in seen)


def test_from_a_new_run_to_an_aligned_model_beside_the_one_before(dataset: None) -> None:
    with Tmux(APPLICATION) as terminal:
        new_run(terminal, 200)
        terminal.press("Enter")
        terminal.wait_for("[4 Monitor]")
        terminal.wait_for("finished at step 200")

        terminal.press("Escape", "c")
        terminal.wait_for("[6 Chat]")
        terminal.wait_for("ready")
        terminal.type("Ben found")
        terminal.press("Enter")
        terminal.wait_for("tok/s")

        terminal.press("Escape", "A")
        terminal.wait_for("enter asks")
        for number, prompt in enumerate(("Ben found", "Tom found a", "Ben gave"), 1):
            terminal.type(prompt)
            terminal.press("Enter")
            terminal.wait_for("Write one")
            terminal.press("w")
            terminal.wait_for("Keep it as the better one")
            while "Good!" not in terminal.screen:  # what comes before the dialog listens is lost
                terminal.type(" Good!")
                time.sleep(0.5)
            terminal.press("C-s")
            terminal.wait_for(lambda seen, number=number: "is kept as" in seen and preferred() >= number)
            terminal.press("Enter")
            terminal.wait_for("Send")

        terminal.press("Escape", "7")
        terminal.wait_for("of tiny-1")
        terminal.press("a")
        terminal.wait_for("your own preferences")
        terminal.wait_for(ALIGNED)
        terminal.press("Enter")
        terminal.wait_for(f"{ALIGNED}  finished")
        assert find_run(ALIGNED).config.exists()

        terminal.press("Escape", "c")
        terminal.wait_for(f"{ALIGNED}@")
        terminal.wait_for("ready")
        terminal.press("Escape", "T")
        terminal.wait_for(lambda seen: f"{RUN}@200 ─" in seen and f"{ALIGNED}@" in seen)
        terminal.type("Ben found")
        terminal.press("Enter")
        terminal.wait_for(lambda seen: seen.count("tok/s") >= 2)

        terminal.press("Escape", "q")
        terminal.wait_for("ended with 0")


def preferred() -> int:
    """How many pairs are kept."""
    store = paths.home() / "preferences.jsonl"
    lines = store.read_text().splitlines() if store.exists() else []
    kept = [json.loads(line) for line in lines]
    assert all("Good!" in pair["chosen"] for pair in kept), kept
    return len(kept)


def test_a_closed_window_leaves_training_and_what_was_killed_is_told_and_resumed(dataset: None) -> None:
    with Tmux(APPLICATION) as terminal:
        new_run(terminal, 100_000)
        terminal.press("Enter")
        terminal.wait_for("running")
        terminal.press("Escape", "p")
        terminal.wait_for("paused")
        terminal.press("q")
        terminal.wait_for(f"{RUN} goes on training")
        terminal.wait_for("ended with 0")
    run = find_run(RUN)
    assert effective_status(run) == "paused"

    with Tmux((*APPLICATION, "monitor", RUN)) as terminal:
        terminal.wait_for("paused")
        terminal.press("Escape", "p")
        terminal.wait_for("running")
        os.kill(json.loads(run.state.read_text())["pid"], signal.SIGKILL)
        terminal.wait_for("crashed")
        terminal.press("r")
        terminal.wait_for(lambda seen: "running" in seen and "crashed" not in seen)
        terminal.press("x")
        terminal.wait_for("(y)")
        terminal.press("y")
        terminal.wait_for("stopped")
    deadline = time.monotonic() + PATIENCE
    while effective_status(run) in ACTIVE and time.monotonic() < deadline:
        time.sleep(0.1)
    assert effective_status(run) == "stopped"
