"""What every source yields, and how it accounts for what it had to leave out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

EXAMPLES_KEPT = 3


@dataclass(frozen=True, slots=True)
class Document:
    """One text that a model reads from beginning to end, or a piece of one too large for memory."""

    text: str
    id: str
    """Where it came from, for people: a path with line, a topic, a number."""
    source: str
    """Name of the source that yielded it."""
    more: bool = False
    """The text goes on in the next Document of the same id; only the last piece ends the document."""


@dataclass(slots=True)
class Problems:
    """What a source left out or had to mend: counts by reason, and the first few of each with their place."""

    dropped: Counter[str] = field(default_factory=Counter)
    """Records that did not become documents, by reason."""
    mended: Counter[str] = field(default_factory=Counter)
    """Files or records that were used in part, or not looked at, by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Up to three places a reason, each with file and line or byte."""

    def drop(self, reason: str, where: str, detail: str = "") -> None:
        """Count one record that is left out."""
        self.dropped[reason] += 1
        self._example(reason, where, detail)

    def mend(self, reason: str, where: str, detail: str = "") -> None:
        """Count one thing that was used only in part, or passed over."""
        self.mended[reason] += 1
        self._example(reason, where, detail)

    def clear(self) -> None:
        """Forget everything: a source that is read again counts anew."""
        self.dropped.clear()
        self.mended.clear()
        self.examples.clear()

    def _example(self, reason: str, where: str, detail: str) -> None:
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(f"{where}: {detail}" if detail else where)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a source is going to yield, about; None where only reading tells."""

    documents: int | None = None
    """Documents."""
    bytes: int | None = None
    """UTF-8 bytes of text."""


class Source(Protocol):
    """A stream of documents. Reading it twice gives the same documents in the same order."""

    @property
    def name(self) -> str:
        """Short name, shown in the data label and as the key of validation entries."""

    @property
    def spec(self) -> str:
        """The specification that opens this source again."""

    @property
    def single_text(self) -> bool:
        """One long text, to be split by position instead of by document."""

    @property
    def problems(self) -> Problems:
        """What the last pass over `documents()` left out."""

    def documents(self) -> Iterator[Document]:
        """The documents as a stream; memory does not grow with their number or size.

        Raises:
            DataError: there is nothing to read at all.
        """


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One line of `mlxllm data sources`."""

    kind: str
    formats: str
    """What is read, and how it is named."""
    licence: str
    """Of its text."""
    example: str
    """A specification that works."""
    good_for: str
    """What a model learns from it."""
    download: str = ""
    """What reading it fetches from the network the first time, with its size; nothing for most."""


def extent_of(source: Source) -> Extent:
    """What `source.extent()` says, where it has that."""
    tell = getattr(source, "extent", None)
    return tell() if tell is not None else Extent()
