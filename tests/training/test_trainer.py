"""What the trainer does between steps, and how it turns time into steps."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.budget import Cost, steps_within
from mlxllm.config import TrainConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.errors import ConfigError
from mlxllm.model.checkpoint_files import find_checkpoint, list_checkpoints
from mlxllm.runs import RunDirectory, read_events, read_state
from mlxllm.training.compare import differences
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import default_lanes, settle
from mlxllm.training.pretrain import with_vocabulary
from tests.training import tiny


def test_events_of_a_run(data: Path, tmp_path: Path) -> None:
    listener = tiny.Listener()
    settings = tiny.config(data, eval_every=5, sample_every=5, sample_prompt="7 sq", checkpoint_every=6, max_steps=12)
    tiny.train(tmp_path / "run", settings, listener)
    assert [e["step"] for e in listener.of("train")] == list(range(1, 13))
    assert [e["step"] for e in listener.of("val")] == [0, 5, 10, 12]
    assert [e["step"] for e in listener.of("sample")] == [0, 5, 10, 12]
    # Better validations, the step before the decay (8), every sixth, the last.
    assert [e["step"] for e in listener.of("checkpoint_saved")] == [5, 6, 8, 10, 12]
    assert {e["prompt"] for e in listener.of("sample")} == {"7 sq"}
    assert listener.events == read_events(RunDirectory(tmp_path / "run").events)
    for event in listener.of("train"):
        assert event["tokens"] == 64 * event["step"]
        for key in ("loss", "grad_norm", "learning_rate", "tok_per_sec", "peak_memory", "footprint"):
            assert event[key] > 0
    rates = [e["learning_rate"] for e in listener.of("train")]
    assert rates[:8] == pytest.approx([1.5e-3] + [3e-3] * 7)
    assert rates[8:] == pytest.approx([3e-3 * (1 - n / 5) for n in (1, 2, 3, 4)])


def test_a_run_whose_validation_has_turned_stops_early(data: Path, tmp_path: Path) -> None:
    """The best checkpoint is kept, and the run is finished, not stopped."""
    run = tmp_path / "run"
    settings = tiny.config(
        data, optimizer="lion", learning_rate=1.0, schedule="constant", warmup_steps=10, max_grad_norm=0,
        max_steps=40, eval_every=2, checkpoint_every=0, early_stop_evals=3, keep_checkpoints=1,
    )  # fmt: skip
    listener = tiny.Listener()
    assert tiny.train(run, settings, listener).status == "early_stopped"
    losses = {e["step"]: e["loss"] for e in listener.of("val")}
    best = min(losses, key=losses.__getitem__)
    assert 0 < best < 30
    assert max(losses) == best + 6
    assert find_checkpoint(run, "best").step == best
    assert [c.step for c in list_checkpoints(run)] == [best, best + 6]
    state = read_state(RunDirectory(run))
    assert state is not None
    assert (state.status, state.exit_reason) == ("finished", "validation had stopped improving")


_SIGNALLED = """
import hashlib, signal, sys, time
from mlxllm.training.interrupts import Interrupts
interrupts = Interrupts(lambda: print("told", flush=True))
with interrupts.catch():
    for word in sys.argv[1:]:
        if word.startswith("SIG"):
            signal.raise_signal(signal.Signals[word])
        elif word == "native":  # as MLX does, it works for a while without coming back to Python
            hashlib.pbkdf2_hmac("sha256", b"", b"", 30_000_000)
        else:
            time.sleep(float(word))
print("left with", interrupts.received)
"""


def signalled(*words: str) -> tuple[int, str]:
    """Exit code and output of a process that gets signals and waits, one after the other."""
    done = subprocess.run([sys.executable, "-c", _SIGNALLED, *words], capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "words", [["SIGTERM"], ["SIGTERM", "SIGINT", "SIGINT", "SIGHUP"], ["SIGTERM", "0.5", "SIGTERM"]]
)
def test_signals_in_one_moment_are_one(words: list[str]) -> None:
    assert signalled(*words, "0.2") == (0, "told\nleft with 15\n")


@pytest.mark.parametrize(("again", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_later_signal_is_obeyed_at_once(again: str, code: int) -> None:
    """For whoever cannot wait for the step, or for the disk."""
    assert signalled("SIGINT", "1.2", again, "0.5") == (code, "told\n")


def test_a_terminal_that_closes_twice_asks_for_no_haste() -> None:
    assert signalled("SIGHUP", "1.2", "SIGHUP", "0.2") == (0, "told\nleft with 1\n")


def test_signals_are_heard_while_mlx_works() -> None:
    """The first one is answered before the work is done, and so is one that cannot wait."""
    command = [sys.executable, "-c", _SIGNALLED, "0.01", "native"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        time.sleep(1.5)  # until it works
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "told\n"
        time.sleep(1.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stdout.read() == ""


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupts = Interrupts()
        with interrupts.catch():
            signal.raise_signal(signal.SIGHUP)
        assert interrupts.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts().catch():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_lanes_and_types_are_resolved(data: Path) -> None:
    opened = TokenDataset.open(data)
    resolved = settle(with_vocabulary(tiny.config(data), opened))
    assert resolved.model.vocab_size == opened.vocab_size
    assert resolved.train.lanes == default_lanes(4) >= 1
    assert resolved.train.compute_dtype in ("float32", "bfloat16")
    assert 7 % default_lanes(7) == 0
    assert settle(with_vocabulary(resolved, opened)) == resolved
    with pytest.raises(ConfigError, match=r"model.vocab_size is 5, but .* set it to 261 or more"):
        with_vocabulary(tiny.config(data, {"vocab_size": 5}), opened)
    assert with_vocabulary(tiny.config(data, {"vocab_size": 300}), opened).model.vocab_size == 300


costs = st.builds(Cost, step=st.floats(1e-4, 5), validation=st.floats(0, 20), sample=st.floats(0, 5))


@given(
    cost=costs,
    seconds=st.floats(0, 10_000),
    eval_every=st.integers(0, 100),
    sample_every=st.integers(0, 100),
    milestones=st.integers(0, 10),
)
def test_steps_fit_into_the_time(
    cost: Cost, seconds: float, eval_every: int, sample_every: int, milestones: int
) -> None:
    train = TrainConfig(eval_every=eval_every, sample_every=sample_every)
    steps = steps_within(train, cost, seconds, milestones)
    assert steps >= 1

    def duration(steps: int) -> float:
        once = cost.validation + cost.sample
        if milestones:
            return steps * cost.step + (milestones + 1) * once
        validations = 1 + (steps // eval_every if eval_every else 0)
        samples = 1 + (steps // sample_every if sample_every else 0)
        return steps * cost.step + validations * cost.validation + samples * cost.sample

    if steps > 1:
        assert duration(steps) <= seconds
    # Nor is much of the time given away: with a tenth more steps and two more of each, it would not fit.
    assert duration(round(1.1 * steps) + 2) + 2 * (cost.validation + cost.sample) > 0.96 * seconds


def test_differences_name_what_differs() -> None:
    before = {"train": {"seed": 1, "betas": [0.9, 0.95], "gone": 2}, "lora": None}
    after = {"train": {"seed": 2, "betas": [0.9, 0.95], "new": 3}, "lora": {"rank": 4}}
    assert differences(before, after) == [
        "lora: off -> on",
        "train.gone: 2 -> None",
        "train.new: None -> 3",
        "train.seed: 1 -> 2",
    ]
    assert differences(before, before) == []
