"""The tour in the application: chapters and answers, experiments as children, progress, and a first model."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.containers import ScrollableContainer
from textual.pilot import Pilot
from textual.widgets import Static

from mlxllm import paths
from mlxllm.learn.contents import CHAPTERS
from mlxllm.learn.progress import FILE, Progress, mark, read_progress
from mlxllm.runs import RunDirectory
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text
from tests.tui.runs import living, make_run, set_status
from tui.data.tour import Tour, birth, folded, mark_of
from tui.marks import Terminal
from tui.screens.base import TITLES
from tui.screens.learn.screen import LearnScreen

KEY = str([mode for mode, _ in TITLES].index("learn") + 1)


async def opened(pilot: Pilot[None]) -> LearnScreen:
    await pilot.press("escape", KEY)
    await wait_for_text(pilot, f"[{KEY} Learn]")
    await wait_for(pilot, lambda: pilot.app.screen._tour is not None)  # type: ignore[attr-defined]
    assert isinstance(pilot.app.screen, LearnScreen)
    return pilot.app.screen


def shown(screen: LearnScreen) -> str:
    """The page, however far it is scrolled."""
    return str(screen.query_one("#page Static", Static).content)


def output(screen: LearnScreen) -> str:
    return str(screen.query_one("#output Static", Static).content)


async def test_chapters_are_turned_and_answers_shown() -> None:
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        for each in CHAPTERS:
            assert f"{each.number:>2} {each.title}" in screen_text(pilot.app)
            text = shown(screen)
            for part in (
                *each.paragraphs,
                *each.formula.split("\n"),
                *(r.text for r in each.references),
                each.question,
            ):
                assert part in text
            assert each.answer not in text
            await pilot.press("a")
            await wait_for(pilot, lambda each=each: each.answer in shown(screen))
            await pilot.press("n")
        assert CHAPTERS[-1].title in shown(screen), "the last one stays"
        await pilot.press("a")
        await wait_for(pilot, lambda: CHAPTERS[-1].answer not in shown(screen))
        await pilot.press("p")
        await wait_for(pilot, lambda: CHAPTERS[-2].title in shown(screen))
    assert all("answered" in read_progress().of(each.number) for each in CHAPTERS)


async def test_in_ascii_nothing_else_is_drawn() -> None:
    async with new_app(terminal=Terminal("ascii", False)).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        for each in CHAPTERS:
            await wait_for_text(pilot, f"{each.number}. {each.title}")
            assert each.formula_in_ascii in shown(screen).replace("\n   ", "\n")
            await wait_for(pilot, lambda: screen_text(pilot.app).replace("é", "").isascii())
            await pilot.press("n")


async def test_what_is_done_is_remembered(mlxllm_home: Path) -> None:
    mark(1, "tried", "answered")
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await wait_for(pilot, lambda: CHAPTERS[1].title in shown(screen))
        await wait_for_text(pilot, "✓  1 Characters")
        await pilot.press("d")
        await wait_for_text(pilot, "✓  2 Byte-pair encoding")
        assert "2 of 10 done" in screen_text(pilot.app)
    assert read_progress().is_done(2)
    (mlxllm_home / FILE).write_text("{broken")
    async with new_app().run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await wait_for(pilot, lambda: any("begins anew" in n.message for n in pilot.app._notifications))
        await wait_for_text(pilot, "0 of 10 done")


async def test_an_experiment_is_a_child_whose_words_are_shown(mlxllm_home: Path) -> None:
    """Without a model the second chapter learns pieces, and then shows a text in them."""
    async with new_app().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("n")
        await wait_for_text(pilot, "$ mlxllm tokenizer train pieces-1 --kind bpe")
        await pilot.press("enter")
        await wait_for_text(pilot, "it runs; s stops it")
        await wait_for(pilot, lambda: "bpe tokenizer with 512 ids" in output(screen), "what is narrated on stderr")
        await wait_for_text(pilot, "$ mlxllm tokenizer show pieces-1")
        assert "tried" in read_progress().of(2)
        await pilot.press("enter")
        await wait_for(pilot, lambda: "bytes a token" in output(screen), "what is printed on stdout")
        await wait_for_text(pilot, "done; tab enlarges and scrolls it")
        pane = screen.query_one("#output", ScrollableContainer)
        assert 0 <= pane.scrollable_content_region.width - screen._width <= 4, "it is folded for the room that there is"
    assert (mlxllm_home / "tokenizers" / "pieces-1").is_dir()


async def test_a_small_window_has_the_numbers_only_and_what_is_printed_can_be_enlarged() -> None:
    async with new_app().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await wait_for(pilot, lambda: "1. Characters" in screen_text(pilot.app))
        assert "Byte-pair" not in screen_text(pilot.app)
        pane = screen.query_one("#output")
        await pilot.press("n", "enter")
        await wait_for_text(pilot, "done; tab enlarges")
        low = pane.size.height
        await pilot.press("tab", "tab")
        await wait_for(pilot, lambda: pane.has_focus and pane.size.height > low + 3)
        await pilot.resize_terminal(120, 40)
        await wait_for_text(pilot, " 2 Byte-pair encoding")


async def test_an_experiment_can_be_stopped_and_is_not_tried_then() -> None:
    async with new_app().run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("n")
        await wait_for_text(pilot, "$ mlxllm tokenizer train pieces-1")
        await pilot.press("enter")
        await wait_for_text(pilot, "it runs; s stops it")
        await pilot.press("s")
        await wait_for_text(pilot, "─ stopped ─")
        assert "tried" not in read_progress().of(2)


async def test_without_a_model_the_first_chapter_trains_one(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    app = new_app()
    with ExitStack() as trainers:

        async def launch(run: str, args: tuple[str, ...]) -> bool:
            started.append((run, args))
            trainers.enter_context(living(make_run(run, steps=40, max_steps=100, status="running")))
            return True

        monkeypatch.setattr(app, "launch", launch)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await opened(pilot)
            await wait_for_text(pilot, "$ mlxllm quickstart --minutes 1 --corpus stories --no-chat --run stories-1")
            await pilot.press("enter")
            await wait_for_text(pilot, "step 40 of 100, loss")
            assert "stories-1 trains; 4 shows its curves" in screen_text(app)
            words = "quickstart --minutes 1 --corpus stories --no-chat --run stories-1"
            assert started == [("stories-1", tuple(words.split()))]
            await pilot.press("enter")
            set_status(RunDirectory(paths.folder("runs") / "stories-1"), "finished")
            trainers.close()
            await wait_for(pilot, lambda: any("stories-1 is there" in n.message for n in app._notifications))
            assert len(started) == 1, "one at a time"
            assert "tried" in read_progress().of(1)


def test_a_first_model_says_how_far_it_is() -> None:
    run = make_run("young", steps=0, max_steps=100, status="running")
    run.log.write_text("1/4  measuring this machine\r2/4  dataset\n\n")
    with living(run):
        found = birth("young")
    assert found.lines == ("1/4  measuring this machine", "2/4  dataset", "it begins: data and kernels are made ready")
    assert (found.active, found.finished) == (True, False)
    make_run("broken", steps=3, status="crashed", reason="killed")
    assert birth("broken").lines[-1] == "broken: crashed; the Monitor (4) says why"
    assert birth("nobody").active is False
    make_run("grown", steps=3)
    assert birth("grown").finished


@given(st.text("ab c", max_size=300), st.integers(20, 60))
def test_folding_loses_no_word_and_leaves_tables_alone(line: str, width: int) -> None:
    found = folded(line, width)
    assert found.split() == line.split() or any(len(word) > width // 2 for word in line.split())
    assert found.replace(" ", "").replace("\n", "") == line.replace(" ", "")
    if len(line) <= width or ("  " in line.strip() and len(line) <= 2 * width):
        assert found == line


def test_a_long_text_goes_on_below_itself() -> None:
    told = "prompt    " + "a story of a fox " * 9
    first, second, *_ = folded(told, 50).split("\n")
    assert first.startswith("prompt    a story")
    assert second.startswith(10 * " " + "story of a fox")
    assert len(max(folded(told, 50).split("\n"), key=len)) <= 50
    assert folded("one sentence that is folded between its words", 20).count("\n") == 2


def test_where_the_tour_opens_and_its_marks() -> None:
    now = Progress({1: frozenset({"done"}), 2: frozenset({"read"}), 4: frozenset({"read"})}, last=4)
    assert Tour(now, {}).first == 4
    assert Tour(Progress(now.marks, last=1), {}).first == 2
    assert Tour(Progress(), {}).first == 1
    assert [mark_of(now, number, False) for number in (1, 2, 3)] == ["✓", "·", " "]
    assert all(mark_of(now, number, True).isascii() for number in (1, 2, 3))
