"""A raster of dots in a grid of character cells, for charts: several layers, the later ones on top.

A cell shows the dots of the topmost layer that has any in it, and its style: a curve stays a curve where it crosses an
area, also without colours. Cells are W wide and H high; dots are finer, by the marks (`DOTS_PER_CELL`).
"""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.marks import Marks

Mask = npt.NDArray[np.bool_]

DOTS_PER_CELL: Final[dict[Marks, tuple[int, int]]] = {"braille": (2, 4), "block": (2, 2), "ascii": (1, 2)}
"""Columns and rows of dots in one character."""

_WEIGHTS: Final[dict[Marks, tuple[tuple[int, ...], ...]]] = {
    "braille": ((1, 8), (2, 16), (4, 32), (64, 128)),
    "block": ((1, 2), (4, 8)),
    "ascii": ((1,), (2,)),
}
"""What each dot of a cell, row by row, adds to the index of its character."""

_CHARACTERS: Final[dict[Marks, npt.NDArray[np.uint32]]] = {
    "braille": np.arange(0x2800, 0x2900, dtype=np.uint32),
    "block": np.array([ord(c) for c in " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"], dtype=np.uint32),
    "ascii": np.array([ord(c) for c in " '.:"], dtype=np.uint32),
}
_ASCII_LINE: Final = np.array([ord(c) for c in " ***"], dtype=np.uint32)
"""A curve must not look like the dots of an area, and ASCII has no finer marks."""

_SPACE = ord(" ")
_NOTHING = -1
_REST_OF_WIDE = 0
"""Stands in the second cell of a character that is two wide."""


class Canvas:
    """Cells to draw on; then `strips`.

    Attributes:
        width: W, cells.
        height: H, cells.
        columns: dots in a row.
        rows: dots in a column; row 0 is at the top.
    """

    def __init__(self, width: int, height: int, marks: Marks) -> None:
        self.width, self.height, self.marks = width, height, marks
        self._dot_width, self._dot_height = DOTS_PER_CELL[marks]
        self.columns, self.rows = width * self._dot_width, height * self._dot_height
        self._characters = np.full((height, width), _SPACE, dtype=np.uint32)
        self._styles = np.full((height, width), _NOTHING, dtype=np.int16)

    def dots(self, mask: Mask, style: int, *, line: bool = False) -> None:
        """Lay dots over what is there.

        Args:
            mask: of shape (rows, columns): where there is one.
            style: index into the styles that `strips` is given.
            line: they are a curve's rather than an area's; matters in ASCII alone.
        """
        cells = mask.reshape(self.height, self._dot_height, self.width, self._dot_width)
        index = np.zeros((self.height, self.width), dtype=np.uint8)
        for row, weights in enumerate(_WEIGHTS[self.marks]):
            for column, weight in enumerate(weights):
                index += cells[:, row, :, column] * np.uint8(weight)
        table = _ASCII_LINE if line and self.marks == "ascii" else _CHARACTERS[self.marks]
        there = index > 0
        self._characters[there] = table[index[there]]
        self._styles[there] = style

    def area(self, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], style: int) -> None:
        """A shaded band with firm edges.

        Args:
            top: the band's upper row in each column of dots, of shape (columns,); NaN where it is not there.
            bottom: its lower row, the same shape, not above it.
            style: index into the styles.
        """
        rows = np.arange(self.rows)[:, None]
        with np.errstate(invalid="ignore"):  # NaN compares as false: no dot
            first, last = np.rint(top), np.rint(bottom)
            inside = (rows >= first) & (rows <= last)
            edge = (rows == first) | (rows == last)
        shade = (rows + np.arange(self.columns)) % 2 == 0
        self.dots(inside & (edge | shade), style)

    def line(self, height: npt.NDArray[np.float64], style: int, *, dashed: bool = False) -> None:
        """A curve; neighbouring columns are joined.

        Args:
            height: its row in each column of dots, of shape (columns,); NaN where it is not there.
            style: index into the styles.
            dashed: leave out a third of it.
        """
        rows = np.arange(self.rows)[:, None]
        here = np.rint(height)
        before = np.concatenate(([np.nan], here[:-1]))
        with np.errstate(invalid="ignore"):
            top = np.where(before < here, before + 1, here)
            bottom = np.where(before > here, before - 1, here)
            mask = (rows >= top) & (rows <= bottom)
        if dashed:
            period = 3 * self._dot_width
            mask &= np.arange(self.columns) % period < 2 * self._dot_width
        self.dots(mask, style, line=True)

    def upright(self, column: int, style: int) -> None:
        """A dotted line from top to bottom, in cells where nothing else is."""
        mask = np.zeros((self.rows, self.columns), dtype=np.bool_)
        mask[::2, column] = True
        cell = column // self._dot_width
        taken = self._styles[:, cell] != _NOTHING
        mask &= ~np.repeat(taken, self._dot_height)[:, None]
        self.dots(mask, style)

    def marks_at(self, x: npt.NDArray[np.intp], y: npt.NDArray[np.intp], character: str, style: int) -> None:
        """One narrow character in many cells; those outside are left out.

        Args:
            x: columns of cells, of shape (n,).
            y: rows of cells, the same shape.
            character: one that is a cell wide.
            style: index into the styles.
        """
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        x, y = x[inside], y[inside]
        if (self._characters == _REST_OF_WIDE).any():
            for row, column in zip(y.tolist(), x.tolist(), strict=True):
                self._mend(row, column, column + 1)
        self._characters[y, x] = ord(character)
        self._styles[y, x] = style

    def text(self, x: int, y: int, text: str, style: int) -> int:
        """Write into a row of cells, as far as it fits; returns the column behind it.

        Control characters are left out, for text may come from anywhere.
        """
        if not 0 <= y < self.height:
            return x
        for character in text:
            wide = cell_len(character) if character.isprintable() else 0
            if wide == 0:
                continue
            if x + wide > self.width:
                break
            if x >= 0:
                self._mend(y, x, x + wide)
                self._characters[y, x : x + wide] = _REST_OF_WIDE
                self._characters[y, x] = ord(character)
                self._styles[y, x : x + wide] = style
            x += wide
        return x

    def _mend(self, y: int, first: int, end: int) -> None:
        """Before cells from `first` to `end` are written: what is left of a wide character at the edges goes away."""
        if self._characters[y, first] == _REST_OF_WIDE:
            self._characters[y, first - 1] = _SPACE
        if end < self.width and self._characters[y, end] == _REST_OF_WIDE:
            self._characters[y, end] = _SPACE

    def paste(self, other: "Canvas", x: int, y: int) -> None:
        """Put a canvas that lies within this one at cell (x, y)."""
        self._characters[y : y + other.height, x : x + other.width] = other._characters
        self._styles[y : y + other.height, x : x + other.width] = other._styles

    def strips(self, styles: Sequence[Style], ground: Style) -> list[Strip]:
        """The rows, each W wide.

        Args:
            styles: those that layers and texts were given the indices of.
            ground: of cells in which nothing is.
        """
        lines = []
        for characters, owners in zip(self._characters.astype("<u4"), self._styles, strict=True):
            ends = np.flatnonzero(np.diff(owners)) + 1
            starts = [0, *ends.tolist(), self.width]
            text = characters.tobytes().decode("utf-32-le")
            segments = [
                Segment(text[a:b].replace("\0", ""), ground if (owner := owners[a]) == _NOTHING else styles[owner])
                for a, b in itertools.pairwise(starts)
            ]
            lines.append(Strip(segments, self.width))
        return lines


def cells_of(rows: npt.NDArray[np.float64], marks: Marks) -> npt.NDArray[np.intp]:
    """The rows of cells in which rows of dots lie; both of shape (n,)."""
    found: npt.NDArray[np.intp] = (np.rint(rows) // DOTS_PER_CELL[marks][1]).astype(np.intp)
    return found
