"""What became of the records of a source: counted by reason, with the first few of each for people to look at."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict

from mlxllm.data.sources.base import EXAMPLES_KEPT, Dropped, Problems

_MOST_NAMES = 200
"""Of languages or licences that are counted by name: what a data set says there may be anything."""
_OTHER = "other"
_REASONS_TOLD = 3


class Example(BaseModel):
    """One record that was left out, or used in part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str
    """File with line, offset or id."""
    detail: str = ""
    """What was found there."""
    text: str = ""
    """The beginning of its text, where there was any."""

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}" if self.detail else self.where


class Tally(BaseModel):
    """Counts of one source, which grow while it is read."""

    model_config = ConfigDict(extra="forbid")

    kept: int = 0
    """Documents."""
    dropped: dict[str, int] = {}
    """Records left out, by reason."""
    dropped_bytes: dict[str, int] = {}
    """UTF-8 bytes of their text, by reason; of the record itself where it never came to a text."""
    text_bytes: int = 0
    """UTF-8 bytes of all text that was made of the records, before anything was cleaned or left out."""
    mended: dict[str, int] = {}
    """Files or records used in part or passed over, by reason."""
    examples: dict[str, list[Example]] = {}
    """The first of each reason."""
    languages: dict[str, int] = {}
    """Documents kept, by language, where that is known."""
    licences: dict[str, int] = {}
    """Documents kept, by licence, where that is known."""

    @property
    def read(self) -> int:
        """Records met."""
        return self.kept + sum(self.dropped.values())

    def drop(self, dropped: Dropped, size: int = 0) -> None:
        """Count one record that is left out, and the UTF-8 bytes of its text."""
        _add(self.dropped, dropped.reason, 1)
        if size:
            _add(self.dropped_bytes, dropped.reason, size)
        self._show(dropped.reason, [Example(where=dropped.where, detail=dropped.detail, text=dropped.text)])

    def shows(self, reason: str) -> bool:
        """Whether the next one of this reason is kept as an example."""
        return len(self.examples.get(reason, ())) < EXAMPLES_KEPT

    def note(self, found: Dropped) -> None:
        """Count something of which people should know, though the document is kept."""
        _add(self.mended, found.reason, 1)
        self._show(found.reason, [Example(where=found.where, detail=found.detail, text=found.text)])

    def keep(self, metadata: Mapping[str, str]) -> None:
        """Count one document."""
        self.kept += 1
        for counts, key in ((self.languages, "language"), (self.licences, "licence")):
            if value := metadata.get(key):
                _add(counts, value if value in counts or len(counts) < _MOST_NAMES else _OTHER, 1)

    def with_problems(self, problems: Problems) -> Self:
        """These counts and those that a source has made itself, while it looked for records."""
        both = self.model_copy(deep=True)
        for reason, count in problems.dropped.items():
            _add(both.dropped, reason, count)
        for reason, count in problems.mended.items():
            _add(both.mended, reason, count)
        for reason, places in problems.examples.items():
            both._show(reason, (Example(where=place) for place in places))
        return both

    def reasons(self) -> str:
        """What was wrong with the first of each kind, in a few words."""
        first = [f"{reason} ({self.examples[reason][0]})" for reason in (*self.dropped, *self.mended)]
        return "; ".join(first[:_REASONS_TOLD]) or "there is nothing in it"

    def _show(self, reason: str, found: Iterable[Example]) -> None:
        shown = self.examples.setdefault(reason, [])
        for example in found:
            if len(shown) < EXAMPLES_KEPT:
                shown.append(example)


def _add(counts: dict[str, int], key: str, number: int) -> None:
    counts[key] = counts.get(key, 0) + number
