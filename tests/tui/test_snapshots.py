"""Each screen as it looks, character by character; `pytest tests/tui/test_snapshots.py --snapshot-update` takes new ones."""

import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot

from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.estimate import Place
from tests.tui import runs
from tests.tui.chatting import chatting, life, write
from tests.tui.harness import new_app, still, wait_for_text
from tests.tui.scripted_engine import scripted
from tui import machine
from tui.engine import EngineClient
from tui.machine import Machine
from tui.marks import Terminal
from tui.screens.base import HINTS_READ, TITLES

AT = 1_790_000_000.0


@pytest.fixture(autouse=True)
def the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One machine, one time zone."""
    monkeypatch.setattr(machine, "this_machine", lambda: Machine("Apple M4", 10, 16 << 30))
    monkeypatch.setattr(machine, "free_disk_bytes", lambda: 100_000_000_000)
    monkeypatch.setattr(import_module("mlxllm.estimate.memory"), "here", lambda config: Place("cpu", True, 2))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def some_runs() -> None:
    runs.make_run("stories-1", steps=400, began=AT)
    runs.make_run("stories-1-dpo", steps=150, method="dpo", began=AT + 3600)
    runs.make_run("broken", steps=120, max_steps=500, status="crashed", reason="the disk is full", began=AT - 3600)


def some_preferences() -> None:
    PreferenceStore().add(
        *(
            StoredPreference(
                prompt=(Message("user", f"Tell me about {thing}."),),
                chosen=f"Tom gave the {thing} back.",
                rejected=f"Tom kept the {thing}.",
                how="picked",
                model="stories-1-dpo@150",
                time=AT,
                id=f"{number:016x}",
            )
            for number, thing in enumerate(("hat", "ball", "lamp"))
        )
    )


async def shown(pilot: Pilot[Any], number: int, *texts: str) -> str:
    """The screen of a number, when all texts are to be seen."""
    await pilot.press("escape", str(number))
    for text in texts:
        await wait_for_text(pilot, text)
    return await still(pilot)


def app(**options: Any) -> Any:
    made = new_app(**{"engine": EngineClient(scripted()), **options})
    made.remembered.set(HINTS_READ, [mode for mode, _ in TITLES])
    return made


async def test_home_at_the_first_start(snapshot: SnapshotAssertion) -> None:
    made = new_app()
    async with made.run_test(size=(100, 24)) as pilot:
        await wait_for_text(pilot, "Apple M4")
        await wait_for_text(pilot, "Press t")
        assert await still(pilot) == snapshot


async def test_home_with_runs(snapshot: SnapshotAssertion) -> None:
    some_runs()
    async with app().run_test(size=(100, 24)) as pilot:
        assert await shown(pilot, 1, "Apple M4", "stories-1-dpo") == snapshot


async def test_monitor_of_preferences(snapshot: SnapshotAssertion) -> None:
    some_runs()
    async with app(run="stories-1-dpo").run_test(size=(120, 36)) as pilot:
        await wait_for_text(pilot, "margins")
        assert await shown(pilot, 4, "step 150 of 150", "finished at step") == snapshot


async def test_monitor_in_a_narrow_terminal(snapshot: SnapshotAssertion) -> None:
    some_runs()
    async with app(run="broken").run_test(size=(80, 24)) as pilot:
        assert await shown(pilot, 4, "the disk is full") == snapshot


async def test_monitor_in_ascii(snapshot: SnapshotAssertion) -> None:
    some_runs()
    made = app(run="stories-1", terminal=Terminal("ascii", False))
    async with made.run_test(size=(100, 30)) as pilot:
        text = await shown(pilot, 4, "finished at step")
        assert text.isascii()
        assert text == snapshot


async def test_runs(snapshot: SnapshotAssertion) -> None:
    some_runs()
    async with app().run_test(size=(120, 24)) as pilot:
        assert await shown(pilot, 5, "3 runs", "stories-1-dpo", "best val") == snapshot


async def test_preferences(snapshot: SnapshotAssertion) -> None:
    some_preferences()
    async with app().run_test(size=(110, 34)) as pilot:
        assert await shown(pilot, 7, "3 pairs", "Tom gave the hat back.") == snapshot


async def test_chat_without_a_model(snapshot: SnapshotAssertion) -> None:
    async with app().run_test(size=(100, 24)) as pilot:
        assert await shown(pilot, 6, "[6 Chat]") == snapshot


async def test_chat(snapshot: SnapshotAssertion) -> None:
    life()
    async with chatting("--answer", "Tom gave the hat back.", size=(100, 28)) as (pilot, _):
        await wait_for_text(pilot, "ready")
        await write(pilot, "Who has the hat?", "enter")
        await wait_for_text(pilot, "Tom gave the hat back.")
        await wait_for_text(pilot, "tok/s")
        # How fast it was is another number each time.
        lines = [line for line in (await still(pilot)).splitlines() if "tok/s" not in line]
        assert "\n".join(lines) == snapshot


async def test_data(snapshot: SnapshotAssertion) -> None:
    async with app().run_test(size=(110, 32)) as pilot:
        await shown(pilot, 2, "pydocs")
        await wait_for_text(pilot, "there was a young pig")
        assert await still(pilot) == snapshot


async def test_new_run_without_a_dataset(snapshot: SnapshotAssertion) -> None:
    async with app().run_test(size=(110, 32)) as pilot:
        assert await shown(pilot, 3, "What it costs") == snapshot


async def test_help(snapshot: SnapshotAssertion) -> None:
    async with app().run_test(size=(110, 60)) as pilot:
        await pilot.press("question_mark")
        await wait_for_text(pilot, "Words on this screen")
        assert await still(pilot) == snapshot


async def test_without_colour_everything_still_has_its_mark(
    snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR leaves greys; what is finished, what failed and where one is can still be told apart."""
    monkeypatch.setenv("NO_COLOR", "1")
    some_runs()
    made = app()
    async with made.run_test(size=(100, 24)) as pilot:
        text = await shown(pilot, 5, "3 runs", "best val")
        colours = {
            colour.get_truecolor()
            for strip in made.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None
        }
        assert all(max(colour) - min(colour) <= 1 for colour in colours), "something has a colour"
        assert text == snapshot
