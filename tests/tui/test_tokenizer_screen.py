"""A tokenizer at work: its merges forward and back, and the same text in several sizes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mlxllm import paths
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.bpe_training import train_bpe
from tests.tokenizer.corpus import corpus
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text
from tests.tui.test_themes import _assert_readable
from tui.data.tokenizing import Bench, Cell
from tui.screens.data.screen import DataScreen
from tui.screens.tokenizer.screen import Symbols, TokenizerWork
from tui.themes import THEMES

PIECES = ["a", "b", "c", " ", "bc", "ab", "abc"]


@asynccontextmanager
async def tokenizer_screen(text: str = "") -> AsyncIterator[Pilot[Any]]:
    async with new_app().run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        await pilot.press("m")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, TokenizerWork))
        if text:
            await pilot.press("t")
            pilot.app.screen.query_one(Input).value = text
            await pilot.press("enter")
        yield pilot


def symbols(pilot: Pilot[Any]) -> str:
    return str(pilot.app.screen.query_one(Symbols).content)


async def test_the_arrows_merge_and_part_again() -> None:
    BpeTokenizer(PIECES).save(paths.folder("tokenizers") / "small")
    async with tokenizer_screen("abc ab") as pilot:
        await wait_for_text(pilot, "step 0 of 3   6 symbols   nothing is merged yet")
        assert symbols(pilot) == "a|b|c|·|a|b"
        await pilot.press("right")
        await wait_for_text(pilot, "step 1 of 3   5 symbols   b + c becomes bc: merge 0 of 3")
        assert symbols(pilot) == "a|[bc]|·|a|b"
        await pilot.press("right", "right", "right")
        await wait_for_text(pilot, "a + bc becomes abc: merge 2 of 3")
        assert symbols(pilot) == "[abc]|·|ab"
        await pilot.press("left")
        await wait_for_text(pilot, "step 2 of 3")
        assert symbols(pilot) == "a|bc|·|[ab]"
        await pilot.press("home", "space")
        await wait_for_text(pilot, "step 3 of 3")
        await pilot.press("home", "end")
        await wait_for_text(pilot, "step 3 of 3")
        text = screen_text(pilot.app)
        assert "small: 268 ids, 3 tokens, 2.00 bytes a token" in text
        assert "characters: any ids, 6 tokens, 1.00 bytes a token" in text
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, DataScreen))


async def test_letters_are_text_while_a_text_is_written() -> None:
    BpeTokenizer(PIECES).save(paths.folder("tokenizers") / "small")
    async with tokenizer_screen() as pilot:
        await wait_for_text(pilot, "step 0 of")
        await pilot.press("t", "ctrl+u", "n", "a", "b", "left", "right")
        await wait_for_text(pilot, "step 0 of 1")
        assert pilot.app.screen.query_one(Input).value == "nab"
        await pilot.press("escape", "right")
        await wait_for_text(pilot, "a + b becomes ab")


async def test_examples_and_several_sizes() -> None:
    train_bpe(corpus(), 530).save(paths.folder("tokenizers") / "mine")
    BpeTokenizer(PIECES).save(paths.folder("tokenizers") / "small")
    async with tokenizer_screen() as pilot:
        await wait_for_text(pilot, "mine, 512 ids: 512 ids")
        await pilot.press("n")
        await wait_for_text(pilot, "numbers")
        await wait_for_text(pilot, "I|n|·|2|0|2|4")
        await pilot.press("k")
        await wait_for_text(pilot, "A tokenizer at work: small of 268")


async def test_without_a_bpe_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    async with tokenizer_screen() as pilot:
        await wait_for_text(pilot, "There is no BPE tokenizer yet: build a dataset with one")
        await pilot.press("right", "end", "space", "left", "k")
        await wait_for_text(pilot, "bytes: 261 ids")
        for theme in THEMES:
            pilot.app.theme = theme.name
            await pilot.pause(0.05)
            _assert_readable(pilot.app, "tokenizer", theme.name)


def test_what_the_next_step_joins_is_marked() -> None:
    BpeTokenizer(PIECES).save(paths.folder("tokenizers") / "small")
    bench = Bench()
    bench.look_again()
    work = bench.work(bench.known[0], "abc")
    assert work.cells(0) == [Cell("a"), Cell("b", next=True), Cell("c", next=True)]
    assert work.cells(1) == [Cell("a", next=True), Cell("bc", made=True, next=True)]
    assert work.cells(2) == [Cell("abc", made=True)]
    assert bench.work(bench.known[0], "é").cells(0) == [Cell("<0xC3>"), Cell("<0xA9>")]
    assert bench.work(bench.known[0], "\ud800").trouble.startswith("the text holds the lone surrogate")
