"""Ablations on the screen: what each change bought, the way to its curves, and how one is begun."""

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from mlxllm import paths
from mlxllm.ablation import read_ablation
from mlxllm.ablation.record import FILE, write_ablation
from mlxllm.ablation.results import results
from mlxllm.runs import RunDirectory, effective_status
from tests.ablation.made import ablation
from tests.training import tiny
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text
from tests.tui.table_of_runs import Asked, look_often, open_runs, plain_run, wait_for_toast
from tui.following.ablations import BAR_WIDTH, Entry, interval_bar, read_entries
from tui.screens.runs.ablations import Ablations
from tui.screens.runs.new_ablation import NewAblation
from tui.screens.runs.screen import RunsScreen

SIZE = (120, 40)
KEPT = {"base": (2.0, 2.1, 1.9), "post": (2.1, 2.2, 2.05), "rms": (1.95, 2.1, 1.92)}


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)
    monkeypatch.setattr("tui.screens.runs.ablations._LOOK_SECONDS", 0.1)


# What is computed for it.


def test_an_interval_is_drawn_about_the_line_of_the_base() -> None:
    lines = Entry("x", None, results(ablation(KEPT))).lines
    bars = {line.name: interval_bar(line, lines, ascii_only=True) for line in lines}
    assert bars["base"] == ""
    assert all(len(bar) == BAR_WIDTH for name, bar in bars.items() if name != "base")
    middle = BAR_WIDTH // 2
    assert bars["post"][middle] == "|"
    assert middle < bars["post"].index("[") < bars["post"].index("o") < bars["post"].index("]") == BAR_WIDTH - 1
    assert bars["rms"].index("[") < middle < bars["rms"].index("]")


def test_an_entry_knows_which_curves_belong_together() -> None:
    entry = Entry("x", None, results(ablation({**KEPT, "rms": ()})))
    assert entry.side_by_side() == ["x-base-s42", "x-post-s42"]
    assert entry.side_by_side("base") == entry.side_by_side()
    assert entry.side_by_side("post") == [f"x-{name}-s{seed}" for name in ("base", "post") for seed in (42, 43, 44)]


def test_a_damaged_one_hides_no_other() -> None:
    write_ablation("good", ablation(KEPT))
    write_ablation("bad", ablation(KEPT))
    (paths.folder("ablations") / "bad" / FILE).write_text("{")
    found = {entry.name: entry for entry in read_entries()}
    assert found["good"].cells()[1:] == ["9/9", "char-tiny", "d", "finished"]
    assert "not valid JSON" in found["bad"].cells()[-1]


# What is shown.


async def test_the_table_and_the_way_to_the_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEPT:
        for seed in (42, 43, 44):
            plain_run(f"x-{name}-s{seed}", 1000 + seed)
    write_ablation("kept", ablation(KEPT))
    app = new_app()
    asked = Asked(app, monkeypatch)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 9)
        await pilot.press("a")
        await wait_for_text(pilot, "mlxllm ablate show kept")
        text = screen_text(app)
        for words in ("9/9", "finished", "+0.2333", "worse", "cannot be told apart", "├", "10 steps each, 3 seeds"):
            assert words in text, words
        await pilot.press("tab", "down")
        await wait_for_text(pilot, "post  post=1")
        await pilot.press("shift+tab")
        await pilot.press("o")
        await wait_for(pilot, lambda: asked.calls)
        assert asked.calls == [("monitor", "x-base-s42", "x-post-s42", "x-rms-s42")]
        await pilot.press("a")
        await wait_for_text(pilot, "mlxllm ablate show kept")
        await pilot.press("tab", "down", "down", "enter")
        await wait_for(pilot, lambda: len(asked.calls) == 2)
        assert asked.calls[1] == (
            "monitor",
            *(f"x-{name}-s{seed}" for name in ("base", "rms") for seed in (42, 43, 44)),
        )


async def test_without_any_it_says_how_one_is_begun_and_one_that_comes_is_shown() -> None:
    app = new_app()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await open_runs(pilot, 0)
        await pilot.press("a")
        await wait_for_text(pilot, "No ablation yet")
        await pilot.press("o", "r", "tab")
        assert isinstance(app.screen, Ablations)
        write_ablation("first", ablation({"base": (2.0, 2.1), "post": (2.1,)}))
        await wait_for_text(pilot, "3/6")
        await wait_for_text(pilot, "not finished")
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, RunsScreen))


async def test_runs_that_are_gone_leave_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    write_ablation("kept", ablation(KEPT))
    app = new_app()
    asked = Asked(app, monkeypatch)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 0)
        await pilot.press("a")
        await wait_for_text(pilot, "worse")
        await pilot.press("o")
        await wait_for_toast(pilot, "only its table is left")
        assert not asked.calls


# Beginning one.


async def open_the_form(pilot: Pilot[Any]) -> None:
    await open_runs(pilot, 0)
    await pilot.press("a")
    await wait_for_text(pilot, "No ablation yet")
    await pilot.press("n")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, NewAblation))


async def test_the_form_shows_its_command_and_refuses_what_says_nothing() -> None:
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_the_form(pilot)
        await wait_for_text(pilot, "$ mlxllm ablate transformer-2017 --detach")
        await pilot.press("left")
        await wait_for_text(pilot, "$ mlxllm ablate --detach")
        await pilot.press("enter")
        await wait_for_text(pilot, "! write what is to be changed")
        await pilot.press("tab", *"norm=post")
        await wait_for_text(pilot, "--change norm=post")
        await pilot.press("enter")
        await wait_for_text(pilot, "! name the preset")


async def test_what_cannot_be_begun_is_said() -> None:
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_the_form(pilot)
        await pilot.press("enter")
        await wait_for_toast(pilot, "there is none of quickstart's stories")
        await wait_for_text(pilot, "No ablation yet")


async def test_what_is_left_of_one_trains_in_the_background(mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.tui.harness.PATIENCE", 90.0)  # three processes, one after the other
    (mlxllm_home / "datasets").mkdir()
    tiny.dataset(mlxllm_home / "datasets" / "squares")
    half = ablation({"base": (2.0,), "slow": ()}).model_copy(update={"dataset": "squares", "seeds": (42,)})
    base, slow = half.variants
    slow = slow.model_copy(update={"settings": ("train.learning_rate=1e-3",)})
    write_ablation("half", half.model_copy(update={"variants": (base, slow)}))
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 0)
        await pilot.press("a")
        await wait_for_text(pilot, "1/2")
        await pilot.press("r")
        await wait_for_toast(pilot, "trains in the background")
        await wait_for(pilot, lambda: read_ablation("half").is_finished)
        await wait_for_text(pilot, "one seed tells nothing")
        await pilot.press("r")
        await wait_for_text(pilot, "half is finished already")
    run = RunDirectory(paths.folder("runs") / "half-slow-s42")
    assert effective_status(run) == "finished"
    assert json.loads(run.config.read_text())["train"]["learning_rate"] == 1e-3
    log = (paths.folder("ablations") / "half" / "log.txt").read_text()
    assert "2 of 2  slow, seed 42" in log
