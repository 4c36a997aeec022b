"""The mixture: the documents of each source, written as often as its weight asks (weights.py)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.manifest import SourceRange
from mlxllm.data.shards import TokenSplit
from mlxllm.data.writer import SplitWriter

_BLOCK_TOKENS = 1 << 20


class Copier:
    """Copies documents of a split in which each stands once."""

    def __init__(
        self,
        once: TokenSplit,
        writer: SplitWriter,
        byte_lengths: NDArray[np.int64],
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Nothing is copied.

        Args:
            once: where documents are copied from.
            writer: where to.
            byte_lengths: UTF-8 bytes of each token id.
            told: called now and then with the tokens written.
        """
        self._once, self._writer, self._byte_lengths, self._told = once, writer, byte_lengths, told

    def copy(self, numbers: NDArray[np.int64], times: float) -> SourceRange:
        """Write documents so often, and tell where they stand now.

        All of them are repeated, never a document right behind itself. For the part of an epoch documents are drawn by a
        hash of their place until the tokens are reached; the last of them is cut there.
        """
        began = self._writer.position
        for _ in range(int(times)):
            self._copy_whole(numbers)
        lengths = lengths_of(self._once, numbers)
        if rest := round((times - int(times)) * int(lengths.sum())):
            self._copy_part(numbers, lengths, rest)
        return SourceRange(
            start=began.tokens,
            end=self._writer.tokens,
            documents=self._writer.documents - began.documents,
            bytes=self._writer.bytes - began.bytes,
        )

    def _copy_part(self, numbers: NDArray[np.int64], lengths: NDArray[np.int64], tokens: int) -> None:
        """Some of the documents, in their order, of `tokens` tokens together."""
        order = np.argsort(_hashes(len(numbers)), kind="stable")
        reached = np.cumsum(lengths[order])
        whole = int(np.searchsorted(reached, tokens, side="right"))
        self._copy_whole(numbers[np.sort(order[:whole])])
        rest = tokens - (int(reached[whole - 1]) if whole else 0)
        if rest > 1 and whole < len(order):
            end = int(self._once.document_ends[numbers[order[whole]]])
            start = end - int(lengths[order[whole]])
            ids = np.concatenate([self._once.read(start, rest - 1), self._once.read(end - 1, 1)])
            self._append(ids, np.array([rest]))

    def _copy_whole(self, numbers: NDArray[np.int64]) -> None:
        """Write each of these documents once."""
        all_ends = self._once.document_ends
        for first, last in _runs(numbers):
            start, stop = int(all_ends[first - 1]) if first else 0, int(all_ends[last - 1])
            ends = np.asarray(all_ends[first:last]).astype(np.int64)
            for block in range(start, stop, _BLOCK_TOKENS):
                behind = min(block + _BLOCK_TOKENS, stop)
                here = ends[(ends > block) & (ends <= behind)] if stop - start > _BLOCK_TOKENS else ends
                self._append(self._once.read(block, behind - block), here - block)
                self._told(self._writer.tokens)

    def _append(self, ids: NDArray[np.unsignedinteger[Any]], ends: NDArray[np.int64]) -> None:
        self._writer.bytes += int(self._byte_lengths[ids].sum())
        self._writer.append(ids, ends)


def lengths_of(split: TokenSplit, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of each of these documents, the end included."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    ends = np.asarray(split.document_ends)
    return ends[numbers].astype(np.int64) - np.where(numbers > 0, ends[numbers - 1], 0).astype(np.int64)


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
