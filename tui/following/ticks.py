"""Numbers as people read them beside a chart: short, round where they may be, and told apart from their neighbours."""

import itertools
import math
from collections.abc import Sequence

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Distances that a clock divides well."""
_ROUNDS_UP = 0.9995
"""From this share of a power of ten on, three digits show the power itself."""


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from `low` to `high` at equal distances (1, 2 or 5 times a power of ten), about `count` of them."""
    if not high > low:
        return [low]
    step = _nice_step((high - low) / max(1, count))
    return _multiples(step, low, high)


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from `low` to `high`, both above 0, for an axis of logarithms; about `count` of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    for factors in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**e for e in range(first, last + 1) for f in factors if low <= f * 10.0**e <= high]
        if len(found) <= count:
            # Less than a decade may hold hardly one of them.
            return found if len(found) >= 2 or decades > 1 else nice_ticks(low, high, count)
    every = max(1, math.ceil(decades / max(1, count)))
    return [10.0**e for e in range(first, last + 1) if e % every == 0 and low <= 10.0**e <= high]


def time_ticks(low: float, high: float, count: int) -> list[float]:
    """Seconds from `low` to `high` at distances that a clock divides well, about `count` of them."""
    if not high > low:
        return [low]
    wanted = (high - low) / max(1, count)
    if wanted < 1:
        return nice_ticks(low, high, count)
    days = _nice_step(wanted / 86400) * 86400
    return _multiples(next((float(s) for s in _SECONDS if s >= wanted), days), low, high)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels with as many digits as tell the ticks apart: 0, 500, 1k, 1.5k; 2e-4."""
    largest = max((abs(t) for t in ticks), default=0.0)
    gaps = [abs(b - a) for a, b in itertools.pairwise(ticks) if b != a]
    finest = min(gaps, default=largest) or 1.0
    if 0 < largest < 1e-3:
        digits = math.ceil(math.log10(largest / finest) - 1e-9) + 1
        return [short(t, digits) for t in ticks]
    # A unit only where it makes labels shorter: 20k and 1.5M, but 1,200, and 990k rather than 0.990M.
    scale, unit = 1.0, ""
    if largest >= 10_000:
        scale, unit = next(
            (s, u) for s, u in (*_UNITS, (1.0, "")) if largest >= s and (_digits(finest / s) <= 1 or s == 1)
        )
    digits = _digits(finest / scale)
    return [f"{t / scale:,.{digits}f}{unit}" if t else "0" for t in ticks]


def log_labels(ticks: Sequence[float]) -> list[str]:
    """Labels for an axis of logarithms, each as short as it can be: 1e-5, 0.01, 1, 20, 1k."""
    if any(t != float(f"{t:.0e}") for t in ticks):
        return tick_labels(ticks)
    return [short(t, 1) for t in ticks]


def short(value: float, digits: int = 3) -> str:
    """A number with about `digits` digits that count: 0.699, 12.3, 1.2k, 3.4M, 2.5e-4; "-" for none."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    for scale, unit in _UNITS:
        if size >= scale * _ROUNDS_UP:
            return _significant(value / scale, digits - 1) + unit
    return _significant(value, digits)


def clock(seconds: float) -> str:
    """A length of time: 45s, 3m20, 1h05, 2d03h; below ten seconds with a decimal where it has one."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 0:
        return "-" + clock(-seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}" if whole % 60 else f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _significant(value: float, digits: int) -> str:
    before = math.floor(math.log10(abs(value) / _ROUNDS_UP)) + 1
    text = f"{value:.{max(0, digits - before)}f}"
    return text.rstrip("0") if before < 0 else text  # 0.05, but 0.700: a number that is watched keeps its width


def _nice_step(rough: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= rough * (1 - 1e-9))


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded to the step's own digits: 0.30000000000000004 is 0.3.
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(first, last + 1)]


def _digits(step: float) -> int:
    """Digits behind the point that tell multiples of `step` apart."""
    for digits in range(12):
        if abs(round(step, digits) - step) < step * 1e-6:
            return digits
    return 12
