"""The part of a file that a download has brought so far, and what it is a part of."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path


class HeldError(Exception):
    """Another process is at work on the same file."""


class Partial:
    """A draft `.NAME.part` beside the file that it is to become, with `.NAME.part.json` that says what it is a part of.

    Only one process has it at a time. All methods raise OSError where the disk refuses.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """As `held` makes it."""
        self.path, self._descriptor = path, descriptor
        self._facts = _facts(path)
        self.size = os.fstat(descriptor).st_size
        """Bytes that are there."""
        self.finished = False
        """It has got its name."""
        self.url: str | None = None
        """Where they are from."""
        self.validator: str | None = None
        """What the server called that state of the file: an ETag or a date."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(self._facts.read_text())
            self.url, self.validator = facts["url"], facts["validator"]

    @classmethod
    @contextlib.contextmanager
    def held(cls, target: Path) -> Iterator["Partial"]:
        """The draft of `target`, made if it is not there; an empty one is not left behind.

        Raises:
            HeldError: another process has it.
        """
        path = partial_path(target)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise HeldError(str(path)) from None
                # Whoever had it until now may just have finished it: then this is the file and no draft any more.
                if _is_at(descriptor, path):
                    partial = cls(path, descriptor)
                    try:
                        yield partial
                    finally:
                        if not (partial.size or partial.finished):
                            partial.remove()
                    return
            finally:
                os.close(descriptor)

    def begin(self, url: str, validator: str | None) -> None:
        """Drop what is there; what comes now is from `url`, in the state that `validator` names."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0
        # After the old part has gone and before a byte of the new one comes, so that it never stands beside another's.
        self._facts.write_text(json.dumps({"url": url, "validator": validator}))
        self.url, self.validator = url, validator

    def append(self, data: bytes) -> None:
        """Put `data` behind what is there."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, self.size)
            self.size += written
            rest = rest[written:]

    def sha256(self) -> str:
        """In hex, of what is there."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def remove(self) -> None:
        """Keep nothing of it."""
        self.path.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)
        self.size = 0

    def finish(self, target: Path) -> None:
        """Give it its name; it is on the disk before."""
        os.fsync(self._descriptor)
        os.replace(self.path, target)
        self.finished = True
        self._facts.unlink(missing_ok=True)


def partial_path(target: Path) -> Path:
    """Where the draft of `target` lies."""
    return target.with_name(f".{target.name}.part")


def _facts(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
