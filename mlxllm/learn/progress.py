"""How far a reader is: which chapters were read, tried out and answered; one small file in the home."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.learn.contents import CHAPTERS
from mlxllm.runs.files import read_json, write_json_atomic

FILE = "learn.json"

Mark = Literal["read", "tried", "answered", "done"]
MARKS: tuple[Mark, ...] = ("read", "tried", "answered", "done")
"""What can be said of a chapter, in the order in which it comes about."""


@dataclass(frozen=True)
class Progress:
    """The marks of each chapter."""

    marks: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Number of a chapter -> some of `MARKS`."""
    last: int = 0
    """The chapter that was opened last; 0 before the first."""
    problem: str = ""
    """A sentence about a file that could not be used."""

    def of(self, number: int) -> frozenset[str]:
        """The marks of a chapter."""
        return self.marks.get(number, frozenset())

    def is_done(self, number: int) -> bool:
        """Whether a chapter is behind the reader: it was said so, or tried out and answered."""
        marks = self.of(number)
        return "done" in marks or {"tried", "answered"} <= marks

    @property
    def done(self) -> int:
        """How many chapters are done."""
        return sum(self.is_done(chapter.number) for chapter in CHAPTERS)

    @property
    def next(self) -> int:
        """The chapter to go on with: the first that is not done; the first of all where all are."""
        return next((chapter.number for chapter in CHAPTERS if not self.is_done(chapter.number)), 1)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, as the file has it."""
        chapters = {str(number): [mark for mark in MARKS if mark in marks] for number, marks in self.marks.items()}
        return {"last": self.last, "chapters": chapters}


def file() -> Path:
    """Where progress is kept."""
    return paths.home() / FILE


def read_progress() -> Progress:
    """How far the reader is. A file that is damaged begins anew; `problem` then says so."""
    path = file()
    if not path.exists():
        return Progress()
    try:
        raw = read_json(path)
    except UserError as error:
        return Progress(problem=f"{error}; the tour begins anew")
    found = _parsed(raw)
    return found or Progress(problem=f"{path} is not what the tour writes; it begins anew")


def _parsed(raw: Any) -> Progress | None:
    chapters = raw.get("chapters") if isinstance(raw, dict) else None
    if not isinstance(chapters, dict):
        return None
    numbers = {str(chapter.number): chapter.number for chapter in CHAPTERS}
    marks = {
        numbers[key]: frozenset(mark for mark in value if mark in MARKS)
        for key, value in chapters.items()
        if key in numbers and isinstance(value, list)
    }
    last = raw.get("last")
    return Progress(marks, last if last in numbers.values() else 0)


def mark(number: int, *what: Mark) -> Progress:
    """Keep that a chapter was read, tried, answered or done; what there is now, a problem of the old file in it.

    Raises:
        UserError: the file cannot be written.
    """
    before = read_progress()
    marks = before.of(number) | set(what)
    if marks == before.of(number) and before.last == number:
        return before
    after = replace(before, marks={**before.marks, number: marks}, last=number)
    _write(after)
    return after


def forget() -> None:
    """Begin anew.

    Raises:
        UserError: the file cannot be removed.
    """
    try:
        file().unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot remove {file()}: {error.strerror or error}") from error


def _write(progress: Progress) -> None:
    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if progress.problem:  # what was there may be of use to somebody
            os.replace(path, path.with_name(f"{FILE}.damaged"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    write_json_atomic(path, progress.as_dict(), durable=False)
