"""The 95 % interval of a mean of few values: Student's t, since three seeds say little about their own spread."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

_ROUNDS = 200


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Mean -/+ t * s / sqrt(n), s the sample's deviation; None below two values, which have none (Student 1908)."""
    if len(values) < 2:
        return None
    half = t_quantile(len(values) - 1, confidence) * stdev(values) / math.sqrt(len(values))
    middle = fmean(values)
    return middle - half, middle + half


def t_quantile(freedom: int, confidence: float = 0.95) -> float:
    """The t that |T| stays below with this probability, for whole degrees of freedom from 1 on: by bisection."""
    # cos(angle)^2 = freedom / (freedom + t^2): the angle is between 0 and a quarter turn for every t.
    low, high = 0.0, math.pi / 2
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(freedom, middle) < confidence else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(freedom: int, angle: float) -> float:
    """P(|T| < t) with angle = atan(t / sqrt(freedom)) (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for n in range(3 if odd else 2, freedom - 1, 2):
        term *= (n - 1) / n * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
