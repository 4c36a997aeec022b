"""The chat: nothing that was typed is lost, whatever the model and the engine do meanwhile."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from mlxllm import paths
from mlxllm.config import SampleConfig
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.saved import SavedChats
from tests.tui.chatting import chats, chatting, life, messages, run_with_checkpoints, status, write
from tests.tui.harness import screen_text, wait_for, wait_for_text
from tui.screens.chat import talking
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.settings import SettingsDrawer
from tui.screens.chat.tokens import TokenView
from tui.widgets.answers import Message, Streaming
from tui.widgets.conversation import MOST_SHOWN, Conversation

ANSWERED = "tok/s"


async def test_a_question_is_answered_and_saved_with_its_tokens_to_look_at() -> None:
    life()
    async with chatting() as (pilot, screen):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, ANSWERED)
        question, answer = messages(screen)
        assert question == "Who?"
        assert answer.startswith("tales-dpo@40 heard 'Who?' with seed 7: word0") or "heard 'Who?'" in answer
        assert not screen.query(Streaming), "what is finished is one static widget"
        assert screen.writing.text == ""
        assert "context " in status(screen)
        assert "first after" in status(screen)
        await wait_for(pilot, lambda: len(chats()) == 3)
        await pilot.press("escape", "t")
        await wait_for_text(pilot, "20 tokens of tales-dpo@100")
        assert isinstance(pilot.app.screen, TokenView)
        assert "61%" in screen_text(pilot.app)
        await wait_for_text(pilot, "·or1")
        await pilot.press("right", "right")
        await wait_for_text(pilot, "token 3")
        await pilot.press("end")
        await wait_for_text(pilot, "token 20")
        await pilot.press("down", "up", "home", "n", "escape")
        await wait_for(pilot, lambda: pilot.app.screen is screen)
        assert "g judges" in status(screen)
        await pilot.press("i")
        assert "g judges" not in status(screen), "g would be typed"
        pilot.app.theme = "daylight"
        await pilot.pause()
        (said, _) = [m for m in screen.query(Message) if m.role != "note"]
        strips = said.render_line(0)
        colours = {segment.style.color.name for segment in strips if segment.style and segment.style.color}
        accent = pilot.app.theme_variables["accent"].lower()
        assert accent in {colour.lower() for colour in colours}
    lines = chats()
    assert [line["kind"] for line in lines] == ["chat", "said", "said"]
    assert lines[2]["content"] == answer
    assert lines[2]["about"]["finish_reason"] == "stop"
    assert lines[2]["about"]["step"] == 100


async def test_without_a_model_it_says_where_one_comes_from_and_keeps_what_is_typed() -> None:
    async with chatting(model="") as (pilot, screen):
        await wait_for_text(pilot, "There is no model to talk to yet. On Home (1), t makes one")
        await write(pilot, "Hello", "enter")
        await wait_for_text(pilot, "m chooses one")
        assert screen.writing.text == "Hello"
        await pilot.press("escape")
        for key in ("n", "ctrl+r", "e", "t", "g", "o", "u", "s"):
            await pilot.press(key)
            await pilot.pause()
            if isinstance(pilot.app.screen, SettingsDrawer):
                await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is screen)
        assert screen.writing.text == "Hello"


async def test_what_is_sent_while_the_conversation_is_laid_out_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = talking.sampling_of

    def slow(model: str) -> SampleConfig:
        time.sleep(0.3)
        return usual(model)

    monkeypatch.setattr(talking, "sampling_of", slow)
    life()
    async with chatting("--tokens", "30", "--rate", "60", model="tales-dpo") as (pilot, screen):
        await wait_for(pilot, lambda: screen._loaded is not None, "the model")
        assert screen._stage == "loading"
        await write(pilot, "Who is Tom?", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 2, "the answer")
        assert messages(screen)[0] == "Who is Tom?"


async def test_a_model_that_cannot_be_used_says_why_and_another_one_is_chosen() -> None:
    life()
    run_with_checkpoints("missing", 5)
    async with chatting(model="missing") as (pilot, screen):
        await wait_for_text(pilot, "there is no run 'missing'")
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "enter tries this one again")
        assert screen.writing.text == "Who?"
        await pilot.press("escape", "m")
        await wait_for_text(pilot, "tales-sft")
        await pilot.press(*"sft", "enter")
        await wait_for_text(pilot, "answers (SFT)")
        assert screen.writing.text == "Who?"
        await wait_for_text(pilot, "1 Who is Tom?")
        assert "Ask something" in screen_text(pilot.app)
        pilot.app.open_chat("missing")  # type: ignore[attr-defined]
        await wait_for_text(pilot, "there is no run 'missing'")
        told = screen_text(pilot.app)
        assert "Ask something" not in told, "nothing of the former model stands there"
        assert "Who is Tom?" not in told
        assert screen.twin == ("chat", "--model", "missing")
        pilot.app.open_chat("tales-sft")  # type: ignore[attr-defined]
        await wait_for_text(pilot, "1 Who is Tom?")
        assert "there is no run" not in screen_text(pilot.app)
        await write(pilot, "", "enter")
        await wait_for_text(pilot, ANSWERED)
        await that_an_older_checkpoint_is_used_stands_there_as_long_as_the_model_is_open(pilot, screen)


async def that_an_older_checkpoint_is_used_stands_there_as_long_as_the_model_is_open(
    pilot: Pilot[None], screen: ChatScreen
) -> None:
    run_with_checkpoints("tales-older", 5)
    said, told = len(messages(screen)), "! the checkpoint of step 100 is used: the newest is damaged"
    pilot.app.open_chat("tales-older")  # type: ignore[attr-defined]
    await wait_for_text(pilot, told)
    await write(pilot, "And?", "enter")
    await wait_for(pilot, lambda: len(messages(screen)) == said + 2 and ANSWERED in status(screen))
    assert told in screen_text(pilot.app)
    screen.action_new()
    await wait_for(pilot, lambda: not messages(screen) and screen._stage == "ready")
    assert told in screen_text(pilot.app)
    pilot.app.open_chat("tales-sft")  # type: ignore[attr-defined]
    await wait_for_text(pilot, "answers (SFT)   ")
    assert "!" not in screen_text(pilot.app)


async def test_a_model_is_chosen_by_a_part_of_its_name_and_a_base_model_goes_on_with_the_text() -> None:
    life()
    run_with_checkpoints("fresh")
    async with chatting(size=(100, 30)) as (pilot, screen):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        await pilot.press("escape", "m")
        await wait_for_text(pilot, "tales-base")
        for typed, told in (
            ("nosuch/model", "`hf download nosuch/model`"),
            ("./nowhere", "there is no run './nowhere'"),
            ("fresh", "no checkpoint yet"),
            ("zzz", "there is no run 'zzz'"),
        ):
            pilot.app.screen.query_one(Input).value = typed
            await pilot.pause()
            await pilot.press("enter")
            await wait_for_text(pilot, told)
        pilot.app.screen.query_one(Input).value = ""
        await pilot.pause()
        listing = pilot.app.screen.query_one(OptionList)
        await pilot.press("end")
        assert listing.highlighted == listing.option_count - 1
        await pilot.press("home")
        assert listing.highlighted == 0
        await pilot.press(*"base", "ctrl+o")
        await wait_for_text(pilot, "@10")
        pilot.app.screen.query_one(Input).value = "base@1"
        await wait_for_text(pilot, "tales-base@10")
        assert listing.option_count == 1
        await pilot.press("enter")
        await wait_for_text(pilot, "tales-base@10   base model, continues your text")
        await wait_for_text(pilot, "This is a base model")
        await wait_for_text(pilot, "1 Once upon a time")
        await write(pilot, "1", "enter")
        await wait_for_text(pilot, ANSWERED)
        assert messages(screen)[0] == "Once upon a time"
        await write(pilot, "there", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 4)
        assert "Once upon a time" in messages(screen)[3], "it is given all of the text so far"
        await pilot.press("escape")
        await pilot.press("g")
        assert pilot.app.screen is screen, "there is nothing to judge in a text"


async def test_esc_first_stops_the_answer_and_what_was_written_meanwhile_is_sent_or_kept() -> None:
    life()
    async with chatting("--tokens", "1000", "--rate", "50") as (pilot, screen):
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "word2")
        await write(pilot, "more", "enter")
        await wait_for_text(pilot, "then yours is sent")
        assert screen.writing.text == "more"
        await pilot.press("escape")
        await wait_for_text(pilot, "stopped here")
        assert screen.focused is screen.writing
        await pilot.press("escape")
        await wait_for(pilot, lambda: screen.focused is screen.query_one(Conversation))
        assert screen.writing.text == "more"
        before = len(messages(screen)[1])
        screen.writing.clear()
        await write(pilot, "", "enter")  # lets it go on
        await wait_for(pilot, lambda: screen.query(Streaming))
        await wait_for(pilot, lambda: len(screen.query_one(Streaming).text) > before)
        await pilot.press("escape")
        await wait_for(pilot, lambda: not screen.query(Streaming))
        assert len(messages(screen)) == 2
        assert len(messages(screen)[1]) > before
        endless, short = screen._settings, type(screen._settings)("", SampleConfig(max_tokens=80), None)
        screen._settings = short
        await write(pilot, "Who else?", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 4)
        screen._settings = endless
        await write(pilot, "And then?", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 5 and screen.query(Streaming))
        assert messages(screen)[4] == "And then?", "it was sent at the end of the answer"
        assert screen.writing.text == ""
        await write(pilot, "half a thought")
        pid = screen.mlx.engine.pid
        assert pid is not None
        await wait_for(pilot, lambda: any("word1" in each.text for each in screen.query(Streaming)))
        os.kill(pid, signal.SIGKILL)
        await wait_for_text(pilot, "the engine process was killed (signal 9)")
        assert screen.writing.text == "half a thought"
        assert "word1" in messages(screen)[5], "what it had said stays"
        await write(pilot, "", "enter")
        await wait_for(pilot, lambda: "heard 'half a thought'" in "".join(s.text for s in screen.query(Streaming)))
        assert screen.mlx.engine.pid not in (None, pid)
        await wait_for(pilot, lambda: any("word3" in each.text for each in screen.query(Streaming)))
    last = chats()[-1]
    assert "word3" in last["content"], "what was said until the application is closed is saved"
    assert last["about"]["finish_reason"] == "cancelled"


async def test_again_edit_and_the_arrow_up() -> None:
    life()
    async with chatting() as (pilot, screen):
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, ANSWERED)
        await pilot.press("ctrl+r")
        await wait_for(pilot, lambda: screen._talk.earlier is not None and screen._talk.answer is not None)
        assert len(messages(screen)) == 2
        await pilot.press("escape", "e")
        await wait_for(pilot, lambda: screen.writing.text == "Who?")
        assert messages(screen) == []
        await pilot.press("backspace", *"se", "question_mark", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 2)
        assert messages(screen)[0] == "Whose?"
        await pilot.press("up")
        assert screen.writing.text == "Whose?"
        await pilot.press("up")
        assert screen.writing.text == "Who?"
        await pilot.press("down", "down")
        assert screen.writing.text == ""
        pilot.app.post_message(events.Paste("one\rline \x1b[31mtwo\ttab\r\nthree\r"))
        await wait_for(pilot, lambda: screen.writing.text == "one\nline ␛[31mtwo\ttab\nthree\n", "what was pasted")
        assert screen.focused is screen.writing
        assert len(messages(screen)) == 2, "nothing is sent"
        screen.writing.clear()
        await write(pilot, "two\nlines", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 4)
        assert messages(screen)[2] == "two\nlines"
        assert [line["kind"] for line in chats()].count("kept") == 2
        await pilot.press("escape", "n")
        await wait_for(pilot, lambda: not messages(screen) and screen._stage == "ready")
        await of_two_answers_the_better_one_is_kept_as_a_pair(pilot, screen)


async def of_two_answers_the_better_one_is_kept_as_a_pair(pilot: Pilot[None], screen: ChatScreen) -> None:
    screen._settings = type(screen._settings)("", screen._settings.sample, 3)
    await write(pilot, "Who?", "enter")
    await wait_for_text(pilot, ANSWERED)
    await pilot.press("ctrl+r")
    await wait_for(pilot, lambda: "seed 4" in messages(screen)[-1])
    await pilot.press("escape", "g")
    await wait_for_text(pilot, "The one before it")
    await pilot.press("x")
    await wait_for(pilot, lambda: list(PreferenceStore().read()))
    (pair,) = PreferenceStore().read()
    assert "seed 3" in pair.chosen
    assert "seed 4" in pair.rejected
    assert (pair.how, pair.step, pair.seed) == ("picked", 100, {"chosen": 3, "rejected": 4})
    await wait_for(pilot, lambda: "seed 3" in messages(screen)[-1])
    await pilot.press("g")
    await wait_for_text(pilot, "What do you prefer?")
    await pilot.press("w")
    await wait_for_text(pilot, "would have liked")
    await pilot.press(*" Yes", "ctrl+s")
    await wait_for(pilot, lambda: len(list(PreferenceStore().read())) == 2)
    assert list(PreferenceStore().read())[1].how == "rewritten"
    assert messages(screen)[-1].endswith("Yes")


async def test_settings_are_checked_and_reach_the_engine(mlxllm_home: Path) -> None:
    life()
    async with chatting("--tokens", "50", "--load-seconds", "0.5") as (pilot, screen):
        await wait_for_text(pilot, "is being loaded")
        await write(pilot, "First?", "enter")
        assert screen.writing.text == "First?", "it waits for the model"
        await wait_for_text(pilot, ANSWERED)
        assert messages(screen)[0] == "First?"
        assert screen.writing.text == ""
        await pilot.press("escape", "s")
        await wait_for_text(pilot, "system prompt")
        await pilot.press("shift+tab", *"Sing", "ctrl+s")
        await wait_for(pilot, lambda: screen._talk.system == "Sing")
        await wait_for(pilot, lambda: {"kind": "system", "text": "Sing"} in chats(), "the system prompt in the file")
        await pilot.press("n")
        await wait_for(pilot, lambda: not messages(screen) and screen._stage == "ready")
        await pilot.press("escape", "s")
        await wait_for_text(pilot, "temperature")
        await pilot.press(*"hot", "enter")
        await wait_for_text(pilot, "which is not a number")
        await pilot.press("ctrl+d", "ctrl+s")
        await wait_for(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("s")
        await wait_for_text(pilot, "temperature")
        await pilot.press(*"0.25", "tab", "tab", "tab", "tab", *"8", "tab", *"99", "enter")
        await wait_for_text(pilot, "--temp 0.25 --max-tokens 8 --")
        assert screen.twin[-2:] == ("--seed", "99")
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "cut off here")
        assert "seed 99" in messages(screen)[1]
        await write(pilot, "", "enter")
        await wait_for(pilot, lambda: len(messages(screen)[1].split()) > 10 if len(messages(screen)) > 1 else False)


async def test_a_saved_conversation_is_found_and_goes_on() -> None:
    life()
    async with chatting() as (pilot, screen):
        await write(pilot, "about a goat", "enter")
        await wait_for_text(pilot, ANSWERED)
        await pilot.press("escape", "n")
        await wait_for(pilot, lambda: not messages(screen))
        await write(pilot, "about a cat", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 2)
        await pilot.press("escape", "f")
        await wait_for_text(pilot, "2 conversations")
        await pilot.press(*"goat")
        await wait_for_text(pilot, "1 conversation")
        await pilot.press("enter")
        await wait_for(pilot, lambda: messages(screen)[:1] == ["about a goat"])
        await pilot.press("t")
        await wait_for_text(pilot, "were not kept")
        await write(pilot, "and more", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 4)
        await wait_for(pilot, lambda: any(line.get("content") == "and more" for line in chats()))
        found = SavedChats()
        assert sorted(len(found.read(entry.id).said) for entry in found.entries()) == [2, 4]
        await pilot.press("escape", "f")
        await wait_for_text(pilot, "2 conversations")
        await pilot.press(*"goat")
        await wait_for_text(pilot, "1 conversation")
        await pilot.press("ctrl+r")
        await wait_for_text(pilot, "A name for this conversation")
        await pilot.press("end", *"!!", "enter")
        await wait_for_text(pilot, "about a goat!!")
        for left in ("nothing was found", "no conversations yet"):
            await wait_for_text(pilot, "about a goat!!" if "nothing" in left else "about a cat")
            await pilot.press("ctrl+x")
            await wait_for_text(pilot, "Delete the conversation")
            await pilot.press("y")
            await wait_for_text(pilot, left)
            pilot.app.screen.query_one(Input).value = ""
            await wait_for(pilot, lambda left=left: left not in screen_text(pilot.app) or not found.entries())
        assert found.entries() == []
        await pilot.press("ctrl+x", "ctrl+r", "enter")
        await wait_for_text(pilot, "there is none to open")


async def test_a_long_conversation_mounts_few_messages_and_shows_earlier_ones_when_asked() -> None:
    life()
    writer = SavedChats().begin("tales-dpo@40")
    for number in range(130):
        writer.say("assistant" if number % 2 else "user", f"turn {number}")
    async with chatting() as (pilot, screen):
        await wait_for_text(pilot, "answers (SFT, DPO)")
        await pilot.press("escape", "f")
        await wait_for_text(pilot, "1 conversation")
        await pilot.press("enter")
        await wait_for(pilot, lambda: len(messages(screen)) == MOST_SHOWN)
        assert messages(screen)[-1] == "turn 129"
        await wait_for(pilot, lambda: screen.query("#earlier"))
        await pilot.press("u")
        await wait_for(pilot, lambda: len(messages(screen)) == 2 * MOST_SHOWN)
        assert messages(screen)[0] == f"turn {130 - 2 * MOST_SHOWN}"
        for _ in range(130 // MOST_SHOWN):
            await pilot.press("u")
        await wait_for(pilot, lambda: len(messages(screen)) == 130)
        assert not screen.query("#earlier")
        await pilot.press("u")
        await wait_for_text(pilot, "there are no earlier messages")
        await pilot.press("end")
        await write(pilot, "more", "enter")
        await wait_for(pilot, lambda: messages(screen)[-1].count("heard 'more'"))
        await wait_for(pilot, lambda: len(messages(screen)) == MOST_SHOWN)


async def test_what_a_model_writes_is_shown_as_markdown_and_never_obeyed() -> None:
    life()
    nasty = (
        "# Title\n\n**bold** <b>tag</b> [red]not markup[/red] \x1b[31mred\x1b[0m\n- one\n- two\nline\n\n```\ncode\n```"
    )
    async with chatting("--answer", nasty, size=(100, 40)) as (pilot, screen):
        await write(pilot, "Who?", "enter")
        await wait_for_text(pilot, "<b>tag</b>")
        text = screen_text(pilot.app)
        assert "[red]not markup[/red]" in text
        assert "␛[31mred" in text
        assert "**bold**" not in text
        assert "• one" in text
        await wait_for_text(pilot, ANSWERED)
        assert messages(screen)[1] == nasty, "what is saved is what was said"


async def test_where_nothing_can_be_saved_the_conversation_goes_on_and_says_so() -> None:
    life()
    (paths.home() / "chats").write_text("a file")
    async with chatting() as (pilot, screen):
        await write(pilot, "Who?", "enter")
        # Not read off the toast: where its lines end depends on the length of the path in it.
        await wait_for(pilot, lambda: "it is not saved" in screen._unsaved)
        await wait_for(pilot, lambda: len(messages(screen)) == 2)


async def test_an_engine_that_cannot_start_is_told() -> None:
    life()
    async with chatting("--exit-at-start", "no room for arrays") as (pilot, screen):
        await wait_for_text(pilot, "no room for arrays")
        await write(pilot, "Who?", "enter")
        assert screen.writing.text == "Who?"


async def test_the_model_that_was_open_last_is_opened_again(mlxllm_home: Path) -> None:
    life()
    async with chatting(model="tales-sft") as (pilot, _):
        await wait_for_text(pilot, "answers (SFT)")
    assert json.loads((mlxllm_home / "tui.json").read_text())["chat_model"] == "tales-sft"
    async with chatting(model="") as (pilot, _):
        await wait_for_text(pilot, "tales-sft@100   answers (SFT)")
