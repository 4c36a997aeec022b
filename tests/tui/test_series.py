import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.following import series as module
from tui.following.series import EMA_DECAY, Array, Axis, Series, SeriesView, Steps, numbers, series_of

some_floats = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=200)


def grown(values: list[float], cuts: list[int], steps: list[int] | None = None) -> SeriesView:
    """The values appended in pieces that end at `cuts`."""
    places, made = Steps(), None
    made = Series(places, smoothed=True)
    x = np.arange(len(values)) if steps is None else np.array(steps)
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for start, end in itertools.pairwise(edges):
        places.extend(x[start:end], x[start:end] * 10, x[start:end] * 0.5)
        made.extend(values[start:end])
    return made.view()


def plain_envelope(view: SeriesView, axis: Axis, x0: float, x1: float, columns: int) -> tuple[Array, Array, Array]:
    """Point by point, as the words say it."""
    edges = np.linspace(x0, x1, columns + 1)
    found = np.full((3, columns), np.nan)
    for at, (place, value) in enumerate(zip(view.steps[axis], view.values, strict=True)):
        if not x0 <= place <= x1:
            continue
        column = min(int(np.searchsorted(edges, place, side="right")) - 1, columns - 1)
        found[0, column] = np.fmin(found[0, column], value)
        found[1, column] = np.fmax(found[1, column], value)
        found[2, column] = view.smooth[at]
    return found[0], found[1], found[2]


@given(some_floats, st.lists(st.integers(0, 200), max_size=5))
def test_in_how_many_pieces_values_come_makes_no_difference(values: list[float], cuts: list[int]) -> None:
    whole, pieces = grown(values, []), grown(values, cuts)
    for one, other in (
        (whole.values, pieces.values),
        (whole.smooth, pieces.smooth),
        (whole.gaps, pieces.gaps),
        *zip(whole.lows, pieces.lows, strict=True),
        *zip(whole.highs, pieces.highs, strict=True),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-6)


@given(
    values=some_floats,
    gaps_between=st.lists(st.integers(0, 9), min_size=200, max_size=200),
    ends=st.tuples(st.floats(-10, 2000), st.floats(0.1, 2000)),
    columns=st.integers(1, 60),
    few=st.sampled_from([0, 8, 64, 4096]),
)
@settings(max_examples=200)
def test_the_envelope_is_that_of_every_point(
    values: list[float], gaps_between: list[int], ends: tuple[float, float], columns: int, few: int
) -> None:
    view = grown(values, [50, 51], list(np.cumsum(gaps_between[: len(values)])))
    x0, x1 = ends[0], ends[0] + ends[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", few)  # so that short lists go through the levels, too
        found = view.envelope("step", x0, x1, columns)
    low, high, last = plain_envelope(view, "step", x0, x1, columns)
    np.testing.assert_array_equal(found.low, low)
    np.testing.assert_array_equal(found.high, high)
    np.testing.assert_array_equal(found.last, last)


@given(st.integers(0, 70_000), st.integers(0, 70_000), st.integers(1, 400))
@settings(max_examples=40)
def test_the_envelope_through_all_levels(start: int, length: int, columns: int) -> None:
    view = LONG
    x0, x1 = float(start), float(start + length + 1)
    found = view.envelope("step", x0, x1, columns)
    bounds = np.searchsorted(view.steps["step"], np.linspace(x0, x1, columns + 1))
    bounds[-1] = np.searchsorted(view.steps["step"], x1, side="right")
    for column in range(columns):
        inside = view.values[bounds[column] : bounds[column + 1]]
        inside = inside[~np.isnan(inside)]
        assert (found.low[column], found.high[column]) == (inside.min(), inside.max()) if len(inside) else True
        assert bool(np.isnan(found.low[column])) == (len(inside) == 0)
    first, end = view.index_range("step", x0, x1)
    extent = view.extent(first, end)
    inside = view.values[first:end]
    assert extent == ((np.nanmin(inside), np.nanmax(inside)) if (~np.isnan(inside)).any() else None)


def _long() -> SeriesView:
    values = np.random.default_rng(1).normal(size=70_000)
    values[::97] = np.nan
    values[30_000:36_000] = np.nan  # a gap of more than a block of blocks
    return series_of(np.arange(70_000), values, smoothed=True)


LONG = _long()


@given(some_floats)
def test_the_smoothed_line_is_the_moving_mean_of_what_was_finite(values: list[float]) -> None:
    smooth = grown(values, [3, 90]).smooth
    mean, count, largest = math.nan, 0, 0.0
    for value, found in zip(values, smooth, strict=True):
        if not math.isnan(value):
            weight = max(1 - EMA_DECAY, 5 / (count + 5))
            mean = weight * value + (1 - weight) * (mean if count else value)
            count, largest = count + 1, max(largest, abs(value))
        assert found == pytest.approx(mean, rel=1e-9, abs=1e-9 * largest + 1e-300, nan_ok=True)


def test_the_smoothed_line_of_a_short_run_does_not_lag_behind_it() -> None:
    falling = np.linspace(8, 2, 30)
    smooth = series_of(range(30), falling, smoothed=True).smooth
    assert smooth[0] == 8
    assert np.abs(smooth - falling).max() < 0.2 * (8 - 2)


def test_non_finite_values_are_remembered_with_their_place() -> None:
    view = grown([1.0, math.nan, math.inf, 2.0, -math.inf], [2])
    assert view.gaps.tolist() == [1, 2, 4]
    assert view.gap_places("tokens", 0, 20).tolist() == [10, 20]
    assert view.gap_places("time", 1.5, 2.0).tolist() == [2.0]
    assert view.smooth[2] == view.smooth[1] == 1.0


def test_places_never_fall_whatever_a_clock_or_a_foreign_file_says() -> None:
    steps = Steps()
    steps.extend([1, 2, 2], [10, math.nan, 5], [0.5, 0.1, math.inf])
    steps.extend([1, 9], [20, 30], [-1, 2])
    view = steps.view()
    assert view["step"].tolist() == [1, 2, 2, 2, 9]
    assert view["tokens"].tolist() == [10, 10, 10, 20, 30]
    assert view["time"].tolist() == [0.5, 0.5, 0.5, 0.5, 2]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40).map(sorted), st.floats(-5, 25))
def test_nearest_is_nearest(places: list[int], place: float) -> None:
    view = grown([0.0] * len(places), [], places)
    found = view.nearest("step", place)
    assert found is not None
    assert abs(places[found] - place) == min(abs(other - place) for other in places)


def test_nothing_there_yet() -> None:
    view = grown([], [])
    assert view.span("step") is None
    assert view.nearest("step", 3) is None
    assert view.extent(0, 0) is None
    assert np.isnan(view.envelope("step", 0, 1, 10).last).all()


def test_a_view_stays_what_it_was_while_another_thread_appends() -> None:
    steps = Steps()
    made = Series(steps, smoothed=True)
    views: list[SeriesView] = []

    def append() -> None:
        for number in range(2000):
            steps.extend([number] * 7, [number] * 7, [number] * 7)
            made.extend([float(number)] * 7)
            views.append(made.view())

    writer = threading.Thread(target=append)
    writer.start()
    checked = 0
    while writer.is_alive() or checked < len(views):
        if checked == len(views):
            continue
        view = views[checked]
        checked += 1
        n = len(view)
        assert n == 7 * checked == len(view.steps["step"]) == len(view.smooth)
        assert view.values[-1] == checked - 1
        assert view.extent(0, n) == (0.0, checked - 1.0)
    writer.join()
    assert checked == 2000
    with pytest.raises(ValueError, match="read-only"):
        views[0].values[0] = 5.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, math.nan]),
        ([1.0, "2.5", True, [3], {}], [1.0, math.nan, math.nan, math.nan, math.nan]),
        ([10**400, 7], [math.nan, 7.0]),
        ([], []),
    ],
)
def test_json_values_as_numbers(values: list[object], expected: list[float]) -> None:
    np.testing.assert_array_equal(numbers(values), np.array(expected, dtype=float))
