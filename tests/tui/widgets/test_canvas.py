import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from tui.marks import Marks
from tui.widgets.canvas import DOTS_PER_CELL, Canvas

STYLES = [Style(color="red"), Style(color="green"), Style(color="blue")]
every_mark = pytest.mark.parametrize("marks", ["braille", "block", "ascii"])


def rows(canvas: Canvas) -> list[str]:
    return [strip.text for strip in canvas.strips(STYLES, Style())]


def dots_of(canvas: Canvas) -> np.ndarray:
    """The dots that braille characters show."""
    found = np.zeros((canvas.rows, canvas.columns), dtype=bool)
    bits = {(0, 0): 1, (1, 0): 2, (2, 0): 4, (0, 1): 8, (1, 1): 16, (2, 1): 32, (3, 0): 64, (3, 1): 128}
    for y, text in enumerate(rows(canvas)):
        for x, character in enumerate(text):
            code = ord(character) - 0x2800 if character != " " else 0
            for (row, column), bit in bits.items():
                found[4 * y + row, 2 * x + column] = bool(code & bit)
    return found


@given(st.integers(1, 6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_braille_shows_exactly_the_dots(width: int, height: int, random: object) -> None:
    canvas = Canvas(width, height, "braille")
    mask = np.array([[random.random() < 0.4 for _ in range(canvas.columns)] for _ in range(canvas.rows)])  # type: ignore[attr-defined]
    canvas.dots(mask, 0)
    np.testing.assert_array_equal(dots_of(canvas), mask)


@pytest.mark.parametrize(
    ("marks", "expected"),
    [("braille", ["⠁⢀"]), ("block", ["▘▗"]), ("ascii", ["'."])],
)
def test_corners(marks: Marks, expected: list[str]) -> None:
    canvas = Canvas(2, 1, marks)
    mask = np.zeros((canvas.rows, canvas.columns), dtype=bool)
    mask[0, 0] = mask[-1, -1] = True
    canvas.dots(mask, 0)
    assert rows(canvas) == expected


def test_a_later_layer_has_the_cell_to_itself() -> None:
    canvas = Canvas(2, 1, "braille")
    canvas.dots(np.ones((4, 4), dtype=bool), 0)
    top = np.zeros((4, 4), dtype=bool)
    top[0, 0] = True
    canvas.dots(top, 1)
    (strip,) = canvas.strips(STYLES, Style())
    assert [(s.text, s.style) for s in strip] == [("⠁", STYLES[1]), ("⣿", STYLES[0])]


def test_a_curve_is_joined_from_column_to_column() -> None:
    canvas = Canvas(3, 2, "braille")
    canvas.line(np.array([0.0, 7.0, 7.0, np.nan, 2.0, 2.0]), 0)
    dots = dots_of(canvas)
    assert dots[:, 0].tolist() == [True] + [False] * 7
    assert dots[:, 1].tolist() == [False] + [True] * 7
    assert dots[:, 2].tolist() == [False] * 7 + [True]
    assert not dots[:, 3].any()
    assert dots[:, 4].tolist() == [False, False, True, False, False, False, False, False]


def test_a_dashed_curve_has_holes_and_an_ascii_curve_is_not_an_area() -> None:
    canvas = Canvas(12, 1, "ascii")
    canvas.line(np.zeros(12), 0, dashed=True)
    assert rows(canvas) == ["** ** ** ** "]
    canvas = Canvas(4, 1, "ascii")
    canvas.area(np.zeros(4), np.ones(4), 0)
    assert rows(canvas) == ["::::"]


def test_an_area_has_firm_edges_and_no_dots_where_there_is_nothing() -> None:
    canvas = Canvas(2, 2, "braille")
    canvas.area(np.array([1.0, 1, np.nan, 3]), np.array([6.0, 6, np.nan, 3]), 0)
    dots = dots_of(canvas)
    assert dots[[1, 6]][:, :2].all()
    assert not dots[[0, 7]].any()
    assert not dots[:, 2].any()
    assert np.flatnonzero(dots[:, 3]).tolist() == [3]


@every_mark
@given(
    width=st.integers(1, 30),
    height=st.integers(1, 5),
    texts=st.lists(st.tuples(st.integers(-3, 40), st.integers(-2, 7), st.text(max_size=12)), max_size=8),
)
def test_whatever_is_written_each_row_stays_as_wide_as_the_canvas(
    marks: Marks, width: int, height: int, texts: list[tuple[int, int, str]]
) -> None:
    canvas = Canvas(width, height, marks)
    canvas.upright(canvas.columns - 1, 1)
    for x, y, text in texts:
        canvas.text(x, y, text, 0)
        canvas.marks_at(np.array([x]), np.array([y]), "o", 2)
    strips = canvas.strips(STYLES, Style())
    assert len(strips) == height
    for strip in strips:
        assert cell_len(strip.text) == width == strip.cell_length


def test_wide_characters_and_control_characters() -> None:
    canvas = Canvas(8, 1, "ascii")
    assert canvas.text(0, 0, "日\x1b[本x", 0) == 6
    assert rows(canvas) == ["日[本x  "]
    canvas.text(1, 0, "a", 0)
    assert rows(canvas) == [" a[本x  "]


def test_the_upright_line_is_behind_what_is_there() -> None:
    canvas = Canvas(1, 2, "ascii")
    canvas.text(0, 0, "x", 0)
    canvas.upright(0, 1)
    assert rows(canvas) == ["x", "'"]


@every_mark
def test_dots_of_a_cell(marks: Marks) -> None:
    canvas = Canvas(5, 3, marks)
    assert (canvas.columns, canvas.rows) == (5 * DOTS_PER_CELL[marks][0], 3 * DOTS_PER_CELL[marks][1])
