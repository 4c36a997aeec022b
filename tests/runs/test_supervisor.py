import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxllm.errors import RunError
from mlxllm.runs import (
    RunDirectory,
    caffeinate_argv,
    effective_status,
    explain,
    keep_awake,
    log_tail,
    pid_alive,
    read_launch,
    read_state,
    request,
    start_detached,
    supervisor,
)

Argv = Callable[..., list[str]]
Until = Callable[..., None]


def returncode(run: RunDirectory) -> int | None:
    launch = read_launch(run)
    assert launch is not None
    return launch.returncode


def test_a_detached_run_from_start_to_end(run: RunDirectory, trainer_argv: Argv, until: Until) -> None:
    process = start_detached(trainer_argv(20, "--import-seconds", 0.3), run)
    assert effective_status(run) == "starting"
    assert os.getsid(process.pid) == process.pid
    until(lambda: returncode(run) is not None)
    assert returncode(run) == 0
    assert effective_status(run) == "finished"
    assert "trainer begins" in run.log.read_text()
    report = explain(run)
    assert (report.reason, report.sentence) == ("finished", "training finished at step 20")
    assert report.next_command is not None
    assert "--model first" in report.next_command


def test_a_stop_asked_while_the_trainer_still_starts_is_heeded(
    run: RunDirectory, trainer_argv: Argv, until: Until
) -> None:
    start_detached(trainer_argv(10_000), run)
    request(run, "stop")
    until(lambda: returncode(run) is not None)
    assert effective_status(run) == "stopped"
    assert explain(run).reason == "stopped"


def test_a_detached_run_outlives_its_parent(run: RunDirectory, trainer_argv: Argv, until: Until) -> None:
    parent = (
        "import sys; from pathlib import Path; from mlxllm.runs import RunDirectory, start_detached; "
        "print(start_detached(sys.argv[2:], RunDirectory(Path(sys.argv[1]))).pid)"
    )
    argv = [sys.executable, "-c", parent, str(run.path), *trainer_argv(50)]
    pid = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    until(lambda: effective_status(run) == "running")
    state = read_state(run)
    assert state is not None
    assert state.pid == pid
    until(lambda: effective_status(run) == "finished")
    assert returncode(run) is None  # nobody was there to see
    assert explain(run).reason == "finished"


def test_a_second_start_is_refused_at_once(run: RunDirectory, trainer_argv: Argv, until: Until) -> None:
    process = start_detached(trainer_argv(10_000), run)
    until(lambda: effective_status(run) == "running")
    with pytest.raises(RunError, match=f"in use by process {process.pid}"):
        start_detached(trainer_argv(10_000), run)
    launch = read_launch(run)
    assert launch is not None
    assert launch.pid == process.pid
    process.kill()
    until(lambda: returncode(run) is not None)


def test_a_killed_trainer_is_explained(run: RunDirectory, trainer_argv: Argv, until: Until) -> None:
    process = start_detached(trainer_argv(10_000), run)
    until(lambda: (state := read_state(run)) is not None and state.step > 0)
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: returncode(run) == -9)
    assert not pid_alive(process.pid)  # no zombie is left
    assert effective_status(run) == "crashed"
    report = explain(run)
    assert report.reason == "killed"
    assert "memory" in report.sentence
    assert report.next_command == "mlxllm resume first"


def test_a_start_that_fails_says_why(run: RunDirectory, until: Until) -> None:
    refuse = "import sys; print('preset \\'x\\' is unknown', file=sys.stderr); sys.exit(2)"
    start_detached([sys.executable, "-c", refuse], run)
    until(lambda: returncode(run) is not None)
    assert effective_status(run) == "crashed"
    report = explain(run)
    assert (report.reason, report.sentence) == ("refused", "training did not start: preset 'x' is unknown")


def test_the_log_of_an_earlier_attempt_explains_nothing(run: RunDirectory, until: Until) -> None:
    for text, code in (("[metal::malloc] too much", 1), ("plain trouble", 1)):
        start_detached([sys.executable, "-c", f"print({text!r}); raise SystemExit({code})"], run)
        until(lambda: returncode(run) is not None)
    assert log_tail(run) == "plain trouble\n"
    assert explain(run).reason == "refused"
    assert "[metal::malloc]" in run.log.read_text()


def test_a_command_that_does_not_exist(run: RunDirectory) -> None:
    with pytest.raises(RunError, match=r"cannot start '.*/no-such-program'"):
        start_detached(["/no-such-folder/no-such-program"], run)


def test_caffeinate_watches_this_process() -> None:
    assert caffeinate_argv() == ["/usr/bin/caffeinate", "-i", "-w", str(os.getpid())]


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac is kept awake")
def test_elsewhere_nothing_is_held() -> None:
    with keep_awake() as held:
        assert held is False


def test_on_a_mac_the_process_is_held_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Any long process does where there is no caffeinate.
    note = tmp_path / "pid"
    argv = ["/bin/sh", "-c", f"echo $$ > {note}.part && mv {note}.part {note}; exec sleep 60"]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(supervisor, "caffeinate_argv", lambda: argv)
    with contextlib.suppress(KeyboardInterrupt), keep_awake() as held:
        assert held is True
        while not note.exists():
            time.sleep(0.01)
        assert pid_alive(int(note.read_text()))
        raise KeyboardInterrupt
    assert not pid_alive(int(note.read_text()))


def test_a_mac_without_caffeinate_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(supervisor, "caffeinate_argv", lambda: ["/no-such-folder/caffeinate"])
    with keep_awake() as held:
        assert held is False
