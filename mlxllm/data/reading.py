"""The records of a source in batches, from any place on: each batch knows where it ends."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import xxhash
from pydantic import BaseModel, ConfigDict

from mlxllm.data.build_progress import Dealt
from mlxllm.data.preparing import Item
from mlxllm.data.sources.base import Document, Dropped, Problems, Record, RecordSource, Source
from mlxllm.data.split import Split, split_pieces

_BATCH_BYTES = 1 << 20
_BATCH_RECORDS = 4096
_PASSED_AT_ONCE = 2048


class StartOverError(Exception):
    """An interrupted build cannot be continued; the text says why."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Counted(_Frozen):
    """What was counted of a source when one of its parts began."""

    records: int = 0
    """Documents and records."""
    bytes: int = 0
    """Of them."""
    dropped: dict[str, int] = {}
    """As `Problems`: what a source counts itself."""
    mended: dict[str, int] = {}
    """As `Problems`."""
    examples: dict[str, list[str]] = {}
    """As `Problems`."""


class Reading(_Frozen):
    """A place in a source, behind one of its records."""

    part: int = 0
    """Number of the part."""
    records: int = 0
    """Records of that part up to here."""
    digest: str = ""
    """Of the part up to here, and of the sizes and times of those before: another one means that they have changed.
    Empty where nothing has been read."""
    before: Counted = Counted()
    """When the part began."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records, in order."""

    items: list[Item]
    behind: Reading
    """Where the batch ends."""
    dealt: Dealt
    """How much has been read up to there."""


def read_batches(
    source: Source, val_split: float, earlier: Reading | None = None, passed: Callable[[Dealt], None] | None = None
) -> Iterator[Batch]:
    """What follows behind `earlier`.

    Whole parts of a `RecordSource` are passed over unread where its parts do not depend on each other. Of the part in
    which `earlier` lies the records are found once more, but nothing is made of them.

    Args:
        source: read from its beginning otherwise.
        val_split: fraction held out, which cuts a source of one text in two.
        earlier: where to begin.
        passed: called now and then before that.

    Raises:
        StartOverError: what lies before `earlier` has changed.
        DataError: the source has nothing to read.
    """
    earlier = earlier or Reading()
    passing = bool(earlier.digest)
    items: list[Item] = []
    size = 0
    dealt = Dealt()
    within = False
    marks = xxhash.xxh3_128()
    source.problems.clear()
    for number, part in enumerate(_parts(source, val_split)):
        marks.update(part.mark)
        if part.skippable and number < earlier.part:
            continue
        if part.skippable and number == earlier.part:
            _restore(source.problems, earlier.before)
            dealt = Dealt(earlier.before.records, earlier.before.bytes)
        place = _Place(number, marks.copy(), _counted(source.problems, dealt))
        passing = passing and not place.reaches(earlier, source)
        for record, split in part.records:
            length = place.pass_by(record)
            dealt = Dealt(dealt.records + 1, dealt.bytes + length)
            item = Item(record, within, split)
            within = isinstance(record, Document) and record.more
            if passing:
                if place.reaches(earlier, source):
                    passing = False
                elif passed is not None and dealt.records % _PASSED_AT_ONCE == 0:
                    passed(dealt)
                continue
            items.append(item)
            size += length
            if size >= _BATCH_BYTES or len(items) >= _BATCH_RECORDS:
                yield Batch(items, place.reading(), dealt)
                items, size = [], 0
        if passing and number == earlier.part:
            raise _changed(source)
        if items and part.last:
            yield Batch(items, place.reading(), dealt)
            items = []
    if passing:
        raise _changed(source)


@dataclass(frozen=True, slots=True)
class _Part:
    mark: bytes
    """Tells whether it is still the same, without reading it."""
    skippable: bool
    """It can be passed over unread."""
    last: bool
    records: Iterable[tuple[Record | Document | Dropped, Split | None]]
    """Each with its side, where that is known."""


def _parts(source: Source, val_split: float) -> Iterator[_Part]:
    if source.single_text:
        pieces = split_pieces(source, val_split)
        texts = ((Document(p.text, source.name, source.name, more=not p.ends), p.split) for p in pieces)
        yield _Part(b"", False, True, texts)
    elif isinstance(source, RecordSource):
        parts = source.parts()
        for number, name in enumerate(parts):
            records = ((record, None) for record in source.records(name))
            yield _Part(_mark(name), not source.reads_in_order, number == len(parts) - 1, records)
    else:
        yield _Part(b"", False, True, ((document, None) for document in source.documents()))


def _mark(part: str) -> bytes:
    with contextlib.suppress(OSError):
        about = os.stat(part)
        return f"{about.st_size}:{about.st_mtime_ns}\n".encode()
    return f"{part}\n".encode()  # something that is fetched


class _Place:
    """Moves through one part."""

    def __init__(self, part: int, digest: xxhash.xxh3_128, before: Counted) -> None:
        self.part, self.records = part, 0
        self._digest, self._before = digest, before

    def pass_by(self, record: Record | Document | Dropped) -> int:
        """Step behind a record; its size in bytes."""
        self.records += 1
        raw = _raw(record)
        self._digest.update(raw + b"\0")
        return len(raw)

    def reaches(self, earlier: Reading, source: Source) -> bool:
        """Whether it is at `earlier`, and what it has passed by is the same as then."""
        if (self.part, self.records) != (earlier.part, earlier.records):
            return False
        if self.reading().digest != earlier.digest:
            raise _changed(source)
        return True

    def reading(self) -> Reading:
        return Reading(part=self.part, records=self.records, digest=self._digest.hexdigest(), before=self._before)


def _raw(record: Record | Document | Dropped) -> bytes:
    content = record.content if isinstance(record, Record) else record.text
    if isinstance(content, bytes):
        return content
    text = content if isinstance(content, str) else repr(content)
    return text.encode(errors="surrogatepass")


def _changed(source: Source) -> StartOverError:
    return StartOverError(f"the text of source {source.name!r} is another one now")


def _counted(problems: Problems, dealt: Dealt) -> Counted:
    examples = {reason: list(places) for reason, places in problems.examples.items()}
    return Counted(
        records=dealt.records,
        bytes=dealt.bytes,
        dropped=dict(problems.dropped),
        mended=dict(problems.mended),
        examples=examples,
    )


def _restore(problems: Problems, counted: Counted) -> None:
    problems.clear()
    problems.dropped = Counter(counted.dropped)
    problems.mended = Counter(counted.mended)
    problems.examples = {reason: list(places) for reason, places in counted.examples.items()}
