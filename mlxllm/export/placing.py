"""How an export gets to its place: made in a hidden folder beside it, checked there, and renamed when it is whole.

The hidden folder is `.NAME.PID.partial` and locked by whoever writes it. One that a killed process left is neither locked
nor its process alive: the next export to the same place takes it away.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlxllm.errors import DataError, ModelError, UserError
from mlxllm.export.card import bytes_text
from mlxllm.runs.files import fsync_directory, fsync_file
from mlxllm.runs.state import pid_alive

_NO_ROOM = {None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""NumPy tells of a write that was cut short without a number."""


def put_folder(
    path: Path,
    write: Callable[[Path], None],
    *,
    size: int = 0,
    check: Callable[[Path], None] | None = None,
    only: str | None = None,
) -> None:
    """Have a folder appear at `path` when it is whole, or not at all.

    Args:
        path: must not exist.
        write: fills a folder.
        size: bytes that it is going to write at least.
        check: looks at what was written.
        only: the file of that folder that goes to `path` instead of the folder.

    Raises:
        ModelError: `path` exists.
        UserError: it cannot be written; or what `write` and `check` raise.
    """
    path = Path(os.path.abspath(path))
    if os.path.lexists(path):
        raise ModelError(f"{path} exists already; name a new folder, or remove that one first")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    made = _missing_parents(path)
    lock = None
    try:
        with _disk_problems(path, partial):
            _check_place(path)
            _remove_leftovers(path)
            _check_room(path, size)
            partial.mkdir(parents=True)
            lock = _locked(partial)
            write(partial)
        if check is not None:
            with _named(path, partial):
                check(partial)
        with _disk_problems(path, partial):
            for file in sorted(partial.rglob("*")):
                if file.is_file():
                    with open(file, "rb") as written:
                        fsync_file(written.fileno())
            fsync_directory(partial)
            (partial if only is None else partial / only).rename(path)
            fsync_directory(path.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # it holds something by now
                folder.rmdir()
        raise
    finally:
        if only is not None:
            shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def _disk_problems(path: Path, partial: Path) -> Iterator[None]:
    """Turn what a disk refuses into one sentence about the place that was asked for."""
    try:
        with _named(path, partial):
            yield
    except (OSError, RuntimeError, DataError) as error:  # MLX reports a failed write as RuntimeError
        raise UserError(f"cannot write the model to {path}: {_why(error, path, partial)}") from None


@contextmanager
def _named(path: Path, partial: Path) -> Iterator[None]:
    """Nobody knows the hidden folder: messages name the place that was asked for."""
    try:
        yield
    except UserError as error:
        error.args = (str(error).replace(str(partial), str(path)),)
        raise


def _why(error: Exception, path: Path, partial: Path) -> str:
    cut_short = isinstance(error, RuntimeError) and "Unable to write" in str(error)
    if cut_short or (isinstance(error, OSError) and error.errno in _NO_ROOM):
        return "there is no room for it; make room there, or choose another folder"
    why = (isinstance(error, OSError) and error.strerror) or str(error).replace(str(partial), str(path))
    return f"{why}; choose another folder"


def _check_place(path: Path) -> None:
    there = _nearest(path)
    if not there.is_dir():
        raise UserError(f"cannot write the model to {path}: {there} is a file and no folder; choose another folder")


def _check_room(path: Path, size: int) -> None:
    if size and (free := shutil.disk_usage(_nearest(path)).free) < size:
        raise UserError(
            f"cannot write the model to {path}: it takes {bytes_text(size)}, and {bytes_text(free)} are free there; "
            f"make room, or choose another disk"
        )


def _nearest(path: Path) -> Path:
    """The first above `path` that is there."""
    return next(folder for folder in path.parents if os.path.lexists(folder))


def _missing_parents(path: Path) -> list[Path]:
    """The folders above `path` that are not there yet, the deepest first."""
    return [folder for folder in path.parents if not folder.exists()]


def _remove_leftovers(path: Path) -> None:
    """Take away what killed exports to this place have left; a place that cannot be looked through is left alone."""
    named = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.partial")
    with suppress(OSError):
        for folder in list(path.parent.iterdir()):
            if (found := named.fullmatch(folder.name)) is None or folder.is_symlink() or not folder.is_dir():
                continue
            pid = int(found[1])
            if pid_alive(pid) and pid != os.getpid():
                continue
            # Another machine or container has other processes, but the same locks.
            if (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder; None where another has it, or the file system knows none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
