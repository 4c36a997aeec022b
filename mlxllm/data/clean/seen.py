"""A set of hashes that fills little more memory than the hashes themselves, and is asked for thousands at once."""

import numpy as np
from numpy.typing import NDArray

_START = 1 << 12
_MOST_LOAD = 0.75
"""Share of the places that are taken at most; above, the set grows."""
_GROWTH = 1.5
_RESERVE = 1.2
_BLOCK = 1 << 16
"""Hashes that are looked up at once; more would only need more memory for what lies between."""
_START_FACTOR, _STEP_FACTOR = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)
_LONG_AND_ODD = np.uint64(1 << 57 | 1)
_HALF = np.uint64(32)


class SeenHashes:
    """Hashes of one or more 64-bit words each: an open-addressing table with double hashing, in numpy.

    A hash takes 10.7 to 16 bytes a word, and 26.7 while the table grows (8 of the old one beside 16 of the new one).
    Hashes are compared in full; those whose first word is 0 count as if it were 1, which is the mark of a free place.
    """

    def __init__(self, words: int = 1) -> None:
        """An empty set of hashes of so many words."""
        self._tables = [np.zeros(_START, np.uint64) for _ in range(words)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes that the table fills."""
        return sum(table.nbytes for table in self._tables)

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Remember hashes (N, words), and tell which were there before, be it earlier in the same array."""
        seen = np.empty(len(hashes), np.bool_)
        for start in range(0, len(hashes), _BLOCK):
            block = hashes[start : start + _BLOCK]
            columns = [np.ascontiguousarray(block[:, number]) for number in range(block.shape[1])]
            columns[0][columns[0] == 0] = 1
            repeated = _repeated(columns)
            self._make_room(len(block))
            first = np.flatnonzero(~repeated)
            repeated[first] = self._insert([column[first] for column in columns])
            seen[start : start + _BLOCK] = repeated
        return seen

    def reserve(self, count: int) -> None:
        """Have room for so many hashes and the next few, so that adding them does not make the table grow."""
        self._make_room(int(count * _RESERVE))

    def _make_room(self, more: int) -> None:
        size = len(self._tables[0])
        wanted = self._count + more
        if wanted <= size * _MOST_LOAD:
            return
        size = max(int(size * _GROWTH), int(wanted / _MOST_LOAD)) + 1
        old, self._tables = self._tables, [np.zeros(size, np.uint64) for _ in self._tables]
        self._count = 0
        for start in range(0, len(old[0]), _BLOCK):
            columns = [table[start : start + _BLOCK] for table in old]
            taken = np.flatnonzero(columns[0])
            self._insert([column[taken] for column in columns])

    def _insert(self, columns: list[NDArray[np.uint64]]) -> NDArray[np.bool_]:
        """Which of these hashes, all of them different, were there; those that were not are now."""
        size = np.uint64(len(self._tables[0]))
        there = np.zeros(len(columns[0]), np.bool_)
        waiting = np.arange(len(there))
        # A walk around a circle of 2^64 places, onto which the table is stretched; its steps are odd, so that it comes
        # everywhere, and long, so that it does so soon.
        circle = columns[0] * _START_FACTOR
        steps = columns[-1] * _STEP_FACTOR | _LONG_AND_ODD
        while len(waiting):
            places = (circle >> _HALF) * size >> _HALF
            held = self._tables[0][places]
            free = np.flatnonzero(held == 0)
            for table, column in zip(self._tables, columns, strict=True):
                table[places[free]] = column[free]
            # Of several that want the same place the last one gets it, in all tables alike.
            same = self._tables[0][places] == columns[0]
            for table, column in zip(self._tables[1:], columns[1:], strict=True):
                same &= table[places] == column
            there[waiting] = same & (held != 0)
            self._count += int(np.count_nonzero(same & (held == 0)))
            on = np.flatnonzero(~same)
            waiting, steps = waiting[on], steps[on]
            columns = [column[on] for column in columns]
            circle = circle[on] + steps
        return there


def _repeated(columns: list[NDArray[np.uint64]]) -> NDArray[np.bool_]:
    """Which rows have an equal one before them."""
    repeated = np.zeros(len(columns[0]), np.bool_)
    order = np.lexsort(columns)  # stable: equal ones stay in their order
    equal = np.ones(max(0, len(order) - 1), np.bool_)
    for column in columns:
        ordered = column[order]
        equal &= ordered[1:] == ordered[:-1]
    repeated[order[1:][equal]] = True
    return repeated
