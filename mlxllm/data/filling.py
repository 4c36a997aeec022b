"""One source into the files of a dataset: its documents once, then their repetitions; from any place on."""

import contextlib
import ctypes
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xxhash

from mlxllm.data.build_progress import Dealt
from mlxllm.data.draft import StartOverError
from mlxllm.data.manifest import SourceEntry, SourceRange
from mlxllm.data.sources.base import Problems, Source
from mlxllm.data.split import Piece, Split, split_pieces
from mlxllm.data.writer import SplitWriter, WriterPosition
from mlxllm.errors import DataError
from mlxllm.tokenizer import Tokenizer

_BATCH_CHARS = 1 << 19
_BATCH_PIECES = 8192
_TRIM_BATCHES = 16
_PASSED_AT_ONCE = 2048

Writers = Mapping[Split, SplitWriter]


def fill(
    source: Source,
    weight: float,
    val_split: float,
    tokenizer: Tokenizer,
    writers: Writers,
    began: Mapping[Split, WriterPosition],
    earlier: Dealt,
    passed: Callable[[Dealt], None],
    written: Callable[[Dealt], None],
) -> SourceEntry:
    """Read one source to its end, write its documents once, then its repetitions.

    Args:
        source: read from its beginning, also where an earlier build has written some of it: what it leaves out is
            counted on the way, and a source need not know how to begin in the middle.
        weight: how often its training documents are to stand.
        val_split: fraction held out.
        tokenizer: makes the ids.
        writers: of both splits, behind what is written already.
        began: what stood in each split before this source.
        earlier: what an earlier build has dealt with.
        passed: called now and then while that is passed over.
        written: called after each batch, when all that it says is with the writers.

    Raises:
        StartOverError: the pieces that are passed over are not those that were written.
        DataError: the source has nothing to read.
    """
    train = writers["train"]
    left_out = Problems()
    fraction = weight % 1.0
    again = bytearray()  # one byte a training document: whether it stands once more than the whole part of the weight
    again_bytes = 0
    batch: list[Piece] = []
    batch_chars = batches = pieces = documents = size = 0
    changed = f"the text of source {source.name!r} is another one now"
    digest = xxhash.xxh3_128()
    for piece in split_pieces(source, val_split, left_out):
        raw = piece.text.encode(errors="surrogatepass")  # the tokenizer says what is wrong with it
        digest.update(raw + (b"\1" if piece.split == "train" else b"\0"))
        pieces += 1
        documents += piece.ends
        size += len(raw)
        if pieces == earlier.pieces and digest.hexdigest() != earlier.digest:
            raise StartOverError(changed)
        if pieces <= earlier.pieces and pieces % _PASSED_AT_ONCE == 0:
            passed(Dealt(pieces, "", documents, size))
        if piece.split == "train" and fraction:
            chosen = piece.chance < fraction
            if weight < 1.0 and not chosen:
                if piece.ends:
                    left_out.dropped["weight below 1"] += 1
                continue
            if piece.ends:
                again.append(chosen)
            again_bytes += len(raw) if chosen else 0
        if pieces <= earlier.pieces:
            continue
        batch.append(piece)
        batch_chars += len(piece.text)
        if batch_chars >= _BATCH_CHARS or len(batch) >= _BATCH_PIECES:
            _write_batch(batch, tokenizer, writers)
            batch, batch_chars = [], 0
            batches += 1
            if batches % _TRIM_BATCHES == 0:
                _return_freed_memory()
            written(Dealt(pieces, digest.hexdigest(), documents, size))
    if pieces < earlier.pieces:
        raise StartOverError(changed)
    _write_batch(batch, tokenizer, writers)
    written(Dealt(pieces, digest.hexdigest(), documents, size))

    once = {split: _since(began[split], writer) for split, writer in writers.items()}
    first, last = began["train"].documents, train.documents
    for _ in range(1, int(weight)):
        train.append_copy(first, last)
        train.bytes += once["train"].bytes
    if fraction and weight > 1.0:
        train.append_copy(first, last, np.frombuffer(again, np.bool_))
        train.bytes += again_bytes

    problems = source.problems
    dropped = problems.dropped + left_out.dropped
    kept = once["train"].documents + once["val"].documents
    if source.single_text and once["train"].documents and once["val"].documents:
        kept -= 1  # the document in which the cut lies stands on both sides
    return SourceEntry(
        spec=source.spec,
        weight=weight,
        documents_read=kept + dropped.total(),
        documents_kept=kept,
        dropped=dict(dropped),
        mended=dict(problems.mended),
        examples=problems.examples | left_out.examples,
        tokens=sum(part.end - part.start for part in once.values()),
        bytes=sum(part.bytes for part in once.values()),
        train=_since(began["train"], train),
        val=once["val"],
    )


def _write_batch(batch: Sequence[Piece], tokenizer: Tokenizer, writers: Writers) -> None:
    """Tokenize pieces together and append each to its split."""
    encoded = tokenizer.encode_to_array([piece.text for piece in batch])
    end_of_text = np.array([tokenizer.eot_id], np.uint32)
    for split, writer in writers.items():
        parts, ends, size = [], [], 0
        for piece, ids in zip(batch, encoded, strict=True):
            if piece.split != split:
                continue
            parts.append(ids)
            size += len(ids)
            if piece.ends:
                parts.append(end_of_text)
                size += 1
                ends.append(size)
            writer.bytes += _num_bytes(piece.text)
        if parts:
            ids = np.concatenate(parts)
            if size and int(ids.max()) >= tokenizer.vocab_size:
                raise DataError(
                    f"tokenizer of kind {tokenizer.kind!r} gave id {int(ids.max()):,} but has only "
                    f"{tokenizer.vocab_size:,} ids; train it again"
                )
            writer.append(ids, ends)


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _since(began: WriterPosition, writer: SplitWriter) -> SourceRange:
    """What has been written to a split since `began`."""
    return SourceRange(
        start=began.tokens,
        end=writer.tokens,
        documents=writer.documents - began.documents,
        bytes=writer.bytes - began.bytes,
    )


def _return_freed_memory() -> None:
    """Let glibc give freed buffers back: their mixed sizes splinter its heap, some 200 MB over 2 GB of text."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function, nor the need
        ctypes.CDLL(None).malloc_trim(0)
