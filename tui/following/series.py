"""Columns of numbers that grow, and what a chart of them needs at any length: the extent of each column of dots.

One thread appends; others read views. A view is arrays of the length that was there when it was made: what is appended
later is written behind its end, or into a larger copy, and nothing before that end ever changes. So no lock is needed.

Shapes: N points of a series, C columns of a chart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Axis = Literal["step", "tokens", "time"]
"""What a curve is drawn over: updates, tokens trained on, or seconds of training."""
AXES: tuple[Axis, ...] = ("step", "tokens", "time")

EMA_DECAY = 0.95
"""Of the smoothed line, once there are many points: it remembers about twenty of them."""
_SHARE_REMEMBERED = 5
"""Until then it remembers a fifth of those there are: a mean of twenty would lag behind a run of thirty steps."""
_YOUNG = round(_SHARE_REMEMBERED / (1 - EMA_DECAY))
"""From so many points on there are many."""

_FIRST_CAPACITY = 1024
_BLOCK = 16
"""Points (or blocks) that one block of the next level stands for."""
_MEAN_BLOCK = 256
"""Values of a moving mean computed at once; powers of the decay stay far from the limits of a float."""
_POWERS = EMA_DECAY ** np.arange(_MEAN_BLOCK + 1)
_FEW = 4096
"""So many points are looked at one by one, without levels."""


class Column:
    """Numbers in a row to which any number can be appended at once, each at a constant cost on average."""

    def __init__(self) -> None:
        self._buffer: Array = np.empty(_FIRST_CAPACITY)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, values: npt.ArrayLike) -> None:
        """Append `values`, of shape (n,)."""
        new = np.asarray(values, dtype=np.float64)
        end = self._length + len(new)
        if end > len(self._buffer):
            larger = np.empty(max(end, 2 * len(self._buffer)))
            larger[: self._length] = self._buffer[: self._length]
            self._buffer = larger
        self._buffer[self._length : end] = new
        self._length = end

    def view(self) -> Array:
        """What is there now, of shape (N,); not to be written to."""
        found = self._buffer[: self._length]
        found.flags.writeable = False
        return found


class Steps:
    """Where the points of one or more series lie: step, tokens and time of each, none ever falling."""

    def __init__(self) -> None:
        self._columns: dict[Axis, Column] = {axis: Column() for axis in AXES}

    def __len__(self) -> int:
        return len(self._columns["step"])

    def extend(self, step: npt.ArrayLike, tokens: npt.ArrayLike, time: npt.ArrayLike) -> None:
        """Append points. What is not a number, or less than the one before, becomes the one before.

        Args:
            step: updates done, of shape (n,).
            tokens: tokens trained on, the same shape.
            time: seconds of training, the same shape.
        """
        for axis, values in zip(AXES, (step, tokens, time), strict=True):
            column = self._columns[axis]
            before = column.view()[-1] if len(column) else 0.0
            column.extend(np.fmax.accumulate(np.concatenate(([before], _finite(values))))[1:])

    def view(self) -> dict[Axis, Array]:
        """Each axis' values, of shape (N,)."""
        return {axis: column.view() for axis, column in self._columns.items()}


class MovingMean:
    """An exponential moving mean that begins with the first value, and whose memory grows with the number of values.

    The n-th value moves the mean towards it by 5 / (n + 4), but by no less than 1 - 0.95: it remembers about a fifth of
    the first hundred values, then about twenty.

    Attributes:
        count: values so far.
        mean: of them; NaN without any.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = math.nan

    def extend(self, values: Array) -> Array:
        """Take in finite values, of shape (n,); returns the mean after each of them, the same shape."""
        found = np.empty(len(values))
        young = max(0, min(_YOUNG - self.count, len(values)))
        for at, value in enumerate(values[:young].tolist()):
            weight = _SHARE_REMEMBERED / (self.count + _SHARE_REMEMBERED)
            self.mean = weight * value + (1 - weight) * (self.mean if self.count else value)
            found[at], self.count = self.mean, self.count + 1
        for start in range(young, len(values), _MEAN_BLOCK):
            block = values[start : start + _MEAN_BLOCK]
            powers = _POWERS[1 : len(block) + 1]
            means = (self.mean + (1 - EMA_DECAY) * np.cumsum(block / powers)) * powers
            found[start : start + _MEAN_BLOCK] = means
            self.mean, self.count = float(means[-1]), self.count + len(block)
        return found


@dataclass(frozen=True)
class Envelope:
    """What a series is in each of C columns of a chart; NaN where a column holds no finite point."""

    low: Array
    high: Array
    last: Array
    """The last value (smoothed, where the series is) in the column."""
    x_last: Array
    """Where that last point lies."""


@dataclass(frozen=True)
class SeriesView:
    """A series as it was at one moment; it never changes, so that any thread may read it."""

    steps: dict[Axis, Array]
    """Each axis' values, of shape (N,)."""
    values: Array
    """(N,); NaN where the number was not finite or not there."""
    smooth: Array
    """(N,): the exponential moving average, or `values` themselves."""
    gaps: Array
    """Indices of the values that were not finite."""
    lows: tuple[Array, ...]
    """The least value of each whole block of 16 points, of 256 points, and so on."""
    highs: tuple[Array, ...]
    smoothed: bool
    """Whether `smooth` is something else than `values`."""

    def __len__(self) -> int:
        return len(self.values)

    def span(self, axis: Axis) -> tuple[float, float] | None:
        """First and last place on the axis; None without points."""
        x = self.steps[axis]
        return (float(x[0]), float(x[-1])) if len(self) else None

    def index_range(self, axis: Axis, x0: float, x1: float) -> tuple[int, int]:
        """The points from `x0` to `x1`, both included, as a range of indices."""
        x = self.steps[axis]
        return int(np.searchsorted(x, x0, side="left")), int(np.searchsorted(x, x1, side="right"))

    def nearest(self, axis: Axis, place: float) -> int | None:
        """The index of the point nearest to a place on the axis; None without points."""
        x = self.steps[axis]
        if not len(self):
            return None
        after = int(np.searchsorted(x, place))
        if after == 0 or (after < len(x) and x[after] - place < place - x[after - 1]):
            return after
        return after - 1

    def gap_places(self, axis: Axis, x0: float, x1: float) -> Array:
        """Where between `x0` and `x1` values are not finite."""
        first, last = np.searchsorted(self.gaps, self.index_range(axis, x0, x1))
        return self.steps[axis][self.gaps[first:last].astype(np.intp)]

    def envelope(self, axis: Axis, x0: float, x1: float, columns: int) -> Envelope:
        """Least, greatest and last value in each of `columns` columns of equal width from `x0` to `x1`.

        The last column includes `x1`. Costs about the same at any number of points.

        Args:
            axis: what x is.
            x0: left end.
            x1: right end, above `x0`.
            columns: C.
        """
        edges = np.linspace(x0, x1, columns + 1)
        x = self.steps[axis]
        bounds = np.searchsorted(x, edges, side="left")
        bounds[-1] = np.searchsorted(x, x1, side="right")
        first, end = bounds[:-1], bounds[1:]
        low, high = self._extent(first, end)
        filled = end > first
        at = np.where(filled, end - 1, 0)
        nothing = np.full(columns, np.nan)
        last = np.where(filled, self.smooth[at], np.nan) if len(self) else nothing
        x_last = np.where(filled, x[at], np.nan) if len(self) else nothing
        return Envelope(low, high, last, x_last)

    def extent(self, first: int, end: int) -> tuple[float, float] | None:
        """Least and greatest finite value of the points from `first` until before `end`; None without any."""
        low, high = self._extent(np.array([first]), np.array([max(first, end)]))
        return None if math.isnan(low[0]) else (float(low[0]), float(high[0]))

    def _extent(self, first: npt.NDArray[np.intp], end: npt.NDArray[np.intp]) -> tuple[Array, Array]:
        """Least and greatest value of each range: its ends point by point, its middle from the next level's blocks."""
        low = high = np.full(len(first), np.nan)
        levels = list(zip((self.values, *self.lows), (self.values, *self.highs), strict=True))
        for number, (lows, highs) in enumerate(levels):
            more = number + 1 < len(levels)
            if int((end - first).sum()) <= _FEW or not more:
                return np.fmin(low, _reduced(np.fmin, lows, first, end)), np.fmax(
                    high, _reduced(np.fmax, highs, first, end)
                )
            # Blocks that lie in the range as a whole; where there are none the two ends meet or overlap.
            whole_first, whole_end = -(-first // _BLOCK), end // _BLOCK
            for start, stop in (
                (first, np.minimum(whole_first * _BLOCK, end)),
                (np.maximum(whole_end * _BLOCK, first), end),
            ):
                at = start[:, None] + np.arange(_BLOCK)
                inside = at < stop[:, None]
                at = np.where(inside, at, 0)
                low = np.fmin(low, np.fmin.reduce(np.where(inside, lows[at], np.nan), axis=1))
                high = np.fmax(high, np.fmax.reduce(np.where(inside, highs[at], np.nan), axis=1))
            first, end = whole_first, np.maximum(whole_first, whole_end)
        raise AssertionError("the last level returns")


def _reduced(function: np.ufunc, values: Array, first: npt.NDArray[np.intp], end: npt.NDArray[np.intp]) -> Array:
    """`function` over each range of `values`; NaN for an empty one. The ranges follow each other without overlap."""
    found = np.full(len(first), np.nan)
    filled = end > first
    if filled.any():
        begin, stop = first[filled][0], end[filled][-1]
        # One NaN more, so that an end at the very end is a place as well.
        padded = np.append(values[begin:stop], np.nan)
        pairs = np.stack((first[filled], end[filled]), axis=1).ravel() - begin
        found[filled] = function.reduceat(padded, pairs)[::2]
    return found


class Series:
    """One number of a run over its steps.

    Args:
        steps: where its points lie; series of the same events share it. Extend it first.
        smoothed: whether a moving average is kept as well.
    """

    def __init__(self, steps: Steps, *, smoothed: bool = False) -> None:
        self._steps = steps
        self._values = Column()
        self._smooth = Column() if smoothed else self._values
        self._gaps = Column()
        self._lows: list[Column] = []
        self._highs: list[Column] = []
        self._mean = MovingMean()

    def __len__(self) -> int:
        return len(self._values)

    def extend(self, values: npt.ArrayLike, there: npt.ArrayLike = True) -> None:
        """Append values.

        Args:
            values: of shape (n,). What is not finite becomes NaN and is remembered as a gap.
            there: whether each was given at all, the same shape; one that was not is NaN, but no gap.
        """
        new = _finite(values)
        self._gaps.extend(np.flatnonzero(np.isnan(new) & np.asarray(there)) + len(self))
        self._values.extend(new)
        if self._smooth is not self._values:
            self._smooth.extend(self._averaged(new))
        self._raise_levels()

    def view(self) -> SeriesView:
        """The series as it is now."""
        return SeriesView(
            self._steps.view(),
            self._values.view(),
            self._smooth.view(),
            self._gaps.view(),
            tuple(column.view() for column in self._lows),
            tuple(column.view() for column in self._highs),
            self._smooth is not self._values,
        )

    def _averaged(self, new: Array) -> Array:
        """The moving mean at each new point; a gap leaves it as it is."""
        known = ~np.isnan(new)
        means = np.concatenate(([self._mean.mean], self._mean.extend(new[known])))
        found: Array = means[np.cumsum(known)]
        return found

    def _raise_levels(self) -> None:
        lows, highs = self._values, self._values
        level = 0
        while len(lows) >= _BLOCK:
            if level == len(self._lows):
                self._lows.append(Column())
                self._highs.append(Column())
            done, whole = len(self._lows[level]) * _BLOCK, len(lows) // _BLOCK * _BLOCK
            if whole > done:
                self._lows[level].extend(np.fmin.reduce(lows.view()[done:whole].reshape(-1, _BLOCK), axis=1))
                self._highs[level].extend(np.fmax.reduce(highs.view()[done:whole].reshape(-1, _BLOCK), axis=1))
            lows, highs = self._lows[level], self._highs[level]
            level += 1


def series_of(step: npt.ArrayLike, values: npt.ArrayLike, *, smoothed: bool = False) -> SeriesView:
    """A view of numbers that are all there, over their steps alone."""
    steps = Steps()
    steps.extend(step, step, step)
    made = Series(steps, smoothed=smoothed)
    made.extend(values)
    return made.view()


def numbers(values: Sequence[object]) -> Array:
    """JSON values as numbers, of shape (n,): NaN for null, text, true and whatever else is none."""
    if set(map(type, values)) <= {int, float, type(None)}:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:  # an integer of hundreds of digits
            pass
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _finite(values: npt.ArrayLike) -> Array:
    """As floats, infinities made NaN."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)
