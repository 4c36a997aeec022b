"""A row of numbers as one line of marks."""

import itertools
from collections.abc import Sequence

from tui.marks import Marks

_LEVELS = {"braille": "⣀⣄⣤⣦⣶⣷⣿", "block": "▁▂▃▄▅▆▇█", "ascii": "_.-=^"}
"""Marks from low to high. Braille dots are filled from below, for terminals in which blocks leave gaps."""

_LARGE = 1e150


def sparkline(values: Sequence[float], width: int, marks: Marks) -> str:
    """The last of `values`, each mark the mean of an equal share of them, `width` marks wide at most.

    The scale goes from the least to the greatest mean; values that are all equal are drawn low.
    """
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite or width < 1:
        return ""
    width = min(width, len(finite))
    if max(map(abs, finite)) > _LARGE:  # else sums and differences of theirs are infinite
        finite = [value / _LARGE / len(finite) for value in finite]
    bounds = [round(i * len(finite) / width) for i in range(width + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    low, high = min(means), max(means)
    levels = _LEVELS[marks]
    span = (high - low) or 1.0
    return "".join(levels[round((mean - low) / span * (len(levels) - 1))] for mean in means)
