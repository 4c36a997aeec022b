import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.widgets import Static

from tui.following.series import AXES, Axis, Series, SeriesView, Steps, series_of
from tui.marks import Marks
from tui.themes import THEMES
from tui.widgets.chart import Chart
from tui.widgets.legend import shortened
from tui.widgets.plot import draw
from tui.widgets.traces import LAYERS, Trace, Window, span_of

every_mark = pytest.mark.parametrize("marks", ["braille", "block", "ascii"])
STYLES = [Style(color=f"color({n})") for n in range(len(LAYERS))]


def falling(n: int, *, nonfinite: Sequence[int] = (), first: int = 1) -> SeriesView:
    values = 1 + 6 * np.exp(-np.arange(n) / (n / 5)) + 0.1 * np.sin(np.arange(n) * 12.9898)
    values[list(nonfinite)] = np.nan
    steps = Steps()
    at = np.arange(first, first + n)
    steps.extend(at, at * 1024, at * 0.1)
    series = Series(steps, smoothed=True)
    series.extend(values)
    return series.view()


def picture(
    *traces: Trace,
    size: tuple[int, int] = (80, 20),
    marks: Marks = "ascii",
    axis: Axis = "step",
    log: bool = False,
    cursor: float | None = None,
    span: tuple[float, float] | None = None,
    empty: str = "no steps yet",
) -> list[str]:
    window = Window("loss", axis, span or span_of(traces, axis), log, cursor, empty)
    drawn = draw(traces, window, size, marks, STYLES, Style())
    for strip in drawn.strips:
        assert cell_len(strip.text) == max(1, size[0])
    return [strip.text for strip in drawn.strips]


VALIDATION = series_of([100, 200, 300], [3.0, 2.0, 1.5])
RUN = Trace("first", falling(300), VALIDATION, band=True)


@every_mark
@given(
    size=st.tuples(st.integers(0, 120), st.integers(0, 40)),
    values=st.lists(st.floats(-1e300, 1e300) | st.just(math.nan), max_size=30),
    axis=st.sampled_from(AXES),
    log=st.booleans(),
    cursor=st.none() | st.floats(-10, 40),
)
@settings(max_examples=60)
def test_any_values_in_any_size(
    marks: Marks, size: tuple[int, int], values: list[float], axis: Axis, log: bool, cursor: float | None
) -> None:
    view = series_of(range(len(values)), values, smoothed=True)
    traces = Trace("日本\x1b", view, view, band=True), Trace("b", view, letter="b", dashed=True, colour=9)
    lines = picture(*traces, size=size, marks=marks, axis=axis, log=log, cursor=cursor)
    assert len(lines) == max(1, size[1])


@every_mark
@pytest.mark.parametrize("size", [(20, 5), (300, 80), (1, 1), (11, 3)])
def test_from_small_to_large(marks: Marks, size: tuple[int, int]) -> None:
    lines = picture(RUN, size=size, marks=marks)
    assert len(lines) == size[1]
    if size[1] >= 5:
        assert "step 300" in lines[0]
        assert any("o" in line for line in lines[1:])


def test_what_a_chart_shows() -> None:
    lines = picture(RUN)
    assert re.match(r" loss  step 300  1\.\d\d  mean 1\.\d\d  val 1\.50", lines[0])
    assert lines[1].split() == ".: every step ** mean o validation".split()
    assert "".join(lines[2:18]).count("o") == 3
    assert "*" in lines[2] + lines[3]
    assert re.match(r"step +50 +100 +150 +200 +250 +300", lines[-1])
    assert {"2+", "4+", "6+"} <= {line[5:7] for line in lines}


def test_validation_marks_stand_at_their_step_and_value() -> None:
    flat = series_of([0, 100], [0.0, 10.0])
    lines = picture(Trace("v", points=series_of([0, 50, 100], [0.0, 5.0, 10.0])), Trace("x", line=flat), size=(107, 24))
    plot = [line[7:] for line in lines[2:-2]]
    at = [(row.index("o"), number) for number, row in enumerate(plot) if "o" in row]
    assert [x for x, _ in at] == [99, 50, 0]
    assert [y for _, y in at] == [0, 10, 19]


def test_not_finite_steps_break_the_line_and_are_marked_on_the_axis() -> None:
    lines = picture(Trace("a", falling(200, nonfinite=range(100, 120)), band=True), size=(87, 20))
    assert "not finite" in lines[1]
    axis = lines[-2][7:]
    assert {number for number, mark in enumerate(axis) if mark == "!"} == set(range(40, 48))
    broken = [line[7:][42:45] for line in lines[2:-2]]
    assert set("".join(broken)) == {" "}
    assert "not finite" in picture(Trace("a", falling(200, nonfinite=[150])), cursor=151.0)[0]


def test_a_spike_is_cut_off_with_a_mark_and_does_not_flatten_the_rest() -> None:
    view = falling(2000)
    values = view.values.copy()
    values[1500] = 4000.0
    for smoothed in (True, False):
        lines = picture(Trace("a", series_of(view.steps["step"], values, smoothed=smoothed), band=True))
        assert 1 <= lines[2].count("^") <= 5
        assert {"2+", "4+", "6+"} <= {line[5:7] for line in lines}


def test_logarithmic_values() -> None:
    view = series_of(range(100), 10.0 ** -np.linspace(0, 5, 100))
    lines = picture(Trace("a", view), log=True)
    assert {"   1+", " 0.1+", "0.01+", "1e-5+"} <= {line[1:7].lstrip(" ").rjust(5) for line in lines}
    nothing = picture(Trace("a", series_of(range(5), [-1.0] * 5)), log=True)
    assert "no value above 0" in " ".join(nothing)


@pytest.mark.parametrize(
    ("axis", "labels", "read"),
    [
        ("step", ["100", "200", "300"], "step 300"),
        ("tokens", ["100k", "200k", "300k"], "307k tokens"),
        ("time", ["10s", "20s", "30s"], "30s"),
    ],
)
def test_axes(axis: Axis, labels: list[str], read: str) -> None:
    lines = picture(Trace("a", falling(300)), axis=axis)
    assert lines[-1].split()[0] == axis
    assert set(labels) <= set(lines[-1].split())
    assert read in lines[0]


def test_several_runs_are_told_apart_without_colour() -> None:
    other = Trace("second", falling(300), series_of([150], [4.0]), letter="b", colour=1)
    baseline = Trace("third", series_of([1, 300], [6.0, 6.0]), letter="c", dashed=True, colour=2)
    lines = picture(RUN, other, baseline)
    assert re.search(r"\*\* first 1\.\d+ val 1\.50 +\*\*b second 1\.\d+ B 4\.00", lines[1])
    assert re.search(r"B 4\.00 +\* \*c third 6\.00 *$", lines[1])
    assert lines[2].split() == ".: every step o validation".split()
    assert re.match(r" loss  step 300 +$", lines[0])
    plot = "".join(lines[3:-2])
    assert plot.count("B") == 1
    assert plot.count("c") >= 3
    assert re.search(r"\*\* \*\*|c \*\*|\*\* c", plot)
    low = picture(RUN, other, baseline, size=(80, 8))  # no room for a legend
    assert re.search(r"first 1\.\d+  val 1\.50 +second 1\.\d+  B 4\.00 +third 6\.00", low[0])


def test_a_run_beside_it_is_in_the_picture_where_its_values_are_others() -> None:
    small = Trace("small", series_of(range(1, 101), np.linspace(0.9, 0.4, 100)), band=True)
    large = Trace("large", series_of(range(1, 301), np.linspace(7.0, 2.0, 300)), letter="a")
    for traces in ((small, large), (large, small)):
        lines = picture(*traces)
        assert "^" not in "".join(lines)
        assert {"2+", "4+", "6+"} <= {line[5:7] for line in lines}


def test_many_runs_with_long_names_are_told_apart_as_far_as_there_is_room() -> None:
    names = [f"a-rather-long-name-of-a-run-number-{n}" for n in range(8)]
    letters = ["", *"abcdefg"]
    traces = [Trace(name, falling(300), letter=letter) for name, letter in zip(names, letters, strict=True)]
    roomy = picture(*traces, size=(200, 40))
    assert all(name in "".join(roomy[1:8]) for name in names)
    narrow = "".join(picture(*traces, size=(70, 20))[1:4])
    assert all(re.search(rf"\*\*{letter} a-\.\.mber-{n} 1\.\d\d", narrow) for n, letter in enumerate(letters))
    low = picture(*traces, size=(60, 9))
    assert re.search(r"\*\* a-\.\.mber-0 1\.\d+ +\*\*a a-\.\.mber-1 1\.\d+ +\+ 6 more", low[1])
    assert shortened("日本語の長い名前" * 3, 10, "braille").endswith("い名前")
    assert cell_len(shortened("日本語の長い名前" * 3, 10, "braille")) <= 10


def test_without_points_a_sentence() -> None:
    assert "no steps yet" in " ".join(picture(size=(60, 10)))
    assert "no steps yet" in " ".join(picture(Trace("a", falling(0)), size=(60, 10)))
    only_gaps = picture(Trace("a", series_of([1, 2], [math.nan, math.inf])), size=(60, 10))
    assert "no steps yet" in " ".join(only_gaps)


def test_a_single_point_is_seen() -> None:
    assert "*" in "".join(picture(Trace("a", series_of([7], [2.0])))[2:-2])


def test_the_line_goes_on_to_the_edges_when_zoomed_between_points() -> None:
    view = series_of([0, 100], [0.0, 10.0])
    row = "".join(picture(Trace("a", view), span=(40.0, 60.0), size=(47, 12))[2:-2])
    assert row.count("*") >= 40


class ChartApp(App[None]):
    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart
        for theme in THEMES:
            self.register_theme(theme)

    def compose(self) -> ComposeResult:
        yield self.chart
        yield Static("below", id="below")


def chart_of(*traces: Trace, marks: Marks = "ascii") -> Chart:
    chart = Chart("loss", marks=marks)
    chart.traces = traces
    return chart


def shown(app: ChartApp) -> str:
    return "\n".join(app.chart.render_line(y).text for y in range(app.chart.size.height))


async def test_keys_zoom_pan_fit_and_follow() -> None:
    chart = chart_of(Trace("a", falling(1000)))
    app = ChartApp(chart)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.focus()
        await pilot.press("plus")
        assert chart.window == (500.5, 1000.0)
        chart.traces = [Trace("a", falling(1100))]
        assert chart.window == (600.5, 1100.0)  # the newest steps stay in sight
        await pilot.press("left")
        assert not chart.following
        window = chart.window
        chart.traces = [Trace("a", falling(1200))]
        assert chart.window == window
        await pilot.press("end")
        assert chart.following
        assert chart.window == (700.5, 1200.0)
        await pilot.press("f")
        assert chart.window == (1.0, 1200.0)
        for _ in range(20):
            chart.action_zoom(1)
        assert chart.window is not None
        assert chart.window[1] - chart.window[0] == 4.0
        for _ in range(20):
            chart.action_zoom(-1)
        assert chart.window == (1.0, 1200.0)
        await pilot.press("right", "left")
        assert chart.window == (1.0, 1200.0)


async def test_the_cursor_reads_values() -> None:
    chart = chart_of(Trace("a", series_of(range(1, 11), range(10, 110, 10))))
    app = ChartApp(chart)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.focus()
        assert "step 10  100" in shown(app)
        await pilot.press("left_square_bracket")
        assert chart.cursor == 10
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert "step 8  80.0" in shown(app)
        await pilot.press("right_square_bracket")
        assert "step 9  90.0" in shown(app)
        for _ in range(30):
            chart.action_read(-1)
        assert "step 1  10.0" in shown(app)
        await pilot.press("f")
        assert "step 10  100" in shown(app)


async def test_the_cursor_moves_by_columns_where_points_are_dense_and_takes_the_picture_along() -> None:
    chart = chart_of(Trace("a", falling(100_000)))
    app = ChartApp(chart)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.focus()
        shown(app)
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert chart.cursor == pytest.approx(100_000 - 100_000 / 73, rel=0.001)
        await pilot.press("plus", "plus", "plus", "plus")
        assert chart.window is not None
        assert chart.window[0] < chart.cursor < chart.window[1]
        for _ in range(50):
            chart.action_read(-1)
        assert chart.window[0] <= chart.cursor <= chart.window[1]


async def test_mouse_hover_and_wheel() -> None:
    chart = chart_of(Trace("a", series_of(range(101), range(101))))
    app = ChartApp(chart)
    async with app.run_test(size=(80, 20)) as pilot:
        shown(app)
        await pilot.hover(Chart, offset=(7 + 36, 8))
        assert chart.cursor == pytest.approx(50, abs=1)
        assert "step 50" in shown(app)
        await pilot.hover("#below")
        await pilot.pause()
        assert chart.cursor is None
        wheel = {"x": 43, "y": 8, "delta_x": 0, "delta_y": 0, "button": 0, "shift": False, "meta": False}
        chart.on_mouse_scroll_up(events.MouseScrollUp(chart, ctrl=True, **wheel))  # type: ignore[arg-type]
        assert chart.window == pytest.approx((10, 90), abs=1)
        sideways = wheel | {"shift": True}
        chart.on_mouse_scroll_up(events.MouseScrollUp(chart, ctrl=False, **sideways))  # type: ignore[arg-type]
        assert chart.window == pytest.approx((0, 80), abs=1)
        chart.on_mouse_scroll_right(events.MouseScrollRight(chart, ctrl=False, **wheel))  # type: ignore[arg-type]
        assert chart.window == pytest.approx((20, 100), abs=1)
        await pilot.mouse_down(Chart, offset=(7 + 10, 8))
        await pilot.hover(Chart, offset=(7 + 10 + 9, 8))  # an eighth of the width
        assert chart.window == pytest.approx((10, 90), abs=1)
        await pilot.mouse_up(Chart, offset=(7 + 10 + 9, 8))
        await pilot.hover(Chart, offset=(7 + 36, 8))
        assert chart.window == pytest.approx((10, 90), abs=1)
        chart.on_mouse_scroll_down(events.MouseScrollDown(chart, ctrl=False, **wheel))  # type: ignore[arg-type]
        assert chart.window == (0, 100)


async def test_another_axis_or_scale_or_theme_is_drawn_anew() -> None:
    chart = chart_of(RUN)
    app = ChartApp(chart)
    async with app.run_test(size=(80, 20)) as pilot:
        before = shown(app)
        chart.log_scale = True
        assert shown(app) != before
        chart.log_scale = False
        chart.axis = "time"
        assert shown(app).splitlines()[-1].startswith("time")
        colours = []
        for theme in ("daylight", "contrast"):
            app.theme = theme
            await pilot.pause()
            colours.append(
                {segment.style.color for y in range(20) for segment in chart.render_line(y) if segment.style}
            )
        assert colours[0] != colours[1]


async def test_keys_do_nothing_bad_without_points() -> None:
    app = ChartApp(chart_of())
    async with app.run_test(size=(40, 10)) as pilot:
        app.chart.focus()
        await pilot.press("plus", "minus", "left", "right", "f", "end", "left_square_bracket", "right_square_bracket")
        assert "nothing to show yet" in shown(app)
        app.chart.traces = [Trace("a", series_of([3], [1.0]))]
        await pilot.press("plus", "minus", "left", "right", "end", "left_square_bracket", "right_square_bracket", "f")
        assert "step 3" in shown(app)
