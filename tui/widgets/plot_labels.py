"""What is written around the curves of a chart: axes with their ticks, and the numbers under the cursor."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np

from tui.following.series import Array, Axis
from tui.following.ticks import clock, log_labels, log_ticks, nice_ticks, short, tick_labels, time_ticks
from tui.widgets.canvas import Canvas, cells_of
from tui.widgets.scale import Scale
from tui.widgets.traces import AXIS, CURSOR, GAP, TEXT, TITLE, TROUBLE, Trace, Window


def sentence(whole: Canvas, title: str, sentence: str) -> None:
    """A sentence in the middle, in place of curves."""
    lines = textwrap.wrap(sentence, max(10, whole.width - 2)) or [""]
    whole.text(0, 0, f" {title} ", TITLE)
    first = max(1, (whole.height - len(lines)) // 2)
    for number, line in enumerate(lines):
        whole.text(max(0, (whole.width - len(line)) // 2), first + number, line, TEXT)


def values_axis(whole: Canvas, scale: Scale, left: int, top: int, height: int) -> None:
    """The axis at the left with its ticks."""
    count = max(2, height * 2 // 5)
    if scale.log:
        ticks = log_ticks(10**scale.low, 10**scale.high, count)
        labels = log_labels(ticks)
    else:
        ticks = nice_ticks(scale.low, scale.high, count)
        labels = tick_labels(ticks)
    plain = whole.marks == "ascii"
    for row in range(height):
        whole.text(left - 1, top + row, "|" if plain else "│", AXIS)
    for label, row in zip(labels, cells_of(scale(np.array(ticks)), whole.marks), strict=True):
        if 0 <= row < height:
            whole.text(max(0, left - 1 - len(label)), top + int(row), label[: left - 1], AXIS)
            whole.text(left - 1, top + int(row), "+" if plain else "┤", AXIS)


def places_axis(whole: Canvas, axis: Axis, span: tuple[float, float], left: int, row: int, gaps: Array) -> None:
    """The axis with its ticks, marks where values were not finite, and labels in the row below."""
    plain, width, (x0, x1) = whole.marks == "ascii", whole.width - left, span
    whole.text(left - 1, row, ("+" if plain else "└") + ("-" if plain else "─") * width, AXIS)
    count = max(2, width // 9)
    if axis == "time":
        ticks = time_ticks(x0, x1, count)
        labels = [clock(tick) for tick in ticks]
    else:
        ticks = [tick for tick in nice_ticks(x0, x1, count) if tick == int(tick)]
        labels = tick_labels(ticks)
    taken = -1
    whole.text(0, row + 1, axis[: left - 1], AXIS)
    for tick, label in zip(ticks, labels, strict=True):
        cell = left + min(int((tick - x0) / (x1 - x0) * width), width - 1)
        begin = min(max(cell - len(label) // 2, left), whole.width - len(label))
        if begin > taken:
            whole.text(begin, row + 1, label, AXIS)
            whole.text(cell, row, "+" if plain else "┴", AXIS)
            taken = begin + len(label)
    cells = left + np.minimum((gaps - x0) / (x1 - x0) * width, width - 1).astype(np.intp)
    whole.marks_at(cells, np.full_like(cells, row), GAP, TROUBLE)


def place_of(traces: Sequence[Trace], window: Window) -> float | None:
    """The place whose numbers are told: of the first curve's point at the cursor, or of its newest one."""
    first = next((trace.line for trace in traces if trace.line is not None and len(trace.line)), None)
    if first is None:
        return window.cursor
    at = len(first) - 1 if window.cursor is None else first.nearest(window.axis, window.cursor)
    assert at is not None
    return float(first.steps[window.axis][at])


def head(whole: Canvas, window: Window, traces: Sequence[Trace], *, numbers: bool = True) -> None:
    """Title, and the numbers at the cursor or the newest ones, unless these are told elsewhere."""
    x = whole.text(0, 0, f" {window.title} ", TITLE)
    place = place_of(traces, window)
    if place is not None:
        x = whole.text(x, 0, f" {_place(window.axis, place)} ", CURSOR if window.cursor is not None else TEXT)
    for trace in traces if numbers else ():
        several = len(traces) > 1
        words = numbers_at(trace, window.axis, place, several=several) if place is not None else []
        if several and words:
            words[0] = f" {trace.name} {words[0]}"
        for word in words:
            if x + len(word) + 1 <= whole.width:
                x = whole.text(x, 0, f" {word} ", trace.layer if several else TEXT)
    if x + len(window.keys) + 2 <= whole.width:
        whole.text(whole.width - len(window.keys), 0, window.keys, AXIS)


def numbers_at(trace: Trace, axis: Axis, place: float, *, several: bool) -> list[str]:
    """What a trace is worth at a place, in words, the more important ones first."""
    words = []
    line, points = trace.line, trace.points
    if line is not None and (at := line.nearest(axis, place)) is not None:
        value = line.values[at]
        words.append("not finite" if math.isnan(value) and at in line.gaps else short(float(value)))
        if line.smoothed and not several:
            words.append(f"mean {short(float(line.smooth[at]))}")
    if points is not None and points is not line and (at := points.nearest(axis, place)) is not None:
        word = f"{trace.letter.upper() or 'val'} {short(float(points.values[at]))}"
        other = float(points.steps[axis][at])
        words.append(word if other == place or several else f"{word} ({_place(axis, other)})")
    return words


def _place(axis: Axis, place: float) -> str:
    if axis == "time":
        return clock(place)
    return f"step {place:,.0f}" if axis == "step" else f"{short(place)} tokens"
