"""What every source yields, and how it accounts for what it had to leave out."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlxllm.errors import ConfigError, DataError

EXAMPLES_KEPT = 3
_REASONS_TOLD = 3


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
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the format tells of it, where it does: `language`, `licence`, `url`, `title`, `category`."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that does not become a document."""

    reason: str
    """A few words, the same for all records of which it is true: they are counted by it."""
    where: str
    """Where the record lies: a file with line, offset or id."""
    detail: str = ""
    """What was found there."""
    text: str = ""
    """The beginning of its text, where there is any: somebody will want to see what was thrown away."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a file holds of one document, found but not yet made text; it can be sent to another process for that."""

    where: str
    """Where it lies, as in `Document.id`."""
    content: Any
    """As the source's `extract` takes it: bytes or plain values."""


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


class RecordSource(ABC):
    """A source of files in which records lie one behind another.

    Reading is in two steps, so that the slow one can be done by many processes: `records` finds the next record, which
    is little work, and `extract` makes a text of it, looking at nothing else. A source of this kind can be pickled.
    """

    single_text = False
    reads_in_order = False
    """A part tells what later parts mean, so that none can be passed over unread."""

    def __init__(self, name: str, spec: str) -> None:
        """Nothing is read yet."""
        self.name, self.spec = name, spec
        self.problems = Problems()

    @abstractmethod
    def parts(self) -> Sequence[str]:
        """The files to be read, in order: paths, or the names of files that are fetched when they are read."""

    @abstractmethod
    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        """The records of one part in order, those that are of no use as Dropped.

        Where finding a record is all the work, that is a Document already. What is wrong with a file and not with one
        record of it is counted in `problems.mended`.
        """

    def extract(self, record: Record) -> Document | Dropped:
        """The text of one record; must not look at or change anything of the source that reading changes."""
        raise NotImplementedError(f"{self.name} yields documents, not records")

    def documents(self) -> Iterator[Document]:
        """All documents, part by part, made one after another in this process.

        Raises:
            DataError: there was nothing to read; the message says what was wrong with the first records.
        """
        self.problems.clear()
        yielded = False
        for part in self.parts():
            for record in self.records(part):
                made = self.extract(record) if isinstance(record, Record) else record
                if isinstance(made, Dropped):
                    self.problems.drop(made.reason, made.where, made.detail)
                else:
                    yielded = True
                    yield made
        if not yielded:
            raise DataError(f"{self.spec!r} holds no usable text: {first_reasons(self.problems)}")


def first_reasons(problems: Problems) -> str:
    """Why nothing was usable, in a few words."""
    reasons = [f"{reason} ({problems.examples[reason][0]})" for reason in (*problems.dropped, *problems.mended)]
    return "; ".join(reasons[:_REASONS_TOLD]) or "every file is empty"


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One line of `mlxllm data sources`; each module of a source has one in `KIND`."""

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
    one_licence: str = ""
    """The short name of the licence that all of its documents are under; empty where there is none or several."""
    recipe: str = "none"
    """How its documents are cleaned unless another recipe is asked for."""

    @property
    def summary(self) -> str:
        """What is read, in a few words: `formats` up to its first colon, semicolon or bracket."""
        return re.split(r"[:;]| \(", self.formats, maxsplit=1)[0]


def extent_of(source: Source) -> Extent:
    """What `source.extent()` says, where it has that."""
    tell = getattr(source, "extent", None)
    return tell() if tell is not None else Extent()


def without_options(kind: str, spec: str) -> None:
    """Refuse what stands behind the colon of a source that takes nothing there.

    Raises:
        ConfigError: something stands there.
    """
    if spec:
        raise ConfigError(f"source {kind!r} takes no options; found {spec!r} behind the colon")
