"""The data screen, driven by keys; what it builds, the real command builds."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Input, Static

from mlxllm import paths
from mlxllm.data.build import build_dataset
from mlxllm.data.draft import unfinished
from mlxllm.data.manifest import read_manifest
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source
from mlxllm.tokenizer import train_tokenizer
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text, write
from tui import commands
from tui.data import look as data_look
from tui.data.entries import Group
from tui.screens.data.asking import BuildDialog
from tui.screens.data.build import BuildBar
from tui.screens.data.screen import DataScreen
from tui.screens.data.tree import SourceTree
from tui.widgets.one_of import OneOf


@pytest.fixture(autouse=True)
def small_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pilot waits until nothing computes any more, after every key."""
    monkeypatch.setattr(data_look, "_PREVIEW_BYTES", 20_000)


TALK = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Mia."}]}


@asynccontextmanager
async def data_screen(size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Pilot[Any], DataScreen]]:
    async with new_app().run_test(size=size) as pilot:
        await pilot.press("2")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        screen = pilot.app.screen
        assert isinstance(screen, DataScreen)
        await wait_for(pilot, lambda: screen.query_one(SourceTree).entry is not None, "a list")
        yield pilot, screen


async def go_to(pilot: Pilot[Any], key: str) -> None:
    """Put the cursor on an entry."""
    tree = pilot.app.screen.query_one(SourceTree)
    groups: tuple[Group, ...] = ("catalogue", "formats", "yours", "datasets", "records")
    assert any(tree.select(group, key) for group in groups), f"no {key} in the list:\n{screen_text(pilot.app)}"
    await pilot.pause()


async def wait_for_seen(pilot: Pilot[Any], text: str, where: str = "#seen") -> None:
    """Wait until `text` stands in the preview, or in another text, wherever its lines are broken."""

    def seen() -> str:
        found = pilot.app.screen.query(where)
        content = found.first(Static).content if found else ""
        return content.plain if isinstance(content, Content) else str(content)

    await wait_for(pilot, lambda: text in seen(), f"{text!r} in {where}")


async def wait_for_told(pilot: Pilot[Any], text: str) -> None:
    """Wait until the application has said `text` in passing."""
    await wait_for(
        pilot, lambda: any(text in told.message for told in pilot.app._notifications), f"{text!r} to be told"
    )


async def wait_for_entry(pilot: Pilot[Any], key: str) -> None:
    """Wait until the cursor is on an entry."""

    def is_there() -> bool:
        tree = pilot.app.screen.query(SourceTree)
        entry = tree.first().entry if tree else None
        return entry is not None and entry.key == key

    await wait_for(pilot, is_there, f"the cursor on {key}")


async def type_into(pilot: Pilot[Any], field: str, text: str) -> None:
    pilot.app.screen.query_one(f"#{field}", Input).value = text
    await pilot.pause()


async def add(pilot: Pilot[Any], text: str) -> None:
    await pilot.press("a")
    await wait_for_text(pilot, "⏎ Add")
    pilot.app.screen.query_one(Input).value = text
    await pilot.press("enter")


def small_dataset(name: str = "small") -> Path:
    directory = paths.folder("datasets") / name
    build_dataset(directory, [(open_source("stories:20"), None)], train_tokenizer("byte", []), val_split=0.1)
    return directory


def has_pressed(screen: DataScreen, key: str) -> bool:
    """Whether the footer offers a key."""
    return key in {binding.binding.description for binding in screen.active_bindings.values() if binding.enabled}


async def test_an_empty_home() -> None:
    async with data_screen((80, 24)) as (pilot, screen):
        await wait_for_seen(pilot, "stories:0:0")
        shown = screen_text(pilot.app)
        assert "none yet: a adds one" in shown
        assert "none yet: b builds one" in shown
        assert "space takes a source" in shown
        assert screen.twin == commands.data_preview("stories")
        assert max(map(len, shown.splitlines())) <= 80
        for key in ("n", "D", "x", "minus", "k", "escape", "i", "enter", "escape", "escape"):
            await pilot.press(key)
        await go_to(pilot, "text")
        await wait_for_seen(pilot, "needs a file, a folder or a glob")
        screen.query_one(SourceTree).move_cursor_to_line(0)
        await wait_for_seen(pilot, "without a file of your own")
        await pilot.press("b", "space")
        assert not paths.folder("datasets").exists()
        await go_to(pilot, "shakespeare")
        await wait_for_seen(pilot, "Enter fetches shakespeare and")
        write(paths.folder("cache") / "tinyshakespeare.txt", "not it")
        await pilot.press("enter")
        await wait_for_seen(pilot, "is not tiny Shakespeare as it should be")


async def test_text_and_records_are_added_and_looked_at(tmp_path: Path, mlxllm_home: Path) -> None:
    write(tmp_path / "notes" / "a.md", "A note about owls.")
    write(tmp_path / "notes" / "b.jsonl", '{"text": "Owls fly."}\n{"oops": 1}\n')
    async with data_screen() as (pilot, screen):
        await add(pilot, str(tmp_path / "none"))
        await wait_for_text(pilot, "there is no file or folder")
        assert pilot.app.screen.query_one(Input).value == str(tmp_path / "none"), "nothing typed is lost"
        pilot.app.screen.query_one(Input).value = "owner/name"
        await pilot.press("enter")
        await wait_for_text(pilot, "cannot fetch the data set owner/name")
        pilot.app.screen.query_one(Input).value = str(tmp_path / "notes")
        await pilot.press("enter")
        spec = f"text:{tmp_path / 'notes'}"
        await wait_for(
            pilot, lambda: screen.query_one(SourceTree).entry and screen.query_one(SourceTree).entry.key == spec
        )
        await wait_for_seen(pilot, "A note about owls.")
        await pilot.press("right")
        await wait_for_text(pilot, "A│·│n│o│t│e")
        assert screen.twin == commands.data_preview(spec, "byte", tokens=True)
        await pilot.press("i")
        await wait_for_text(pilot, "70 37 115 116 121")
        await pilot.press("right")
        await wait_for_text(pilot, "2 documents, 27 bytes: all of it")
        await pilot.press("right")
        await wait_for_text(pilot, "1 left out: no text field")
        await pilot.press("right")
        await wait_for_text(pilot, "row 1")
        await pilot.press("right")
        await wait_for_seen(pilot, "A note about owls.")
        (tmp_path / "notes" / "a.md").unlink()
        (tmp_path / "notes" / "b.jsonl").unlink()
        (tmp_path / "notes").rmdir()
        await pilot.press("1", "2")
        await wait_for_seen(pilot, "is not there any more")
        await pilot.press("D")
        await wait_for_text(pilot, "The file stays where it is")
        await pilot.press("y")
        await wait_for(pilot, lambda: "Your sources (0)" in screen_text(pilot.app))
        assert json.loads((mlxllm_home / "tui.json").read_text())["data_sources"] == []

        talk = write(tmp_path / "talk.jsonl", json.dumps(TALK) + "\n")
        asked: list[tuple[Any, ...]] = []
        pilot.app.open_new_run = lambda method="pretrain", **options: asked.append((method, options))  # type: ignore[attr-defined]
        await add(pilot, str(talk))
        await wait_for_text(pilot, "talk.jsonl  conversations")
        await wait_for_seen(pilot, "talk.jsonl:1")
        await pilot.press("left")
        await wait_for_seen(pilot, "<|user|>Who?<|end|><|assistant|>[Mia.][<|end|>]")
        assert screen.twin == commands.data_masks(str(talk), "byte")
        assert not has_pressed(screen, "Take")
        await pilot.press("n")
        await wait_for(pilot, lambda: asked)
        assert asked == [("sft", {"data": (str(talk),)})]


async def test_a_mixture_with_weights(mlxllm_home: Path) -> None:
    async with data_screen() as (pilot, _):
        await pilot.press("space")
        await wait_for_text(pilot, "100%")
        await pilot.press("plus")
        await wait_for_text(pilot, "stories            x2")
        await pilot.press("minus", "minus", "minus")
        await wait_for_text(pilot, "[x] stories x0.8")
        await add(pilot, "stories:count=5000,seed=7")
        await wait_for_text(pilot, "stories:count=5000,seed=7,start=0")
        await pilot.press("space")
        await wait_for(pilot, lambda: any(f"{n}%" in screen_text(pilot.app) for n in range(74, 79)), "shares")
        await go_to(pilot, "stories")
        await pilot.press("space")
        await wait_for(pilot, lambda: "[ ] stories" in screen_text(pilot.app))
    assert json.loads((mlxllm_home / "tui.json").read_text())["data_mixture"] == {
        "stories:count=5000,seed=7,start=0": 1.0
    }


async def test_a_dataset_is_built_by_the_real_command(tmp_path: Path) -> None:
    async with data_screen() as (pilot, screen):
        asked: list[Any] = []
        pilot.app.open_new_run = lambda method="pretrain", **options: asked.append(options)  # type: ignore[attr-defined]
        await add(pilot, "stories:40")
        await wait_for_text(pilot, "stories:count=40,seed=0,start=0")
        await pilot.press("b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        await wait_for_text(pilot, "⏎ Build")
        await type_into(pilot, "name", "no/name")
        await pilot.press("enter")
        await wait_for_text(pilot, "dataset name 'no/name' is not usable")
        await type_into(pilot, "name", "tales")
        await type_into(pilot, "tokenizer", "bpe:x")
        await pilot.press("enter")
        await wait_for_text(pilot, "tokenizer 'bpe:x' is not understood")
        await type_into(pilot, "tokenizer", "byte")
        await type_into(pilot, "val", "2")
        await pilot.press("enter")
        await wait_for_text(pilot, "it is a part of the text")
        await type_into(pilot, "val", "0.2")
        args = commands.data_build("tales", [("stories:count=40,seed=0,start=0", None)], "byte", "0.2")
        await wait_for_seen(pilot, commands.as_text(args), "#command")
        twins: list[commands.Args] = []

        def changed(twin: commands.Args) -> None:
            twins.append(twin)

        pilot.app.watch(screen, "twin", changed, init=False)  # so few stories are built in no time
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        await wait_for(pilot, lambda: args in twins)
        await wait_for_seen(pilot, "Built tales:", "BuildBar")
        bar = screen.query_one(BuildBar)
        bar.progress({"file": "part-0.parquet", "fetched": 3_000_000, "file_bytes": 9_000_000}, False)
        await wait_for_seen(pilot, "Building tales: fetching 3.0 MB of 9.0 MB, part-0.parquet", "BuildBar")
        await wait_for(
            pilot, lambda: screen.query_one(SourceTree).entry and screen.query_one(SourceTree).entry.key == "tales"
        )
        await wait_for_seen(pilot, "train document 1")
        assert screen.twin == commands.data_inspect("tales")
        await pilot.press("n")
        await wait_for(pilot, lambda: asked)
        assert asked == [{"data": ("tales",)}]
        assert TokenDataset.open(paths.folder("datasets") / "tales", verify=True).manifest.sources

        await go_to(pilot, "stories:count=40,seed=0,start=0")
        await pilot.press("b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        await type_into(pilot, "name", "tales")
        await pilot.press("enter")
        await wait_for_text(pilot, "There is a dataset 'tales' already")
        await pilot.press("n", "escape")
        await go_to(pilot, "tales")
        await pilot.press("D")
        await wait_for_text(pilot, "Delete the dataset tales for good?")
        await pilot.press("y")
        await wait_for_text(pilot, "Datasets (0)")
        assert not (paths.folder("datasets") / "tales").exists()


async def test_a_build_is_stopped_and_goes_on(tmp_path: Path) -> None:
    async with data_screen((80, 24)) as (pilot, screen):
        await add(pilot, "stories:60000")
        await wait_for_text(pilot, "stories:count=60000")
        await pilot.press("b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        await type_into(pilot, "name", "big")
        await type_into(pilot, "tokenizer", "byte")
        await pilot.press("enter")
        await wait_for_seen(pilot, "documents", "BuildBar")
        await pilot.press("b")
        await wait_for_told(pilot, "big is being built")
        await pilot.press("x")
        await wait_for_seen(pilot, "The build of big was stopped", "BuildBar")
        ((name, state, held),) = unfinished(paths.folder("datasets"))
        assert (name, held) == ("big", False)
        assert state.documents > 0
        await wait_for(
            pilot, lambda: screen.query_one(SourceTree).entry and screen.query_one(SourceTree).entry.key == "big"
        )
        await wait_for_seen(pilot, "was interrupted; b goes on")
        assert screen.twin == commands.data_build("big", (), "")
        await pilot.press("b")
        await wait_for_seen(pilot, "Building big", "BuildBar")
        await pilot.press("x")
        await wait_for_seen(pilot, "The build of big was stopped", "BuildBar")
        ((_, later, _),) = unfinished(paths.folder("datasets"))
        assert later.documents >= state.documents
        await wait_for_seen(pilot, "was interrupted")
        await pilot.press("D")
        await wait_for_text(pilot, "Delete the dataset big")
        await pilot.press("y")
        await wait_for_text(pilot, "Datasets (0)")
    assert list(unfinished(paths.folder("datasets"))) == []


async def test_unfinished_and_damaged_datasets_and_another_tokenizer() -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(
            paths.folder("datasets") / "half",
            [(open_source("stories:50"), None)],
            train_tokenizer("byte", []),
            keep_draft=True,
            progress=interrupt,
        )
    small_dataset()
    write(paths.folder("datasets") / "broken" / "manifest.json", "{")
    async with data_screen((200, 60)) as (pilot, screen):
        await go_to(pilot, "half")
        await pilot.press("b")
        await wait_for_seen(pilot, "Built half:", "BuildBar")
        assert read_manifest(paths.folder("datasets") / "half").sources["stories"].documents_kept == 50

        await wait_for_entry(pilot, "half")
        await wait_for_seen(pilot, "train document 1")  # what was built is shown, wherever the cursor was
        await wait_for_text(pilot, "✗ broken  damaged")
        await go_to(pilot, "broken")
        await wait_for_seen(pilot, "is damaged")
        for key in ("b", "n", "space", "plus", "right", "left", "enter", "escape", "k", "escape"):
            await pilot.press(key)
        await go_to(pilot, "small")
        await wait_for_seen(pilot, "train document 1")
        await go_to(pilot, "broken")
        await pilot.press("D", "y")
        await wait_for_text(pilot, "Datasets (2)")
        assert sorted(path.name for path in paths.folder("datasets").iterdir()) == ["half", "small"]

        pilot.app.action_go("home")  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: not isinstance(pilot.app.screen, DataScreen))
        pilot.app.open_data("small")  # type: ignore[attr-defined]
        await wait_for_entry(pilot, "small")
        await go_to(pilot, "stories")
        await pilot.press("right")
        await wait_for_text(pilot, "of dataset half: byte of 261")
        await pilot.press("k")
        await wait_for_text(pilot, "char: the characters of the text at hand")
        await pilot.press("end", "enter")
        await wait_for(pilot, lambda: screen.twin == commands.data_preview("stories", "char", tokens=True))
        await wait_for_text(pilot, "char: the characters of the text at hand; │ stands between")


async def test_of_a_handful_of_documents_some_are_held_out(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "few" / f"{number}.txt", f"The owl sees {number} mice. " * 20)
    few = open_source(f"text:{tmp_path / 'few'}")
    build_dataset(paths.folder("datasets") / "nothing", [(few, None)], train_tokenizer("byte", []), val_split=0.0)
    async with data_screen() as (pilot, screen):
        await add(pilot, str(tmp_path / "few"))
        await wait_for_entry(pilot, few.spec)
        await pilot.press("b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        await wait_for_seen(pilot, "of 3 documents, held out whole", "#about_val")
        assert pilot.app.screen.query_one("#tokenizer", Input).value == "char", "measured, though it was not taken"
        proposed = pilot.app.screen.query_one("#val", Input).value
        await type_into(pilot, "val", "0.0001")
        await wait_for_seen(pilot, "! for validation: 0 of 3 documents", "#about_val")
        await type_into(pilot, "val", "none")
        await wait_for_seen(pilot, "0.01 is a hundredth", "#about_val")
        await type_into(pilot, "val", proposed)
        await pilot.press("enter")
        await wait_for_seen(pilot, "Built few:", "BuildBar")
        manifest = read_manifest(paths.folder("datasets") / "few")
        assert manifest.train.documents > 0
        assert manifest.val.documents > 0
        assert manifest.train.documents + manifest.val.documents == 3

        # One that cannot be used is built again from its own sources, whatever is taken.
        await go_to(pilot, few.spec)
        await pilot.press("space")
        await go_to(pilot, "nothing")
        await pilot.press("b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        assert [pilot.app.screen.query_one(f"#{field}", Input).value for field in ("name", "tokenizer", "val")] == [
            "nothing",
            "byte",
            proposed,
        ]
        await pilot.press("enter")
        await wait_for_text(pilot, "There is a dataset 'nothing' already")
        await pilot.press("y")
        await wait_for_seen(pilot, "Built nothing:", "BuildBar")
        assert read_manifest(paths.folder("datasets") / "nothing").val.documents > 0
        assert screen.query_one(SourceTree).entry is not None


async def test_the_rules_of_cleaning_and_evaluation_files_are_asked(tmp_path: Path) -> None:
    question = "Where did the grey owl of the old mill hide all of her seven shiny keys"
    for number in range(20):
        write(tmp_path / "notes" / f"{number}.txt", f"Note {number}. {question if number == 3 else 'Nothing'}!\n")
    write(tmp_path / "my eval.jsonl", json.dumps({"question": question}) + "\n")
    spec = f"text:{tmp_path / 'notes'}"
    async with data_screen((80, 24)) as (pilot, _):
        await add(pilot, str(tmp_path / "notes"))
        await wait_for_entry(pilot, spec)
        await pilot.press("b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        await wait_for_seen(pilot, "text: none", "#about_recipe")
        await type_into(pilot, "tokenizer", "byte")
        await type_into(pilot, "val", "0.2")
        pilot.app.screen.query_one(OneOf).focus()
        await pilot.press("right")
        await wait_for_seen(pilot, "Gopher", "#about_recipe")
        await pilot.press("left", "left")
        await wait_for_seen(pilot, "every document stays", "#about_recipe")
        await type_into(pilot, "overlap", str(tmp_path / "nothing.jsonl"))
        await pilot.press("enter")
        await wait_for_seen(pilot, "there is no evaluation file", "#wrong")
        await type_into(pilot, "overlap", str(tmp_path / "my eval.jsonl"))
        args = commands.data_build(
            "notes", [(spec, None)], "byte", "0.2", recipe="none", overlap=[str(tmp_path / "my eval.jsonl")]
        )
        await wait_for_seen(pilot, commands.as_text(args), "#command")
        await pilot.press("enter")
        await wait_for_seen(pilot, "Built notes:", "BuildBar")
        await wait_for_seen(pilot, "1 of 20 records left out", "BuildBar")
        said = [told.message for told in pilot.app._notifications]
        assert not any("left out" in message for message in said), "it would cover what was built"
    manifest = read_manifest(paths.folder("datasets") / "notes")
    assert manifest.evaluation_files == ("my eval.jsonl",)
    assert manifest.sources["notes"].dropped == {"overlaps an evaluation set": 1}


async def test_only_the_kind_stands_in_the_line_for_a_source_of_ones_own() -> None:
    async with data_screen() as (pilot, _):
        await go_to(pilot, "arxiv")
        await wait_for_seen(pilot, "arxiv needs a file")
        await pilot.press("a")
        await wait_for_text(pilot, "⏎ Add")
        assert pilot.app.screen.query_one(Input).value == "arxiv:"
        await pilot.press("end", "x", "enter")
        await wait_for_text(pilot, "there is no file")
        assert pilot.app.screen.query_one(Input).value == "arxiv:x"
