"""Drawing a chart into cells. No widget is needed.

Columns and rows are dots here, cells where it says so; x is a place on the axis, y a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from textual.strip import Strip

from tui.marks import Marks
from tui.widgets import plot_labels as labels
from tui.widgets.canvas import DOTS_PER_CELL, Canvas, cells_of
from tui.widgets.legend import legend, put_legend
from tui.widgets.scale import Scale, scale_of
from tui.widgets.traces import ABOVE, BAND, CURSOR, POINTS, TROUBLE, Curve, Trace, Window, curve_of

_MARGIN = 7
"""Cells for the values' labels and their axis."""
_NARROW_MARGIN = 6
_LETTER_EVERY = 18
"""Cells between two letters on the line of one run."""


@dataclass(frozen=True)
class Picture:
    """A drawn chart."""

    strips: list[Strip]
    plot: tuple[int, int]
    """Column at which the curves begin and their width, in cells."""


def draw(
    traces: Sequence[Trace],
    window: Window,
    size: tuple[int, int],
    marks: Marks,
    styles: Sequence[Style],
    ground: Style,
) -> Picture:
    """Draw.

    Args:
        traces: the first one on top.
        window: what of them is shown.
        size: width and height in cells; any.
        marks: what dots are made of.
        styles: one for each of `LAYERS`.
        ground: of cells in which nothing is.
    """
    width, height = size
    whole = Canvas(max(width, 1), max(height, 1), marks)
    left = _MARGIN if width >= 40 else _NARROW_MARGIN
    plot_width = width - left
    if window.span is None or plot_width < 4 or height < 3:
        if window.span is None:
            labels.sentence(whole, window.title, window.empty)
        return Picture(whole.strips(styles, ground), (left, max(plot_width, 1)))
    x0, x1 = window.span
    x1 = x1 if x1 > x0 else x0 + 1.0
    head = 0 if height < 5 else 1
    lines = legend(traces, window, (x0, x1), plot_width, height, marks)
    top = head + len(lines)
    plot_height = height - top - (2 if height >= 4 else 1)
    canvas = Canvas(plot_width, plot_height, marks)
    curves = [curve_of(trace, window.axis, x0, x1, canvas.columns) for trace in traces]
    scale = scale_of(curves, window.log, canvas.rows)
    if scale is None:
        reason = "no value above 0, so a logarithmic scale has nothing to show: l changes back"
        only_log = window.log and scale_of(curves, False, canvas.rows) is not None
        labels.sentence(whole, window.title, reason if only_log else window.empty)
        return Picture(whole.strips(styles, ground), (left, plot_width))
    for number, curve in reversed(list(enumerate(curves))):
        _draw_curve(canvas, curve, scale, (x0, x1), offset=5 * number)
    if window.cursor is not None and x0 <= window.cursor <= x1:
        column = min(int((window.cursor - x0) / (x1 - x0) * canvas.columns), canvas.columns - 1)
        canvas.upright(column, CURSOR)
    whole.paste(canvas, left, top)
    labels.values_axis(whole, scale, left, top, plot_height)
    gaps = [trace.line.gap_places(window.axis, x0, x1) for trace in traces[:1] if trace.line is not None]
    labels.places_axis(whole, window.axis, (x0, x1), left, top + plot_height, gaps[0] if gaps else np.empty(0))
    if head:
        labels.head(whole, window, traces, numbers=len(traces) == 1 or not lines)
    put_legend(whole, lines, left, head)
    return Picture(whole.strips(styles, ground), (left, plot_width))


def _draw_curve(canvas: Canvas, curve: Curve, scale: Scale, span: tuple[float, float], offset: int) -> None:
    trace, layer = curve.trace, curve.trace.layer
    dot_width, _ = DOTS_PER_CELL[canvas.marks]
    top = None
    if trace.band and curve.envelope is not None:
        top, bottom = scale(curve.envelope.high), scale(curve.envelope.low)
        canvas.area(np.maximum(top, 0), np.minimum(bottom, canvas.rows - 1), BAND)
    height = scale(curve.line)
    canvas.line(height, layer, dashed=trace.dashed)
    highest = np.fmin(height, top) if top is not None else height
    above = np.flatnonzero(np.rint(highest) < 0) // dot_width
    canvas.marks_at(above, np.zeros_like(above), ABOVE, TROUBLE)
    if trace.letter:
        cells = np.arange(4 + offset % _LETTER_EVERY, canvas.width, _LETTER_EVERY)
        rows = height[cells * dot_width]
        there = ~np.isnan(rows)
        canvas.marks_at(cells[there], cells_of(rows[there], canvas.marks), trace.letter, layer)
    rows = scale(curve.y)
    there = ~np.isnan(rows)
    share = (curve.x[there] - span[0]) / (span[1] - span[0])
    cells = np.minimum(share * canvas.width, canvas.width - 1).astype(np.intp)
    canvas.marks_at(cells, cells_of(rows[there], canvas.marks), trace.mark, layer if trace.letter else POINTS)
