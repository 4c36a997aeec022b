"""The folder of one run: where its files lie, who may write there, and how a name becomes a folder.

    config.json    resolved config, written before step 0            (trainer)
    state.json     status, pid, heartbeat, step, latest numbers       (trainer, replaced atomically)
    events.jsonl   one object a line                                  (trainer, append-only between attempts)
    log.txt        stdout and stderr of a detached trainer
    launch.json    pid and time of a detached start, its return code  (whoever started it)
    control/       requests to the trainer, one file each             (anyone)
    checkpoints/   step-00001000/ ...                                 (trainer)
    lock           held by the trainer for as long as it lives; the kernel frees it however the trainer ends

The lock also answers "is it alive?": a held lock is a living trainer, whatever pids have been reused and
whatever the machine is called today.
"""

import errno
import fcntl
import json
import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlxllm import paths
from mlxllm.errors import ConfigError, RunError

_LOCK_PATIENCE = 0.5
"""Seconds for which a starting trainer tries: a reader that asks `is_locked` holds the lock for
microseconds."""


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder. Making the object touches nothing; `create` makes the folder."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name is the name of its folder and stands nowhere else, so renaming is one rename."""
        return Path(os.path.abspath(self.path)).name

    @property
    def address(self) -> str:
        """What to type for this run: its name where it lies in `<home>/runs`, else its path."""
        if Path(os.path.abspath(self.path)).parent == Path(os.path.abspath(paths.folder("runs"))):
            return self.name
        path = str(self.path)
        return shlex.quote(path if paths.is_path(path) else f"./{path}")

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def superseded_events(self) -> Path:
        """Events of killed attempts whose steps a later attempt does again; kept for the curious only."""
        return self.path / "events-superseded.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def launch(self) -> Path:
        return self.path / "launch.json"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Make the folder with control/ and checkpoints/ in it; one that is there already is left as it is.

        Raises:
            RunError: the folder cannot be made.
        """
        run = cls(path)
        try:
            run.control.mkdir(parents=True, exist_ok=True)
            run.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the run folder {path}: {error.strerror or error}") from error
        return run

    @property
    def exists(self) -> bool:
        """Whether a trainer has begun here. A folder made by a detached start alone does not count."""
        return self.config.exists() or self.state.exists() or self.events.exists()

    @property
    def is_run(self) -> bool:
        """Whether the folder is a run at all, begun or only launched: what `runs rm` may delete."""
        return self.exists or self.launch.exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process: one trainer a run. Freed at the end of the block or of the process.

        Raises:
            RunError: another process holds it (the message names it), the file system has no locks, or it cannot be written
                to (full, read-only, no permission).
        """
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(self._not_written(error)) from error
        try:
            self._acquire(descriptor)
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": round(time.time(), 3)}
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(owner).encode(), 0)
            except OSError as error:
                raise RunError(self._not_written(error)) from error
            yield
        finally:
            # The file stays: unlinking a lock lets two processes lock two files of the same name.
            os.close(descriptor)

    def _not_written(self, error: OSError) -> str:
        return f"cannot write {self.lock_file}: {error.strerror or error}"

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"run {self.name!r} is in use by {self._owner()}; see it with "
                        f"`mlxllm runs show {self.address}`, end it with `mlxllm runs stop {self.address} --wait`, "
                        f"or give this run another name"
                    ) from None
                time.sleep(0.02)
            except OSError as error:
                raise RunError(
                    f"the file system of {self.path} cannot lock files ({error.strerror}); "
                    f"set MLXLLM_HOME to a folder on a local disk"
                ) from error

    def _owner(self) -> str:
        try:
            owner = json.loads(self.lock_file.read_text())
            return f"process {int(owner['pid'])} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def is_locked(self) -> bool | None:
        """Whether a process holds the run; None where the file system cannot tell."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False
        except OSError:
            return None
        try:
            # Shared, so that two readers who ask at once do not take each other for a trainer.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except OSError as error:
            return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
        finally:
            os.close(descriptor)


def find_run(name: str) -> RunDirectory:
    """The run called `name` in `<home>/runs`, or at the path `name`.

    Raises:
        ConfigError: there is nothing of that name; the message lists near names.
        RunError: there is, but it is no run folder.
    """
    run = RunDirectory(paths.existing("runs", name))
    if not run.is_run:
        raise RunError(
            f"{run.path} is not a run folder: it holds none of config.json, state.json and events.jsonl; "
            f"`mlxllm runs ls` lists the runs"
        )
    return run


def run_of(model: str) -> RunDirectory | None:
    """The run behind RUN, RUN@STEP, RUN@best or the path of one; None for any other model."""
    for name in (model, model.rpartition("@")[0]):
        try:
            run = RunDirectory(paths.existing("runs", name)) if name else None
        except ConfigError:
            continue
        if run is not None and run.is_run:
            return run
    return None


def all_runs() -> list[RunDirectory]:
    """Every run in `<home>/runs`, by name."""
    folder = paths.folder("runs")
    if not folder.is_dir():
        return []
    found = (RunDirectory(path) for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return [run for run in found if run.path.is_dir() and run.is_run]
