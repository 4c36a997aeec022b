"""Starting a trainer as a process of its own, and keeping the machine awake while it works."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from mlxllm.errors import RunError, UserError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.state import Launch, write_launch


def start_detached(
    argv: Sequence[str], run: RunDirectory, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the trainer command `argv` for `run` in a session of its own; it outlives terminal and parent.

    stdout and stderr are appended to log.txt, stdin is empty. While this process lives, a thread waits for
    the child, so that none becomes a zombie and launch.json gets its return code.

    Args:
        argv: the command, for example `[sys.executable, "-m", "mlxllm", "train", ...]`.
        run: its folder is made if need be.
        env: the environment; by default this process's.

    Returns:
        The process (`.pid`, `.poll()`).

    Raises:
        RunError: somebody trains there already, or the command cannot be started.
    """
    RunDirectory.create(run.path)
    with run.lock():  # the sentence of the lock, at once, rather than in the log of a child that gives up
        pass
    launched = time.time()
    try:
        with open(run.log, "ab") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(argv)}\n".encode())
            log.flush()
            offset = log.tell()
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**(os.environ if env is None else env), "PYTHONUNBUFFERED": "1"},
            )
    except OSError as error:
        raise RunError(f"cannot start {argv[0]!r}: {error.strerror or error}") from error
    launch = Launch(process.pid, socket.gethostname(), launched, list(argv), log_offset=offset)
    try:
        write_launch(run, launch)
    except UserError:  # a full disk: the trainer would end on it too, later and with less to say
        process.kill()
        process.wait()
        raise
    threading.Thread(target=_reap, args=(process, run, launch), name="reap-trainer", daemon=True).start()
    return process


def _reap(process: subprocess.Popen[bytes], run: RunDirectory, launch: Launch) -> None:
    returncode = process.wait()
    with suppress(UserError):  # the run was renamed or deleted meanwhile: there is nobody left to tell
        write_launch(run, replace(launch, returncode=returncode))


def caffeinate_argv(pid: int | None = None) -> list[str]:
    """The macOS command that keeps the machine from idle sleep while process `pid` (this one) lives."""
    return ["/usr/bin/caffeinate", "-i", "-w", str(os.getpid() if pid is None else pid)]


@contextmanager
def keep_awake() -> Iterator[bool]:
    """Keep a Mac from idle sleep inside the block; elsewhere nothing. Closing the lid still sleeps.

    Yields:
        Whether the machine is being kept awake.
    """
    if sys.platform != "darwin":
        yield False
        return
    try:
        # An absolute path and close_fds=False let Python use posix_spawn: a fork after MLX was used would
        # hang. Nothing leaks by it, Python's own descriptors are not inheritable.
        process = subprocess.Popen(
            caffeinate_argv(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=False
        )
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        process.terminate()
        process.wait()
