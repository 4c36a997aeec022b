"""Work shared by processes: the same results, in order, and no process that stays behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxllm.data import crew as crew_module
from mlxllm.data.crew import Crew
from mlxllm.errors import DataError


def square(number: int) -> tuple[int, int]:
    if number < 0:
        raise DataError(f"{number} is below 0")
    if number == 666:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number, os.getpid()


def make_square() -> Callable[[int], tuple[int, int]]:
    return square


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "ALONE_SECONDS", 0.0)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order_whoever_has_them(workers: int) -> None:
    with Crew(square, make_square, (), workers) as crew:
        results = list(crew.map((str(number), number) for number in range(100)))
    assert [(place, value) for place, (value, _) in results] == [(str(n), n * n) for n in range(100)]
    processes = {process for _, (_, process) in results}
    assert (os.getpid() in processes) == (workers == 1)
    assert len(processes) <= workers


def test_no_more_is_taken_than_is_worked_on() -> None:
    taken = 0

    def tasks() -> object:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number, number

    with Crew(square, make_square, (), 2) as crew:
        results = crew.map(tasks())  # type: ignore[arg-type]
        for _ in range(10):
            next(results)
        assert taken <= 14
        del results


def test_an_error_and_a_death_are_told() -> None:
    with Crew(square, make_square, (), 2) as crew, pytest.raises(DataError, match="-3 is below 0"):
        list(crew.map((n, n) for n in (1, 2, -3, 4)))
    with Crew(square, make_square, (), 2) as crew, pytest.raises(DataError, match=r"killed.*fewer --workers"):
        list(crew.map((n, n) for n in (1, 666, 2, 3, 4, 5)))


PROGRAM = """
    import sys, time
    from mlxllm.data import crew
    crew.ALONE_SECONDS = 0.0
    sys.path.insert(0, {root!r})
    from tests.data.test_crew import make_square, square
    if __name__ == "__main__":
        with crew.Crew(square, make_square, (), 2) as hands:
            for _, (_, process) in hands.map((n, n) for n in range(10**9)):
                print(process, flush=True)
                time.sleep(0.01)
"""


def test_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).format(root=str(Path(__file__).parents[2])))
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = {int(process.stdout.readline()) for _ in range(20)}
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while any(_is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_of_a_terminal_is_for_the_first_process(tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "program.py"
    text = textwrap.dedent(PROGRAM).format(root=str(Path(__file__).parents[2]))
    main = 'if __name__ == "__main__":\n'
    handlers = "    for one in (1, 2, 15):\n        signal.signal(one, lambda number, _: sys.exit(128 + number))\n"
    program.write_text("import signal\n" + text.replace(main, main + handlers))
    command = [sys.executable, str(program)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    workers = {int(process.stdout.readline()) for _ in range(20)}
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (128 + number, "")
    assert not any(_is_alive(worker) for worker in workers)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
