"""The New run screen: what is chosen, the command that comes of it, and how it is started."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from mlxllm import paths
from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore, StoredPreference
from mlxllm.presets import preset_config
from mlxllm.runs import RunDirectory, read_state, write_json_atomic
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.training import tiny
from tests.tui.harness import ended_run, new_app, screen_text, wait_for, wait_for_text, write
from tui.app import MlxllmApp
from tui.jobs import command
from tui.screens.new_run.form import Form
from tui.screens.new_run.screen import NewRunScreen

CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.dataset(tmp_path_factory.mktemp("built") / "letters")


@pytest.fixture
def letters(built: Path) -> Path:
    """A dataset of the home."""
    return Path(shutil.copytree(built, paths.folder("datasets") / "letters"))


def made_model(name: str, method: str = "pretrain") -> RunDirectory:
    """A run with a checkpoint, as far as this screen looks at it."""
    run = ended_run(name, method=method)
    config = preset_config("char-tiny").with_values(model={"vocab_size": 261}).model_copy(update={"method": method})
    write_json_atomic(run.config, config.model_dump(mode="json"))
    write(run.checkpoints / "step-00000003" / "manifest.json", "{}")
    ByteTokenizer().save(run.path / "tokenizer")
    return run


def app_that_starts(started: list[tuple[str, tuple[str, ...]]]) -> MlxllmApp:
    """An application that only notes what it would start."""
    app = new_app()

    async def launch(run: str, args: Sequence[str]) -> bool:
        started.append((run, tuple(args)))
        write(paths.folder("runs") / run / "config.json", "{}")  # it has begun
        return True

    app.launch = launch  # type: ignore[method-assign]
    return app


async def opened(pilot: Any) -> NewRunScreen:
    """The screen, with all that there is looked at."""
    await pilot.press("3")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen) and pilot.app.screen.stock.known)
    screen: NewRunScreen = pilot.app.screen
    return screen


async def type_text(pilot: Any, text: str) -> None:
    """Put a text into the input that has the focus, as pasting does."""
    await wait_for(pilot, lambda: isinstance(pilot.app.focused, Input))
    pilot.app.focused.insert_text_at_cursor(text)
    await pilot.pause()


async def to_row(pilot: Any, key: str) -> None:
    """Move the cursor of the form to a row, as a click does."""
    screen = pilot.app.screen
    screen.query_one(Form).highlighted = [row.key for row in screen._rows].index(key)
    await wait_for(pilot, lambda: screen._key == key)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_pretraining_up_to_the_exact_command(letters: Path, size: tuple[int, int]) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=size) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "left")
        await wait_for_text(pilot, "letters-char-tiny-1")
        small = screen.known
        await pilot.press("down", "down", "down", "right")
        await wait_for(pilot, lambda: screen.draft.factor == 2.0)
        assert screen.known is not None
        assert small is not None
        assert screen.known.costs.parameters > small.costs.parameters
        await pilot.press("down", "right", "right")
        await wait_for_text(pilot, "2 min, and then ends")
        assert "model.num_hidden_layers" in screen_text(pilot.app)
        expected = (
            *("train", "--preset", "char-tiny", "--data", "letters", "--run", "letters-char-tiny-1"),
            *("--set", "model.num_hidden_layers=4", "--minutes", "2"),
        )
        assert screen.twin == expected
        await pilot.press("enter")
        await wait_for(pilot, lambda: pilot.app.current_mode == "monitor")
        assert started == [("letters-char-tiny-1", expected)]


async def test_starting_detached_stays_and_says_how_to_watch(letters: Path) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("D")
        await wait_for_text(pilot, "`mlxllm monitor letters-shakespeare-char-cpu-1` shows it")
        assert pilot.app.current_mode == "new"
        await pilot.press("D")
        await wait_for(pilot, lambda: len(started) == 2)
        assert [run for run, _ in started] == [f"letters-shakespeare-char-cpu-{n}" for n in (1, 2)]


async def test_the_start_button_starts(letters: Path) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.click("#start")
        await wait_for(pilot, lambda: started and pilot.app.current_mode == "monitor")


async def test_the_list_beside_the_form_chooses_too_and_its_enter_starts_nothing(letters: Path) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot)
        await to_row(pilot, "preset")
        await pilot.press("tab")
        await wait_for(pilot, lambda: screen.focused is not None and screen.focused.id == "choices")
        await pilot.press("down", "enter")
        await wait_for(pilot, lambda: screen.draft.preset == "shakespeare-char")
        await wait_for(pilot, lambda: screen.focused is not None and screen.focused.id == "form")
        assert started == []


async def test_supervised_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_model("base")
    file = write(tmp_path / "my lessons.jsonl", (json.dumps(CHAT) + "\n") * 40)
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.method == "sft")
        await wait_for_text(pilot, "No file of conversations is known")
        await pilot.press("enter")
        await pilot.pause()
        assert started == []
        await to_row(pilot, "records")
        await pilot.press("e")
        await type_text(pilot, "'no such'")
        await wait_for_text(pilot, "! there is no file or folder")
        await pilot.press("ctrl+u")
        await type_text(pilot, "'my lessons.jsonl'")
        await wait_for_text(pilot, "40 conversations, about")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.known is not None and screen.known.steps is not None)
        await to_row(pilot, "adapters")
        await pilot.press("right", "right")
        await to_row(pilot, "length")
        await pilot.press("right", "right")
        await to_row(pilot, "rate")
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.learning_rate is not None)
        expected = (
            *("sft", "--model", "base", "--data", "my lessons.jsonl", "--run", "base-sft-1", "--epochs", "10"),
            *("--lora-rank", "8", "--learning-rate", "0.0005"),
        )
        assert screen.twin == expected
        await pilot.press("enter")
        await wait_for(pilot, lambda: started)
        assert started == [("base-sft-1", expected)]
    # The file is known from now on.
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.records == (str(file),))


async def test_a_wrong_path_stays_where_it_was_typed(tmp_path: Path) -> None:
    made_model("base")
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right")
        await to_row(pilot, "records")
        await pilot.press("e")
        await type_text(pilot, "nowhere.jsonl")
        await pilot.press("escape")
        await to_row(pilot, "model")
        await to_row(pilot, "records")
        await wait_for(pilot, lambda: screen.query_one("#entry", Input).value == "nowhere.jsonl")


async def test_few_records_are_told_what_to_do(tmp_path: Path) -> None:
    made_model("base")
    write(paths.folder("datasets") / "world" / "sft.jsonl", json.dumps(CHAT) + "\n")
    async with new_app().run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("right")
        await wait_for_text(pilot, "1 update changes next to nothing")


async def test_aligning_on_ones_own_preferences() -> None:
    made_model("base")
    made_model("taught", "sft")
    pair = {"prompt": (Message("user", "hi"),), "rejected": "no", "how": "picked"}
    PreferenceStore().add(*(StoredPreference(chosen=f"yes {n}", **pair) for n in range(3)))  # type: ignore[arg-type]
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        pilot.app.open_new_run("dpo", model="taught@3", data=(str(PreferenceStore().path),))
        await wait_for_text(pilot, "your own preferences, 3 pairs")
        screen = pilot.app.screen
        assert isinstance(screen, NewRunScreen)
        await to_row(pilot, "records")
        await wait_for_text(pilot, "3 preference pairs, about")
        assert screen.twin == (
            *("dpo", "--model", "taught@3", "--data", str(PreferenceStore().path), "--run", "taught-dpo-1"),
        )
        await pilot.press("enter")
        await wait_for(pilot, lambda: started)


async def test_the_model_that_a_method_begins_with_comes_first() -> None:
    made_model("taught", "sft")
    made_model("base")
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.model == "base")
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.model == "taught")


async def test_a_setting_that_cannot_be_is_refused_with_the_sentence_of_the_command(letters: Path) -> None:
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("s")
        await type_text(pilot, "train.sed=1")
        await pilot.press("enter")
        await wait_for_text(pilot, "setting 'train.sed' (from --set train.sed=1) does not exist")
        await pilot.press(*["backspace"] * 3, *"ed=7", "enter")
        await wait_for(pilot, lambda: screen.draft.settings == ("train.seed=7",))
        assert screen.twin[-2:] == ("--set", "train.seed=7")
        await wait_for_text(pilot, "train.seed")
        await pilot.press("u")
        await wait_for(pilot, lambda: screen.draft.settings == ())


async def test_settings_that_a_preset_does_not_bear_are_told_before_the_start(letters: Path) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("s")
        await type_text(pilot, "model.num_key_value_heads=4")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.draft.settings)
        await to_row(pilot, "preset")
        await pilot.press(*["right"] * 7)
        await wait_for(pilot, lambda: "u takes your last setting back" in screen.obstacle())
        await wait_for_text(pilot, "num_attention_heads 5 is not a multiple of")
        await pilot.press("enter")
        await pilot.pause()
        assert started == []


async def test_without_datasets_it_says_where_they_come_from() -> None:
    async with new_app().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await wait_for_text(pilot, "No dataset has been built yet")
        for key in ("enter", "D", "x", "right", "enter", "x"):
            await pilot.press(key)
            await pilot.pause()
        assert pilot.app.current_mode == "new"
        await pilot.press("2")
        await wait_for(pilot, lambda: pilot.app.current_mode == "data")


async def test_a_name_is_checked_while_it_is_typed(letters: Path) -> None:
    ended_run("taken")
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await to_row(pilot, "name")
        await pilot.press("e", *"taken")
        await wait_for_text(pilot, "there is a run 'taken' already")
        await pilot.press("enter", "enter")
        await pilot.pause()
        assert started == []
        await pilot.press("e", *" two")
        await wait_for_text(pilot, "is not usable")
        await pilot.press(*["backspace"] * 4, *"2", "enter")
        await wait_for(pilot, lambda: screen.twin[-1] == "taken2")
        await wait_for_text(pilot, "the folder will be")
        await pilot.press("e", *["backspace"] * 6, "enter")
        await wait_for(pilot, lambda: screen.twin[-1] == "letters-shakespeare-char-cpu-1")


async def test_a_dry_run_is_the_commands(letters: Path) -> None:
    async with new_app().run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot)
        await to_row(pilot, "preset")
        await pilot.press("left", "x", "x")
        await wait_for_text(pilot, "It would train")
        assert screen.known is not None
        assert "tokens of the data  5.71k" in screen_text(pilot.app)
        await pilot.press("escape")
        shutil.rmtree(letters / "tokenizer")
        await pilot.press("x")
        await wait_for_text(pilot, "! there is no tokenizer at")


async def test_a_run_that_does_not_begin_leaves_its_sentence(letters: Path) -> None:
    async with new_app().run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot)
        (letters / "train-00000.bin").write_bytes(b"damaged")
        await pilot.press("D")
        await wait_for(pilot, lambda: "did not start" in screen._said)
        assert screen._said.startswith(
            "! letters-shakespeare-char-cpu-1 did not start: dataset 'letters': train-00000.bin has 7 bytes"
        )
        assert "did not start" in screen_text(pilot.app)


async def test_a_real_run_is_started_and_outlives_the_application(letters: Path) -> None:
    async with new_app().run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot)
        await to_row(pilot, "preset")
        await pilot.press("left", "s")
        await type_text(pilot, "train.max_steps=2")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.draft.settings)
        await pilot.press("D")
        await wait_for_text(pilot, "trains on its own")
        run = RunDirectory(paths.folder("runs") / "letters-char-tiny-1")
        await wait_for(pilot, lambda: (state := read_state(run)) is not None and state.status == "finished")
        assert json.loads(run.config.read_text())["train"]["max_steps"] == 2
        assert json.loads(run.launch.read_text())["argv"] == command(screen.draft.with_(name=run.name).args())


async def test_a_measurement_makes_a_guess_a_measured_time(letters: Path) -> None:
    from mlxllm.speed import file, guess, write_speed

    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await wait_for_text(pilot, "a guess: m measures this machine")
        screen.mlx.run_job = lambda args, on_line, on_end: ends.append(on_end)  # type: ignore[assignment, method-assign, return-value]
        ends: list[Any] = []
        await pilot.press("m")
        await wait_for(pilot, lambda: ends)
        write_speed(type(guess())(**{**vars(guess()), "time": 1.0}))
        ends[0](type("Ended", (), {"returncode": 0, "cancelled": False})())
        await wait_for_text(pilot, "measured on this machine")
        assert file().exists()


async def test_a_click_on_a_row_and_on_a_choice() -> None:
    async with new_app().run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot)
        await pilot.click("#form", offset=(5, 2))
        await wait_for(pilot, lambda: screen._key == "preset")
        await pilot.click("#choices", offset=(5, 0))
        await wait_for(pilot, lambda: screen.draft.preset == "char-tiny")
