"""Texts of many lengths laid side by side in rows of one length, so that little is padding and shapes are few.

Shapes: R rows, T tokens of a row, n tokens of one text.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Text:
    """One text and which of its tokens are to be learned."""

    token_ids: np.ndarray
    """(n,) integers."""
    loss_mask: np.ndarray
    """(n,), 1 where the token is a target. The first token follows nothing and is none, whatever this says."""


@dataclass(frozen=True)
class PackedRows:
    """Rows for training: int32 arrays of shape (R, T)."""

    inputs: np.ndarray
    targets: np.ndarray
    """The token that follows each input."""
    loss_mask: np.ndarray
    """1 where the target counts."""
    positions: np.ndarray
    """Where each input stands in its own text; a 0 begins a new one."""
    texts: int
    """How many were laid down."""
    truncated: tuple[int, ...]
    """Numbers of the texts that were longer than a row: their beginning was kept."""
    dropped: tuple[int, ...]
    """Numbers of the texts of which no target was left."""

    @property
    def padding(self) -> float:
        """The share of the positions that hold no text."""
        used = int(np.count_nonzero(self.positions)) + self.texts  # position 0 occurs once a text, and as padding
        return 1 - used / self.inputs.size if self.inputs.size else 0.0

    @property
    def trained_tokens(self) -> int:
        """Targets that count, over all rows."""
        return int(self.loss_mask.sum())


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put items into as few rows as a greedy rule needs: longest first, each where the least room is left over.

    (Best-fit decreasing: at most 11/9 of the optimum and 4 rows; Johnson 1974.)

    Args:
        lengths: of the items, each between 1 and `capacity`.
        capacity: of a row.

    Returns:
        the numbers of the items in each row; the same for the same lengths.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (room left, row), sorted
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect.bisect_left(room, (lengths[item], -1))
        if at < len(room):
            left, row = room.pop(at)
            rows[row].append(item)
        else:
            left, row = capacity, len(rows)
            rows.append([item])
        if left > lengths[item]:
            bisect.insort(room, (left - lengths[item], row))
    return rows


def pack(texts: Sequence[Text], max_seq_len: int) -> PackedRows:
    """Lay texts side by side in rows of T = `max_seq_len`; a text of n tokens takes n - 1 positions.

    A longer one loses its end. Positions of one text count from 0, so that attention can be kept within it.
    """
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    truncated, dropped = [], []
    for number, text in enumerate(texts):
        if len(text.token_ids) - 1 > max_seq_len:
            truncated.append(number)
        ids, mask = text.token_ids[: max_seq_len + 1], text.loss_mask[: max_seq_len + 1]
        if len(ids) < 2 or not mask[1:].any():
            dropped.append(number)
        else:
            kept.append((ids, mask))
    rows = best_fit([len(ids) - 1 for ids, _ in kept], max_seq_len)
    inputs, targets, loss_mask, positions = (np.zeros((len(rows), max_seq_len), dtype=np.int32) for _ in range(4))
    for r, members in enumerate(rows):
        at = 0
        for member in members:
            ids, mask = kept[member]
            end = at + len(ids) - 1
            inputs[r, at:end], targets[r, at:end] = ids[:-1], ids[1:]
            loss_mask[r, at:end] = mask[1:]
            positions[r, at:end] = np.arange(len(ids) - 1)
            at = end
    return PackedRows(inputs, targets, loss_mask, positions, len(kept), tuple(truncated), tuple(dropped))
