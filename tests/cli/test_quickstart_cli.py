"""`mlxllm quickstart` as a process: it ends in time with a model that talks, and Ctrl-C loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxllm.runs import RunDirectory, read_events

TEXT = "\n".join(
    f"The {a} {b} sat on the {c}, and the {c} was {d}."
    for a in ("old", "red", "shy")
    for b in ("cat", "dog", "hen", "fox")
    for c in ("mat", "wall", "roof")
    for d in ("warm", "wet")
    for _ in range(9)
)


def command(text: Path, *more: str) -> list[str]:
    """A quickstart on a text of one's own."""
    return [sys.executable, "-m", "mlxllm", "quickstart", "--corpus", str(text), "--device", "cpu", *more]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file of simple sentences."""
    path = tmp_path / "sentences of mine.txt"
    path.write_text(TEXT)
    return path


def test_it_ends_in_time_with_a_run_that_talks(text: Path, mlxllm_home: Path) -> None:
    begun = time.monotonic()
    result = subprocess.run(
        command(text, "--minutes", "0.5", "--json"), capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - begun < 60
    *events, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["kind"] == "run_started"
    assert events[-1]["kind"] == "run_finished"
    assert set(last) == {"run", "val", "sample"}
    vals = [e["loss"] for e in events if e["kind"] == "val"]
    assert vals[-1] < 0.8 * vals[0]
    assert last["val"]["loss"] == vals[-1]
    assert "\x1b" not in result.stdout + result.stderr
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "mlxllm",
            "sample",
            "--model",
            last["run"],
            "--prompt",
            "The",
            "--max-tokens",
            "5",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert len(json.loads(said.stdout)["token_ids"]) <= 5


def test_ctrl_c_while_it_trains_saves_and_says_how_to_go_on(text: Path, mlxllm_home: Path) -> None:
    process = subprocess.Popen(
        command(text, "--minutes", "5", "--run", "mine"), stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    run = RunDirectory(mlxllm_home / "runs" / "mine")
    deadline = time.monotonic() + 100
    while not (run.events.exists() and any(e["kind"] == "train" for e in read_events(run.events))):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, narration = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resume mine" in narration
    made = max(e["step"] for e in read_events(run.events) if e["kind"] == "train")
    resumed = subprocess.run(
        [sys.executable, "-m", "mlxllm", "resume", "mine", "--max-steps", str(made + 2), "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if resumed.returncode == 2:  # the run was planned longer than that
        assert "is no extension" in resumed.stderr
    else:
        assert resumed.returncode == 0, resumed.stderr


def test_an_unknown_corpus_is_refused_in_one_sentence() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mlxllm", "quickstart", "--corpus", "tails"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: --corpus 'tails' is none of")
    assert len(result.stderr.splitlines()) == 1
