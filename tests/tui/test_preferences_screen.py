"""The preferences on the screen, over a real store and with our own commands as children."""

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static, TextArea

from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from tests.tui.harness import ended_run, new_app, screen_text, wait_for, wait_for_text
from tui.screens.preferences import rows
from tui.screens.preferences.editing import EditPair
from tui.screens.preferences.screen import PreferencesScreen
from tui.widgets.rows import Rows

SIZE = (80, 24)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.preferences.screen._LOOK_SECONDS", 0.1)


def pair(number: int, **more: Any) -> StoredPreference:
    values: dict[str, Any] = {
        "prompt": (Message("user", f"Question {number}?"),),
        "chosen": f"good {number} [b]\x1b[31m日本語[/b]",
        "rejected": f"bad {number}",
        "how": "picked",
        "model": "tuned@9",
        "id": f"{number:016x}",
        "time": 1000.0 + number,
    }
    return StoredPreference(**{**values, **more})


def keep(*numbers: int) -> None:
    PreferenceStore().add(*map(pair, numbers))


async def open_preferences(pilot: Pilot[Any], count: int) -> PreferencesScreen:
    await pilot.press("7")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, PreferencesScreen))
    screen = pilot.app.screen
    assert isinstance(screen, PreferencesScreen)
    await wait_for(pilot, lambda: len(screen.query_one(Rows).keys) == count)
    await wait_for_text(pilot, "No preferences yet" if not count else f"{count} pair")
    return screen


def ids(pilot: Pilot[Any]) -> list[int]:
    return [int(key, 16) for key in pilot.app.screen.query_one(Rows).keys]


async def wait_for_toast(pilot: Pilot[Any], text: str) -> None:
    await wait_for(pilot, lambda: any(text in toast.message for toast in pilot.app._notifications), f"toast {text!r}")


async def wait_for_question(pilot: Pilot[Any], text: str) -> None:
    await wait_for(
        pilot,
        lambda: any(text in str(part.visual) for part in pilot.app.screen.query("Static").results(Static)),
        f"question {text!r}",
    )


async def test_empty_it_says_how_to_make_some_and_every_key_is_harmless(tmp_path: Path) -> None:
    app = new_app()
    async with app.run_test(size=SIZE) as pilot:
        await open_preferences(pilot, 0)
        assert "A there shows two answers" in screen_text(app)
        assert "Drop" not in screen_text(app)
        await pilot.press("a", "r", "D", "u", "slash", "e", "E", "down", "end")
        assert isinstance(app.screen, PreferencesScreen)
        assert app.current_mode == "preferences"
        (tmp_path / "pairs.jsonl").write_text(
            '{"prompt": "Who?", "chosen": "Mia.", "rejected": "Nobody."}\n{"prompt": "x", "chosen": "y", "rejected": "y"}\n'
        )
        await pilot.press("i")
        await wait_for_question(pilot, "Bring in the pairs of which file?")
        app.screen.query_one(Input).value = "nowhere.jsonl"
        await pilot.press("enter")
        await wait_for_question(pilot, "there is no file or folder nowhere.jsonl")
        app.screen.query_one(Input).value = str(tmp_path / "pairs.jsonl")
        await pilot.press("enter")
        await wait_for_toast(pilot, "1 pair brought in; 1 of no use left out")
        await wait_for_text(pilot, "Mia.")
        await wait_for_text(pilot, "1 imported")


@pytest.mark.parametrize("size", [SIZE, (160, 45)])
async def test_pairs_counts_and_both_answers_whole(size: tuple[int, int]) -> None:
    by_another = pair(3, chosen="long " * 200, chosen_by={"model": "a/before@2"})
    PreferenceStore().add(pair(1), pair(2, how="rewritten", model="other@3"), by_another)
    with open(PreferenceStore().path, "ab") as file:
        file.write(b"{damaged\n")
    app = new_app()
    async with app.run_test(size=size) as pilot:
        await open_preferences(pilot, 3)
        assert ids(pilot) == [3, 2, 1]
        text = " ".join(screen_text(app).split())
        for words in (
            "3 pairs",
            "2 picked",
            "1 rewritten",
            "2 of tuned@9",
            "1 of other@3",
            "1 damaged line is passed over",
        ):
            assert words in text, words
        assert "a handful teaches little" in text
        assert "+ chosen: before@2" in text
        assert "- rejected: tuned@9" in text
        assert ("+ before@2, - tuned@9" in text) == (size != SIZE)
        await pilot.press("end")
        await wait_for_text(pilot, "good 1 [b]")
        text = screen_text(app)
        assert "\x1b" not in text
        assert "日本語" in text
        assert "bad 1" in text
        assert "Question 1?" in text
        keep(4)
        await wait_for_text(pilot, "4 pairs")
        assert ids(pilot) == [4, 3, 2, 1]
        assert "> Question 1?" in screen_text(app)


async def test_words_filter() -> None:
    keep(1, 2, 12)
    app = new_app()
    async with app.run_test(size=SIZE) as pilot:
        await open_preferences(pilot, 3)
        await pilot.press("slash", "G", "o", "2")
        await wait_for_text(pilot, "0 found")
        await pilot.press("backspace", "space", "1", "2", "enter")
        await wait_for(pilot, lambda: ids(pilot) == [12])
        await pilot.press("escape")
        await wait_for(pilot, lambda: ids(pilot) == [12, 2, 1])


async def test_relabel_edit_drop_and_undo() -> None:
    keep(1, 2, 3)
    store = PreferenceStore()
    app = new_app()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_preferences(pilot, 3)
        await pilot.press("down", "r")
        await wait_for_text(pilot, f"$ mlxllm prefs swap {pair(2).id}")
        await wait_for(pilot, lambda: [each.chosen for each in store.read()][1] == "bad 2")
        await wait_for_text(pilot, "Undo")
        await wait_for_text(pilot, "> Question 2?")
        assert next(store.read()).chosen == pair(1).chosen
        await pilot.press("e")
        await wait_for(pilot, lambda: isinstance(app.screen, EditPair) and app.screen.query("#chosen:focus"))
        app.screen.query_one("#chosen", TextArea).clear()
        await pilot.pause()
        await pilot.press("ctrl+s")
        await wait_for_question(pilot, "an empty answer teaches nothing")
        await pilot.press(*"-new", "tab", *"er", "escape")
        await wait_for_toast(pilot, "e goes on with what you wrote")
        await pilot.press("e")
        await wait_for(pilot, lambda: isinstance(app.screen, EditPair) and app.screen.query("#chosen:focus"))
        await pilot.press("ctrl+s")
        await wait_for(pilot, lambda: "-new" in [each.chosen for each in store.read()])
        await wait_for(pilot, lambda: "rewritten" in screen_text(app) and "-new" in screen_text(app))
        (edited,) = [each for each in store.read() if each.chosen == "-new"]
        assert (edited.rejected, edited.id) != (pair(2).chosen, pair(2).id)
        assert edited.rejected.endswith("er")
        await wait_for(pilot, lambda: not screen._editing.locked())
        await pilot.press("u")
        await wait_for(pilot, lambda: sorted(ids(pilot)) == [1, 2, 3])
        await pilot.press("D")
        await wait_for_question(pilot, "Take this pair out?")
        await pilot.press("n")
        await wait_for(pilot, lambda: isinstance(app.screen, PreferencesScreen))
        assert len(list(store.read())) == 3
        await pilot.press("D")
        await wait_for_question(pilot, "Take this pair out?")
        await pilot.press("y")
        await wait_for(pilot, lambda: ids(pilot) == [3, 1])
        assert screen._asked_to_drop, "not asked again"
        await wait_for(pilot, lambda: [int(each.id, 16) for each in store.read()] == [1, 3])
        await pilot.press("u")
        await wait_for(pilot, lambda: ids(pilot) == [3, 2, 1])
        await wait_for_text(pilot, "> Question 2?")
        await pilot.press("u")
        await wait_for(pilot, lambda: {each.chosen for each in store.read()} == {pair(n).chosen for n in (1, 2, 3)})
        await wait_for(pilot, lambda: "Undo" not in screen_text(app))
        await wait_for(pilot, lambda: not screen._editing.locked())  # no child outlives the test


async def test_an_edit_that_fails_brings_the_pair_back(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(1, 2)
    store = PreferenceStore()
    app = new_app()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_preferences(pilot, 2)
        screen._asked_to_drop = True
        store.path.with_name("preferences-removed.jsonl").mkdir()
        await pilot.press("D")
        await wait_for(pilot, lambda: ids(pilot) == [1])
        await wait_for_toast(pilot, "cannot write")
        await wait_for(pilot, lambda: ids(pilot) == [2, 1])
        assert len(list(store.read())) == 2


async def test_export_and_align(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended_run("tuned", method="sft")
    PreferenceStore().add(pair(1), pair(2), pair(3, model="gone@4"))
    app = new_app()
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(app, "open_new_run", lambda method, model, data, epochs: asked.append((method, model, data)))
    async with app.run_test(size=SIZE) as pilot:
        await open_preferences(pilot, 3)
        await pilot.press("E")
        await wait_for_question(pilot, "Write all pairs to which new file?")
        (tmp_path / "there").write_text("")
        app.screen.query_one(Input).value = str(tmp_path / "there")
        await pilot.press("enter")
        await wait_for_question(pilot, "exists already and is left as it is")
        app.screen.query_one(Input).value = str(tmp_path / "new.jsonl")
        await pilot.press("enter")
        await wait_for_toast(pilot, "new.jsonl holds the pairs")
        assert len((tmp_path / "new.jsonl").read_text().splitlines()) == 3
        await pilot.press("a")
        assert asked == [("dpo", "tuned@9", (str(PreferenceStore().path),))]
        await wait_for_toast(pilot, "a handful teaches little")


async def test_a_store_that_cannot_be_read(mlxllm_home: Path) -> None:
    (mlxllm_home / "preferences.jsonl").mkdir()
    app = new_app()
    async with app.run_test(size=SIZE) as pilot:
        await open_preferences(pilot, 0)
        await wait_for_text(pilot, "! cannot read")


def test_which_model_to_align_and_how_many_pairs_are_enough() -> None:
    ended_run("tuned")
    pairs = [pair(1, model="gone@4"), pair(2, model="gone@4"), pair(3), pair(4, model="", how="imported")]
    assert rows.model_to_align(pairs) == "tuned@9", "the one that most are about is not there any more"
    assert rows.model_to_align([]) == rows.model_to_align([pair(1, model="")]) == ""
    assert rows.counts(pairs) == "4 pairs   3 picked, 1 imported   2 of gone@4, 1 of tuned@9"
    ended_run("before")
    two = [pair(number, chosen_by={"model": "before@3"}) for number in (5, 6)]
    assert rows.model_to_align(two) == "before@3", "both are about both, and this one was chosen"
    assert rows.model_to_align([*two, pair(3)]) == "tuned@9"
    assert rows.counts([*two, pair(3)]) == "3 pairs   3 picked   3 of tuned@9, 2 of before@3"
    assert rows.model(two[0]) == "+ before@3, - tuned@9"
    assert rows.model(pair(3)) == "tuned@9"
    assert str(rows.titles(pair(3, how="rewritten"))["chosen"]) == "+ chosen: written by you"
    assert "a handful" in rows.advice(19)
    assert "enough to see a change" in rows.advice(20)
    assert "enough to learn from" in rows.advice(200)
    assert json.dumps(rows.cells(pair(1, time=1e300))), "a time that no calendar has"
