"""What became of the records of some files: nothing is lost without being counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import DAMAGED
from mlxllm.visible import by_reason, counted

NO_RECORDS = "file without records"
"""The note about a file in which nothing stands."""


@dataclass(slots=True)
class Report:
    """Counts by reason, with the places of the first few."""

    read: int = 0
    """Records found."""
    used: int = 0
    """Records that something can be learned from."""
    problems: Problems = field(default_factory=Problems)
    """`dropped`: records left out, by reason. `mended`: used, but not as they were, by reason."""

    @property
    def dropped(self) -> int:
        """Records left out."""
        return self.problems.dropped.total()

    def drop(self, reason: str, where: str, detail: str = "") -> None:
        """Count a record that is left out."""
        self.problems.drop(reason, where, detail)

    def note(self, reason: str, where: str, detail: str = "") -> None:
        """Count a record that is used, but of which something is to be known."""
        self.problems.mend(reason, where, detail)

    def as_dict(self) -> dict[str, Any]:
        """The whole report as JSON has it."""
        return {
            "read": self.read,
            "used": self.used,
            "dropped": dict(self.problems.dropped),
            "noted": dict(self.problems.mended),
            "examples": {reason: list(places) for reason, places in self.problems.examples.items()},
        }

    def sentences(self) -> list[str]:
        """A line for people for each reason, the most frequent first."""
        lines = []
        for counts, verb in ((self.problems.dropped, "left out"), (self.problems.mended, "noted")):
            lines += [self._sentence(verb, reason, count) for reason, count in counts.most_common()]
        return lines

    def reasons(self) -> str:
        """Why records were left out, in one line."""
        counts: Mapping[str, int] = dict(self.problems.dropped.most_common(3))
        return "; ".join(
            f"{by_reason(count, reason)} ({self.problems.examples[reason][0]})" for reason, count in counts.items()
        )

    def nothing_left(self, things: str) -> str:
        """The message when there is no record to learn from; `things` are what was wanted, in the plural."""
        damaged = self.problems.examples.get(DAMAGED, ())
        if damaged and not self.read:
            places = ", ".join(place.rpartition("; ")[0] for place in damaged)  # without how much was used: nothing
            return f"no record can be read, for the file is damaged ({places}); fetch or write it again"
        if read := max(self.read, self.dropped):
            return f"none of {counted(read, 'record')} can be learned from: {self.reasons()}"
        files = self.problems.examples.get(NO_RECORDS, ())
        return f"there are no records{' in ' if files else ''}{', '.join(files)}; give files of {things}"

    def _sentence(self, verb: str, reason: str, count: int) -> str:
        places = "; ".join(self.problems.examples.get(reason, ()))
        where = f" ({places})" if places else ""
        if reason == NO_RECORDS:
            return f"{counted(count, 'file')} without records{where}"
        if reason == DAMAGED:
            return f"{counted(count, 'file')} damaged{where}"
        return f"{counted(count, 'record')} {verb}: {reason}{where}"
