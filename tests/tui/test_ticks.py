import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.following.ticks import clock, log_labels, log_ticks, nice_ticks, short, tick_labels, time_ticks

spans = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(spans, st.integers(1, 30))
def test_ticks_lie_within_at_equal_distances_and_are_not_too_many(span: tuple[float, float], count: int) -> None:
    low, high = span
    ticks = nice_ticks(low, high, count)
    edge = (high - low) * 1e-6 + abs(high) * 1e-9
    assert all(low - edge <= tick <= high + edge for tick in ticks)
    assert len(ticks) <= count + 1
    distances = [b - a for a, b in itertools.pairwise(ticks)]
    assert all(distance == pytest.approx(distances[0], rel=1e-6, abs=edge) for distance in distances)


@given(st.floats(-8, 8), st.floats(0.01, 12), st.integers(2, 20))
def test_ticks_of_a_logarithmic_scale(exponent: float, decades: float, count: int) -> None:
    low, high = 10**exponent, 10 ** (exponent + decades)
    ticks = log_ticks(low, high, count)
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(ticks)
    assert len(ticks) <= count + 1
    labels = log_labels(ticks)
    assert len(set(labels)) == len(labels)


@given(st.floats(0, 1e6), st.floats(0.01, 3e7), st.integers(1, 20))
def test_ticks_of_time_are_never_too_many(low: float, width: float, count: int) -> None:
    ticks = time_ticks(low, low + width, count)
    assert len(ticks) <= count + 1
    slack = 1e-3 + 1e-8 * width
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)


@given(spans, st.integers(2, 15))
def test_no_two_ticks_have_the_same_label(span: tuple[float, float], count: int) -> None:
    # Where a float has no digits left to tell them apart, nobody can.
    if span[1] - span[0] > 1e-4 * max(map(abs, span)):
        labels = tick_labels(nice_ticks(*span, count))
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0, 500, 1000, 1500], ["0", "500", "1,000", "1,500"]),
        ([0, 20_000, 40_000], ["0", "20k", "40k"]),
        ([990_000, 995_000, 1_000_000], ["990k", "995k", "1,000k"]),
        ([0, 1_500_000, 3_000_000], ["0", "1.5M", "3.0M"]),
        ([0.7, 0.705, 0.71], ["0.700", "0.705", "0.710"]),
        ([-2, 0, 2], ["-2", "0", "2"]),
        ([2e-4, 4e-4], ["2e-4", "4e-4"]),
        ([], []),
    ],
)
def test_labels(ticks: list[float], labels: list[str]) -> None:
    assert tick_labels(ticks) == labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.699, "0.699"),
        (0.7, "0.700"),
        (0.05, "0.05"),
        (0.001, "0.001"),
        (7.634, "7.63"),
        (100.0, "100"),
        (1581, "1.6k"),
        (999.6, "1.0k"),
        (3.4e6, "3.4M"),
        (2.5e-4, "2.5e-4"),
        (-0.00012, "-1.2e-4"),
        (0, "0"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1.5, "1.5s"),
        (45, "45s"),
        (59.7, "1m"),
        (200, "3m20"),
        (3900, "1h05"),
        (183_600, "2d03h"),
        (-45, "-45s"),
        (math.nan, "-"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [([1e-5, 0.01, 1], ["1e-5", "0.01", "1"]), ([1, 20, 1000], ["1", "20", "1k"]), ([0.7, 0.72], ["0.70", "0.72"])],
)
def test_labels_of_a_logarithmic_scale(ticks: list[float], labels: list[str]) -> None:
    assert log_labels(ticks) == labels
