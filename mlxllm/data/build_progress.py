"""How far a build is, in numbers for whoever watches it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlxllm.data.sources.base import Source, extent_of

Phase = Literal["tokenizer", "passing", "writing", "mixing"]


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build has come."""

    phase: Phase
    """Reading text for a tokenizer; passing over what an interrupted build has written; reading, cleaning, tokenizing and
    writing; mixing what was written by the weights of the sources."""
    source: str
    """Name of the source that is being read."""
    documents: int
    """Records so far, of all sources, whether they are kept or not."""
    bytes: int
    """UTF-8 bytes of them, before anything is made of them."""
    tokens: int
    """Token ids written so far."""
    fraction: float | None
    """How much of the text has been read in this phase, about, from 0 to 1; None where nobody knows how much there is."""
    kept: int | None = None
    """Documents written so far; None where that is not the question."""
    file: str | None = None
    """Name of a file that is being fetched just now, before reading goes on."""
    fetched: int = 0
    """Bytes of it that are here."""
    file_bytes: int | None = None
    """Bytes of all of it; None where the server does not tell."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """How far into a source a build is."""

    records: int = 0
    """Records and documents, or pieces of one, that have been read."""
    bytes: int = 0
    """Of them."""


@dataclass(frozen=True, slots=True)
class _Now:
    """What was told last."""

    phase: Phase
    dealt: Dealt = Dealt()
    tokens: int = 0
    kept: int | None = None


class Meter:
    """Makes numbers of where a build is, and hands them to `progress`."""

    def __init__(self, sources: Sequence[Source], progress: Callable[[BuildProgress], None] | None) -> None:
        """Nothing is read."""
        self._sources, self._progress = sources, progress
        self._extents = [extent_of(source) for source in sources]
        self.begin("writing")

    def begin(self, phase: Phase, finished: Sequence[Dealt] = ()) -> None:
        """A phase begins, in which the first sources are finished already."""
        self._read = list(finished)
        self._now = _Now(phase)

    def finished(self, dealt: Dealt) -> None:
        """A source has come to its end."""
        self._read.append(dealt)
        self._now = replace(self._now, dealt=Dealt())

    def say(self, phase: Phase, dealt: Dealt, tokens: int = 0, kept: int | None = None) -> None:
        """Tell how far it is: `dealt` of the source that follows the finished ones, the rest of all sources."""
        self._now = _Now(phase, dealt, tokens, kept)
        if self._progress is not None:
            self._progress(self._told())

    def fetching(self, file: str, done: int, total: int | None) -> None:
        """Tell how much has come of a file that is read next; all else stands where it stood."""
        if self._progress is not None:
            self._progress(replace(self._told(), file=file, fetched=done, file_bytes=total))

    def _told(self) -> BuildProgress:
        now = self._now
        records = sum(part.records for part in self._read) + now.dealt.records
        size = sum(part.bytes for part in self._read) + now.dealt.bytes
        name = self._sources[len(self._read)].name
        return BuildProgress(now.phase, name, records, size, now.tokens, self._fraction(now.dealt), now.kept)

    def mixing(self, fraction: float, tokens: int) -> None:
        """Tell how much of the mixture is written."""
        if self._progress is not None:
            records, size = sum(part.records for part in self._read), sum(part.bytes for part in self._read)
            self._progress(BuildProgress("mixing", "mixture", records, size, tokens, fraction))

    def _fraction(self, dealt: Dealt) -> float | None:
        now = len(self._read)
        extent = self._extents[now]
        size = extent.bytes
        if size is None and extent.documents and dealt.records:
            size = round(dealt.bytes / dealt.records * extent.documents)
        following = [later.bytes for later in self._extents[now + 1 :]]
        if not size or not all(following):
            return None
        read = sum(part.bytes for part in self._read)
        total = read + size + sum(filter(None, following))
        return min(1.0, (read + dealt.bytes) / total)
