"""A real training process: killed, interrupted, asked by control files, on a full disk. Nothing is lost."""

import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxllm.model.checkpoint_files import checkpoint_path, find_checkpoint, list_checkpoints, verify_checkpoint
from mlxllm.runs import RunDirectory, read_events, read_state, request
from tests.training import tiny
from tests.training.tiny import Process, call, run_cli, sentence, succeeded

STEPS = 60
CHEAP = ("--set", "train.eval_every=0", "--set", "model.dropout=0.1")


def start(data: Path, run: Path, *more: object) -> list[object]:
    """The command that trains `char-tiny` for a few steps."""
    return ["train", "--preset", "char-tiny", "--data", data, "--run", run, *CHEAP, *more]


def endless(data: Path, run: Path, *more: object) -> Process:
    """A run that lasts until somebody ends it, and has made a step."""
    process = Process(*start(data, run, "--max-steps", 100_000, "--schedule", "constant", *more))
    process.wait_for(lambda: steps_made(run) > 0, "the first step")
    return process


def steps_made(run: Path) -> int:
    """The last step that the events tell of."""
    if not RunDirectory(run).events.exists():
        return 0
    return max((e["step"] for e in read_events(RunDirectory(run).events) if e["kind"] == "train"), default=0)


def status(run: RunDirectory) -> str:
    state = read_state(run)
    assert state is not None
    return state.status


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `STEPS` steps that nobody disturbed."""
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    succeeded(run_cli(*start(data, run, "--max-steps", STEPS, "--set", "train.checkpoint_every=20")))
    return run


@pytest.mark.parametrize(("every", "inside"), [(7, False), (1, True)], ids=["anywhere", "inside a checkpoint"])
def test_a_run_that_is_killed_over_and_over_ends_as_if_nothing_had_happened(
    data: Path, tmp_path: Path, undisturbed: Path, every: int, inside: bool
) -> None:
    run = RunDirectory(tmp_path / "run")
    draw = random.Random(every)
    command = start(data, run.path, "--max-steps", STEPS, "--set", f"train.checkpoint_every={every}")
    kills, half_written = 0, 0
    while kills < 4:
        begin = max((c.step for c in list_checkpoints(run.path)), default=0)
        target = begin + draw.randrange(1, 12)
        assert target < STEPS
        process = Process(*(["resume", run.path] if run.config.exists() else command))
        process.wait_for(lambda target=target: steps_made(run.path) >= target, f"step {target}")
        if inside:
            deadline = time.monotonic() + 10
            while not any(run.checkpoints.glob(".step-*")) and time.monotonic() < deadline:
                pass
        time.sleep(draw.uniform(0, 0.005 if inside else 0.02))
        process.signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kills += 1
        half_written += any(run.checkpoints.glob(".step-*.partial"))
        for checkpoint in list_checkpoints(run.path):
            assert verify_checkpoint(checkpoint.path) is None, "what has its name is whole"
    assert half_written or not inside
    succeeded(run_cli("resume", run.path))
    tiny.assert_same_checkpoint(undisturbed, run.path, STEPS, "model.safetensors", "optimizer.safetensors")
    trained = [e["step"] for e in read_events(run.events) if e["kind"] == "train"]
    assert trained == list(range(1, STEPS + 1))
    assert not list(run.checkpoints.glob(".step-*"))
    assert status(run) == "finished"


def test_a_kill_before_anything_is_there(data: Path, tmp_path: Path, undisturbed: Path) -> None:
    """Killed while it starts, the same command begins again, or `resume` does."""
    run = RunDirectory(tmp_path / "run")
    command = start(data, run.path, "--max-steps", STEPS, "--set", "train.checkpoint_every=20")
    process = Process(*command)
    process.wait_for(run.path.exists, "the folder")
    process.signal(signal.SIGKILL)
    process.wait()
    succeeded(run_cli(*(["resume", run.path] if run.config.exists() else command)))
    tiny.assert_same_checkpoint(undisturbed, run.path, STEPS)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_save_and_say_how_to_go_on(data: Path, tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = endless(data, run)
    for _ in range(3):  # a key that bounces
        process.signal(number)
        time.sleep(0.02)
    assert process.wait() == code
    last = find_checkpoint(run, "last").step
    assert last >= 1
    told = process.stderr
    assert told.count("stopping: the running step is finished and saved; once more ends it at once") == 1
    assert told.index("stopping: ") < told.index("run run stopped") < told.index(f"resume {run}")
    assert "Traceback" not in process.stderr
    state = read_state(RunDirectory(run))
    assert state is not None
    assert (state.status, state.step) == ("stopped", last)
    assert read_events(RunDirectory(run).events)[-1]["kind"] == "run_finished"


def test_under_nohup_a_closed_terminal_ends_nothing(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what a process ignores, its children do
    try:
        process = endless(data, run)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.signal(signal.SIGHUP)
    made = steps_made(run)
    process.wait_for(lambda: steps_made(run) > made + 20, "steps after the signal")
    process.signal(signal.SIGTERM)
    assert process.wait() == 143


@pytest.mark.parametrize("stream", ["pipe", "/dev/full", "closed"])
@pytest.mark.parametrize("json_", [False, True], ids=["", "json"])
def test_training_goes_on_when_nobody_can_read_it(data: Path, tmp_path: Path, stream: str, json_: bool) -> None:
    """`2>&1 | head -2`, a full disk below `2>log`, and `2>&-`."""
    run = tmp_path / "run"
    if stream == "/dev/full" and not Path(stream).exists():
        pytest.skip("there is no /dev/full here")
    redirected = {"pipe": "2>&1 | head -c 1 >/dev/null", "/dev/full": ">/dev/full 2>&1", "closed": ">&- 2>&-"}[stream]
    command = [sys.executable, "-m", "mlxllm", *start(data, run, "--max-steps", 12), *(["--json"] if json_ else [])]
    script = f"{{ {shlex.join(map(str, command))}; echo $? >{shlex.quote(str(tmp_path / 'code'))}; }} {redirected}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=tiny.REPOSITORY, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "code").read_text() == "0\n"
    assert find_checkpoint(run, "last").step == 12
    assert status(RunDirectory(run)) == "finished"


def test_a_second_trainer_is_refused(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = endless(data, run)
    second = call("resume", run)
    told = sentence(second, 1)
    assert f"run 'run' is in use by process {first.popen.pid}" in told
    third = call(*start(data, run, "--max-steps", 3))
    assert "exists already" in sentence(third, 1)
    first.signal(signal.SIGTERM)
    assert first.wait() == 143


def test_control_files(data: Path, tmp_path: Path) -> None:
    """pause, checkpoint, sample, resume and stop, the last one made by `touch`."""
    run = RunDirectory(tmp_path / "run")
    process = endless(data, run.path)

    def said(kind: str, **fields: object) -> bool:
        return any(e["kind"] == kind and all(e.get(k) == v for k, v in fields.items()) for e in read_events(run.events))

    request(run, "pause")
    process.wait_for(lambda: said("paused"), "the pause")
    process.wait_for(lambda: status(run) == "paused", "the pause in the state")
    paused_at = steps_made(run.path)
    saved = request(run, "checkpoint")
    process.wait_for(lambda: said("checkpoint_saved", request=saved.id), "the checkpoint")
    assert verify_checkpoint(checkpoint_path(run.path, paused_at)) is None
    asked = request(run, "sample", {"prompt": "3 squared", "max_tokens": 5, "temperature": 0.0})
    process.wait_for(lambda: said("sample", request=asked.id, prompt="3 squared"), "the sample")
    bad = request(run, "sample", {"prompt": "3", "temperature": "hot"})
    process.wait_for(lambda: said("sample", request=bad.id, text=""), "the answer to a bad question")
    assert steps_made(run.path) == paused_at
    request(run, "resume")
    process.wait_for(lambda: said("resumed") and steps_made(run.path) > paused_at, "more steps")
    (run.control / "stop").touch()
    assert process.wait() == 0
    assert list(run.control.iterdir()) == []
    events = read_events(run.events)
    answers = {e["request"]: e for e in events if e["kind"] == "sample"}
    assert answers[asked.id]["text"]
    assert "temperature" in answers[bad.id]["error"]
    assert (events[-1]["kind"], events[-1]["status"]) == ("run_finished", "stopped")
    assert find_checkpoint(run.path, "last").step == events[-1]["step"]


@pytest.mark.parametrize("limit", [100_000, 400_000])
def test_a_full_disk_ends_in_one_sentence(data: Path, tmp_path: Path, limit: int) -> None:
    """A file-size limit fails writes as a full disk does: in the middle of the weights, or of the optimizer state."""
    run = tmp_path / "run"
    succeeded(call(*start(data, run, "--max-steps", 20, "--set", "train.checkpoint_every=10")))
    stable, last = (c.step for c in list_checkpoints(run))  # the one from before the decay, from which it is extended
    assert (stable, last) == (14, 20)
    sizes = {p.name: p.stat().st_size for p in checkpoint_path(run, stable).iterdir()}
    assert 100_000 < sizes["model.safetensors"] < 400_000 < sizes["optimizer.safetensors"], sizes
    before = tiny.checkpoint_bytes(run, stable)

    process = run_cli("resume", run, "--max-steps", "40", largest_file=limit)
    told = sentence(process, 1)
    assert "cannot write the checkpoint of step" in told
    assert "make room" in told
    assert not list((run / "checkpoints").glob(".*"))
    assert find_checkpoint(run, "last").step == 20  # what the run had come to before stays
    assert tiny.checkpoint_bytes(run, stable) == before
    succeeded(call("resume", run))
    assert find_checkpoint(run, "last").step == 40


def test_a_full_disk_before_the_first_step_leaves_nothing(data: Path, tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    succeeded(call(*start(data, base, "--max-steps", 1)))
    command = ["train", "--model", base, "--data", data, "--run", run, "--max-steps", 1]
    told = sentence(run_cli(*command, largest_file=100_000), 1)
    assert re.search(r"cannot write the checkpoint of step 0 .*; make room on the disk, then start again$", told)
    assert not run.exists()


def test_divergence_ends_with_4_and_keeps_the_checkpoint(data: Path, tmp_path: Path) -> None:
    """A learning rate that overflows float32 after a few steps; the last steps before it stay."""
    run = tmp_path / "run"
    process = run_cli(
        *start(data, run, "--optimizer", "lion", "--schedule", "constant", "--learning-rate", "1e37"),
        *("--set", "train.warmup_steps=1000", "--set", "train.checkpoint_every=1", "--max-steps", 40),
        *("--set", "train.max_nonfinite_steps=3", "--set", "train.weight_decay=0"),
    )
    told = sentence(process, 4)
    assert "3 steps in a row had a loss or gradient that is not finite" in told
    assert "--learning-rate" in told
    events = read_events(RunDirectory(run).events)
    warnings = [e["step"] for e in events if e["kind"] == "warning"]
    assert warnings[-1] - warnings[-3] == 2
    kept = find_checkpoint(run, "last")
    assert kept.step >= 1
    assert f"the checkpoint of step {kept.step} is kept" in told
    state = read_state(RunDirectory(run))
    assert state is not None
    assert state.status == "diverged"
    bad = next(e for e in events if e["kind"] == "train" and e["step"] == warnings[-1])
    assert bad["loss"] is None or bad["grad_norm"] is None


def test_a_run_whose_every_step_was_skipped_has_diverged(data: Path, tmp_path: Path) -> None:
    """Also one that is too short for so many bad steps in a row; and nobody is promised a checkpoint."""
    process = run_cli(
        *start(data, tmp_path / "run", "--max-steps", 2, "--schedule", "constant", "--set", "train.z_loss=1e300")
    )
    told = sentence(process, 4)
    assert "2 steps in a row" in told
    assert "no checkpoint had been written" in told


def test_json_prints_the_events(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = succeeded(run_cli(*start(data, run, "--max-steps", 3, "--json")))
    assert process.stderr == ""
    assert tiny.json_lines(process.stdout) == read_events(RunDirectory(run).events)
    assert json.loads(RunDirectory(run).config.read_text())["train"]["max_steps"] == 3
