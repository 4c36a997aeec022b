"""Programs that try to break out, to use everything up, or to pass without being right."""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlxllm.evaluation.tasks.answers import program_of
from mlxllm.evaluation.tasks.files import read_tasks
from mlxllm.evaluation.tasks.items import Code
from mlxllm.evaluation.tasks.sandbox import Limits, Sandbox

LIMITS = Limits(seconds=1.0, memory_bytes=256 << 20)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(LIMITS)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of this test have their folders here, by which their processes can be told from others."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_program_passes_when_it_comes_to_its_end(sandbox: Sandbox) -> None:
    ran = sandbox.run("import math, re, collections\nprint('hello')\nassert math.gcd(4, 6) == 2\n")
    assert (ran.passed, ran.how, ran.output) == (True, "passed", "hello\n")
    classes = (
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\nA(1)\n"
    )
    assert sandbox.run(classes).how == "passed"


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("assert 1 == 2, 'no'", "AssertionError: no"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("raise SystemExit", "SystemExit"),
        ("import os\nos._exit(0)", "ended itself"),
        ("exit()", "NameError"),  # the module `site`, which makes it, is not loaded
        ("def f(:", "SyntaxError"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("input()", "EOFError"),
        ("import ctypes\nctypes.string_at(0)", "killed by signal 11"),
        ("'\ud800'.encode()", "UnicodeEncodeError"),
    ],
)
def test_a_program_that_does_not_come_to_its_end_has_not_passed(sandbox: Sandbox, program: str, how: str) -> None:
    ran = sandbox.run(program)
    assert not ran.passed
    assert ran.how.startswith(how)


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time\ntime.sleep(100)",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        # Nobody hears from it any more, and it cannot be asked to end.
        "import os, signal\n"
        "for n in range(1, 60):\n"
        "    try:\n        signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "os.closerange(0, 60)\nwhile True: pass",
    ],
)
def test_an_endless_program_is_ended(sandbox: Sandbox, tmp_path: Path, program: str) -> None:
    begun = time.monotonic()
    ran = sandbox.run(program)
    assert not ran.passed
    assert ran.how in ("timed out", "ended itself")  # the latter where it closed what it would be told through
    assert time.monotonic() - begun < 15
    assert _left_over(tmp_path) == []


def test_a_bomb_of_processes_does_not_go_off(sandbox: Sandbox, tmp_path: Path) -> None:
    # Bounded, should nothing hold it.
    ran = sandbox.run("import os\nfor _ in range(6):\n    os.fork()\n")
    assert not ran.passed
    assert "Error" in ran.how
    assert not sandbox.run("import subprocess\nsubprocess.run(['true'], check=True)").passed
    assert not sandbox.run("import threading\nthreading.Thread(target=print).start()").passed
    assert _left_over(tmp_path) == []


def test_memory_files_and_output_are_bounded(sandbox: Sandbox) -> None:
    assert sandbox.run("x = bytearray(1 << 30)").how.startswith("MemoryError")
    big = sandbox.run("with open('f', 'wb') as f:\n    for _ in range(100): f.write(bytes(1 << 20))")
    assert big.how.startswith("OSError: [Errno 27]")
    many = sandbox.run("import resource\nfs = [open(str(n), 'w') for n in range(1000)]")
    assert "Too many open files" in many.how
    loud = sandbox.run("while True: print('x' * 100_000)")
    assert loud.how == "printed more than 1,048,576 bytes"
    assert len(loud.output) <= 4096


def test_its_folder_is_its_own_and_new(sandbox: Sandbox) -> None:
    program = (
        "import os, pathlib, tempfile\n"
        "assert os.listdir() == [], os.listdir()\n"
        "assert set(os.environ) <= {'HOME', 'TMPDIR', 'LC_CTYPE', '__CF_USER_TEXT_ENCODING'}, dict(os.environ)\n"
        "assert os.path.samefile(pathlib.Path.home(), '.') and os.path.samefile(tempfile.gettempdir(), '.')\n"
        "pathlib.Path('a').write_text('b')\n"
        "assert pathlib.Path('a').read_text() == 'b'\n"
        "print(os.getcwd())\n"
    )
    first, second = sandbox.run(program), sandbox.run(program)
    assert first.passed, first.how
    assert second.passed
    assert first.output != second.output
    assert not Path(first.output.strip()).exists()


def test_what_it_says_to_guard_it_guards(sandbox: Sandbox, tmp_path: Path) -> None:
    """What a system cannot shut is not in `guards`; on Linux files and the network can be shut everywhere by now."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        sandbox.run(f"open({str(outside)!r}, 'w')")
        sandbox.run(f"import os\nos.remove({str(outside)!r})")
        for pid in (bystander.pid, os.getpid()):
            killed = sandbox.run(f"import os\nos.kill({pid}, {9 if pid == bystander.pid else 0})")
            assert not killed.passed or "signals" not in sandbox.guards
        assert not sandbox.run("import os\nos.kill(0, 9)").passed
        assert not sandbox.run("import os\nos.kill(os.getppid(), 9)").passed
        if "files" in sandbox.guards:
            assert outside.read_text() == "mine"
        if "signals" in sandbox.guards:
            assert bystander.poll() is None
        if "network" in sandbox.guards:
            assert not sandbox.run("import socket\nsocket.socket()").passed
    finally:
        bystander.kill()
        bystander.wait()
    if sys.platform == "linux":
        assert {"network", "processes", "signals"} <= sandbox.guards


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_filter_holds_where_there_are_no_namespaces(tmp_path: Path) -> None:
    """As in a container that refuses them: the child is run with unshare(2) taken away."""
    from mlxllm.evaluation.tasks import sandbox_child

    source = Path(sandbox_child.__file__).read_text().replace("_call(libc.unshare,", "_call(lambda _: -1,")
    assert "lambda _: -1" in source
    child = tmp_path / "child.py"
    child.write_text(source)
    for program in ("import socket\nsocket.socket()", "import os\nos.fork()", f"import os\nos.kill({os.getpid()}, 0)"):
        read, write = os.pipe()
        order = {"program": program, "token": "t", "result": write, "seconds": 5.0} | {
            name: getattr(LIMITS, name) for name in ("memory_bytes", "file_bytes", "disk_bytes")
        }
        command = [sys.executable, "-I", "-S", str(child)]
        subprocess.run(command, input=json.dumps(order).encode(), cwd=tmp_path, pass_fds=(write,), check=True)
        os.close(write)
        assert b"PermissionError" in os.read(read, 1000)
        os.close(read)


@pytest.mark.data
def test_the_solutions_of_humaneval_pass_and_others_do_not(test_data: Path) -> None:
    [task] = read_tasks(test_data / "bench" / "HumanEval.jsonl.gz")
    puzzles = [item for item in task.items if isinstance(item, Code)]
    assert len(puzzles) == 164
    sandbox = Sandbox(Limits(seconds=30.0))
    right = [program_of(puzzle, puzzle.solution, chat=False) for puzzle in puzzles]
    wrong = [program_of(puzzle, "    return None\n", chat=False) for puzzle in puzzles[::8]]
    leaving = [program_of(puzzles[0], "    raise SystemExit(0)\n", chat=False)]
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(sandbox.run, right + wrong + leaving))
    assert [one.how for one in ran[:164]] == ["passed"] * 164
    assert not any(one.passed for one in ran[164:])


def _left_over(folder: Path) -> list[str]:
    """Processes of programs in the folder that are still there."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if f"sandbox_child.py {folder}" in line]
