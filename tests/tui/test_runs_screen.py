"""The table of runs: what it shows and compares, over run folders as trainers leave them."""

import re
import shutil

import pytest

from mlxllm import paths
from mlxllm.runs import Recorder, RunDirectory
from tests.tui.harness import crashed_run, ended_run, new_app, screen_text, wait_for, wait_for_text
from tests.tui.table_of_runs import (
    SIZE,
    Asked,
    look_often,
    open_runs,
    order,
    plain_run,
    shown,
    three_runs,
    wait_for_toast,
)
from tui.screens.runs.screen import RunsScreen
from tui.widgets.find import Find

ACTIONS = "enter c space o d s b e r E R D".split()


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)


# What is shown.


async def test_without_runs_every_key_is_harmless_and_the_first_run_appears() -> None:
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 0)
        assert "Mark" not in screen_text(app)
        await pilot.press(*ACTIONS, "down", "slash", "x", "escape", "escape")
        assert isinstance(app.screen, RunsScreen)
        plain_run("first", 1000)
        await wait_for_text(pilot, "> first")
        await wait_for_text(pilot, "Mark")


@pytest.mark.parametrize("size", [SIZE, (160, 40)])
async def test_what_a_row_says(size: tuple[int, int]) -> None:
    three_runs()
    crashed_run("broken")
    damaged = RunDirectory.create(paths.folder("runs") / "damaged")
    damaged.state.write_text("{")
    app = new_app()
    async with app.run_test(size=size, notifications=True) as pilot:
        await open_runs(pilot, 5)
        assert order(pilot) == ["broken", "new", "middle", "old", "damaged"]
        text = screen_text(app)
        for words in ("✗ crashed", "✓ finished", "? damaged", "2.25", "2.75", "1.25"):
            assert words in text, words
        assert ("letters" in text) is (size[0] > 80)
        await wait_for_text(pilot, "the trainer ended without a last word at step 1")
        await pilot.press("end")
        await wait_for_text(pilot, "the state of run 'damaged' is damaged")
        await pilot.press("enter", "e", "E", "r")
        await wait_for_toast(pilot, "✗ the state of run")
        assert isinstance(app.screen, RunsScreen)


async def test_words_filter_and_esc_shows_all_again() -> None:
    three_runs()
    ended_run("tuned", status="stopped", method="sft")
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 4)
        await pilot.press("slash", "S", "f")
        await wait_for_text(pilot, "1 found")
        assert order(pilot) == ["tuned"]
        app.screen.query_one(Find).value = "letters sft nowhere"
        await wait_for(pilot, lambda: order(pilot) == [])
        await pilot.press("enter", *ACTIONS)
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("escape")
        await wait_for(pilot, lambda: len(order(pilot)) == 4)
        assert not app.screen.query_one(Find).display


async def test_the_cursor_and_the_marks_stay_while_runs_come_and_go() -> None:
    three_runs()
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        screen = await open_runs(pilot, 3)
        await pilot.press("down", "space")
        await wait_for_text(pilot, "> ● middle")
        live = RunDirectory.create(paths.folder("runs") / "live")
        about = {"method": "pretrain", "dataset": "letters"}
        with live.lock(), Recorder(live, step=0, max_steps=9, about=about) as recorder:
            await wait_for_text(pilot, "1 training")
            assert order(pilot)[0] == "live"
            assert screen.current() == screen.runs["middle"]
            for step, loss in ((1, 5.125), (2, 4.375)):
                recorder.write("train", step, loss=loss, tokens=step)
                recorder.update(now=True)
                await wait_for_text(pilot, str(loss)[:5])
            assert [run.name for run in screen.chosen()] == ["middle"]
            shutil.rmtree(paths.folder("runs") / "middle")
            await wait_for(pilot, lambda: "middle" not in screen.runs)
            assert screen.current() is not None
            await wait_for(pilot, lambda: "1 marked" not in screen_text(app))
        await wait_for_text(pilot, "✗ crashed")


async def test_select_run_waits_until_it_is_read() -> None:
    three_runs()
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        app.open_runs("old")
        await wait_for_text(pilot, "> old")
        app.open_runs(str(paths.folder("runs") / "middle"))
        await wait_for_text(pilot, "> middle")
        await pilot.press("slash", *"new", "enter")
        await wait_for(pilot, lambda: order(pilot) == ["new"])
        app.open_runs("old")
        await wait_for_text(pilot, "> old")


# Comparing.


async def test_a_baseline_stays_at_the_top_and_losses_show_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    three_runs()
    ended_run("tuned", method="sft")
    app = new_app()
    asked = Asked(app, monkeypatch)
    async with app.run_test(size=(120, 24), notifications=True) as pilot:
        screen = await open_runs(pilot, 4)
        await pilot.press("end", "b")
        await wait_for_text(pilot, "baseline old")
        assert order(pilot) == ["old", "tuned", "new", "middle"]
        assert screen.current() == screen.runs["old"]
        rows = shown(pilot)
        assert "+0.2500" in rows[2]
        assert "-0.5000" in rows[3]
        assert "+" not in rows[1], "its method is another: the difference would mean nothing"
        await pilot.press("end", "o")
        assert asked.calls == [("monitor", "middle", "old")]
        await pilot.press("home", "b")
        await wait_for(pilot, lambda: order(pilot) == ["tuned", "new", "middle", "old"])


async def test_overlay_and_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    three_runs()
    app = new_app()
    asked = Asked(app, monkeypatch)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 3)
        await pilot.press("o")
        await wait_for_toast(pilot, "mark two runs or more with space")
        assert asked.calls == []
        await pilot.press("end", "space", "home", "space", "down", "space", "space")
        await wait_for_text(pilot, "2 marked")
        await wait_for_text(pilot, "$ mlxllm runs diff old new")
        await pilot.press("o", "enter")
        assert asked.calls == [("monitor", "old", "new"), ("monitor", "middle")]
        await pilot.press("c")
        await wait_for(pilot, lambda: asked.calls[2:] == [("chat", "old", "new")])
        await pilot.press("escape")
        await wait_for(pilot, lambda: "2 marked" not in screen_text(app))


async def test_differences_of_settings() -> None:
    three_runs()
    (plain_run("bare", 500).config).unlink()
    for name, created in (("left", 400), ("right", 300)):
        plain_run(name, created, data={"dataset": f"/a/folder/{name}/with-a-long-way-to/tales"})
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 6)
        await pilot.press("d")
        await wait_for_toast(pilot, "mark two runs with space, or pin a baseline with b")
        await pilot.press("space", "down", "d")
        await wait_for_text(pilot, "1 setting differs")
        await wait_for_text(pilot, "$ mlxllm runs diff middle new")
        assert "train.seed" in screen_text(app)
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("down", "d")
        await wait_for_toast(pilot, "old and new have the same settings")
        await pilot.press("down", "d")
        await wait_for_toast(pilot, "the settings of run 'bare' cannot be read")
        await pilot.press("escape", "end", "space", "up", "space", "d")
        await wait_for_text(pilot, "data.dataset")
        row = next(line for line in screen_text(app).splitlines() if "data.dataset" in line)
        assert re.search(r" \.\.right/with\S* +\.\.left/with", row), row


async def test_samples_side_by_side() -> None:
    three_runs()
    ended_run("silent")
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 4)
        await pilot.press("s")
        await wait_for_toast(pilot, "nothing was asked in training")
        await pilot.press("end", "b", "home", "down", "down", "s")
        await wait_for_text(pilot, "new speaks")
        text = screen_text(app)
        assert "old speaks" in text
        assert "Prompt  Once" in text
        await pilot.press("left", "left")
        await wait_for_text(pilot, "new babbles")
        assert "old babbles" in screen_text(app)
        await pilot.press("right", "escape")
        await wait_for(pilot, lambda: isinstance(app.screen, RunsScreen))
