import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from mlxllm.errors import RunError
from mlxllm.runs import (
    Launch,
    RunDirectory,
    RunState,
    StateWriter,
    effective_status,
    pid_alive,
    read_launch,
    read_state,
    write_state,
)
from mlxllm.runs.state import STALE_SECONDS, write_launch

Start = Callable[..., subprocess.Popen[bytes]]
Until = Callable[..., None]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_round_trip(run: RunDirectory) -> None:
    assert read_state(run) is None
    state = RunState(status="paused", step=7, max_steps=9, about={"preset": "x"}, latest={"seconds": 1.5})
    write_state(run, state)
    assert read_state(run) == state


def test_infinities_do_not_break_the_file(run: RunDirectory) -> None:
    write_state(run, RunState(latest={"train": {"loss": float("nan")}}))
    state = read_state(run)
    assert state is not None
    assert state.latest == {"train": {"loss": None}}


def test_a_state_of_a_later_version_is_read(run: RunDirectory) -> None:
    write_state(run, RunState(step=3))
    raw = json.loads(run.state.read_text())
    run.state.write_text(json.dumps({**raw, "invented_later": [1]}))
    state = read_state(run)
    assert state is not None
    assert state.step == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "sleeping"}, "status is 'sleeping'"),
        ({"pid": "12"}, "pid is '12'"),
        ({"step": None}, "step is None"),
        ({"heartbeat": "now"}, "heartbeat is 'now'"),
        ({"latest": [1]}, r"latest is \[1\]"),
    ],
)
def test_a_damaged_state_is_said_in_one_sentence(run: RunDirectory, change: dict[str, object], message: str) -> None:
    write_state(run, RunState())
    run.state.write_text(json.dumps({**json.loads(run.state.read_text()), **change}))
    with pytest.raises(RunError, match=rf"'first' is damaged \({message}\).*mlxllm resume first"):
        read_state(run)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"status": "running"'])
def test_what_is_no_state_at_all(run: RunDirectory, content: str) -> None:
    run.state.write_text(content)
    with pytest.raises(RunError, match="is damaged"):
        read_state(run)


def test_the_writer_is_sparing_but_a_new_status_is_there_at_once(run: RunDirectory) -> None:
    writer = StateWriter(run, RunState())
    first = run.state.stat().st_ino
    for step in range(50):
        writer.update(step=step)
    assert run.state.stat().st_ino == first
    writer.update(status="running")
    state = read_state(run)
    assert state is not None
    assert (state.status, state.step) == ("running", 49)
    writer.update(step=50)
    time.sleep(1.05)
    writer.update(step=51)
    later = read_state(run)
    assert later is not None
    assert later.step == 51
    assert later.heartbeat > state.heartbeat


def test_a_living_trainer_is_running_even_when_it_hangs(run: RunDirectory, start_trainer: Start, until: Until) -> None:
    process = start_trainer(10_000)
    until(lambda: run.state.exists() and effective_status(run) == "running")
    process.send_signal(signal.SIGSTOP)
    assert effective_status(run) == "running"
    process.send_signal(signal.SIGCONT)


def test_a_killed_trainer_has_crashed(run: RunDirectory, start_trainer: Start, until: Until) -> None:
    process = start_trainer(10_000)
    until(lambda: run.state.exists() and effective_status(run) == "running")
    process.kill()
    process.wait()
    state = read_state(run)
    assert state is not None
    assert state.status == "running"
    assert effective_status(run) == "crashed"


def test_a_reused_pid_is_not_the_trainer(run: RunDirectory) -> None:
    write_state(run, RunState(status="running", pid=os.getppid()))
    assert pid_alive(os.getppid())
    assert effective_status(run) == "crashed"


def test_elsewhere_the_heartbeat_decides(run: RunDirectory) -> None:
    state = RunState(status="running", host="another.local", pid=dead_pid())
    assert effective_status(run, state) == "running"
    assert effective_status(run, replace(state, heartbeat=time.time() - STALE_SECONDS - 1)) == "crashed"


def test_a_mac_that_changed_its_name_still_sees_its_trainer(run: RunDirectory) -> None:
    state = RunState(status="running", host="before.local", heartbeat=time.time() - 9999)
    with run.lock():
        assert effective_status(run, state) == "running"
    assert effective_status(run, state) == "crashed"


@pytest.mark.parametrize("status", ["finished", "stopped", "diverged", "out_of_memory", "crashed"])
def test_an_ended_run_stays_as_it_ended(run: RunDirectory, status: str) -> None:
    state = RunState(status=status, pid=dead_pid(), heartbeat=0.0)  # type: ignore[arg-type]
    assert effective_status(run, state) == status
    with run.lock():
        assert effective_status(run, state) == "starting"  # a resume has begun


def test_a_trainer_that_ends_while_one_looks_has_not_crashed(run: RunDirectory) -> None:
    seen = RunState(status="running", step=5, pid=dead_pid())
    write_state(run, replace(seen, status="finished", step=6))
    assert effective_status(run, seen) == "finished"


def test_without_a_state(run: RunDirectory) -> None:
    assert effective_status(run) == "crashed"
    with run.lock():
        assert effective_status(run) == "starting"


def test_a_detached_start_shows_before_the_trainer_speaks(run: RunDirectory) -> None:
    launch = Launch(os.getppid(), socket.gethostname(), time.time(), ["mlxllm", "train"])
    write_launch(run, launch)
    assert read_launch(run) == launch
    assert effective_status(run) == "starting"
    write_launch(run, replace(launch, pid=dead_pid()))
    assert effective_status(run) == "crashed"
    write_launch(run, replace(launch, returncode=2))
    assert effective_status(run) == "crashed"


def test_a_resume_that_never_began_does_not_change_what_was_reached(run: RunDirectory) -> None:
    before = RunState(status="finished", started=time.time() - 60, pid=dead_pid())
    launch = Launch(os.getppid(), socket.gethostname(), time.time(), ["mlxllm", "resume"])
    write_launch(run, launch)
    assert effective_status(run, before) == "starting"
    write_launch(run, replace(launch, returncode=2))
    assert effective_status(run, before) == "finished"
    # An old launch says nothing about a later attempt.
    write_launch(run, replace(launch, started=time.time() - 120))
    assert effective_status(run, before) == "finished"


def test_a_damaged_launch_is_no_launch(run: RunDirectory) -> None:
    for content in ("", "[]", '{"pid": 3}'):
        run.launch.write_text(content)
        assert read_launch(run) is None
