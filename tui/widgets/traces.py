"""What a chart shows: curves, the stretch of them that is seen, and how they lie in its columns of dots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tui.following.series import Array, Axis, Envelope, SeriesView

COLOURS: Final = 6
LAYERS: Final = (
    "title", "text", "axis", "cursor", "trouble", "band", "points", *(f"line-{n}" for n in range(COLOURS))
)  # fmt: skip
"""What has a style of its own; the widget's component classes."""
TITLE, TEXT, AXIS, CURSOR, TROUBLE, BAND, POINTS, LINE = range(8)

VALIDATION = "o"
GAP = "!"
ABOVE = "^"


@dataclass(frozen=True)
class Trace:
    """One curve: a run, or one of several numbers of a run."""

    name: str
    line: SeriesView | None = None
    points: SeriesView | None = None
    """Drawn as marks: validations."""
    band: bool = False
    """With the extent of every step around the line."""
    letter: str = ""
    """Stands on the line now and then, and its capital for points: tells runs apart without colours."""
    dashed: bool = False
    colour: int = 0
    """0 to 5, of the theme."""

    @property
    def layer(self) -> int:
        """The layer of the line."""
        return LINE + self.colour % COLOURS

    @property
    def mark(self) -> str:
        """What its points are drawn as."""
        return self.letter.upper() if self.letter else VALIDATION


@dataclass(frozen=True)
class Window:
    """What of the traces is to be seen."""

    title: str
    axis: Axis
    span: tuple[float, float] | None
    """From where to where; None without points."""
    log: bool
    cursor: float | None
    empty: str
    """The sentence without points."""
    keys: str = ""
    """Which keys change the picture, where there is room to say so."""


@dataclass(frozen=True)
class Curve:
    """A trace in the columns of dots of a chart, C of them."""

    trace: Trace
    envelope: Envelope | None
    line: Array
    """(C,); NaN where there is none."""
    x: Array
    """Places of the points in the window."""
    y: Array


def span_of(traces: Sequence[Trace], axis: Axis) -> tuple[float, float] | None:
    """From the first to the last place of all traces; None without points."""
    views = [view for trace in traces for view in (trace.line, trace.points) if view is not None]
    spans = [span for view in views if (span := view.span(axis)) is not None]
    return (min(a for a, _ in spans), max(b for _, b in spans)) if spans else None


def curve_of(trace: Trace, axis: Axis, x0: float, x1: float, columns: int) -> Curve:
    """What of a trace lies from `x0` to `x1`."""
    envelope, line = None, np.full(columns, np.nan)
    if trace.line is not None and len(trace.line):
        envelope = trace.line.envelope(axis, x0, x1, columns)
        line = _joined(trace.line, envelope, axis, (x0, x1))
    x = y = np.empty(0)
    if trace.points is not None and len(trace.points):
        first, end = trace.points.index_range(axis, x0, x1)
        if end - first <= 2 * columns:
            x, y = trace.points.steps[axis][first:end], trace.points.values[first:end]
        else:  # more than there are places: the last one at each
            found = trace.points.envelope(axis, x0, x1, columns)
            x, y = found.x_last, found.last
    return Curve(trace, envelope, line, x, y)


def _joined(view: SeriesView, envelope: Envelope, axis: Axis, span: tuple[float, float]) -> Array:
    """The line's value in each column of dots: that of the last point in it, and between distant points what joins them.

    Where all points of a column are not finite, the line is broken.
    """
    columns, (x0, x1) = len(envelope.last), span
    filled = np.flatnonzero(~np.isnan(envelope.x_last))
    values = np.where(np.isnan(envelope.low), np.nan, envelope.last)[filled]
    places = envelope.x_last[filled]
    first, end = view.index_range(axis, x0, x1)
    # The neighbours outside, so that the line goes on to the edges.
    before = [first - 1] if first > 0 else []
    after = [end] if end < len(view) else []
    outside = np.where(np.isnan(view.values[before + after]), np.nan, view.smooth[before + after])
    x = view.steps[axis]
    places = np.concatenate((x[before], places, x[after]))
    values = np.concatenate((outside[: len(before)], values, outside[len(before) :]))
    if not len(places):
        return np.full(columns, np.nan)
    at = (places - x0) / (x1 - x0) * columns - 0.5
    line = np.interp(np.arange(columns), at, values, left=np.nan, right=np.nan)
    line[filled] = np.where(np.isnan(envelope.low), np.nan, envelope.last)[filled]
    return line
