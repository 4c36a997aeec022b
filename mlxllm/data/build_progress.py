"""How far a build is, in numbers for whoever watches it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mlxllm.data.sources.base import Source, extent_of
from mlxllm.data.split import training_texts

_TEXTS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build has come."""

    phase: Literal["tokenizer", "passing", "writing"]
    """Reading text for a tokenizer; passing over what an interrupted build has written; tokenizing and writing."""
    source: str
    """Name of the source that is being read."""
    documents: int
    """Documents so far, of all sources: read for the tokenizer, passed over, or written."""
    bytes: int
    """UTF-8 bytes of their text."""
    tokens: int
    """Token ids written so far."""
    fraction: float | None
    """How much of the text has been read in this phase, about, from 0 to 1; None where nobody knows how much there is."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """How far into a source a build is."""

    pieces: int = 0
    """Pieces of text dealt with: written, or left out."""
    digest: str = ""
    """Of their text."""
    documents: int = 0
    """Documents that ended in them."""
    bytes: int = 0
    """UTF-8 bytes of their text."""


class Meter:
    """Makes numbers of where a build is, and hands them to `progress`."""

    def __init__(self, sources: Sequence[Source], progress: Callable[[BuildProgress], None] | None) -> None:
        """Nothing is read."""
        self._sources, self._progress = sources, progress
        self._extents = [extent_of(source) for source in sources]
        self._read: list[int] = []

    def finished(self, size: int) -> None:
        """A source has come to its end, with so many bytes of text."""
        self._read.append(size)

    def texts(self, val_split: float) -> Iterator[str]:
        """The training texts of all sources, for a tokenizer to learn from, counted while they are read."""
        documents = total = 0
        for source in self._sources:
            size = pieces = 0
            for text in training_texts([source], val_split):
                pieces += 1
                size += len(text) if text.isascii() else len(text.encode())
                if pieces % _TEXTS_AT_ONCE == 0:
                    dealt = Dealt(pieces, documents=pieces, bytes=size)
                    self.say("tokenizer", dealt, documents + pieces, total + size, 0)
                yield text
            documents, total = documents + pieces, total + size
            self.finished(size)
        self._read.clear()

    def say(
        self,
        phase: Literal["tokenizer", "passing", "writing"],
        dealt: Dealt,
        documents: int,
        size: int,
        tokens: int,
    ) -> None:
        """Tell how far it is: `dealt` of the source that follows the finished ones, the rest of all sources."""
        if self._progress is not None:
            source = self._sources[len(self._read)]
            self._progress(BuildProgress(phase, source.name, documents, size, tokens, self._fraction(dealt)))

    def _fraction(self, dealt: Dealt) -> float | None:
        now = len(self._read)
        extent = self._extents[now]
        size = extent.bytes
        if size is None and extent.documents and dealt.documents:
            size = round(dealt.bytes / dealt.documents * extent.documents)
        following = [later.bytes for later in self._extents[now + 1 :]]
        if not size or not all(following):
            return None
        total = sum(self._read) + size + sum(filter(None, following))
        return min(1.0, (sum(self._read) + dealt.bytes) / total)
