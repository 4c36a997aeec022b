"""One source into the files of a dataset, each of its documents once; from any place on."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from mlxllm.data.build_progress import Dealt
from mlxllm.data.clean.duplicates import Duplicate, DuplicateIndex
from mlxllm.data.crew import Crew
from mlxllm.data.manifest import SourceRange
from mlxllm.data.preparing import Item, Prepared, Preparer
from mlxllm.data.reading import Batch, Reading, read_batches
from mlxllm.data.sources.base import Dropped, Source
from mlxllm.data.split import Split
from mlxllm.data.tally import Tally
from mlxllm.data.writer import SplitWriter, WriterPosition
from mlxllm.errors import DataError
from mlxllm.tokenizer import load_tokenizer

TOKENIZER_BYTES = 128 << 20
"""Of text from the beginning of each source that a tokenizer learns from: more would change few pieces, and a source
that is fetched would be fetched twice."""
_TRIM_BATCHES = 16

Writers = Mapping[Split, SplitWriter]
Work = Callable[[Sequence[Item]], Prepared]
Group = Crew[Batch, Sequence[Item], Prepared]


class Nearest(BaseModel):
    """The training document that a slightly larger `val_split` would hold out, and all those of the same text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held_out: float = 2.0
    """Its `val_threshold`."""
    documents: tuple[int, ...] = ()
    """Numbers in the train split."""

    def beside(self, held_out: float, document: int) -> "Nearest":
        """The nearer one of these and another document."""
        if held_out > self.held_out:
            return self
        earlier = self.documents if held_out == self.held_out else ()
        return Nearest(held_out=held_out, documents=(*earlier, document))


class Filled(BaseModel):
    """How far a source has been read, and what became of it so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: Reading = Reading()
    """The place behind what has been dealt with."""
    tally: Tally = Tally()
    """What became of it."""
    split: Split = "train"
    """The side of the document that goes on there, where one does."""
    bytes_read: int = 0
    """Of the records up to there."""
    nearest: Nearest = Nearest()
    """What would be held out next."""


def fill(
    source: Source,
    crew: Group,
    val_split: float,
    writers: Writers,
    index: DuplicateIndex | None,
    earlier: Filled,
    passed: Callable[[Dealt], None],
    written: Callable[[Filled, Dealt], None],
) -> Tally:
    """Read a source to its end, and write each of its documents once.

    Args:
        source: read from where `earlier` ends.
        crew: makes batches ready, as a `Preparer` does.
        val_split: fraction held out.
        writers: of both splits, behind what is written already.
        index: of all documents before, in which duplicates are looked for; None looks for none.
        earlier: what an earlier build has dealt with.
        passed: called now and then while that is passed over.
        written: called after each batch, when all that it says is with the writers.

    Returns:
        What became of its records.

    Raises:
        StartOverError: what is passed over is not what it was then.
        DataError: the source has nothing to read.
    """
    tally, split, nearest = earlier.tally.model_copy(deep=True), earlier.split, earlier.nearest
    batches = read_batches(source, val_split, earlier.reading, passed)
    for number, (batch, made) in enumerate(crew.map((batch, batch.items) for batch in batches)):
        chosen: list[Split | None] = []
        for dropped, size in made.dropped:
            tally.drop(dropped, size)
        tally.text_bytes += made.text_bytes
        for found in made.notes:
            tally.note(found)
        same = enumerate(_duplicates(made, index))
        document = writers["train"].documents
        for kept in made.kept:
            row, reason = next(same) if kept.hashed and index is not None else (0, None)
            if reason and index is not None:
                like = index.like(reason, made.hashes[row], made.keys[row]) if tally.shows(reason) else ""
                detail = f"as {like}" if like else ""
                tally.drop(Dropped(reason, kept.where, detail, kept.beginning), kept.bytes)
                chosen.append(None)
                continue
            if not kept.continues:
                split = kept.split or ("val" if kept.held_out < val_split else "train")
            elif kept.split:
                split = kept.split
            chosen.append(split)
            if split == "train":
                if not (kept.split or kept.continues) and kept.held_out <= nearest.held_out:
                    nearest = nearest.beside(kept.held_out, document)
                document += kept.ends
            if kept.ends:
                tally.keep(kept.metadata)
        _write(made, chosen, writers)
        if number % _TRIM_BATCHES == _TRIM_BATCHES - 1:
            _return_freed_memory()
        now = Filled(
            reading=batch.behind,
            tally=tally.model_copy(deep=True),
            split=split,
            bytes_read=batch.dealt.bytes,
            nearest=nearest,
        )
        written(now, batch.dealt)
    whole = tally.with_problems(source.problems)
    if not whole.kept and not whole.dropped_bytes:
        raise DataError(f"{source.spec!r} holds no usable text: {whole.reasons()}")
    return whole


def start_work(preparer: Preparer, tokenizer_folder: Path) -> Work:
    """What a process of a crew does, once it has loaded the tokenizer."""
    return preparer.with_tokenizer(load_tokenizer(tokenizer_folder)).prepare


def start_reading(preparer: Preparer) -> Work:
    """What a process of a crew does where texts are wanted, and no tokens."""
    return preparer.prepare


def training_texts(
    source: Source,
    crew: Group,
    val_split: float,
    tally: Tally,
    told: Callable[[Dealt], None],
) -> Iterator[str]:
    """The texts of the train side alone, cleaned, for a tokenizer to learn from; the first `TOKENIZER_BYTES` of them.

    Args:
        source: read from the beginning.
        crew: makes texts of its records.
        val_split: fraction held out.
        tally: counts what is kept and what is left out.
        told: called after each batch.
    """
    split: Split = "train"
    size = 0
    for batch, made in crew.map((batch, batch.items) for batch in read_batches(source, val_split)):
        for dropped, bytes_ in made.dropped:
            tally.drop(dropped, bytes_)
        tally.kept += sum(kept.ends for kept in made.kept)
        for kept, text in zip(made.kept, made.texts, strict=True):
            if kept.split or not kept.continues:
                split = kept.split or ("val" if kept.held_out < val_split else "train")
            if split == "train" and text:
                size += kept.bytes
                yield text
        told(batch.dealt)
        if size >= TOKENIZER_BYTES:
            return


def since(began: WriterPosition, writer: SplitWriter) -> SourceRange:
    """What has been written to a split since `began`."""
    return SourceRange(
        start=began.tokens,
        end=writer.tokens,
        documents=writer.documents - began.documents,
        bytes=writer.bytes - began.bytes,
    )


def _duplicates(made: Prepared, index: DuplicateIndex | None) -> Sequence[Duplicate | None]:
    if index is None or not len(made.hashes):
        return []
    places = [kept.where for kept in made.kept if kept.hashed]
    return index.look_batch(made.hashes, made.keys, made.has_keys, places)


def _write(made: Prepared, chosen: Sequence[Split | None], writers: Writers) -> None:
    """Append each of the kept ones to its split; None leaves one out."""
    starts = np.concatenate(([0], made.ends[:-1]))
    for split, writer in writers.items():
        numbers = [number for number, side in enumerate(chosen) if side == split]
        if not numbers:
            continue
        lengths = (made.ends - starts)[numbers]
        if len(numbers) == len(chosen):
            ids = made.ids
        else:
            ids = np.concatenate([made.ids[starts[number] : made.ends[number]] for number in numbers])
        closing = np.array([made.kept[number].ends for number in numbers])
        writer.bytes += sum(made.kept[number].bytes for number in numbers)
        writer.append(ids, np.cumsum(lengths)[closing])


def _return_freed_memory() -> None:
    """Let glibc give freed buffers back: their mixed sizes splinter its heap, some 200 MB over 2 GB of text."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function, nor the need
        ctypes.CDLL(None).malloc_trim(0)
