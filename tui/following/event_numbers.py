"""Numbers of events as columns: of a batch that has just been read, and of all of them as series."""

import contextlib
from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from mlxllm.runs import Event
from tui.following.series import Array, Series, SeriesView, Steps, numbers

_MORE_KEYS = "rewards/"
"""Keys that begin so are taken along, whatever they are."""
_SMOOTHED = ("loss", "grad_norm", "tok_per_sec")


class Numbers:
    """The numbers of one kind of event, as series over shared steps."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self.steps = Steps()
        self.series: dict[str, Series] = {key: self._new(key) for key in keys}

    def _new(self, key: str) -> Series:
        return Series(self.steps, smoothed=key in _SMOOTHED or key.startswith(_MORE_KEYS))

    def add(self, table: "Table", tokens: Array, elapsed: Array) -> None:
        """Append the numbers of events, all of the same kind; their tokens and seconds of training beside them."""
        before = len(self.steps)
        for key in sorted(table.keys - self.series.keys()):
            if key.startswith(_MORE_KEYS):
                self.series[key] = series = self._new(key)
                series.extend(np.full(before, np.nan), False)
        self.steps.extend(table.numbers("step"), tokens, elapsed)
        for key, series in self.series.items():
            series.extend(table.numbers(key), table.holds(key))

    def views(self) -> dict[str, SeriesView]:
        """All series that hold a number; and the loss, which may hold nothing but gaps."""
        views = {key: series.view() for key, series in self.series.items()}
        return {key: view for key, view in views.items() if len(view) and (key == "loss" or view.extent(0, len(view)))}


class Table:
    """Events as columns; where all have the same keys, as steps do, they are taken apart at once."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        layout = tuple(events[0])
        self._columns: dict[str, tuple[object, ...]] | None = None
        if len(layout) > 1 and sum(map(len, events)) == len(layout) * len(events):
            with contextlib.suppress(KeyError):
                self._columns = dict(zip(layout, zip(*map(itemgetter(*layout), events), strict=True), strict=True))
        self.keys: frozenset[str] = frozenset(layout if self._columns is not None else set().union(*events))

    def numbers(self, key: str) -> Array:
        """The numbers under a key, of shape (n,); NaN where an event has none."""
        if key not in self.keys:
            return np.full(len(self._events), np.nan)
        return numbers(self._columns[key] if self._columns is not None else [e.get(key) for e in self._events])

    def holds(self, key: str) -> npt.ArrayLike:
        """Which events have the key at all."""
        if self._columns is not None or key not in self.keys:
            return key in self.keys
        return [key in event for event in self._events]
