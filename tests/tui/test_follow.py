import json
import math
import os
import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxllm.runs import Event, RunDirectory, RunState, count_events, read_events, truncate_after, write_state
from mlxllm.runs.state import Launch, write_launch
from tests.tui import runs
from tui.following import follow
from tui.following.follow import TRAIN_KEYS, RunFollower
from tui.following.run_view import RunView

number = st.none() | st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.just("text") | st.just(True)
event = st.fixed_dictionaries(
    {"kind": st.sampled_from(["train", "train", "train", "val", "run_started", "resumed", "paused", "warning"])},
    optional={
        "time": st.none() | st.floats(0, 1000),
        "step": number,
        "tokens": number,
        "loss": number,
        "grad_norm": number,
        "bits_per_byte": number,
        "rewards/margins": number,
        "rewards/chosen": number,
    },
)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(events: list[Event]) -> dict[str, Any]:
    """What a follower should hold, worked out event by event."""
    found: dict[str, Any] = {"train": {}, "val": {}, "places": {"train": [], "val": []}}
    seconds, previous, tokens, paused = 0.0, None, 0.0, False
    last = {"train": 0.0, "val": 0.0}
    seen = {"train": 0, "val": 0}
    for each in events:
        kind, at = each["kind"], each.get("time")
        if is_number(at):
            if previous is not None and kind not in ("run_started", "resumed") and not paused:
                seconds += max(0.0, at - previous)
            previous = at
        paused = kind == "paused" or (paused and kind not in ("run_started", "resumed"))
        if kind not in ("train", "val"):
            continue
        if kind == "train" and is_number(each.get("tokens")):
            tokens = max(tokens, each["tokens"])
        if is_number(each.get("step")):
            last[kind] = max(last[kind], each["step"])
        found["places"][kind].append((last[kind], tokens, seconds))
        keys = TRAIN_KEYS if kind == "train" else ("loss", "bits_per_byte")
        for key in {*keys, *found[kind], *(k for k in each if k.startswith("rewards/"))}:
            column = found[kind].setdefault(key, [math.nan] * seen[kind])
            column.append(float(each[key]) if is_number(each.get(key)) else math.nan)
        seen[kind] += 1
    return found


def check(view: RunView, events: list[Event]) -> None:
    expected = plain(events)
    for kind, found in (("train", view.train), ("val", view.val)):
        wanted = {k: v for k, v in expected[kind].items() if (k == "loss" and v) or not np.isnan(v).all()}
        assert found.keys() == wanted.keys()
        for key, series in found.items():
            np.testing.assert_array_equal(series.values, wanted[key])
            for axis, column in zip(
                ("step", "tokens", "time"), zip(*expected["places"][kind], strict=True), strict=True
            ):
                np.testing.assert_allclose(series.steps[axis], column, rtol=1e-12, atol=1e-9)  # type: ignore[index]


@pytest.fixture
def run(mlxllm_home: Path) -> RunDirectory:
    return RunDirectory.create(mlxllm_home / "runs" / "first")


@given(events=st.lists(event, max_size=40), cuts=st.lists(st.integers(0, 5000), max_size=6))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_follower_holds_what_the_plain_reader_gives_however_the_bytes_come(
    run: RunDirectory, events: list[Event], cuts: list[int]
) -> None:
    data = b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in events)
    run.events.write_bytes(b"")
    follower = RunFollower(run)
    edges = sorted(min(cut, len(data)) for cut in cuts)
    for start, end in zip([0, *edges], [*edges, len(data)], strict=True):
        with open(run.events, "ab") as file:
            file.write(data[start:end])
        check(follower.poll(), read_events(run.events))
    check(follower.view, events)


def test_a_long_file_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    made = runs.make_run("first", steps=500, method="dpo", nonfinite=(3, 400))
    monkeypatch.setattr(follow, "_CHUNK_BYTES", 1000)
    follower = RunFollower(made)
    views = [follower.poll(budget=0.0)]
    while not views[-1].complete:
        views.append(follower.poll(budget=0.0))
    assert len(views) > 50
    assert views[0].steps_logged < 10
    check(views[-1], read_events(made.events))
    assert views[-1].train["loss"].gaps.tolist() == [2, 399]
    assert {"rewards/margins", "rewards/accuracies"} <= views[-1].train.keys()
    # A view that was kept still says what it said.
    half = views[len(views) // 2]
    np.testing.assert_array_equal(half.train["loss"].values, views[-1].train["loss"].values[: half.steps_logged])


def test_what_a_run_holds_beside_numbers() -> None:
    made = runs.make_run("first", steps=300, checkpoint_every=100, nonfinite=(50,), max_steps=1000, status="stopped")
    view = RunFollower(made).poll()
    assert view.complete
    assert [sample.step for sample in view.samples] == [100, 200, 300]
    assert view.samples[0].text.endswith("100 steps.")
    assert view.checkpoints == (100, 200, 300)
    assert (view.step, view.max_steps, view.attempts) == (300, 1000, 1)
    assert view.seconds == pytest.approx(30.05, abs=0.01)
    assert view.about["dataset"] == "tales"
    assert view.latest("loss") == runs.loss_at(300)
    assert view.latest("no such key") is None
    words = [note.text for note in view.notes]
    assert words[0] == "the run begins at step 0 of 1,000"
    assert "step 50: loss or gradient is not finite; update skipped" in words
    assert "checkpoint saved at step 100" in words
    assert any(text.startswith("validation at step 100: loss ") for text in words)
    assert words[-1] == "the run ended at step 300, stopped"
    assert view.report is not None
    assert view.report.next_command == "mlxllm resume first"


def test_the_newest_validation_by_source() -> None:
    made = runs.make_run("mixed", steps=300)
    follower = RunFollower(made)
    assert follower.poll().val_sources == {}
    for web in (1.5, 1.25):
        runs.append(made, runs.val_event(300, sources={"web": {"bits_per_byte": web}, "code": {"bits_per_byte": None}}))
    assert follower.poll().val_sources == {"web": 1.25, "code": None}


def test_a_run_that_begins_later(mlxllm_home: Path) -> None:
    folder = RunDirectory(mlxllm_home / "runs" / "later")
    follower = RunFollower(folder)
    assert follower.poll().status == "missing"
    assert "does not exist" in follower.view.trouble
    RunDirectory.create(folder.path)
    write_launch(folder, Launch(os.getpid(), os.uname().nodename, time.time(), ["x"]))
    assert follower.poll().status == "starting"
    runs.make_run("later", steps=20)
    folder.launch.unlink()
    view = follower.poll()
    assert (view.status, view.steps_logged) == ("finished", 20)


def test_a_living_run_goes_on_and_ends() -> None:
    made = runs.make_run("first", steps=100, max_steps=200, status="running")
    follower = RunFollower(made)
    with runs.living(made):
        view = follower.poll()
        assert view.status == "running"
        assert view.active
        assert view.report is None
        assert view.eta_seconds == pytest.approx(100 * runs.STEP_SECONDS, rel=0.05)
        runs.append(made, *[runs.train_event(step) for step in range(101, 151)])
        assert follower.poll().steps_logged == 150
        assert follower.poll().step == 150
        runs.set_status(made, "paused")
        assert follower.poll().status == "paused"
        runs.append(made, {"kind": "run_finished", "time": 1.0, "step": 150, "status": "stopped", "reason": None})
        runs.set_status(made, "stopped")
    view = follower.poll()
    assert view.status == "stopped"
    assert view.report is not None


def test_a_resume_takes_steps_back_and_the_curve_begins_anew() -> None:
    made = runs.make_run("first", steps=300, val_every=0, sample_every=50)
    follower = RunFollower(made)
    assert follower.poll().steps_logged == 300
    truncate_after(made.events, 120)
    runs.append(made, {"kind": "run_started", "time": 2e9, "step": 120, "attempt": 2, "max_steps": 400})
    runs.append(made, *[runs.train_event(step, at=2e9 + step) for step in range(121, 130)])
    view = follower.poll()
    assert view.generation == 1
    assert view.attempts == 2
    assert [sample.step for sample in view.samples] == [50, 100]
    assert view.train["loss"].steps["step"].tolist() == list(range(1, 130))
    assert view.train["loss"].steps["time"][-1] < 300  # the years between do not count
    check(view, read_events(made.events))


def test_the_trainer_is_gone() -> None:
    made = runs.make_run("first", steps=100, max_steps=200, status="running")
    view = RunFollower(made).poll()
    assert view.status == "crashed"
    assert [alert.kind for alert in view.alerts] == ["gone"]
    assert "at step 100" in view.alerts[0].text
    assert view.report is not None


def test_a_damaged_state_is_told_and_the_curve_is_still_there() -> None:
    made = runs.make_run("first", steps=50)
    made.state.write_text("{")
    view = RunFollower(made).poll()
    assert view.status == "damaged"
    assert str(made.state) in view.trouble
    assert view.steps_logged == 50


def test_a_deleted_run() -> None:
    made = runs.make_run("first", steps=50)
    follower = RunFollower(made)
    follower.poll()
    shutil.rmtree(made.path)
    view = follower.poll()
    assert view.status == "missing"
    assert view.steps_logged == 0


def test_events_that_cannot_be_read(mlxllm_home: Path) -> None:
    made = runs.make_run("first", steps=5)
    made.events.unlink()
    made.events.mkdir()
    view = RunFollower(made).poll()
    assert view.status == "damaged"
    assert "events.jsonl" in view.trouble


def following(made: RunDirectory, seconds: float) -> RunView:
    """The view of somebody who looks `seconds` after the last step."""
    last = runs.STARTED + (read_events(made.events)[-1].get("step") or 0) * runs.STEP_SECONDS
    return RunFollower(made, now=lambda: last + seconds).poll()


def test_silence_is_told_when_it_is_longer_than_usual() -> None:
    made = runs.make_run("first", steps=200, max_steps=900, status="running", sample_every=0, began=runs.STARTED)
    with runs.living(made):
        assert following(made, 20).alerts == ()
        (alert,) = following(made, 60).alerts
        assert alert.kind == "stall"
        assert alert.urgent
        assert "1 min 00 s" in alert.text
        assert "0.1 s" in alert.text
        runs.set_status(made, "paused")
        assert following(made, 60).alerts == ()  # nothing is expected of it


def test_silence_as_long_as_an_earlier_one_is_nothing() -> None:
    made = runs.make_run("first", steps=100, max_steps=900, status="running", sample_every=0, began=runs.STARTED)
    at = runs.STARTED + 10
    slow = [runs.train_event(100 + number, at=at + 40 + number) for number in range(1, 4)]
    runs.append(made, *slow)
    with runs.living(made):
        assert RunFollower(made, now=lambda: at + 43 + 100).poll().alerts == ()
        assert [a.kind for a in RunFollower(made, now=lambda: at + 43 + 130).poll().alerts] == ["stall"]


def test_losses_that_are_no_numbers_are_told_for_a_while() -> None:
    made = runs.make_run("first", steps=300, nonfinite=(290, 295))
    (alert,) = RunFollower(made).poll().alerts
    assert alert.kind == "non-finite"
    assert "2 steps were not finite, the last is step 295" in alert.text
    assert RunFollower(runs.make_run("old", steps=600, nonfinite=(290,))).poll().alerts == ()


def test_a_jump_of_the_loss_is_told() -> None:
    made = runs.make_run("first", steps=400, max_steps=900)
    runs.append(made, runs.train_event(401, loss=9.0), runs.train_event(402, loss=8.5))
    follower = RunFollower(made)
    (alert,) = follower.poll().alerts
    assert alert.kind == "spike"
    assert "jumped to 9 at step 401" in alert.text
    runs.append(made, *[runs.train_event(step) for step in range(403, 500)], runs.train_event(500, loss=7.0))
    assert "at step 500" in follower.poll().alerts[0].text
    assert "number 2" in follower.view.alerts[0].text


@given(noise=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_ordinary_noise_is_no_jump(noise: int) -> None:
    random = np.random.default_rng(noise)
    losses = 1 + 6 * np.exp(-np.arange(3000) / 300) + random.normal(size=3000) * 0.1
    watch = follow.alerts.SpikeWatch()
    for part in np.split(losses, [7, 100, 101, 2000]):
        watch.add(np.arange(len(part), dtype=float), part)
    assert watch.count == 0


def test_a_full_disk_is_told_before_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    made = runs.make_run("first", steps=100, max_steps=900, status="running", checkpoint_every=50, began=runs.STARTED)
    usage: Callable[[Path], Any] = lambda _: namedtuple("usage", "total used free")(10**9, 0, 1500)  # noqa: E731
    monkeypatch.setattr(follow.shutil, "disk_usage", usage)
    with runs.living(made):
        (alert,) = following(made, 1).alerts
    assert alert.kind == "disk"
    assert "1.5 kB are left" in alert.text
    assert "1.0 kB" in alert.text


def test_the_size_of_a_first_checkpoint_is_reckoned_from_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    made = runs.make_run(
        "first", steps=10, max_steps=900, status="running", about={"parameters": 10**6}, began=runs.STARTED
    )
    monkeypatch.setattr(
        follow.shutil, "disk_usage", lambda _: namedtuple("usage", "total used free")(10**9, 0, 20 * 10**6)
    )
    with runs.living(made):
        assert "takes 12.0 MB" in following(made, 1).alerts[0].text
    adapter = {"parameters": 10**9, "trained_parameters": 10**6}
    made = runs.make_run("two", steps=10, max_steps=900, status="running", about=adapter, began=runs.STARTED)
    with runs.living(made):
        assert "takes 12.0 MB" in following(made, 1).alerts[0].text


def test_the_log_of_a_detached_start(mlxllm_home: Path) -> None:
    made = runs.make_run("first", steps=10)
    made.log.write_text("--- started\ncompiling\n")
    assert RunFollower(made).poll().log.endswith("compiling\n")


def test_the_seconds_are_those_that_the_trainer_counts() -> None:
    made = runs.make_run("first", steps=50)
    runs.append(made, {"kind": "paused", "time": runs.STARTED + 100, "step": 50})
    runs.append(made, {"kind": "resumed", "time": runs.STARTED + 900, "step": 50})
    runs.append(made, runs.train_event(51, at=runs.STARTED + 901))
    assert RunFollower(made).poll().seconds == pytest.approx(count_events(made.events).seconds)


def test_a_state_without_events(mlxllm_home: Path) -> None:
    made = RunDirectory.create(mlxllm_home / "runs" / "bare")
    write_state(made, RunState(status="crashed", exit_reason="no room", step=0), durable=False)
    view = RunFollower(made).poll()
    assert view.status == "crashed"
    assert view.train == {}
    assert view.report is not None
    assert "no room" in view.report.sentence
