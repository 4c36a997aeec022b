"""Files of JSON lines: an append or an edit is whole or absent, whoever else writes and whoever is killed.

A kill leaves at most one unfinished last line, which readers pass over and the next append cuts off.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlxllm.runs import fsync_directory, fsync_file

_CHUNK = 1 << 16


def append_lines(path: Path, lines: bytes, is_whole: Callable[[bytes], bool]) -> None:
    """Append under the file's lock; when it returns the lines are on the disk, and if it raises, none of them is there.

    Args:
        path: the file; it is made, readable by its owner alone, with the folders above it.
        lines: whole lines.
        is_whole: whether a last line without a line end is whole nevertheless, as an editor may leave one.

    Raises:
        OSError: the file cannot be written.
    """
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path) as descriptor:
        _append(descriptor, lines, is_whole)
    if is_new:
        fsync_directory(path.parent)


def append_objects(path: Path, *records: dict[str, Any]) -> None:
    """Append objects, one a line, as `append_lines` does.

    Raises:
        OSError: the file cannot be written.
    """
    append_lines(path, b"".join(map(json_line, records)), lambda line: parse_object(line) is not None)


def edit_lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Give the lines of a file to `change` and put what it returns in their place: all of it, or nothing.

    Args:
        path: the file; one that is not there has no lines, and is not made.
        change: called while no other process writes. The lines have their line ends, but for an unfinished last one.

    Raises:
        OSError: the file cannot be read or written.
    """
    path = Path(os.path.realpath(path))  # what a link points at is replaced, not the link
    if not path.exists():
        return
    with locked(path) as descriptor:
        with open(os.dup(descriptor), "rb") as file:
            file.seek(0)
            lines = file.readlines()
        changed = change(lines)
        if changed != lines:
            _replace(path, b"".join(changed), os.fstat(descriptor).st_mode & 0o777)


def json_line(record: dict[str, Any]) -> bytes:
    """The line of a record."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    # A path or a text of a terminal can hold what is no text; backslashes are how JSON spells that.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def parse_object(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None where it holds none."""
    try:
        raw = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """The file open for reading and appending, under its lock; the kernel frees that with the descriptor, also after
    a kill.
    """
    descriptor = _open_locked(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # the file was replaced while this one waited for its lock


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            fsync_file(descriptor)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def _append(descriptor: int, lines: bytes, is_whole: Callable[[bytes], bool]) -> None:
    end = os.fstat(descriptor).st_size
    tail = _unfinished(descriptor, end)
    if tail and is_whole(tail):
        lines = b"\n" + lines
    elif tail:
        end -= len(tail)
        os.ftruncate(descriptor, end)
    try:
        written = 0
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
        fsync_file(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _unfinished(descriptor: int, end: int) -> bytes:
    """What stands behind the last line end."""
    tail = b""
    while end > 0 and b"\n" not in tail:
        start = max(0, end - _CHUNK)
        tail = os.pread(descriptor, end - start, start) + tail
        end = start
    return tail[tail.rfind(b"\n") + 1 :]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
