"""Building a dataset: read the sources one after another, split, tokenize in batches, write shards, then the
manifest.

Everything is written to a hidden folder beside the target, and renamed when it is whole.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlxllm.data.manifest import FILE_NAME, Manifest, SourceEntry, SourceRange, TokenizerEntry
from mlxllm.data.sources.base import Problems, Source
from mlxllm.data.split import Piece, Split, split_pieces
from mlxllm.data.writer import SplitWriter
from mlxllm.errors import ConfigError, DataError
from mlxllm.runs.files import fsync_directory, write_json_atomic
from mlxllm.tokenizer import Tokenizer

SHARD_TOKENS = 1 << 26
_BATCH_CHARS = 1 << 19
_BATCH_PIECES = 8192
_TRIM_BATCHES = 16
_SPLITS: tuple[Split, Split] = ("train", "val")


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build has come."""

    source: str
    """Name of the source that is being read."""
    documents: int
    """Documents written so far, of all sources."""
    bytes: int
    """UTF-8 bytes of text read so far, of all sources."""
    tokens: int
    """Token ids written so far."""


def build_dataset(
    directory: Path,
    sources: Sequence[tuple[Source, float]],
    tokenizer: Tokenizer,
    *,
    val_split: float = 0.01,
    shard_tokens: int = SHARD_TOKENS,
    replace: bool = False,
    progress: Callable[[BuildProgress], None] | None = None,
) -> Manifest:
    """Tokenize `sources` into the dataset `directory`; memory does not grow with the amount of text.

    The weight of a source repeats or thins out its training documents: 2 writes them twice, 0.3 keeps three
    in ten (chosen by a hash of the text), 1.3 writes all and then three in ten again. Repetitions follow
    after the whole source, never right behind the original. Validation documents always stand once. A single
    text takes a whole-number weight only.

    Args:
        directory: where the dataset is to be; its tokenizer is copied to `tokenizer/` in it.
        sources: each with its weight.
        tokenizer: makes the ids, and gives the id that ends each document.
        val_split: fraction held out for validation, in [0, 1).
        shard_tokens: ids a file.
        replace: take the place of an existing dataset.
        progress: called now and then.

    Returns:
        The manifest, with `warnings` to be shown.

    Raises:
        ConfigError: `val_split`, or a weight that does not fit its source.
        DataError: the target exists, a source has nothing to read, or the disk is full.
    """
    directory = Path(directory)
    check_build(directory, sources, val_split, replace=replace)
    draft = directory.parent / f".{directory.name}.building-{os.getpid()}"
    writers: dict[Split, SplitWriter] = {}
    try:
        remove_stale_drafts(directory)
        draft.mkdir(parents=True)
        dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        for split in _SPLITS:
            writers[split] = SplitWriter(draft, split, dtype, shard_tokens)
        entries: dict[str, SourceEntry] = {}
        for source, weight in sources:
            name = _free_name(source.name, entries)
            entries[name] = _add_source(source, weight, val_split, tokenizer, writers, progress)
        tokenizer.save(draft / "tokenizer")
        manifest = Manifest(
            fingerprint="",
            dtype=dtype.name,
            val_split=val_split,
            tokenizer=TokenizerEntry(
                kind=tokenizer.kind, fingerprint=tokenizer.fingerprint, vocab_size=tokenizer.vocab_size
            ),
            train=writers["train"].close(),
            val=writers["val"].close(),
            sources=entries,
        )
        manifest = manifest.model_copy(
            update={"fingerprint": manifest.content_fingerprint(), "warnings": tuple(_warnings(manifest))}
        )
        write_json_atomic(draft / FILE_NAME, manifest.model_dump(mode="json"))
        _move_into_place(draft, directory)
    except OSError as error:
        raise DataError(
            f"dataset '{directory.name}' could not be written to {directory.parent}: {error.strerror}"
        ) from error
    finally:
        for writer in writers.values():
            writer.abandon()
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def check_build(directory: Path, sources: Sequence[tuple[Source, float]], val_split: float, *, replace: bool) -> None:
    """Refuse at once what would fail later, or write over what is not a dataset.

    Raises:
        ConfigError: no source, `val_split` out of range, or a weight that does not fit its source.
        DataError: `directory` exists, and is not a dataset or may not be replaced.
    """
    if not sources:
        raise ConfigError("a dataset needs at least one source; `mlxllm data sources` lists the kinds")
    if not 0.0 <= val_split < 1.0:
        raise ConfigError(f"val_split is {val_split}; it must be at least 0 and below 1, such as 0.01")
    for source, weight in sources:
        if not weight > 0.0:
            raise ConfigError(f"source {source.name!r} has weight {weight}; it must be above 0")
        if source.single_text and weight % 1.0:
            raise ConfigError(
                f"source {source.name!r} is one text and has weight {weight}; "
                f"one text can only be repeated whole, so give a whole number"
            )
    if not directory.exists():
        return
    if not (directory / FILE_NAME).is_file() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"{directory} exists and is not a dataset; choose another name")
    if not replace:
        raise DataError(f"dataset '{directory.name}' exists already in {directory.parent}; --force replaces it")


def remove_stale_drafts(directory: Path) -> None:
    """Remove what builds of this dataset left behind when they were killed."""
    for draft in directory.parent.glob(f".{directory.name}.building-*"):
        pid = draft.name.rpartition("-")[2]
        if pid.isdigit() and int(pid) != os.getpid():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                shutil.rmtree(draft, ignore_errors=True)
            except PermissionError:
                pass


def _add_source(
    source: Source,
    weight: float,
    val_split: float,
    tokenizer: Tokenizer,
    writers: dict[Split, SplitWriter],
    progress: Callable[[BuildProgress], None] | None,
) -> SourceEntry:
    """Read one source to its end, write its documents once, then its repetitions."""
    train = writers["train"]
    before = {split: _position(writer) for split, writer in writers.items()}
    left_out = Problems()
    fraction = weight % 1.0
    again = bytearray()  # one byte a training document: whether it stands once more than the whole part of the weight
    again_bytes = 0
    batch: list[Piece] = []
    batch_chars = batches = 0
    for piece in split_pieces(source, val_split, left_out):
        if piece.split == "train" and fraction:
            chosen = piece.chance < fraction
            if weight < 1.0 and not chosen:
                if piece.ends:
                    left_out.dropped["weight below 1"] += 1
                continue
            if piece.ends:
                again.append(chosen)
            again_bytes += _num_bytes(piece.text) if chosen else 0
        batch.append(piece)
        batch_chars += len(piece.text)
        if batch_chars >= _BATCH_CHARS or len(batch) >= _BATCH_PIECES:
            _write_batch(batch, tokenizer, writers)
            batch, batch_chars = [], 0
            batches += 1
            if batches % _TRIM_BATCHES == 0:
                _return_freed_memory()
            if progress:
                progress(_progress(source, writers))
    _write_batch(batch, tokenizer, writers)

    once = {split: _range(before[split], writer) for split, writer in writers.items()}
    first, last = before["train"][1], train.documents
    for _ in range(1, int(weight)):
        train.append_copy(first, last)
        train.bytes += once["train"].bytes
    if fraction and weight > 1.0:
        train.append_copy(first, last, np.frombuffer(again, np.bool_))
        train.bytes += again_bytes
    if progress:
        progress(_progress(source, writers))

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
        train=_range(before["train"], train),
        val=once["val"],
    )


def _write_batch(batch: Sequence[Piece], tokenizer: Tokenizer, writers: dict[Split, SplitWriter]) -> None:
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


def _return_freed_memory() -> None:
    """Let glibc give freed buffers back: their mixed sizes splinter its heap, some 200 MB over 2 GB of text."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function, nor the need
        ctypes.CDLL(None).malloc_trim(0)


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _position(writer: SplitWriter) -> tuple[int, int, int]:
    return writer.tokens, writer.documents, writer.bytes


def _range(before: tuple[int, int, int], writer: SplitWriter) -> SourceRange:
    """What has been written to a split since `before`."""
    tokens, documents, size = before
    return SourceRange(
        start=tokens, end=writer.tokens, documents=writer.documents - documents, bytes=writer.bytes - size
    )


def _progress(source: Source, writers: dict[Split, SplitWriter]) -> BuildProgress:
    both = writers.values()
    return BuildProgress(
        source.name, sum(w.documents for w in both), sum(w.bytes for w in both), sum(w.tokens for w in both)
    )


def _free_name(name: str, taken: Collection[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _warnings(manifest: Manifest) -> Iterator[str]:
    for name, split, remedy in (
        ("train", manifest.train, "give more text or a smaller --val-split"),
        ("validation", manifest.val, "give more text or a larger --val-split"),
    ):
        if not split.tokens:
            yield f"the {name} split is empty, so `mlxllm train` will refuse this dataset; {remedy}"
    for name, source in manifest.sources.items():
        lost = sum(count for reason, count in source.dropped.items() if reason != "weight below 1")
        if lost:
            of = f"{lost:,} of {source.documents_read:,} records"
            yield f"source {name!r}: {of} left out ({_reasons(source)})"
        if source.mended:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in source.mended.items())
            first = source.examples[next(iter(source.mended))][0]
            yield f"source {name!r}: {reasons}; first: {first}"


def _reasons(source: SourceEntry) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in source.dropped.items())
    first = next((places[0] for reason in source.dropped if (places := source.examples.get(reason))), None)
    return f"{reasons}; first: {first}" if first else reasons


def _move_into_place(draft: Path, directory: Path) -> None:
    """Rename the finished draft; a dataset that it replaces is moved aside first and removed last."""
    old = directory.parent / f".{directory.name}.replaced-{os.getpid()}"
    replaced = directory.exists()
    if replaced:
        directory.rename(old)
    try:
        draft.rename(directory)
    except OSError:
        if replaced:
            old.rename(directory)
        raise
    fsync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
