"""The New run screen: what is chosen, the command that comes of it, and how it is started."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from mlxllm import paths
from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.presets import preset_config
from mlxllm.runs import RunDirectory, read_state, write_json_atomic
from mlxllm.speed import guess, write_speed
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.training import tiny
from tests.tui.harness import ended_run, new_app, screen_text, wait_for, wait_for_text, write
from tests.tui.runs import living
from tui.app import MlxllmApp
from tui.data.library import Library, find
from tui.jobs import command
from tui.planning.stock import take_stock
from tui.remembered import Remembered
from tui.screens.new_run import start
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


async def test_pretraining_up_to_the_exact_command(letters: Path) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await wait_for_text(pilot, "a guess: m measures it")
        await pilot.press("down", "left")
        await wait_for_text(pilot, "letters-1")
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
            *("train", "--preset", "char-tiny", "--data", "letters", "--run", "letters-1"),
            *("--set", "model.num_hidden_layers=4", "--minutes", "2"),
        )
        assert screen.twin == expected
        await pilot.press("enter")
        await wait_for(pilot, lambda: pilot.app.current_mode == "monitor")
        assert started == [("letters-1", expected)]

        await pilot.press("3", "D")
        await wait_for(pilot, lambda: "mlxllm monitor letters-2` shows it" in screen._said)
        assert pilot.app.current_mode == "new"
        await pilot.press("D")
        await wait_for(pilot, lambda: len(started) == 3)
        assert [run for run, _ in started] == [f"letters-{n}" for n in (1, 2, 3)]


async def test_the_mouse_and_the_list_beside_the_form(letters: Path) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.click("#form", offset=(5, 2))
        await wait_for(pilot, lambda: screen._key == "preset")
        await pilot.click("#choices", offset=(5, 0))
        await wait_for(pilot, lambda: screen.draft.preset == "char-tiny")
        await wait_for(pilot, lambda: screen.focused is not None and screen.focused.id == "choices")
        await pilot.press("down", "enter")
        await wait_for(pilot, lambda: screen.draft.preset == "shakespeare-char-cpu")
        await wait_for(pilot, lambda: screen.focused is not None and screen.focused.id == "form")
        assert started == []
        await pilot.click("#start")
        await wait_for(pilot, lambda: started and pilot.app.current_mode == "monitor")


async def test_settings_and_names_are_checked_by_the_rules_of_the_command(letters: Path) -> None:
    ended_run("taken")
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("s")
        await type_text(pilot, "train.sed=1")
        await pilot.press("enter")
        await wait_for_text(pilot, "setting 'train.sed' (from --set train.sed=1) does not exist")
        await pilot.press("ctrl+u")
        await type_text(pilot, "train.seed=7")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.draft.settings == ("train.seed=7",))
        assert screen.twin[-2:] == ("--set", "train.seed=7")
        await wait_for_text(pilot, "train.seed")
        await pilot.press("u")
        await wait_for(pilot, lambda: screen.draft.settings == ())

        # One that another preset does not bear is told before the start.
        await pilot.press("s")
        await type_text(pilot, "model.num_key_value_heads=4")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.draft.settings)
        await to_row(pilot, "preset")
        screen.action_dial(7)
        await wait_for(pilot, lambda: "u takes your last setting back" in screen.obstacle())
        await wait_for_text(pilot, "num_attention_heads 5 is not a multiple of")
        await pilot.press("enter")
        await pilot.pause()
        assert started == []
        screen.action_dial(-7)
        await pilot.press("u")

        await to_row(pilot, "name")
        await pilot.press("e")
        await type_text(pilot, "taken")
        await wait_for_text(pilot, "there is a run 'taken' already")
        await pilot.press("enter", "enter")
        await pilot.pause()
        assert started == []
        await pilot.press("e")
        await type_text(pilot, " two")
        await wait_for_text(pilot, "is not usable")
        await pilot.press("ctrl+u")
        await type_text(pilot, "taken2")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.twin[-1] == "taken2")
        await wait_for_text(pilot, "the folder will be")
        await pilot.press("e", "ctrl+u", "enter")
        await wait_for(pilot, lambda: screen.twin[-1] == "letters-1")


async def test_supervised_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_model("taught", "sft")
    made_model("base")  # what the method begins with comes first, not the newest
    file = write(tmp_path / "my lessons.jsonl", (json.dumps(CHAT) + "\n") * 40)
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.method == "sft" and screen.draft.model == "base")
        await wait_for_text(pilot, "No file of conversations is known")
        await pilot.press("enter")
        await pilot.pause()
        assert started == []
        await to_row(pilot, "records")
        await pilot.press("e")
        await type_text(pilot, "'no such'")
        await wait_for_text(pilot, "! there is no file or folder")
        await pilot.press("escape")
        await to_row(pilot, "model")
        await to_row(pilot, "records")
        await wait_for(pilot, lambda: screen.query_one("#entry", Input).value == "'no such'", "what was typed")
        await pilot.press("e", "ctrl+u")
        await type_text(pilot, "'my lessons.jsonl'")
        await wait_for_text(pilot, "40 conversations, about")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.known is not None and screen.known.steps is not None)
        assert screen.twin[-4:] == ("--epochs", "20", "--learning-rate", "0.001")
        await wait_for_text(pilot, "20 times through the data: it will learn it by heart;")
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
    # The file is on the list of the Data screen from now on, and what stands on that can be chosen here.
    library = Library(Remembered())
    assert library.records == [(str(file), "conversations")]
    pairs = write(tmp_path / "pairs.jsonl", json.dumps({"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}) + "\n")
    library.add(find(str(pairs)))
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.records == (str(file),))
        await pilot.press("right")
        await wait_for(pilot, lambda: screen.draft.records == (str(pairs),))
        await wait_for(pilot, lambda: screen.draft.model == "taught")
        assert Library(Remembered()).records == [(str(file), "conversations"), (str(pairs), "preferences")]


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
            *("--epochs", "14", "--learning-rate", "0.0001"),
        )
        await wait_for_text(pilot, "0.0001 (suits a model of 90.9k)")
        await to_row(pilot, "length")
        await wait_for_text(pilot, "Ten steps or so are enough for a small model")
        await to_row(pilot, "rate")
        assert "5e-06 (the recipe's)" in screen_text(pilot.app)
        for _ in range(4):
            await pilot.press("left")
        await wait_for_text(pilot, "1 update changes next to nothing")
        assert screen.twin[-2:] == ("--learning-rate", "5e-06")
        for _ in range(4):
            await pilot.press("right")
        await wait_for(pilot, lambda: screen.twin[-4:] == ("--epochs", "14", "--learning-rate", "0.0001"))
        await pilot.press("enter")
        await wait_for(pilot, lambda: started)


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


async def test_a_dataset_with_nothing_held_out_is_told_with_the_command_that_mends_it(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "few" / f"{number}.txt", f"The owl sees {number} mice. " * 20)
    write(tmp_path / "one.jsonl", json.dumps({"text": "The only text."}) + "\n")
    for name, spec in (("few", tmp_path / "few"), ("one", tmp_path / "one.jsonl")):
        source = open_source(f"text:{spec}")
        build_dataset(paths.folder("datasets") / name, [(source, None)], ByteTokenizer(), val_split=0.0)
    stock = take_stock()
    few, one = stock.dataset("few"), stock.dataset("one")
    assert few is not None
    assert one is not None
    assert "it has only one text" in one.problem
    started: list[tuple[str, tuple[str, ...]]] = []
    async with app_that_starts(started).run_test(size=(100, 30)) as pilot:
        pilot.app.open_new_run(data=("few",))
        await wait_for_text(pilot, "nothing held out")
        screen = pilot.app.screen
        assert isinstance(screen, NewRunScreen)
        await pilot.press("enter", "D", "x")
        await pilot.pause()
        assert started == []
        assert screen.twin == few.remedy
        assert screen.twin[:5] == ("data", "build", "few", "--source", f"text:{tmp_path / 'few'}")
        ended: list[Any] = []
        pilot.app.run_job(screen.twin, lambda _: None, ended.append)  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: ended and ended[0].returncode == 0, "the command that mends it")
        screen.look_again()
        await wait_for(pilot, lambda: screen.stock.known and not screen.obstacle())
        assert screen.twin[:2] == ("train", "--preset")


async def test_real_runs_and_what_does_not_begin(letters: Path) -> None:
    async with new_app().run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot)
        await to_row(pilot, "preset")
        await pilot.press("left", "x", "x")
        await wait_for_text(pilot, "It would train")
        assert screen.known is not None
        assert "tokens of the data  5.71k" in screen_text(pilot.app)
        await pilot.press("escape", "s")
        await type_text(pilot, "train.max_steps=2")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.draft.settings)
        await pilot.press("D")
        await wait_for_text(pilot, "trains on its own")
        run = RunDirectory(paths.folder("runs") / "letters-1")
        await wait_for(pilot, lambda: (state := read_state(run)) is not None and state.status == "finished")
        assert json.loads(run.config.read_text())["train"]["max_steps"] == 2
        assert json.loads(run.launch.read_text())["argv"] == command(screen.draft.with_(name=run.name).args())

        (letters / "train-00000.bin").write_bytes(b"damaged")
        await pilot.press("D")
        await wait_for(pilot, lambda: "did not start" in screen._said)
        assert screen._said.startswith("! letters-2 did not start: dataset 'letters': train-00000.bin has 7 bytes")
        assert "did not start" in screen_text(pilot.app)
        await pilot.press("x")
        await wait_for(pilot, lambda: screen._said.startswith("! dataset 'letters': train-00000.bin has 7 bytes"))


async def test_the_machine_is_measured_once_while_the_form_is_open_and_nothing_trains(
    letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_STAYS_SECONDS", 0.05)
    jobs: list[Ended] = []

    def run_job(args: tuple[str, ...], on_line: Any, on_end: Any) -> Ended:
        jobs.append(Ended(args, on_end))
        return jobs[-1]

    app = app_that_starts([])
    app.measures = True
    app.run_job = run_job  # type: ignore[method-assign, assignment]
    with living(letters_run := ended_run("busy")):
        async with app.run_test(size=(120, 40)) as pilot:
            screen = await opened(pilot)
            await pilot.pause(0.3)
            assert screen.stock.busy
            assert jobs == [], "nothing is measured while a run trains"
            await pilot.press("m")
            await wait_for_text(pilot, "a guess; being measured")
            await pilot.press("1", "3")
            assert not jobs[0].cancelled, "what was asked for goes on"
            jobs[0].end(1)
            await wait_for_text(pilot, "! this machine could not be measured: no")
    assert letters_run.exists

    jobs.clear()
    app = app_that_starts(started := [])
    app.measures = True
    app.run_job = run_job  # type: ignore[method-assign, assignment]
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await wait_for_text(pilot, "measuring how fast this machine trains")
        assert [job.args for job in jobs] == [("doctor", "--speed", "--json")]
        await pilot.press("s", "escape")
        assert not jobs[0].cancelled, "a dialog is no other screen"
        await pilot.press("1")
        await wait_for(pilot, lambda: jobs[0].cancelled)
        jobs[0].end(130)
        await pilot.press("3")
        await wait_for(pilot, lambda: len(jobs) == 2)
        await pilot.press("D")
        await wait_for(pilot, lambda: started and jobs[1].cancelled)
        write_speed(replace(guess(), time=1.0))
        screen.look_again()
        await wait_for_text(pilot, "measured on this machine")
        await pilot.pause(0.3)
        assert len(jobs) == 2


class Ended:
    """A child process, as far as the screen knows it."""

    def __init__(self, args: tuple[str, ...], on_end: Any) -> None:
        """It runs."""
        self.args, self._on_end = args, on_end
        self.cancelled, self.returncode, self.error = False, None, "no"

    def cancel(self) -> None:
        self.cancelled = True

    def end(self, returncode: int) -> None:
        self.returncode = returncode  # type: ignore[assignment]  # None until now
        self._on_end(self)
