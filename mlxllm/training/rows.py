"""Which rows each step reads where the data are records: a function of seed and step alone.

mlx-data's buffer permutes and batches them. A buffer is finite and a run is not, so it is laid out for a stretch of steps
at a time. Nothing is prefetched: a batch of records costs microseconds, and a prefetching stream of mlx-data 0.1 that is
dropped before its end may wait for its threads for ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import mlx.data as dx
import numpy as np

from mlxllm.errors import DataError

_STRETCH = 4096
"""Rows that are laid out at a time."""
_GROUP = 16
"""Steps among whose rows those of equal length are looked for."""


class RowLoader:
    """Rows by step.

    An epoch visits every row once, in an order of its own; row r of step s is number s * B + r, counted through all
    epochs. Arrays of rows that differ in length are padded with zeros to the longest of the batch.

    Args:
        rows: equal keys, each an int32 or float32 array.
        keys: what a batch consists of, in this order.
        rows_per_step: B, rows that one update reads, over all its forward passes.
        seed: decides the order.
        lengths: of the rows; those of a step are then about equally long, so that little is padding.

    Raises:
        DataError: there are no rows.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, np.ndarray]],
        keys: Sequence[str],
        rows_per_step: int,
        seed: int,
        *,
        lengths: Sequence[int] | None = None,
    ) -> None:
        if not rows:
            raise DataError("there is no record to train on")
        self._buffer = dx.buffer_from_vector([dict(row) for row in rows])  # type: ignore[attr-defined]  # not in its stubs
        self._count, self._keys, self._rows, self._seed = len(rows), tuple(keys), rows_per_step, seed
        self._lengths = lengths
        self._batches: Any = ()
        self._first = 0  # the step of the first of them

    @property
    def num_rows(self) -> int:
        """Rows of one epoch."""
        return self._count

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """The arrays of update `step` (from 0), rows first."""
        if not self._first <= step < self._first + len(self._batches):
            self._lay_out(step)
        sample = self._batches[step - self._first]
        return tuple(sample[key] for key in self._keys)

    def _lay_out(self, step: int) -> None:
        steps = max(1, _STRETCH // self._rows)
        order = self._order(step * self._rows, steps * self._rows)
        self._batches, self._first = self._buffer.perm(order).batch(self._rows), step

    def _order(self, first: int, count: int) -> np.ndarray:
        parts = []
        while count > 0:
            epoch, index = divmod(first, self._count)
            part = self._epoch(epoch)[index : index + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> np.ndarray:
        order = epoch_order(self._seed, epoch, self._count)
        if self._lengths is None:
            return order
        # Sorted by length within groups of a few steps, cut into steps, and the steps shuffled.
        group = _GROUP * self._rows
        lengths = np.asarray(self._lengths)
        parts = [order[i : i + group] for i in range(0, self._count, group)]
        by_length = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        whole = self._count // self._rows
        steps = by_length[: whole * self._rows].reshape(whole, self._rows)
        shuffled = steps[epoch_order(self._seed, epoch, whole)] if whole else steps
        return np.concatenate([shuffled.reshape(-1), by_length[whole * self._rows :]])


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits `count` items, the same on every machine and with every NumPy."""
    # NumPy promises the same raw bits for ever, but not the same `permutation`: sort by raw bits instead.
    return np.argsort(np.random.PCG64([seed, epoch]).random_raw(count), kind="stable")


T = TypeVar("T")


def held_out(records: Sequence[T], share: float) -> tuple[list[T], list[T]]:
    """(to train on, held out): the same records for the same share, whatever the seed; at least one stays on each side."""
    if share == 0 or len(records) < 2:
        return list(records), []
    count = min(max(1, round(share * len(records))), len(records) - 1)
    out = set(epoch_order(0, 0, len(records))[:count].tolist())
    return [r for i, r in enumerate(records) if i not in out], [r for i, r in enumerate(records) if i in out]
