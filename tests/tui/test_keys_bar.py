"""The keys at the bottom of every screen: each does what it says, and help, all actions and quit are always there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.actions import parse
from textual.widgets import Input, TextArea

from tests.tui.harness import ended_run, new_app, screen_text, wait_for, wait_for_text
from tests.tui.scripted_engine import scripted
from tui.app import MlxllmApp
from tui.engine import EngineClient
from tui.screens.base import TITLES
from tui.widgets.keys_bar import Item, Key, KeysBar, lay_out

WIDTHS = (60, 80, 100, 140)
PINNED = (("help", "Help"), ("command_palette", "All actions"), ("quit", "Quit"))


def items(names: list[str]) -> list[Item]:
    return [Item((Key(name, name, name, f"Do {name}"),), f"Do {name}") for name in names]


@given(
    st.lists(st.text("abc界", min_size=1, max_size=12), max_size=20),
    st.integers(34, 200),
    st.integers(1, 2),
    st.integers(1, 2),
)
def test_lines_are_as_wide_as_the_terminal_and_end_with_what_is_pinned(
    names: list[str], width: int, least: int, most: int
) -> None:
    pinned = [Item((Key(sign, sign, name, words),), words) for sign, (name, words) in zip("?^q", PINNED, strict=True)]
    wanted = items(names)
    lines = lay_out(wanted, pinned, width, least, most)
    assert min(least, most) <= len(lines) <= most
    assert lines[-1][-3:] == pinned
    shown = [item for line in lines for item in line if isinstance(item, Item) and item.keys][:-3]
    assert shown == wanted[: len(shown)]
    widths = [sum(item if isinstance(item, int) else item.cells for item in line) for line in lines]
    assert all(found <= width for found in widths)
    assert widths[-1] == width
    said = any(isinstance(item, Item) and item.words == "…" for item in lines[-1])
    assert said <= (len(shown) < len(wanted))
    if len(shown) < len(wanted):  # there was no room for the next
        room = sum(item for item in lines[-1] if isinstance(item, int)) + 3 * said
        assert wanted[len(shown)].cells > room - 3


async def test_every_key_that_is_shown_runs_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    ended_run("letters")
    app = new_app(engine=EngineClient(scripted()))
    ran: list[str] = []
    real = MlxllmApp._dispatch_action

    async def record(self: MlxllmApp, namespace: Any, name: str, parameters: Any) -> bool:
        if not recording:
            return await real(self, namespace, name, parameters)
        ran.append(name)
        return True

    recording = False
    monkeypatch.setattr(MlxllmApp, "_dispatch_action", record)
    async with app.run_test(size=(80, 24)) as pilot:
        for number, (mode, _) in enumerate(TITLES, 1):
            recording = False
            await pilot.press("escape", str(number))
            await wait_for(pilot, lambda mode=mode: app.current_mode == mode)
            for typing in (True, False):
                recording = False
                if not typing:
                    await pilot.press("escape")
                    await wait_for(pilot, lambda: not isinstance(app.screen.focused, (Input, TextArea)))
                elif not isinstance(app.screen.focused, (Input, TextArea)):
                    continue
                await _settled(pilot, app)
                # The input of the chat takes these two itself; its own tests are about them.
                shown = [key for key in app.screen.query_one(KeysBar).shown if key.action not in ("send", "newline")]
                for width in WIDTHS:
                    *_, first, second, third = app.screen.query_one(KeysBar).lines(width)[-1]
                    last = [item.words for item in (first, second, third) if isinstance(item, Item)]
                    assert last == [words for _, words in PINNED], (mode, width)
                await wait_for(pilot, lambda: all(words in _last_line(app) for _, words in PINNED))
                recording = True
                for key in shown:
                    ran.clear()
                    await pilot.press(key.key)
                    await wait_for(pilot, lambda: ran, f"{key} in {mode}")
                    assert ran == [parse(key.action)[1]], (mode, key)


async def _settled(pilot: Any, app: MlxllmApp) -> None:
    """Until the bar shows what is active."""
    bar = app.screen.query_one(KeysBar)
    await wait_for(pilot, lambda: bar.shown and bar._found() == (bar._items, bar._pinned))
    await pilot.pause()


def _last_line(app: MlxllmApp) -> str:
    return screen_text(app).splitlines()[-1]


async def test_a_click_presses_the_key_and_what_has_no_room_is_said() -> None:
    ended_run("letters")
    async with new_app().run_test(size=(100, 19)) as pilot:  # too low for two lines
        await wait_for_text(pilot, "Watch / talk")
        line = _last_line(pilot.app)
        await pilot.click(KeysBar, offset=(line.index("Quick") + 1, 0))
        await wait_for_text(pilot, "How long may it take")
        await pilot.press("escape")
        await pilot.resize_terminal(60, 19)
        await wait_for(pilot, lambda: "…" in _last_line(pilot.app))
        await pilot.resize_terminal(60, 24)
        await wait_for(pilot, lambda: "…" not in _last_line(pilot.app))
        assert "Watch / talk" in screen_text(pilot.app).splitlines()[-2]


@pytest.mark.parametrize(("width", "keys"), [(60, ["E Export"]), (80, ["E Export", "R Rename", "D Delete"])])
async def test_what_leaves_a_run_can_be_found(width: int, keys: list[str]) -> None:
    ended_run("letters")
    async with new_app().run_test(size=(width, 24)) as pilot:
        await pilot.press("5")
        for key in keys:
            await wait_for_text(pilot, key)
