import json
import math
import subprocess
import time
from collections.abc import Callable

import pytest

from mlxllm.errors import DivergedError, OutOfMemoryError, RunError
from mlxllm.runs import (
    Latest,
    Recorder,
    RunDirectory,
    RunState,
    count_events,
    effective_status,
    read_events,
    read_state,
    request,
    summarise,
    write_state,
)

ABOUT = {"method": "pretrain", "preset": "tiny", "dataset": "noise", "parameters": 12}


def record(run: RunDirectory, step: int = 0, max_steps: int | None = 20) -> Recorder:
    return Recorder(run, step=step, max_steps=max_steps, about=ABOUT)


def status(run: RunDirectory) -> str:
    state = read_state(run)
    assert state is not None
    return state.status


def test_a_run_from_start_to_end(run: RunDirectory) -> None:
    with run.lock(), record(run) as recorder:
        assert status(run) == "starting"
        for step in range(1, 21):
            recorder.write("train", step, loss=1 / step, tokens=step * 8)
        assert status(run) == "running"
        recorder.write("paused", 20)
        assert effective_status(run) == "paused"
        recorder.write("resumed", 20)
        assert effective_status(run) == "running"
        recorder.update(status="stopping")
        recorder.write("train", 21, loss=0.04, tokens=168)
        assert status(run) == "stopping"
        recorder.finish("finished", "all steps done")
    kinds = [event["kind"] for event in read_events(run.events)]
    assert kinds == ["run_started"] + ["train"] * 20 + ["paused", "resumed", "train", "run_finished"]
    state = read_state(run)
    assert state is not None
    assert (state.status, state.step, state.exit_reason) == ("finished", 21, "all steps done")
    assert state.about["preset"] == "tiny"
    assert read_events(run.events)[-1]["reason"] == "all steps done"


@pytest.mark.parametrize(
    ("error", "ending", "reason"),
    [
        (DivergedError("loss was nan 5 times"), "diverged", "loss was nan 5 times"),
        (OutOfMemoryError("no memory"), "out_of_memory", "no memory"),
        (MemoryError(), "out_of_memory", "MemoryError"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (RunError("the disk is full"), "crashed", "the disk is full"),
        (ZeroDivisionError("division by zero"), "crashed", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_exception_is_the_reason_of_the_end(
    run: RunDirectory, error: BaseException, ending: str, reason: str
) -> None:
    with pytest.raises(type(error)), run.lock(), record(run):
        raise error
    state = read_state(run)
    assert state is not None
    assert (state.status, state.exit_reason) == (ending, reason)
    last = read_events(run.events)[-1]
    assert (last["kind"], last["status"], last["reason"]) == ("run_finished", ending, reason)


def test_a_resume_goes_on_where_the_checkpoint_is(run: RunDirectory) -> None:
    with run.lock(), record(run) as first:
        first.write("val", 2, loss=0.1, bits_per_byte=0.2)
        first.write("train", 9, loss=1.0, tokens=90)
        first.write("val", 9, loss=0.001, bits_per_byte=0.002)
        first.finish("crashed", "for the test")
    created = summarise(run).created
    (run.path / ".state.json.1.ab.tmp").write_text("half")
    (run.path / ".launch.json.1.ab.tmp").write_text("somebody is writing this now")
    time.sleep(0.01)
    with run.lock(), record(run, step=5) as second:
        # The superseded validation is not the best one any more.
        assert second.state.latest["best_val"]["loss"] == 0.1
        assert second.state.exit_reason is None
        second.write("train", 6, loss=2.0, tokens=60)
        second.finish("finished")
    events = [event for event in read_events(run.events) if event["kind"] != "run_finished"]
    assert [event["step"] for event in events] == [0, 2, 5, 6]
    assert [event.get("attempt") for event in events] == [1, None, 2, None]
    assert len(run.superseded_events.read_bytes().splitlines()) == 3
    assert [path.name for path in run.path.glob(".*.tmp")] == [".launch.json.1.ab.tmp"]
    after = summarise(run)
    assert (after.attempt, after.created, after.tokens) == (2, created, 60)


def test_a_restart_without_a_checkpoint_says_everything_anew(run: RunDirectory) -> None:
    for _ in range(2):
        with run.lock(), record(run) as recorder:
            recorder.write("val", 0, loss=4.0, bits_per_byte=5.0)
            recorder.write("train", 1, loss=3.0)
            recorder.finish("crashed", "for the test")
    kinds = [event["kind"] for event in read_events(run.events)]
    assert kinds == ["run_started", "val", "train", "run_finished"]
    assert summarise(run).attempt == 2


def test_a_damaged_state_does_not_hinder_a_resume(run: RunDirectory) -> None:
    run.state.write_text("")
    with run.lock(), record(run) as recorder:
        recorder.finish("finished")
    assert status(run) == "finished"


def test_a_stop_for_a_dead_trainer_does_not_stop_the_next(run: RunDirectory) -> None:
    stale = run.control / "stop-1.json"
    stale.write_text(json.dumps({"id": "1", "time": time.time() - 3600}))
    meant = request(run, "checkpoint")
    with run.lock(), record(run) as recorder:
        assert recorder.inbox.poll() == [meant]


def test_latest_in_the_state_is_what_the_events_say(run: RunDirectory) -> None:
    with run.lock(), record(run) as recorder:
        for step, loss in enumerate([3.0, 2.0, 2.5, math.nan, 2.6], start=1):
            recorder.write("train", step, loss=loss, tokens=step)
            recorder.write(
                "val",
                step,
                loss=loss + 0.5,
                bits_per_byte=loss,
                sources={name: {"bits_per_byte": loss} for name in "ab"},
            )
        recorder.finish("finished")
    counted = Latest()
    for event in read_events(run.events):
        counted.add(event)
    state = read_state(run)
    assert state is not None
    assert state.latest == counted.as_dict()
    at_once = count_events(run.events).as_dict()
    assert at_once.pop("seconds") == pytest.approx(state.latest["seconds"], abs=0.002)
    assert at_once == {key: value for key, value in state.latest.items() if key != "seconds"}
    assert state.latest["best_val"] == {"step": 2, "loss": 2.5, "bits_per_byte": 2.0}
    assert state.latest["val"]["loss"] == 3.1
    assert state.latest["val_sources"] == {"a": 2.6, "b": 2.6}


def test_time_between_attempts_and_on_pause_does_not_count() -> None:
    latest = Latest()
    for kind, at in [
        ("run_started", 100.0), ("train", 103.0), ("paused", 104.0), ("resumed", 1104.0), ("train", 1106.0),
        ("run_started", 9000.0), ("train", 9001.5), ("run_finished", 9002.0),
    ]:  # fmt: skip
        latest.add({"kind": kind, "time": at})
    assert latest.as_dict()["seconds"] == 8.0


def test_a_summary_does_not_read_events_when_the_state_has_the_numbers(run: RunDirectory) -> None:
    with run.lock(), record(run) as recorder:
        recorder.write("train", 1, loss=1.5, tokens=8, tok_per_sec=80.0)
        recorder.write("val", 1, loss=1.6, bits_per_byte=2.0)
        recorder.finish("finished")
    expected = summarise(run)
    run.events.unlink()
    run.events.mkdir()  # reading it would fail
    assert summarise(run) == expected
    assert (expected.train_loss, expected.tokens, expected.tok_per_sec) == (1.5, 8, 80.0)
    assert expected.val == expected.best_val == {"step": 1, "loss": 1.6, "bits_per_byte": 2.0}
    assert (expected.preset, expected.dataset, expected.parameters) == ("tiny", "noise", 12)


def test_a_summary_without_the_numbers_counts_the_events(run: RunDirectory) -> None:
    with run.lock(), record(run) as recorder:
        for step in range(1, 6):
            recorder.write("train", step, loss=1.5 / step, tokens=8 * step)
        recorder.write("val", 5, loss=1.6, bits_per_byte=2.0)
        recorder.finish("finished")
    with_numbers = summarise(run)
    state = read_state(run)
    assert state is not None
    write_state(run, RunState(**{**vars(state), "latest": {}, "about": {}}))
    assert summarise(run) == with_numbers
    run.state.unlink()
    alone = summarise(run)
    assert (alone.status, alone.step, alone.tokens, alone.preset) == ("crashed", 5, 40, "tiny")


def test_the_time_left_is_told_while_it_runs(run: RunDirectory) -> None:
    with run.lock(), record(run, max_steps=40) as recorder:
        time.sleep(0.1)
        recorder.write("train", 10, loss=1.0)
        recorder.update(now=True)
        summary = summarise(run)
        assert summary.eta_seconds == pytest.approx(3 * summary.seconds, abs=0.06)
        recorder.finish("stopped")
    assert summarise(run).eta_seconds is None


def test_a_killed_trainer_is_resumed_and_each_step_is_there_once(
    run: RunDirectory, start_trainer: Callable[..., subprocess.Popen[bytes]]
) -> None:
    assert start_trainer(100, "--step-seconds", 0, "--die-at", 37).wait() == -9
    assert effective_status(run) == "crashed"
    assert start_trainer(100, "--step-seconds", 0, "--from-step", 30).wait() == 0
    train = [event["step"] for event in read_events(run.events) if event["kind"] == "train"]
    assert train == list(range(1, 101))
    summary = summarise(run)
    assert (summary.status, summary.step, summary.tokens) == ("finished", 100, 6400)
    assert summary.best_val == {"step": 100, "loss": 0.11, "bits_per_byte": 0.12}
