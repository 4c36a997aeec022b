"""The X-ray: what is changed and shown, without a screen and on it, over the real engine and a tiny model."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input
from typer.main import get_command

from mlxllm.cli.app import app as cli
from mlxllm.explain.interventions import parse
from mlxllm.explain.xray import explain
from mlxllm.model.loading import LoadedModel, load_model
from tests.cli.tuned import tuned_run
from tests.inference.tiny import TOKENIZER, write_folder, writing_letters
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text
from tui.marks import Terminal
from tui.screens.xray.screen import XrayScreen
from tui.talking.xray import ASCII_SHADES, SHADES, Changes, View, shade, twin
from tui.widgets.layer_table import LayerTable

TEXT = "Once upon"
PARTS = st.sampled_from(["head:0.1", "head:1.3", "attention:0", "mlp:1", "layer:0"])
CHANGES = st.builds(
    Changes,
    off=st.frozensets(PARTS),
    positions=st.booleans(),
    causal=st.booleans(),
    temperature=st.sampled_from([1.0, 0.7, 2.0]),
    patch=st.sampled_from(["", "1@A dog", "0@-x @ y"]),
    shuffle=st.none() | st.integers(0, 9),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "letters", writing_letters())


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(str(folder))


def view_of(loaded: LoadedModel, *specs: str, **options: Any) -> View:
    ids = TOKENIZER.encode(TEXT)
    return View(explain(loaded, ids, text=TEXT, changes=parse(specs), near=2, **options).as_json())


# Without a screen.


@settings(max_examples=25)
@given(changes=CHANGES, text=st.sampled_from(["a b", "-x", "--json", "it's"]), at=st.integers(-1, 5))
def test_the_twin_says_what_the_engine_is_asked(changes: Changes, text: str, at: int) -> None:
    args = twin("some model", text, changes, layer=1, head=2, at=at, chat=False)
    command: Any = get_command(cli)
    given = command.commands["explain"].make_context("explain", list(args[1:])).params
    assert (given["text"], given["model"], given["layer"], given["head"], given["at"]) == (text, "some model", 1, 2, at)
    specs = [*given["off"], *(f"patch:{each}" for each in given["patch"])]
    specs += ["positions"] if given["no_positions"] else []
    specs += [f"temperature:{given['temp']}"] if given["temp"] is not None else []
    assert parse(specs) == parse(changes.specs)
    assert given["shuffle"] == changes.shuffle


@given(CHANGES)
def test_what_is_changed_is_told(changes: Changes) -> None:
    assert changes.any == bool(changes.told()) == (changes != Changes())
    for part in ("head:0.1", "layer:7"):
        assert changes.toggled(part).toggled(part) == changes
        assert (part in changes.toggled(part).specs) != (part in changes.specs)
    assert changes.warmer(1).warmer(-1).temperature == pytest.approx(changes.temperature)
    assert 0 < changes.warmer(-1000).temperature < changes.warmer(1000).temperature
    assert changes.shuffled().shuffle != changes.shuffle


def test_shades() -> None:
    assert [shade(share) for share in (0.0, 0.019, 0.02, 0.1, 0.3, 0.6, 1.0)] == list("··░▒▓██")
    assert shade(0.5, ASCII_SHADES) == ASCII_SHADES[3]
    assert len(SHADES) == len(ASCII_SHADES)


def test_a_view_shows_the_numbers_of_the_walk(loaded: LoadedModel) -> None:
    plain, off = view_of(loaded), view_of(loaded, "head:0.1", "mlp:1")
    assert (plain.layers, plain.heads, plain.at, len(plain.pieces)) == (2, 4, 8, 9)
    assert plain.map_of(1, 2) == plain.told["maps"]["1"][2]
    assert view_of(loaded, maps=[0]).map_of(1, 2) is None
    assert plain.would_say(1, 1).startswith(plain.next_lines()[0][0])
    assert all(before is None for _, before, _ in plain.next_lines())
    lines = off.next_lines()
    assert [max(before or 0, now) for _, before, now in lines] == sorted(
        (max(b or 0, n) for _, b, n in lines), reverse=True
    )
    assert "KL" in off.entropies()
    assert off.sizes(1)[2] == "0"
    assert all(0 <= plain.decided(layer, head) <= 1 for layer in range(2) for head in range(4))
    assert plain.neighbours(0).count(".") == 2
    assert plain.order_lines() == []
    orders = view_of(loaded, shuffle=3).order_lines()
    assert [name for name, _, _ in orders] == ["as it is", "no mask", "no positions", "neither"]
    assert orders[3][2] < 1e-4


# On the screen.


@asynccontextmanager
async def looking(
    model: Path | str, size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncIterator[tuple[Pilot[None], XrayScreen]]:
    """The X-ray with a model that has read `TEXT`."""
    app = new_app(**options)
    async with app.run_test(size=size, notifications=True) as pilot:
        app.action_go("xray")
        await wait_for(pilot, lambda: isinstance(app.screen, XrayScreen) and app.screen.is_mounted)
        screen = app.screen
        assert isinstance(screen, XrayScreen)
        screen.query_one("#prompt", Input).value = TEXT
        screen.open_model(str(model))
        await wait_for(pilot, lambda: screen._view is not None, "the walk")
        await pilot.pause()
        yield pilot, screen


async def test_parts_are_switched_off_and_on(folder: Path, loaded: LoadedModel) -> None:
    async with looking(folder) as (pilot, screen):
        text = screen_text(pilot.app)
        for shown in ("Attention of layer 0, head 0", "Next piece", "embedding", "layer 1", "if it stopped here"):
            assert shown in text
        before = view_of(loaded).next_lines()
        assert before[0][0] in text
        await pilot.press("right", "space")
        await wait_for_text(pilot, "changed: head 0.1 off")
        assert screen._view is not None
        expected = view_of(loaded, "head:0.1", top=8)
        assert screen._view.next_lines() == expected.next_lines()
        assert expected.entropies()[:24] in screen_text(pilot.app)
        await pilot.press("down", "f")
        await wait_for_text(pilot, "changed: head 0.1 off, feed-forward 1 off")
        assert "Attention of layer 1, head 1" in screen_text(pilot.app)
        assert screen.twin[-7:] == ("--head", "1", "--off", "head:0.1", "--off", "mlp:1", TEXT)
        await pilot.press("x")
        await wait_for(pilot, lambda: "changed:" not in screen_text(pilot.app))
        await wait_for(pilot, lambda: "effect" not in screen._view.told)  # type: ignore[union-attr]


async def test_positions_order_temperature_and_patches(folder: Path) -> None:
    async with looking(folder) as (pilot, screen):
        await pilot.press("p", "s")
        await wait_for_text(pilot, "changed: no positions, shuffled (1)")
        await wait_for_text(pilot, "neither")
        await pilot.press("x", "minus", "minus", "o")
        await wait_for_text(pilot, "changed: no causal mask, temperature 0.8")
        await pilot.press("x", "h")
        await wait_for_text(pilot, "Another prompt: what it has behind layer 0")
        for _ in TEXT:
            await pilot.press("backspace")
        await pilot.press(*"abcd", "enter")
        await wait_for_text(pilot, "changed: layer 0 from 'abcd'")
        await wait_for(pilot, lambda: screen._view.told["changes"] == ["patch:0@abcd"])  # type: ignore[union-attr]


async def test_the_lens_at_all_pieces(folder: Path, loaded: LoadedModel) -> None:
    async with looking(folder) as (pilot, _):
        await pilot.press("v")
        await wait_for_text(pilot, "What each layer would say next")
        lines = screen_text(pilot.app).splitlines()
        view = view_of(loaded)
        (row,) = [line for line in lines if "layer 1" in line and "%" in line and "│" in line[:2]]
        said = view.lens_row(1, view.lens_positions(4))
        assert [piece for piece, _ in said] == [found.split()[0] for found in _cells(row)][-4:]
        await pilot.press("v")
        await wait_for_text(pilot, "Attention of layer 0, head 0")


def _cells(row: str) -> list[str]:
    """Piece and share of each cell of a row of the lens."""
    return re.findall(r"\S+\s+<?[\d.]+%", row.split("││")[0][13:])


def test_the_lens_looks_at_what_is_looked_at(loaded: LoadedModel) -> None:
    assert list(view_of(loaded).lens_positions(4)) == [5, 6, 7, 8]
    assert list(view_of(loaded, at=2).lens_positions(4)) == [0, 1, 2, 3]
    assert list(view_of(loaded, at=2).lens_positions(40)) == list(range(9))
    view = view_of(loaded)
    assert view.lens_row(1, [8])[0] == (view.next_lines()[0][0], pytest.approx(view.next_lines()[0][2], abs=1e-6))


async def test_another_prompt_and_another_piece(folder: Path) -> None:
    async with looking(folder) as (pilot, screen):
        await pilot.press("e")
        prompt = screen.query_one("#prompt", Input)
        assert prompt.has_focus
        prompt.value = "a dog"
        prompt.cursor_position = 5
        await pilot.press("x", "enter")  # a letter in the input, no key
        await wait_for(pilot, lambda: screen._view.told["text"] == "a dogx")  # type: ignore[union-attr]
        assert screen.query_one(LayerTable).has_focus
        await pilot.press("comma", "comma")
        await wait_for_text(pilot, "piece 3 of 6")
        await pilot.press("full_stop")
        await wait_for_text(pilot, "piece 4 of 6")
        assert "--at" in screen.twin


async def test_what_cannot_be_is_said_and_can_be_undone(folder: Path) -> None:
    async with looking(folder) as (pilot, screen):
        prompt = screen.query_one("#prompt", Input)
        prompt.value = "b" * 300
        prompt.focus()
        await pilot.press("enter")
        await wait_for_text(pilot, "the text has 300 tokens, and at most 256 are walked through")
        prompt.value = "   "
        prompt.focus()
        await pilot.press("enter")
        await wait_for_text(pilot, "write a few words")
        prompt.value = "b"
        await pilot.press("enter")
        await wait_for_text(pilot, "piece 0 of 1")
        await pilot.press("s")
        await wait_for_text(pilot, "there is nothing to shuffle")
        await pilot.press("x")
        await wait_for(pilot, lambda: "nothing to shuffle" not in screen_text(pilot.app))


async def test_a_model_that_is_not_there(folder: Path) -> None:
    async with looking(folder) as (pilot, screen):
        await pilot.press("down", "space")
        screen.open_model("no-such-run")
        await wait_for_text(pilot, "cannot be used")
        # Folded where the line ends, which depends on how long the home's path is.
        await wait_for(pilot, lambda: "m chooses another model" in " ".join(screen_text(pilot.app).split()))


async def test_a_tuned_model_is_asked_in_its_template(tmp_path: Path) -> None:
    async with looking(tuned_run(tmp_path)) as (pilot, screen):
        assert screen._view is not None
        asked = len(screen._view.pieces)
        assert "--chat" in screen.twin
        await wait_for_text(pilot, "is asked")
        await pilot.press("c")
        await wait_for(pilot, lambda: len(screen._view.pieces) < asked)  # type: ignore[union-attr]
        assert "--chat" not in screen.twin


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (200, 60)])
async def test_in_ascii_and_any_size(folder: Path, size: tuple[int, int]) -> None:
    async with looking(folder, size, terminal=Terminal("ascii", False)) as (pilot, _):
        await pilot.press("space", "s")
        await wait_for_text(pilot, "changed: head 0.0 off, shuffled (1)")
        shown = screen_text(pilot.app)
        assert ("Attention of layer 0" if size[0] >= 80 else "[8 X-ray]") in shown
        assert set(shown) - set(map(chr, range(128))) <= {"·"}
