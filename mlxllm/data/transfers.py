"""Who is told of large downloads that begin deep inside of something else, such as loading a model."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """What is called while files are fetched."""

    def begins(self, what: str, files: int, size: int) -> None:
        """Before the first byte: so many files of so many bytes in all, of which some may be here."""

    def progress(self, done: int, size: int) -> None:
        """So many bytes of all are here."""

    def ends(self) -> None:
        """All of it is here, or nothing more comes."""


class Silence:
    """A listener that nothing is done by."""

    def begins(self, what: str, files: int, size: int) -> None:
        """Nothing."""

    def progress(self, done: int, size: int) -> None:
        """Nothing."""

    def ends(self) -> None:
        """Nothing."""


_listener: ContextVar[Listener] = ContextVar("transfers", default=Silence())  # noqa: B039  (it holds no state)


def listener() -> Listener:
    """Who is to be told at the moment."""
    return _listener.get()


@contextlib.contextmanager
def told(who: Listener) -> Iterator[None]:
    """Have `who` told of what is fetched meanwhile."""
    before = _listener.set(who)
    try:
        yield
    finally:
        _listener.reset(before)
