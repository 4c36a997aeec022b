"""Which tokens each step reads: a function of seed and step alone.

An epoch lays windows of T + 1 tokens side by side over the training stream, beginning at a random offset, and visits
them in a random order. Row r of step s is window number s * rows + r, counted through all epochs; so where a run
was interrupted, and how many machines share the work, changes nothing.
"""

from typing import Protocol

import numpy as np

from mlxllm.errors import DataError


class TokenStream(Protocol):
    """What the loader needs of a dataset's split."""

    num_tokens: int

    def read(self, start: int, count: int) -> np.ndarray:
        """Token ids [start, start + count)."""
        ...


class TokenLoader:
    """Training rows by number.

    Args:
        stream: the training split.
        max_seq_len: T.
        rows_per_step: rows that one update reads, over all its forward passes.
        seed: decides order and offsets.

    Raises:
        DataError: the stream is shorter than one row.
    """

    def __init__(self, stream: TokenStream, max_seq_len: int, rows_per_step: int, seed: int) -> None:
        if stream.num_tokens < max_seq_len + 1:
            raise DataError(
                f"the training split has {stream.num_tokens:,} tokens, fewer than one row of {max_seq_len + 1:,} "
                f"(data.max_seq_len + 1); use more text or a smaller --max-seq-len"
            )
        self._stream = stream
        self._length = max_seq_len
        self._rows = rows_per_step
        self._seed = seed
        # One window is given up so that every offset below T leaves room for all the others.
        self.windows_per_epoch = max(1, (stream.num_tokens - 1) // max_seq_len - 1)
        self._epoch = -1
        self._offset = 0
        self._order = np.zeros(0, dtype=np.int64)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one update is computed from."""
        return self._rows * self._length

    def batch(self, step: int) -> np.ndarray:
        """The rows of update `step` (from 0): (rows_per_step, T + 1) int32; inputs are [:, :-1], targets [:, 1:]."""
        first = step * self._rows
        return np.stack([self._row(first + r) for r in range(self._rows)])

    def _row(self, number: int) -> np.ndarray:
        epoch, index = divmod(number, self.windows_per_epoch)
        if epoch != self._epoch:
            self._begin(epoch)
        start = self._offset + int(self._order[index]) * self._length
        return self._stream.read(start, self._length + 1).astype(np.int32)

    def _begin(self, epoch: int) -> None:
        # NumPy promises the same raw bits for ever, but not the same `permutation`: sort by raw bits instead.
        bits = np.random.PCG64([self._seed, epoch])
        slack = self._stream.num_tokens - self.windows_per_epoch * self._length  # at least 1: the last target
        self._offset = int(bits.random_raw() % min(slack, self._length + 1))
        self._order = np.argsort(bits.random_raw(self.windows_per_epoch), kind="stable")
        self._epoch = epoch
