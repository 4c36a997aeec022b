"""The table of any number of rows: the cursor stays on its row, and only what is in sight is made."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tests.tui.harness import screen_text
from tui.widgets.rows import Column, Rows, fitted

COLUMNS = (Column("name", 10, grows=True), Column("number", 6, right=True, rank=1), Column("word", 8, rank=2))


class TableApp(App[None]):
    """A table alone."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.moved = self.opened = 0

    def cells(self, key: str) -> list[str]:
        """Three cells."""
        self.made.append(key)
        return [key, "12", "日本語日本語"]

    def compose(self) -> ComposeResult:
        yield Rows(COLUMNS, self.cells)

    def on_rows_moved(self) -> None:
        """Count."""
        self.moved += 1

    def on_rows_opened(self) -> None:
        """Count."""
        self.opened += 1


def table(pilot: Pilot[Any]) -> Rows:
    return pilot.app.query_one(Rows)


async def test_ten_thousand_rows_cost_what_is_in_sight() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        table(pilot).set_rows([f"row {n}" for n in range(10_000)])
        await pilot.pause()
        assert len(set(app.made)) == 11
        await pilot.press("end")
        await pilot.pause()
        assert "> row 9999" in screen_text(app)
        assert len(set(app.made)) == 22
        await pilot.press("pageup", "up")
        await pilot.pause()
        assert table(pilot).key == "row 9988"
        assert "> row 9988" in screen_text(app)
        assert screen_text(app).startswith("  name"), "the header stays"
        assert app.moved == 4


async def test_the_cursor_stays_on_its_row_at_its_height() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        rows = [f"row {n}" for n in range(100)]
        table(pilot).set_rows(rows)
        table(pilot).move_to("row 50")
        await pilot.pause()
        line = screen_text(app).splitlines().index(next(x for x in screen_text(app).splitlines() if x.startswith(">")))
        moved = app.moved
        table(pilot).set_rows(["new", *rows])
        await pilot.pause()
        assert table(pilot).key == "row 50"
        assert screen_text(app).splitlines()[line].startswith("> row 50")
        assert app.moved == moved
        table(pilot).set_rows(["new", *(row for row in rows if row != "row 50")])
        await pilot.pause()
        assert table(pilot).key == "row 51"
        assert app.moved == moved + 1
        table(pilot).set_rows([])
        await pilot.pause()
        assert table(pilot).key is None
        assert app.moved == moved + 2
        await pilot.press("down", "end", "pageup")
        assert table(pilot).key is None
        assert not table(pilot).move_to("row 1")


async def test_nothing_stands_behind_the_scroll_bar() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        for number in (5, 50):
            table(pilot).set_rows([f"row {n}" for n in range(number)])
            await pilot.pause()
            line = app.screen._compositor.render_strips()[2]
            assert line.crop(0, table(pilot).scrollable_content_region.width).text.rstrip().endswith("…")
        assert table(pilot).scrollable_content_region.width < 40


async def test_clicks() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 12)) as pilot:
        table(pilot).set_rows(["a", "b"])
        await pilot.click(Rows, offset=(3, 2))
        assert table(pilot).key == "b"
        await pilot.click(Rows, offset=(3, 9))
        await pilot.click(Rows, offset=(3, 0))
        assert table(pilot).key == "b"
        await pilot.click(Rows, offset=(3, 1), times=2)
        await pilot.pause()
        assert table(pilot).key == "a"
        assert app.opened == 1


@pytest.mark.parametrize("width", [20, 30, 40, 80])
async def test_wide_characters_keep_the_columns(width: int) -> None:
    app = TableApp()
    async with app.run_test(size=(width, 6)) as pilot:
        table(pilot).set_rows(["日本語日本語日本語日本語", "plain"])
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {width}


@given(
    st.lists(st.builds(Column, st.just("x"), st.integers(1, 30), rank=st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 200),
)
def test_what_is_shown_fits_or_cannot_be_left_out(columns: list[Column], width: int) -> None:
    widths = fitted(columns, width)
    shown = [column for column, room in zip(columns, widths, strict=True) if room]
    assert sum(widths) + 2 * (len(shown) - 1) <= width or not any(column.rank for column in shown)
    hidden = [column for column, room in zip(columns, widths, strict=True) if not room]
    if hidden:
        assert all(column.rank for column in hidden)
        assert min(column.rank for column in hidden) >= max((column.rank for column in shown), default=0)
