"""The numbers of a run over its steps, read from its events once, and made small enough to be drawn."""

from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlxllm.runs import Event, EventReader, bits_by_source

COLUMNS = 400
"""A curve is drawn with so many points at most, however many steps it has."""

_POLL_BYTES = 8 << 20
_NO_CURVE = frozenset({"kind", "time", "step", "non_finite"})
_SAMPLES_KEPT = 2000

Floats = NDArray[np.float64]


@dataclass
class Series:
    """One number over the steps; NaN where it was not finite."""

    steps: "array[float]" = field(default_factory=lambda: array("d"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, value: float | None) -> None:
        number = float("nan") if value is None else float(value)
        self.steps.append(step)
        self.values.append(number)

    @property
    def last(self) -> float | None:
        """The newest value that is a number."""
        return next((value for value in reversed(self.values) if value == value), None)


@dataclass(frozen=True)
class Told:
    """What a model wrote while it trained."""

    step: int
    prompt: str
    text: str


@dataclass
class Curves:
    """All that the events of a run say. Seconds are unix seconds."""

    train: dict[str, Series] = field(default_factory=dict)
    """Metric -> its curve, of `train` events."""
    val: dict[str, Series] = field(default_factory=dict)
    """The same of `val` events."""
    sources: dict[str, Series] = field(default_factory=dict)
    """Source -> bits per byte at each validation, where there are several sources."""
    samples: list[Told] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started: Event | None = None
    """The newest `run_started`."""
    attempts: int = 0
    first: float | None = None
    last: float | None = None
    generation: int = 0

    def add(self, event: Event) -> None:
        """Take one event, in order."""
        kind, step = event["kind"], event.get("step")
        at = event.get("time")
        if isinstance(at, (int, float)):
            self.first = at if self.first is None else self.first
            self.last = at
        if kind == "run_started":
            self.started, self.attempts = event, self.attempts + 1
        elif kind == "warning":
            self.warnings.append(str(event.get("message", "")))
        elif not isinstance(step, int):
            return
        elif kind == "train":
            _add_numbers(self.train, step, event)
        elif kind == "val":
            _add_numbers(self.val, step, event)
            for source, bits in bits_by_source(event).items():
                self.sources.setdefault(source, Series()).add(step, bits)
        elif kind == "sample" and not event.get("error") and len(self.samples) < _SAMPLES_KEPT:
            prompt, text = event.get("prompt"), event.get("text")
            if isinstance(prompt, str) and isinstance(text, str):
                self.samples.append(Told(step, prompt, text))


def read_curves(path: Path) -> Curves:
    """The curves of an events.jsonl; empty where there is none. Memory grows with the numbers, not with the text.

    Raises:
        RunError: the file cannot be read.
    """
    reader, curves = EventReader(path), Curves()
    while True:
        events = reader.poll(_POLL_BYTES)
        if reader.generation != curves.generation:  # a resume has cut the file meanwhile
            curves = Curves(generation=reader.generation)
        if not events:
            return curves
        for event in events:
            curves.add(event)


def _add_numbers(found: dict[str, Series], step: int, event: Mapping[str, Any]) -> None:
    for key, value in event.items():
        number = value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
        if number and key not in _NO_CURVE:
            with suppress(OverflowError):  # a whole number of hundreds of digits
                found.setdefault(key, Series()).add(step, value)


@dataclass(frozen=True)
class Envelope:
    """A curve in few points: what it ran between, and its mean. All have one shape."""

    steps: Floats
    low: Floats
    high: Floats
    mean: Floats

    @property
    def is_thinned(self) -> bool:
        """Whether a point stands for several steps."""
        return bool((self.low != self.high).any())


def envelope(series: Series, columns: int = COLUMNS) -> Envelope:
    """Lowest, highest and mean value of each of up to `columns` equal stretches of steps.

    No value outside of what is drawn is lost from sight: the highest and the lowest of all are in it. Values that are not
    finite are left out.
    """
    steps, values = np.asarray(series.steps, np.float64), np.asarray(series.values, np.float64)
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(steps) <= columns:
        return Envelope(steps, values, values, values)
    edges = np.unique(np.linspace(0, len(steps), columns + 1).astype(int)[:-1])
    sizes = np.diff([*edges, len(steps)])
    return Envelope(
        np.add.reduceat(steps, edges) / sizes,
        np.minimum.reduceat(values, edges),
        np.maximum.reduceat(values, edges),
        np.add.reduceat(values, edges) / sizes,
    )


def smoothed(values: Floats, share: float = 1 / 25) -> Floats:
    """The mean of each value and of those around it, a `share` of all; at the ends of as many as there are on both sides.

    It looks to both sides, so that the line lies where the values are also where they fall fast.
    """
    half = int(len(values) * share / 2)
    places = np.arange(len(values))
    reach = np.minimum(half, np.minimum(places, len(values) - 1 - places))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found: Floats = (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
    return found


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Up to `most` of the items, the first and the last among them, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]
