"""A heat map of attention: a row for each token, and in it a cell for each that it looks at."""

from collections.abc import Sequence

from rich.cells import set_cell_size
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from tui.talking.xray import ASCII_SHADES, SHADES, shade

_LABEL = 12
_NUMBER = 4
_CELL, _NUMBERED = 2, 5
"""Columns of a cell, and of one with its share in percent beside the sign."""

_ROOM_FOR_SIGNS = 7
"""Lines from which on it is told what the signs mean."""


class HeatMap(Widget):
    """Weights in shaded cells, with their numbers where there is room; the row that is looked at is marked.

    Where there is no room for all, the tokens up to that row.
    """

    DEFAULT_CSS = """
    HeatMap { height: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: clip; }
    """

    def __init__(self) -> None:
        """With nothing to show."""
        super().__init__()
        self._weights: Sequence[Sequence[float]] = ()
        self._pieces: Sequence[str] = ()
        self._at = 0

    def show(self, weights: Sequence[Sequence[float]], pieces: Sequence[str], at: int) -> None:
        """Show a map.

        Args:
            weights: (T, T), rows sum to one.
            pieces: T of them, printable.
            at: the row that is marked.
        """
        self._weights, self._pieces, self._at = weights, pieces, at
        self.refresh()

    def render(self) -> RenderResult:
        ascii_only = self.app.has_class("ascii")
        marks, T = ASCII_SHADES if ascii_only else SHADES, len(self._weights)
        width, height = self.content_size.width, self.content_size.height
        room = width - _NUMBER - _LABEL - 1
        cell = _NUMBERED if room >= T * _NUMBERED else _CELL
        tells_signs = height >= _ROOM_FOR_SIGNS
        fit = max(1, min(room // cell, height - 1 - tells_signs))
        stop = min(T, max(self._at + 1, fit))
        start = max(0, stop - fit)
        margin = " " * (_NUMBER + _LABEL)
        every = 5 if cell == _CELL and stop > 10 else 1  # two digits side by side would run into each other
        numbers = "".join(f"{n % 100:>{cell}}" if n % every == 0 else " " * cell for n in range(start, stop))
        lines = [Content.styled(margin + numbers, "$text-muted")]
        for n in range(start, stop):
            here = n == self._at
            cells = ""
            for m in range(start, stop):
                weight = self._weights[n][m]
                sign = shade(weight, marks)
                number = f" {sign}{weight * 100:>3.0f}" if cell == _NUMBERED else sign * _CELL
                cells += number if weight > 0 or m <= n else " " * cell
            label = set_cell_size(f"{'>' if here else ' '}{n:>2} {self._pieces[n]}", _NUMBER + _LABEL - 1) + " "
            lines.append(Content.assemble((label, "bold $accent" if here else ""), (cells, "$primary")))
        told = "  ".join(f"{mark} {text}" for mark, text in zip(marks, _LEGEND, strict=True))
        if start or stop < T:
            told = f"{start} to {stop - 1} of {T}   {told}"
        if tells_signs:
            lines.append(Content.styled(told, "$text-muted"))
        return Content("\n").join(lines) if T else Content("")


_LEGEND = ("below 2%", "2 to 10", "10 to 30", "30 to 60", "above")
