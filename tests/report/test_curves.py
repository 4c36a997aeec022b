"""Curves of a run, and that what is drawn of them leaves nothing important out."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.report.curves import COLUMNS, Curves, Series, envelope, read_curves, smoothed, spread
from mlxllm.report.plots import loss_plot, machine_plot
from mlxllm.runs import EventWriter

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=300)


def series(values: list[float]) -> Series:
    made = Series()
    for step, value in enumerate(values):
        made.add(step, value)
    return made


@given(VALUES, st.integers(1, 40))
def test_an_envelope_keeps_the_extremes_and_the_mean_of_everything(values: list[float], columns: int) -> None:
    found, numbers = envelope(series(values), columns), [v for v in values if v == v]
    assert len(found.steps) <= columns or len(numbers) <= columns
    if not numbers:
        assert len(found.steps) == 0
        return
    assert (found.low.min(), found.high.max()) == (min(numbers), max(numbers))
    assert (found.low <= found.mean + 1e-6).all()
    assert (found.mean <= found.high + 1e-6).all()
    assert (np.diff(found.steps) > 0).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200))
def test_a_smoothed_line_lies_within_the_values_and_begins_and_ends_with_them(values: list[float]) -> None:
    line = smoothed(np.array(values))
    assert (line >= min(values) - 1e-9).all()
    assert (line <= max(values) + 1e-9).all()
    assert line[0] == pytest.approx(values[0], abs=1e-9)
    assert line[-1] == pytest.approx(values[-1], abs=1e-9)


def test_a_straight_line_stays_where_it_is() -> None:
    values = np.linspace(5, 1, 500)
    np.testing.assert_allclose(smoothed(values), values)


@given(st.lists(st.integers(), max_size=50), st.integers(2, 20))
def test_a_spread_has_both_ends(items: list[int], most: int) -> None:
    found = spread(items, most)
    assert len(found) <= most
    assert not items or (found[0], found[-1]) == (items[0], items[-1])


def test_events_become_curves_whatever_else_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        writer.write("run_started", 0, max_steps=3)
        writer.write("train", 1, loss=2.0, tokens=8)
        writer.write("train", 2, loss=math.nan, tokens=16)
        writer.write("val", 2, loss=1.5, sources={"a": {"bits_per_byte": 1.0}, "b": {"bits_per_byte": 2.0}})
        writer.write("sample", 2, prompt="Hello", text=" there")
        writer.write("sample", 2, prompt="Hello", text="", error="no")
        writer.write("warning", 2, message="hot")
        writer.write("something new", 2, loss=9.0)
    with open(path, "ab") as file:
        file.write(b'not json\n{"kind":"train","step":3,"loss":1.0')
    curves = read_curves(path)
    assert list(curves.train["loss"].steps) == [1, 2]
    assert curves.train["loss"].last == 2.0
    assert {name: list(each.values) for name, each in curves.sources.items()} == {"a": [1.0], "b": [2.0]}
    assert [(told.step, told.text) for told in curves.samples] == [(2, " there")]
    assert curves.warnings == ["hot"]
    assert read_curves(tmp_path / "nowhere").train == {}


def test_a_run_of_a_million_steps_makes_a_small_picture_that_shows_its_one_spike() -> None:
    curves = Curves()
    steps = np.arange(1_000_000)
    loss = 1 + 5 * np.exp(-steps / 1e5) + 0.05 * np.sin(steps * 1.7)
    loss[654_321] = 40.0
    made = curves.train.setdefault("loss", Series())
    made.steps.extend(steps.tolist())
    made.values.extend(loss.tolist())
    plot = loss_plot([("long", curves)], "loss", "Loss", "nats a token")
    assert plot is not None
    assert len(plot.in_page()) < 150_000
    found = envelope(made)
    assert len(found.steps) == COLUMNS
    assert found.high.max() == 40.0


def test_equal_numbers_give_equal_files_and_nothing_to_draw_gives_none() -> None:
    curves = Curves()
    for key in ("loss", "tok_per_sec", "footprint"):
        curves.train[key] = series([3.0, 2.0, 1.0])
    first, second = (machine_plot(curves, "machine", "Speed") for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.svg() == second.svg()
    assert first.png() == second.png()
    assert first.in_page() == second.in_page()
    assert loss_plot([("none", Curves())], "loss", "Loss", "nats") is None
    curves.train = {"loss": series([math.nan, math.nan])}
    assert loss_plot([("none", curves)], "loss", "Loss", "nats") is None
