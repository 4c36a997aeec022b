"""Programs that a model has written, run one by one in processes that can do little harm.

Each has a folder of its own that is gone afterwards, no environment, no stdin, bounded time, memory, files and output.
On Linux namespaces, Landlock and seccomp shut the network, other files and other processes off, as far as the system
lets its users do that; on macOS `sandbox-exec` does. What really holds is tried out and said: `Sandbox.guards`.
None of it stands against somebody who looks for a hole in the kernel, or against a program that searches its own process
for the proof that it has passed.
"""

import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlxllm.errors import UserError

_CHILD = Path(__file__).with_name("sandbox_child.py")
_SANDBOX_EXEC = Path("/usr/bin/sandbox-exec")
_PROFILE = """(version 1) (allow default) (deny network*) (deny signal) (allow signal (target same-sandbox))
(deny file-write*) (allow file-write* (subpath "{folder}") (literal "/dev/null"))"""
_STARTING_SECONDS = 20.0
"""What Python may take to start on a machine that is busy, before the program's own time begins."""

_PROBE = """
import json, os, socket
found = []
def refused(name, attempt):
    try:
        attempt()
    except OSError:
        found.append(name)
def fork():
    if os.fork() == 0:
        os._exit(0)
refused("network", lambda: socket.create_connection(("127.0.0.1", {port}), timeout=1))
refused("files", lambda: open({outside!r}, "w"))
refused("processes", fork)
refused("signals", lambda: os.kill({pid}, 0))
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    seconds: float = 5.0
    """Of wall clock, and of processor time."""
    memory_bytes: int = 512 << 20
    """Of address space; macOS does not enforce it."""
    file_bytes: int = 1 << 20
    """Of one file."""
    disk_bytes: int = 16 << 20
    """Of all files together, where its folder lies in memory."""
    output_bytes: int = 1 << 20
    """Of stdout and stderr; more ends the program."""


@dataclass(frozen=True)
class Ran:
    """What became of a program."""

    passed: bool
    """It came to its last line."""
    how: str
    """`passed`, `timed out`, `AssertionError: ...`, `killed by signal 9`, `ended itself`, ..."""
    output: str
    """The beginning of what it printed."""


class Sandbox:
    """Runs programs.

    Args:
        limits: of each program.

    Raises:
        UserError: not even an empty program runs here.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._wrapped = sys.platform == "darwin" and _SANDBOX_EXEC.exists()
        if self._wrapped and not self.run("pass").passed:  # a macOS whose profiles are written otherwise
            self._wrapped = False
        tried = self.run("pass")
        if not tried.passed:
            raise UserError(
                f"programs cannot be run here: an empty one ended with {tried.how!r} {tried.output}".strip()
            )
        self.guards = self._guards()
        """Those of `network`, `files` (outside the program's folder), `processes` (more of them) and `signals` (to
        others) that a program was refused when it tried."""

    def run(self, program: str) -> Ran:
        """Run a program from its first line to its last.

        Args:
            program: Python source; it has passed when nothing in it raises and it does not end itself.
        """
        with tempfile.TemporaryDirectory(prefix="mlxllm-program-", ignore_cleanup_errors=True) as folder:
            return self._run(program, os.path.realpath(folder))

    def _run(self, program: str, folder: str) -> Ran:
        limits, token = self._limits, secrets.token_hex(16)
        result, result_end = os.pipe()
        command = [
            sys.executable,
            "-I",
            "-S",
            "-B",
            "-X",
            "utf8",
            str(_CHILD),
            folder,
        ]  # the folder is for whoever looks at `ps`
        if self._wrapped:
            command = [str(_SANDBOX_EXEC), "-p", _PROFILE.format(folder=folder), *command]
        order = {
            "program": program,
            "token": token,
            "result": result_end,
            "seconds": limits.seconds,
            "memory_bytes": limits.memory_bytes,
            "file_bytes": limits.file_bytes,
            "disk_bytes": limits.disk_bytes,
        }
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"HOME": folder, "TMPDIR": folder},
            pass_fds=(result_end,),
            start_new_session=True,
        )
        os.close(result_end)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(order).encode())
            said, output, ended = _listen(process, result, limits)
        finally:
            _end(process)
            os.close(result)
            with suppress(OSError):
                process.stdout.close()  # type: ignore[union-attr]
        passed = ended is None and said.split(b"\n")[0] == token.encode()
        how = "passed" if passed else ended or said.decode(errors="replace").strip() or "ended itself"
        return Ran(passed, how, output.decode(errors="replace"))

    def _guards(self) -> frozenset[str]:
        with (
            tempfile.TemporaryDirectory(prefix="mlxllm-outside-") as folder,
            socket.create_server(("127.0.0.1", 0)) as s,
        ):
            outside = Path(folder) / "file"
            outside.write_text("")
            outside.chmod(0o666)
            probe = _PROBE.format(port=s.getsockname()[1], outside=str(outside), pid=os.getpid())
            try:
                return frozenset(json.loads(self.run(probe).output))
            except ValueError:  # the limits are too tight for it
                return frozenset()


def _listen(process: subprocess.Popen[bytes], result: int, limits: Limits) -> tuple[bytes, bytes, str | None]:
    """(What came over `result`, the beginning of the output, why the program has to be ended) until it ends."""
    assert process.stdout is not None
    said, output, printed = b"", b"", 0
    deadline = time.monotonic() + limits.seconds + _STARTING_SECONDS
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout.fileno(), result):
            os.set_blocking(stream, False)
            selector.register(stream, selectors.EVENT_READ)
        while True:
            over = process.poll() is not None  # before reading: what it has said is in the pipes by then
            for key, _ in selector.select(0 if over else 0.05):
                stream = key.fd
                data = os.read(stream, 1 << 16)
                if not data:
                    selector.unregister(stream)
                elif stream == result:
                    said = (said + data)[:4096]
                else:
                    printed += len(data)
                    output = (output + data)[:4096]
            if printed > limits.output_bytes:
                return said, output, f"printed more than {limits.output_bytes:,} bytes"
            if over:
                return said, output, None
            if not selector.get_map():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            if time.monotonic() > deadline:
                return said, output, "timed out"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process and of its group; it kills its child itself when it is asked to end."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
