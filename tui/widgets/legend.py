"""The legend of a chart: which curve is which, and where there are several, what each is worth at the cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size

from tui.following.series import Axis
from tui.marks import Marks
from tui.widgets.canvas import Canvas
from tui.widgets.plot_labels import numbers_at, place_of
from tui.widgets.traces import BAND, GAP, POINTS, TEXT, TROUBLE, Trace, Window

_SIGNS: Final[dict[Marks, tuple[str, str, str]]] = {
    "braille": ("⢕⢕", "⠒⠒", "⠒ ⠒"),
    "block": ("▞▞", "▀▀", "▀ ▀"),
    "ascii": (".:", "**", "* *"),
}
"""Of the extent of every step, of a line, and of a dashed one."""
_NAME_CELLS = (40, 24, 16, 10)
"""How long names may be, the longest that fits first."""
_LEAST_HEIGHT = 9
_ROWS_A_LINE = 5
"""Rows of the chart above the least height for each further line of a legend."""
_GAP = 2


@dataclass(frozen=True)
class Entry:
    """One thing in the legend."""

    glyph: str
    words: str
    layer: int

    @property
    def width(self) -> int:
        """In cells, with the space behind it."""
        return cell_len(self.glyph) + 1 + cell_len(self.words) + _GAP


def legend(
    traces: Sequence[Trace], window: Window, span: tuple[float, float], room: int, height: int, marks: Marks
) -> list[list[Entry]]:
    """The lines of a legend; none where the chart is too low for one.

    Args:
        traces: what is drawn.
        window: what of it is shown; of several curves the values at its cursor are told.
        span: first and last place.
        room: cells of a line.
        height: rows of the whole chart.
        marks: what dots are made of.
    """
    if height < _LEAST_HEIGHT:
        return []
    several = len(traces) > 1
    most = 1 + (height - _LEAST_HEIGHT) // _ROWS_A_LINE if several else 1
    place = place_of(traces, window) if several else None
    signs = _signs(traces, window.axis, span, marks)
    for cells in _NAME_CELLS:
        curves = [_curve(trace, window.axis, place, cells, marks) for trace in traces if trace.line is not None]
        lines = _flowed([*curves, *signs] if several else [*signs[:1], *curves, *signs[1:]], room, most)
        if sum(map(len, lines)) >= len(curves):
            return lines
    for shown in range(len(curves) - 1, -1, -1):  # the names at their shortest, and still too many
        lines = _flowed([*curves[:shown], Entry("+", f"{len(curves) - shown} more", TEXT)], room, most)
        if sum(map(len, lines)) > shown:
            return lines
    return []


def put_legend(whole: Canvas, lines: Sequence[Sequence[Entry]], left: int, top: int) -> None:
    """Write the lines of a legend from cell (left, top) on."""
    for row, line in enumerate(lines, top):
        x = left
        for entry in line:
            x = whole.text(x, row, entry.glyph, entry.layer)
            x = whole.text(x, row, f" {entry.words}" + " " * _GAP, TEXT)


def _curve(trace: Trace, axis: Axis, place: float | None, cells: int, marks: Marks) -> Entry:
    """The line of a trace; of several, with its values at a place."""
    _, line, dash = _SIGNS[marks]
    sign = f"{dash if trace.dashed else line}{trace.letter}"
    if place is None:
        return Entry(sign, "mean" if trace.band else trace.name, trace.layer)
    words = [shortened(trace.name, cells, marks), *numbers_at(trace, axis, place, several=True)]
    return Entry(sign, " ".join(words), trace.layer)


def _signs(traces: Sequence[Trace], axis: Axis, span: tuple[float, float], marks: Marks) -> list[Entry]:
    """What stands for something else than a line: the extent, validations, steps that are not finite."""
    found = [Entry(_SIGNS[marks][0], "every step", BAND)] if any(trace.band for trace in traces) else []
    for trace in traces:
        if trace.points is not None and len(trace.points) and (trace.letter == "" or trace.line is None):
            words = "validation" if trace is traces[0] or trace.line is not None else trace.name
            found.append(Entry(trace.mark, words, trace.layer if trace.letter else POINTS))
    line = traces[0].line if traces else None
    if line is not None and len(line.gap_places(axis, *span)):
        found.append(Entry(GAP, "not finite", TROUBLE))
    return found


def _flowed(entries: Sequence[Entry], room: int, most: int) -> list[list[Entry]]:
    """Entries in lines, as many as fit into `most` of them."""
    lines: list[list[Entry]] = []
    left = 0
    for entry in entries:
        if entry.width - _GAP > left:
            if len(lines) == most or entry.width - _GAP > room:
                break
            lines.append([])
            left = room
        lines[-1].append(entry)
        left -= entry.width
    return lines


def shortened(name: str, cells: int, marks: Marks) -> str:
    """A name in so many cells: its middle is left out, for runs differ in how they end."""
    if cell_len(name) <= cells:
        return name
    dots = ".." if marks == "ascii" else "…"
    room = cells - len(dots)
    head, tail = set_cell_size(name, room // 3).rstrip(), ""
    for character in reversed(name):
        if cell_len(head) + cell_len(tail) + cell_len(character) > room:
            break
        tail = character + tail
    return head + dots + tail
