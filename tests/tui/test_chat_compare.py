"""Time machine, A/B and the blind taste test: names stay hidden until the choice, and each choice counts once."""

import os
import signal
from pathlib import Path

from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.saved import SavedChats
from mlxllm.conversation.trial_log import TrialLog
from tests.tui.chatting import chatting, life, run_with_checkpoints, status, write
from tests.tui.harness import screen_text, wait_for, wait_for_text
from tui.engine_replies import AnswerToken
from tui.screens.chat.ab import ABScreen
from tui.screens.chat.blind import BlindScreen
from tui.screens.chat.machine import TimeMachine
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.versus import Versus
from tui.talking.models import relatives
from tui.widgets.columns import Columns
from tui.widgets.writing import Writing

WIDE = (120, 40)


def pairs() -> int:
    return len(list(PreferenceStore().read()))


async def test_the_stages_of_a_life_answer_the_same_question_side_by_side() -> None:
    life()
    async with chatting(size=WIDE) as (pilot, chat):
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "tok/s")
        await pilot.press("escape", "T")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, TimeMachine))
        screen = pilot.app.screen
        await wait_for(pilot, lambda: "asks again with another one" in screen_text(pilot.app))
        columns = screen.query_one(Columns)
        assert [str(column.border_title) for column in columns.all] == [
            "base: tales-base@20 (continues the text)",
            "SFT: tales-sft@30 (answers)",
            "DPO: tales-dpo@100 (answers)",
        ]
        assert not columns.has_class("rows")
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: columns.has_class("rows"))
        await the_focus_goes_through_the_answers_and_the_arrows_scroll(pilot, screen)
        seeds = {column.text.partition(" with seed ")[2].split(":")[0] for column in columns.all}
        assert len(seeds) == 1, "the same seed for all"
        assert all("Who?" in column.text for column in columns.all)
        before = seeds.pop()
        assert screen.twin == (
            "compare",
            "tales-base@20",
            "tales-sft@30",
            "tales-dpo@100",
            "--prompt",
            "Who?",
            "--seed",
            before,
        )
        await pilot.press("escape", "ctrl+r")
        await wait_for(pilot, lambda: f"seed {int(before) + 1}" in columns.all[-1].text)
        await pilot.press("x")
        await wait_for(pilot, lambda: len(columns.all) == 2)
        assert screen.twin[:5] == ("compare", "tales-base@20", "tales-sft@30", "--prompt", "Who?")
        await pilot.press("a")
        await wait_for_text(pilot, "shall be asked as well")
        await pilot.press(*"tales-dpo", "enter")
        await wait_for(pilot, lambda: len(columns.all) == 3)
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is chat)


async def the_focus_goes_through_the_answers_and_the_arrows_scroll(pilot: Pilot[None], screen: TimeMachine) -> None:
    columns = screen.query_one(Columns)
    assert "tab Scroll the answers" in screen_text(pilot.app)
    assert screen.focused is screen.query_one(Writing)
    for number, column in enumerate(columns.all):
        await pilot.press("tab")
        await wait_for(pilot, lambda column=column: column.has_focus_within, f"answer {number}")
        others = [each for each in columns.all if each is not column]
        await wait_for(pilot, lambda column=column, others=others: column.size.height > others[0].size.height)
    assert "the arrows and page keys scroll this answer" in status(screen)
    scroll = columns.all[-1].query_one(VerticalScroll)
    await columns.all[-1].add([AnswerToken("a line\n" * 40, 0, None)])
    await wait_for(pilot, lambda: scroll.max_scroll_y > 10)
    await pilot.press("home", "down", "down")
    await wait_for(pilot, lambda: scroll.scroll_offset.y == 2)
    await pilot.press("tab")
    await wait_for(pilot, lambda: screen.focused is screen.query_one(Writing))
    await pilot.press("shift+tab")
    await wait_for(pilot, lambda: columns.all[-1].has_focus_within)
    await pilot.press("enter")
    await wait_for(pilot, lambda: screen.focused is screen.query_one(Writing))


async def test_a_model_that_is_missing_fails_in_its_column_alone_and_esc_stops_the_rest() -> None:
    life()
    run_with_checkpoints("missing", 5)
    async with chatting("--tokens", "400", "--rate", "100", size=WIDE) as (pilot, chat):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        pilot.app.open_chat("tales-dpo", compare=["missing", "tales-sft"])  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, TimeMachine))
        await write(pilot, "Why?", "enter")
        await wait_for_text(pilot, "word2")
        await pilot.press("escape")
        await wait_for_text(pilot, "not asked")
        await pilot.press("escape", "escape")
        await wait_for(pilot, lambda: pilot.app.screen is chat)
        await stopped_answers_are_given_up_and_a_killed_engine_is_told(pilot, chat)
    async with chatting("--tokens", "5", size=WIDE) as (pilot, _):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        pilot.app.open_chat("tales-dpo", compare=["missing", "tales-sft"])  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, TimeMachine))
        await write(pilot, "Why?", "enter")
        await wait_for_text(pilot, "1 could not answer")
        assert "there is no run 'missing'" in screen_text(pilot.app)
        assert pilot.app.screen.query_one(Columns).all[2].text
        assert "an empty answer" not in screen_text(pilot.app), "it was never asked"


def test_what_a_model_is_compared_with(mlxllm_home: Path) -> None:
    life()
    run_with_checkpoints("alone", 1, 2, 3, 4, 5, method="pretrain")
    run_with_checkpoints("one", 7, method="pretrain")
    assert relatives("tales-dpo@40") == ["tales-base@20", "tales-sft@30", "tales-dpo@40"]
    assert relatives("tales-base") == ["tales-base", "tales-sft@30", "tales-dpo"]
    assert relatives("alone") == ["alone@1", "alone@3", "alone@5"]
    assert relatives("one@7") == ["one@7"]
    assert relatives("./folder") == ["./folder"]


async def test_a_choice_becomes_a_pair_and_tells_whose_answers_they_were() -> None:
    life()
    async with chatting(size=WIDE) as (pilot, chat):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        await two_models_are_compared_and_counted(pilot)
        await wait_for(pilot, lambda: pilot.app.screen is chat)
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "tok/s")
        await pilot.press("escape", "A")
        await wait_for_text(pilot, "which one is better?")
        screen = pilot.app.screen
        assert isinstance(screen, ABScreen)
        assert "tales-dpo@100, seed" not in screen_text(pilot.app)
        shown = screen.trial.rounds[0].shown("b").text
        assert screen.twin[:6] == ("prefs", "judge", "--model", "tales-dpo@100", "--prompt", "Who?")
        await pilot.press("b")
        await wait_for_text(pilot, "B (yours): tales-dpo@100, seed")
        await wait_for_text(pilot, "this is kept as a preference pair (1 in all, under 7)")
        (pair,) = PreferenceStore().read()
        assert (pair.chosen, pair.how, pair.prompt[-1].content) == (shown, "compared", "Who?")
        assert pair.seed["chosen"] != pair.seed["rejected"]
        await pilot.press("a")  # it is judged: nothing more happens
        await pilot.press("u")
        await wait_for_text(pilot, "which one is better?")
        assert pairs() == 0
        await pilot.press("equals_sign")
        await wait_for_text(pilot, "no pair is kept of this (0 in all, under 7)   enter: the next   u takes")
        await pilot.press("enter")
        await wait_for_text(pilot, "under 7)   enter asks for two more")
        assert "u takes" not in status(screen), "u would be typed"
        await write(pilot, "And who else?", "enter")
        await wait_for(
            pilot, lambda: screen.trial.number == 1 and screen.trial.current and screen.trial.current.is_complete
        )
        await wait_for_text(pilot, "And who else?")
        await pilot.press("w")
        await wait_for_text(pilot, "would have liked")
        await pilot.press(*"!!", "escape", "w")
        await wait_for(pilot, lambda: pilot.app.screen.query(TextArea) and pilot.app.screen is not screen)
        assert pilot.app.screen.query_one(TextArea).text.endswith("!!"), "what was written waits"
        await pilot.press("ctrl+s")
        await wait_for(pilot, lambda: pairs() == 2)
        await wait_for_text(pilot, "this is kept as 2 pairs (2 in all, under 7)")
        assert {each.how for each in PreferenceStore().read()} == {"rewritten"}
        await pilot.press("ctrl+r")
        await wait_for(
            pilot, lambda: screen.trial.number == 2 and screen.trial.current and screen.trial.current.is_complete
        )
        await pilot.press("0")
        await wait_for(pilot, lambda: screen.trial.number == 3)
        assert pairs() == 2
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is chat)


async def two_models_are_compared_and_counted(pilot: Pilot[None]) -> None:
    await pilot.press("escape", "A")
    await wait_for_text(pilot, "enter asks this")
    screen = pilot.app.screen
    assert isinstance(screen, ABScreen)
    await pilot.press("escape", "m")
    await wait_for_text(pilot, "second answer")
    await pilot.press(*"sft", "enter")
    await wait_for_text(pilot, "the second answer will be of tales-sft")
    assert screen.twin[2:6] == ("--model", "tales-dpo", "--model", "tales-sft")
    await pilot.press("enter", *"Why", "enter")  # in place of the starter that stands in the input
    await wait_for_text(pilot, "which one is better?")
    assert screen.trial.rounds[0].prompt[-1].content == "Why"
    await pilot.press("a" if screen.trial.rounds[0].sides[0] == 1 else "b")
    await wait_for_text(pilot, "You preferred tales-sft 1 of 1 time; a coin does that 50 % of the time.")
    (pair,) = PreferenceStore().read()
    assert (pair.model, pair.chosen_by["model"]) == ("tales-dpo@100", "tales-sft@100")
    await pilot.press("u")
    await wait_for(pilot, lambda: pairs() == 0)
    await pilot.press("escape")


def toasts(pilot: Pilot[None]) -> str:
    return "\n".join(toast.message for toast in pilot.app._notifications)


async def test_it_is_said_that_an_older_checkpoint_answers_in_place_of_a_damaged_one() -> None:
    run_with_checkpoints("tales-older", 5, method="sft")
    async with chatting(model="tales-older") as (pilot, _):
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "tok/s")
        assert "the newest is damaged" not in toasts(pilot)
        await pilot.press("escape", "A")
        await wait_for(pilot, lambda: "step 100 is used: the newest is damaged" in toasts(pilot))


async def test_equal_answers_cannot_be_told_apart_and_cost_no_round() -> None:
    life()
    saved, tale = SavedChats(), "\n".join(f"Line {number} of a tale." for number in range(16))
    # With the question below two of four are answered alike, and three prompts are tried for a round.
    for asked in ("What is the same?", "Who is the other?", "Once more.\nWho is the other?"):
        saved.begin("tales-dpo").say("user", f"{tale}\n{asked}")
    options = ("--answer", "Always this.", "--answer-to", "the same?", "--tokens", "3")
    async with chatting(*options) as (pilot, chat):
        await write(pilot, "Who is the same?", "enter")
        await wait_for_text(pilot, "tok/s")
        await pilot.press("escape", "A")
        await wait_for_text(pilot, "the same, word for word")
        await pilot.press("a")
        await wait_for(pilot, lambda: "the same, word for word: ^r asks for two others" in toasts(pilot))
        assert pairs() == 0
        await pilot.press("equals_sign")
        await wait_for_text(pilot, "no pair is kept of this (0 in all")
        await pilot.press("b")
        await wait_for(pilot, lambda: "there is no choice to make: enter asks" in toasts(pilot))
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is chat)
        await pilot.press("B")
        await wait_for_text(pilot, "what began your own")
        await pilot.press(*"ababab")
        await wait_for_text(pilot, "! rounds is 'ababab'; give a whole number from 1 to 200")
        await pilot.press("tab", "ctrl+s")
        await wait_for(pilot, lambda: screen_text(pilot.app).count("! rounds is 'ababab'") == 2)
        assert "⏎ ^s Begin" in screen_text(pilot.app)
        await wait_for(pilot, lambda: pilot.app.focused is pilot.app.screen.query_one("#rounds"))
        await pilot.press("1", "enter")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BlindScreen))
        await the_question_is_seen_whichever_way(pilot)


async def the_question_is_seen_whichever_way(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, BlindScreen)
    await wait_for_text(pilot, "which one is better?")
    each = screen.trial.rounds[0]
    assert "Always this." not in {answer.text for answer in each.answers.values()}
    assert each.draws in (1, 4, 7), "three times with each prompt"
    await wait_for_text(pilot, "Who is the other?")
    await wait_for_text(pilot, "more lines above")

    def shown() -> int:
        return len([line for line in screen_text(pilot.app).splitlines() if " of a tale." in line])

    await wait_for(pilot, lambda: shown() > 8)  # room that the answers do not need
    screen.query_one("#asked VerticalScroll").focus()
    await pilot.press("home")
    await wait_for_text(pilot, "Line 0 of a tale.")
    await wait_for_text(pilot, "more lines below")
    await pilot.resize_terminal(*WIDE)
    await wait_for(pilot, lambda: all(words in screen_text(pilot.app) for words in ("Line 0", "Who is the other?")))
    assert "more lines" not in screen_text(pilot.app)


async def stopped_answers_are_given_up_and_a_killed_engine_is_told(pilot: Pilot[None], chat: ChatScreen) -> None:
    await pilot.press("escape", "A")
    await wait_for_text(pilot, "enter asks this")
    screen = pilot.app.screen
    assert isinstance(screen, ABScreen)
    await pilot.press("enter")
    await wait_for_text(pilot, "word2")
    await pilot.press("escape")
    await wait_for_text(pilot, "stopped")
    assert screen.trial.rounds == []
    await pilot.press("ctrl+r")
    pid = chat.mlx.engine.pid
    assert pid is not None

    def killed_while_it_writes() -> bool:
        # Here and not behind a wait: on a busy machine the answers would be there by then.
        if "word2" not in screen_text(pilot.app) or "stopped" in screen_text(pilot.app):
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    await wait_for(pilot, killed_while_it_writes)
    await wait_for_text(pilot, "was killed (signal 9)")
    await pilot.press("ctrl+r")
    await wait_for_text(pilot, "word1")
    assert chat.mlx.engine.pid != pid


async def blind(pilot: object, rounds: str) -> BlindScreen:
    await pilot.press("escape", "B")  # type: ignore[attr-defined]
    await wait_for_text(pilot, "tuned model")  # type: ignore[arg-type]
    await wait_for_text(pilot, "what began your own")  # type: ignore[arg-type]
    await pilot.press(*rounds, "ctrl+s")  # type: ignore[attr-defined]
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, BlindScreen))  # type: ignore[arg-type,attr-defined]
    screen = pilot.app.screen  # type: ignore[attr-defined]
    assert isinstance(screen, BlindScreen)
    return screen


def own_questions(count: int) -> None:
    saved = SavedChats()
    for number in range(count):
        saved.begin("tales-dpo").say("user", f"Question number {number}?")


def prefer(screen: Versus, player: int) -> str:
    each = screen.trial.current
    assert each is not None
    return "a" if each.sides[0] == player else "b"


async def test_a_blind_test_from_the_first_round_to_the_verdict() -> None:
    life()
    own_questions(8)
    async with chatting(size=WIDE) as (pilot, chat):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        screen = await blind(pilot, "6")
        assert screen.trial.players == ("tales-dpo@100", "tales-sft@30")
        assert screen.twin[:7] == ("taste", "tales-dpo@100", "tales-sft@30", "--rounds", "6", "--prompts", "own")
        await wait_for(pilot, lambda: screen.trial.rounds[0].is_complete)
        await wait_for_text(pilot, "round 1 of 6   which")
        await pilot.press(prefer(screen, 1))
        await wait_for(pilot, lambda: screen.trial.number == 1)
        for answer in "ny":
            await pilot.press("escape")
            await wait_for_text(pilot, "Leave the test after 1 of 6 rounds")
            await pilot.press(answer)
            await wait_for(pilot, lambda answer=answer: pilot.app.screen is (chat if answer == "y" else screen))
        await pilot.press("B")
        await wait_for_text(pilot, "left at round 2 of 6")
        await pilot.press("y")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BlindScreen) and pilot.app.screen is not screen)
        again = pilot.app.screen
        assert isinstance(again, BlindScreen)
        assert again.trial is screen.trial
        assert again.twin == screen.twin
        screen = again
        await wait_for(pilot, lambda: screen.trial.current and screen.trial.current.is_complete)
        await pilot.press("u")
        await wait_for(pilot, lambda: screen.trial.number == 0 and pairs() == 0)
        for choice in ("tuned", "tuned", "undo", "untuned", "tie", "tuned", "tuned", "0"):
            await wait_for(pilot, lambda: screen.trial.current and screen.trial.current.is_complete)
            assert [str(column.border_title) for column in screen.query_one(Columns).all] == ["A", "B"]
            assert "tales" not in str(screen.query_one("#status").render()), "names are hidden"
            before = screen.trial.number
            if choice == "undo":
                await pilot.press("u")
                await wait_for(pilot, lambda before=before: screen.trial.number == before - 1)
                continue
            key = {"tie": "equals_sign", "0": "0"}.get(choice) or prefer(screen, 0 if choice == "tuned" else 1)
            await pilot.press(key)
            await wait_for(pilot, lambda before=before: screen.trial.number == before + 1)
        await wait_for_text(pilot, "You preferred the tuned model (tales-dpo@100) 3 of 4 times")
        assert "a coin does that 31 % of the time" in " ".join(screen_text(pilot.app).split())
        assert "1 tie and 1 round in which neither was good enough are left out." in " ".join(
            screen_text(pilot.app).split()
        )
        await wait_for(pilot, lambda: TrialLog().read())
        assert pairs() == 4
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is chat)
        await pilot.press("B")
        await wait_for_text(pilot, "Last test, just now: You preferred tales-dpo@100 3 of 4 times")
        await pilot.press("escape")


async def test_an_engine_that_dies_in_the_middle_costs_no_round_and_the_verdict_can_come_early(tmp_path: Path) -> None:
    life()
    own_questions(5)
    more = tmp_path / "more"
    async with chatting("--pause", "2", str(more), size=WIDE) as (pilot, chat):  # what the first round needs
        await wait_for_text(pilot, "answers (SFT, DPO)")
        screen = await blind(pilot, "5")
        await wait_for(pilot, lambda: screen.trial.rounds[0].is_complete)
        await pilot.press("a")
        await wait_for(pilot, lambda: screen.trial.number == 1)
        pid = chat.mlx.engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await wait_for_text(pilot, "^r goes on with the test")
        more.touch()
        await pilot.press("ctrl+r")
        await wait_for_text(pilot, "round 2 of 5   which one")
        assert screen.trial.number == 1
        await pilot.press("u")
        await wait_for(pilot, lambda: screen.trial.number == 0)
        await pilot.press(prefer(screen, 1))
        await wait_for_text(pilot, "round 2 of 5   which one")  # it is judged and kept
        await pilot.press("v")
        await wait_for_text(pilot, "You preferred the untuned one (tales-sft@30) 1 of 1 time")
        await pilot.press("u")
        await wait_for_text(pilot, "which one is better?")
        assert pairs() == 0
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is chat)


async def test_what_a_blind_test_lacks_is_told_before_it_begins() -> None:
    run_with_checkpoints("tales-dpo", 100)
    async with chatting(size=WIDE) as (pilot, _):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        await pilot.press("escape", "B")
        await wait_for_text(pilot, "tuned model")
        for name, value, told in (
            ("untuned", "", "there are two sides to a test"),
            ("untuned", "tales-dpo@100", "both are the same model"),
            ("untuned", "nope", "there is no run 'nope'"),
            ("rounds", "x", "rounds is 'x'; give a whole number from 1 to 200"),
        ):
            pilot.app.screen.query_one(f"#{name}", Input).value = value
            await pilot.pause()
            await pilot.press("ctrl+s")
            await wait_for_text(pilot, told)
