"""The mixture: the documents of each source, written as often as its weight asks (weights.py)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.manifest import SourceRange
from mlxllm.data.shards import TokenSplit
from mlxllm.data.writer import SplitWriter

_BLOCK_TOKENS = 1 << 20


def write_mixture(
    once: TokenSplit,
    ranges: Sequence[SourceRange],
    times: Sequence[float],
    writer: SplitWriter,
    byte_lengths: NDArray[np.int64],
    told: Callable[[int], None],
) -> list[SourceRange]:
    """Write the documents of each source so often as `times` says, source by source.

    The whole of a source is repeated, never a document right behind itself. For the part of an epoch documents are
    drawn by a hash of their number until the tokens are reached; the last of them is cut there.

    Args:
        once: the train side with every document once.
        ranges: where each source stands in it.
        times: how often each is to be read.
        writer: of the new train side.
        byte_lengths: UTF-8 bytes of each token id.
        told: called now and then with the tokens written.

    Returns:
        Where each source stands now.
    """
    written = []
    first = 0
    for stretch, often in zip(ranges, times, strict=True):
        last = first + stretch.documents
        began = writer.position
        for _ in range(int(often)):
            _copy(once, [(first, last)], writer, byte_lengths, told)
        rest = round((often - int(often)) * (stretch.end - stretch.start))
        if rest:
            _copy_part(once, first, last, stretch, rest, writer, byte_lengths, told)
        written.append(
            SourceRange(
                start=began.tokens,
                end=writer.tokens,
                documents=writer.documents - began.documents,
                bytes=writer.bytes - began.bytes,
            )
        )
        first = last
    return written


def _copy_part(
    once: TokenSplit,
    first: int,
    last: int,
    stretch: SourceRange,
    tokens: int,
    writer: SplitWriter,
    byte_lengths: NDArray[np.int64],
    told: Callable[[int], None],
) -> None:
    """Documents of [first, last), in their order, of `tokens` tokens together."""
    ends = np.asarray(once.document_ends[first:last]).astype(np.int64)
    lengths = np.diff(ends, prepend=stretch.start)
    order = np.argsort(_hashes(len(lengths)), kind="stable")
    reached = np.cumsum(lengths[order])
    whole = int(np.searchsorted(reached, tokens, side="right"))
    numbers = np.sort(order[:whole])
    _copy(once, _runs(numbers + first), writer, byte_lengths, told)
    rest = tokens - (int(reached[whole - 1]) if whole else 0)
    if rest > 1 and whole < len(order):
        number = int(order[whole])
        start = int(ends[number] - lengths[number])
        ids = np.concatenate([once.read(start, rest - 1), once.read(int(ends[number]) - 1, 1)])
        _append(ids, np.array([rest]), writer, byte_lengths)


def _copy(
    once: TokenSplit,
    runs: Iterable[tuple[int, int]],
    writer: SplitWriter,
    byte_lengths: NDArray[np.int64],
    told: Callable[[int], None],
) -> None:
    """Write the documents [first, last) of each run."""
    all_ends = once.document_ends
    for first, last in runs:
        if first == last:
            continue
        start = int(all_ends[first - 1]) if first else 0
        stop = int(all_ends[last - 1])
        ends = np.asarray(all_ends[first:last]).astype(np.int64)
        for block in range(start, stop, _BLOCK_TOKENS):
            behind = min(block + _BLOCK_TOKENS, stop)
            here = ends[(ends > block) & (ends <= behind)] if stop - start > _BLOCK_TOKENS else ends
            _append(once.read(block, behind - block), here - block, writer, byte_lengths)
            told(writer.tokens)


def _append(
    ids: NDArray[np.unsignedinteger[Any]], ends: NDArray[np.int64], writer: SplitWriter, byte_lengths: NDArray[np.int64]
) -> None:
    writer.bytes += int(byte_lengths[ids].sum())
    writer.append(ids, ends)


def _runs(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as [first, last)."""
    if len(numbers):
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            yield int(run[0]), int(run[-1]) + 1


def _hashes(count: int) -> NDArray[np.uint64]:
    """A number that looks random for each of 0 to count - 1: the finaliser of splitmix64 (Steele et al. 2014)."""
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
