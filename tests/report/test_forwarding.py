"""Sending a run's events to services: each once, from a process of its own that cannot hold up training."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlxllm.report import services
from mlxllm.report.forwarding import LOG_FILE, forward, numbers_of
from mlxllm.runs import Recorder, RunDirectory
from tests.training.tiny import call, sentence, succeeded

REPOSITORY = Path(__file__).parents[2]


class Memory:
    """A service that remembers, and fails when it is told to."""

    points: ClassVar[list[tuple[int, str, float | str]]] = []
    fails_at: ClassVar[int | None] = None

    def __init__(self, run: RunDirectory, config: Mapping[str, Any]) -> None:
        self.config = config

    def log(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("the network is down")
        self.points.extend((step, name, value) for name, value in numbers.items() if name.endswith("loss"))

    def write(self, step: int, time: float, name: str, text: str) -> None:
        self.points.append((step, name, text))

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    monkeypatch.setitem(services.SERVICES, "memory", Memory)
    monkeypatch.setattr(Memory, "points", [])
    return Memory


def attempt(run: RunDirectory, begin: int, end: int) -> None:
    with run.lock(), Recorder(run, step=begin, max_steps=end, about={"method": "pretrain"}) as recorder:
        for step in range(begin + 1, end + 1):
            recorder.write("train", step=step, loss=1.0 / step, tokens=8 * step)
        recorder.write("val", step=end, loss=0.5, sources={"web": {"loss": 0.25}})
        recorder.write("sample", step=end, prompt="A", text=" b")
        recorder.finish("stopped")


def test_every_point_is_sent_once_over_resumes(tmp_path: Path, memory: type[Memory]) -> None:
    run = RunDirectory.create(tmp_path / "run")
    attempt(run, 0, 4)
    assert forward(run, "memory") == 6
    assert forward(run, "memory") == 0
    attempt(run, 2, 6)  # a resume from a checkpoint before the end: two steps are done again
    forward(run, "memory")
    train = [step for step, name, _ in memory.points if name == "train/loss"]
    assert train == [1, 2, 3, 4, 5, 6]
    assert [(step, value) for step, name, value in memory.points if name == "val/web/loss"] == [(4, 0.25), (6, 0.25)]
    assert (6, "sample", "A b") in memory.points


def test_what_a_failed_service_did_not_get_comes_with_the_next_try(
    tmp_path: Path, memory: type[Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    attempt(run, 0, 2)
    forward(run, "memory")
    attempt(run, 2, 5)
    monkeypatch.setattr(Memory, "fails_at", 3)
    with pytest.raises(ConnectionError):
        forward(run, "memory")
    monkeypatch.setattr(Memory, "fails_at", None)
    forward(run, "memory")
    assert [step for step, name, _ in memory.points if name == "train/loss"] == [1, 2, 3, 4, 5]


def test_numbers_of_an_event() -> None:
    event = {
        "kind": "val",
        "time": 1.0,
        "step": 2,
        "loss": 1.5,
        "bad": math.nan,
        "none": None,
        "yes": True,
        "seconds": 3,
    }
    event |= {"sources": {"a b": {"loss": 2, "note": "x"}}}
    assert numbers_of(event) == {"val/loss": 1.5, "val/seconds": 3.0, "val/a b/loss": 2.0}


def test_unknown_and_missing_services_are_refused_before_anything_begins() -> None:
    assert "did you mean wandb?" in sentence(call("train", "--data", "x", "--report-to", "wandbb"), 2)
    assert "is no service; there are tensorboard" in sentence(call("resume", "x", "--report-to", "tensorboard,q"), 2)


def test_a_missing_library_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.SERVICES, "no_such_library", Memory)
    said = sentence(call("dpo", "--model", "m", "--data", "x", "--report-to", "no_such_library"), 2)
    assert "pip install 'mlxllm[no_such_library]'" in said


@pytest.mark.parametrize(("trouble", "expected"), [("raise OSError('no network')", "no network"), ("sleep", "")])
def test_a_library_that_crashes_or_hangs_does_not_touch_training(
    trouble: str, expected: str, tmp_path: Path, mlxllm_home: Path
) -> None:
    hang = "import os, time; open(os.environ['PID_FILE'], 'w').write(str(os.getpid())); time.sleep(600)"
    library = tmp_path / "library"
    library.mkdir()
    (library / "wandb.py").write_text(hang if trouble == "sleep" else trouble)
    succeeded(call("data", "build", "tales", "--source", "stories:40", "--tokenizer", "byte"))
    pid_file = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": f"{library}:{REPOSITORY}", "PID_FILE": str(pid_file)}
    argv = "train --preset char-tiny --data tales --run one --max-steps 3 --report-to wandb --json".split()
    ended = subprocess.run(
        [sys.executable, "-m", "mlxllm", *argv], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["kind"] == "run_finished"
    log = mlxllm_home / "runs" / "one" / LOG_FILE
    if trouble == "sleep":
        _wait(lambda: pid_file.exists() and bool(pid_file.read_text()))
        os.kill(int(pid_file.read_text()), 9)
    else:
        _wait(lambda: expected in log.read_text())
        assert "Traceback" not in log.read_text()


@pytest.mark.peers
def test_tensorboard_reads_back_what_a_real_training_sent(tmp_path: Path, mlxllm_home: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    succeeded(call("data", "build", "tales", "--source", "stories:40", "--tokenizer", "byte"))
    common = ("--report-to", "tensorboard")
    settings = ("--set", "train.eval_every=2", "--set", "train.sample_every=4", "--set", "train.schedule=constant")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    first = (
        "train",
        "--preset",
        "char-tiny",
        "--data",
        "tales",
        "--run",
        "one",
        "--max-steps",
        "4",
        *settings,
        *common,
    )
    for argv in (first, ("resume", "one", "--max-steps", "6", *common)):
        subprocess.run([sys.executable, "-m", "mlxllm", *argv], env=environment, check=True, capture_output=True)
    run = mlxllm_home / "runs" / "one"
    sent = run / "reporting" / "tensorboard.json"
    _wait(lambda: sent.exists() and json.loads(sent.read_text()).get("val") == 6)
    # The follower holds its right to send until it has closed its files; what is sent again must not stand there twice.
    _wait(lambda: call("report", "one", "--report-to", "tensorboard").returncode == 0)
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    losses = [(event["step"], pytest.approx(event["loss"])) for event in events if event["kind"] == "train"]
    assert [(point.step, point.value) for point in found.Scalars("train/loss")] == losses
    assert [point.step for point in found.Scalars("val/bits_per_byte")] == [0, 2, 4, 6]
    texts = [event["text"] for event in events if event["kind"] == "sample"]
    assert texts[-1].split("\n")[-1] in found.Tensors("sample")[-1].tensor_proto.string_val[0].decode()


def _wait(true: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
