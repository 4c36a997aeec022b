import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlxllm.errors import ConfigError, RunError
from mlxllm.runs import RunDirectory, all_runs, find_run, write_json_atomic

HOLD = """
import sys, time
from pathlib import Path
from mlxllm.errors import RunError
from mlxllm.runs import RunDirectory
try:
    with RunDirectory(Path(sys.argv[1])).lock():
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
except RunError as error:
    print("refused", error, flush=True)
"""


def hold(run: RunDirectory, seconds: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLD, str(run.path), str(seconds)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def first_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().split(" ")[0].strip()


def test_the_second_trainer_is_told_who_the_first_is(run: RunDirectory) -> None:
    with hold(run, 60) as first:
        assert first_word(first) == "held"
        assert run.is_locked() is True
        with pytest.raises(RunError) as error, run.lock():
            pass
        message = str(error.value)
        assert f"process {first.pid} on {socket.gethostname()}" in message
        assert "mlxllm runs stop first" in message
        first.kill()


def test_sigkill_frees_the_run(run: RunDirectory) -> None:
    with hold(run, 60) as first:
        assert first_word(first) == "held"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert run.is_locked() is False
    with run.lock():
        assert run.is_locked() is True
    assert run.is_locked() is False


def test_of_many_trainers_at_once_exactly_one_wins(run: RunDirectory) -> None:
    processes = [hold(run, 3) for _ in range(5)]
    words = [first_word(process) for process in processes]
    for process in processes:
        process.kill()
        process.communicate()
    assert sorted(words) == ["held"] + ["refused"] * 4


def test_a_lock_excludes_its_own_process_too(run: RunDirectory) -> None:
    with run.lock(), pytest.raises(RunError, match=f"process {os.getpid()} "), run.lock():
        pass


def test_readers_who_ask_do_not_keep_a_trainer_out(run: RunDirectory) -> None:
    with run.lock():
        pass
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            run.is_locked()

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(30):
            with run.lock():
                pass
    finally:
        done.set()
        for reader in readers:
            reader.join()


def test_asking_leaves_no_trace(run: RunDirectory) -> None:
    assert run.is_locked() is False
    assert not run.lock_file.exists()


def test_create_keeps_what_is_there(run: RunDirectory) -> None:
    (run.checkpoints / "step-00000001").mkdir()
    RunDirectory.create(run.path)
    assert [p.name for p in run.checkpoints.iterdir()] == ["step-00000001"]
    assert not run.exists
    write_json_atomic(run.config, {})
    assert run.exists


def test_create_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match="cannot make the run folder"):
        RunDirectory.create(tmp_path / "taken")


def test_the_address_finds_the_run_again(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a message tells people to type leads back to the run, wherever it lies."""
    assert run.address == "first"
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "elsewhere", Path("elsewhere"), Path("two words")):
        other = RunDirectory.create(path)
        write_json_atomic(other.config, {})
        assert find_run(shlex.split(other.address)[0]).config.samefile(other.config)


def test_find_run_by_name_and_by_path(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json_atomic(run.config, {})
    assert find_run("first").path == run.path
    assert find_run(str(run.path)).path == run.path
    monkeypatch.chdir(run.path)
    assert find_run(".").name == "first"
    with pytest.raises(ConfigError, match=r"no run 'frist'.*first"):
        find_run("frist")


def test_a_folder_that_is_no_run_is_not_taken_for_one(tmp_path: Path, run: RunDirectory) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(RunError, match="is not a run folder"):
        find_run(str(tmp_path / "photos"))


def test_all_runs_passes_over_what_is_none(run: RunDirectory, home: Path) -> None:
    write_json_atomic(run.config, {})
    (home / "runs" / ".first.deleted-1").mkdir()
    (home / "runs" / "empty").mkdir()
    (home / "runs" / "note.txt").write_text("")
    assert [r.name for r in all_runs()] == ["first"]


def test_no_home_yet() -> None:
    assert all_runs() == []


def test_readers_do_not_take_each_other_for_a_trainer(run: RunDirectory) -> None:
    with run.lock():
        pass
    answers: set[bool | None] = set()

    def ask() -> None:
        for _ in range(2000):
            answers.add(run.is_locked())

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert answers == {False}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_lock_on_a_full_disk_is_a_sentence(run: RunDirectory) -> None:
    run.lock_file.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"cannot write .*/lock: "), run.lock():
        pass
