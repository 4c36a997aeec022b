"""The scale of a chart's values: which of them are in the picture, and on which row of dots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tui.following.series import Array
from tui.widgets.traces import Curve

_EXTREME = 1e100
"""Beyond it values are drawn as if they were this: differences of still larger ones are not numbers any more."""
_SHARE_SHOWN = 2.0, 98.0
"""Percentiles of the columns' extents that are always in the picture: a few spikes must not flatten everything else."""
_MOST, _FAR = (10.0, 90.0), 3.0
"""Percentiles of a line's columns; so many times their distance away from them, it is cut off."""


@dataclass(frozen=True)
class Scale:
    """From values to rows of dots."""

    low: float
    high: float
    """Values at the bottom and at the top; their logarithms on a logarithmic scale."""
    log: bool
    rows: int

    def __call__(self, values: Array) -> Array:
        """The row of each value, 0 for the highest; NaN where it has none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            y: Array = np.clip(values, -_EXTREME, _EXTREME)
            y = np.log10(np.where(y > 0, np.maximum(y, 1 / _EXTREME), np.nan)) if self.log else y
            found: Array = (self.high - y) / (self.high - self.low) * (self.rows - 1)
        return found


def scale_of(curves: Sequence[Curve], log: bool, rows: int) -> Scale | None:
    """From the least to the greatest of lines and points, and of all steps but the most extreme ones."""
    lines = [_without_spikes(_usable([curve.line], log)) for curve in curves]
    inner = np.concatenate([np.empty(0), *lines, _usable([curve.y for curve in curves], log)])
    bands = [curve.envelope for curve in curves if curve.envelope is not None and curve.trace.band]
    lows, highs = _usable([band.low for band in bands], log), _usable([band.high for band in bands], log)
    if not len(inner):
        return None
    low, high = float(inner.min()), float(inner.max())
    if len(lows):
        low = min(low, float(np.percentile(lows, _SHARE_SHOWN[0])))
        high = max(high, float(np.percentile(highs, _SHARE_SHOWN[1])))
        # A little more is shown rather than cut off.
        room = 0.25 * (high - low)
        low = min(low, float(lows.min())) if lows.min() >= low - room else low
        high = max(high, float(highs.max())) if highs.max() <= high + room else high
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1 / _EXTREME):  # the same number, as far as anybody can see
        spread = 0.05 * size if size > 1 / _EXTREME else 0.5
        low, high = low - spread, high + spread
    edge = 0.03 * (high - low)
    return Scale(low - edge, high + edge, log, rows)


def _without_spikes(line: Array) -> Array:
    """A line without what lies far outside the rest; how it begins is never such a spike, training begins high."""
    if len(line) < 3:
        return line
    low, high = np.percentile(line, _MOST)
    far = _FAR * (high - low)
    kept: Array = line[(line >= min(low - far, line[0])) & (line <= max(high + far, line[0]))]
    return kept


def _usable(arrays: Sequence[Array], log: bool) -> Array:
    """All finite values, as logarithms on a scale of those."""
    values: Array = np.concatenate([np.empty(0), *arrays])
    values = np.clip(values[~np.isnan(values)], -_EXTREME, _EXTREME)
    if log:
        logarithms: Array = np.log10(np.maximum(values[values > 0], 1 / _EXTREME))
        return logarithms
    return values
