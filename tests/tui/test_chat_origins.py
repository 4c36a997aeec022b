"""In the chat, what stands in the training text glows, and o opens the document; all over a real index."""

import asyncio
import time

import pytest
from rich.style import Style

from mlxllm import paths
from mlxllm.data.build import build_dataset
from mlxllm.data.origins.building import build_index
from mlxllm.data.origins.files import has_index
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources.base import Source
from mlxllm.data.weights import Weight
from mlxllm.tokenizer import train_tokenizer
from tests.data.conftest import ListSource
from tests.tui.chatting import chatting, run_with_checkpoints, status, write
from tests.tui.harness import screen_text, wait_for, wait_for_text
from tui.screens.chat.origin import OriginView
from tui.screens.chat.screen import ChatScreen
from tui.widgets.answers import Message

STORIES = [
    "Once upon a time a small cat lived by the wide river, and every day she looked for fish.",
    "There was a king who had nine hats and no shoes at all, so he stayed at home. Once upon a time a small cat lived by "
    "the wide river.",
    "\x1b[31mRed\x1b[0m herrings swim where they want to swim in this strange little document.",
]
SAID = (
    "Now: Once upon a time a small cat lived by the wide river, then she slept. "
    "There was a queen who had nine hats and no shoes."
)


def trained(*, indexed: bool) -> None:
    """A base model and what was made of it, and the dataset that it read."""
    sources: list[tuple[Source, Weight | None]] = [(ListSource(STORIES, "tales"), None)]
    build_dataset(paths.folder("datasets") / "tales", sources, train_tokenizer("byte", []), val_split=0.0)
    if indexed:
        build_index(TokenDataset.open(paths.folder("datasets") / "tales"))
    run_with_checkpoints("tales-base", 20, method="pretrain", data={"dataset": "tales"})
    run_with_checkpoints("tales-sft", 30, method="sft", base="tales-base@20", data={"dataset": ""})


def answer_of(screen: ChatScreen) -> Message:
    """The last answer."""
    return next(m for m in reversed([*screen.query(Message)]) if m.role == "assistant")


def styles(screen: ChatScreen) -> dict[str, Style]:
    """What stands in the last answer, by its style."""
    found: dict[str, Style] = {}
    message = answer_of(screen)
    for y in range(message.size.height):
        for segment in message.render_line(y):
            for word in segment.text.split():
                found.setdefault(word.strip(".,:"), segment.style or Style())
    return found


@pytest.mark.parametrize("model", ["tales-base", "tales-sft"])
async def test_what_was_copied_glows_and_its_documents_open(model: str) -> None:
    trained(indexed=True)
    async with chatting("--answer", SAID, model=model, size=(100, 30)) as (pilot, screen):
        await wait_for_text(pilot, "continues your text" if "base" in model else "answers (SFT)")
        await write(pilot, "Go", "enter")
        await wait_for_text(pilot, "44 % copied, 41 % nearly, the rest its own   (o opens where it got that)")
        glow = styles(screen)
        assert glow["cat"].underline
        assert glow["cat"].bold
        assert glow["hats"].underline
        assert not glow["hats"].bold
        assert not glow["Now"].underline
        assert not glow["slept"].underline
        assert glow["cat"].color != glow["Now"].color
        await pilot.press("escape", "o")
        await wait_for_text(pilot, "Span 1 of 2: 12 words, word for word, in 2 places")
        assert isinstance(pilot.app.screen, OriginView)
        await wait_for_text(pilot, "tales: document 1 of 3 of tales (list:tales), from character 0")
        await wait_for_text(pilot, "and every day she looked for fish.")
        await pilot.press("d")
        await wait_for_text(pilot, "document 2 of 3")
        assert "There was a king" in screen_text(pilot.app)
        await pilot.press("n")
        await wait_for_text(pilot, "Span 2 of 2: 11 words, nearly: 1 of them changed")
        await wait_for_text(pilot, "It said: There was a queen")
        await pilot.press("n")
        await wait_for_text(pilot, "Span 1 of 2")
        await pilot.press("escape")
        await wait_for(pilot, lambda: pilot.app.screen is screen)
        pilot.app.theme = "daylight"
        await pilot.pause()
        assert styles(screen)["cat"].color != glow["cat"].color, "it is drawn anew in other colours"


async def test_an_index_is_built_when_one_asks_for_it() -> None:
    trained(indexed=False)
    async with chatting("--answer", SAID, model="tales-base", size=(100, 30)) as (pilot, screen):
        await wait_for_text(pilot, "continues your text")
        await write(pilot, "Go", "enter")
        await wait_for(pilot, lambda: "tok/s" in status(screen))
        await asyncio.sleep(0.2)
        assert "copied" not in screen_text(pilot.app)
        await pilot.press("escape", "o")
        await wait_for_text(pilot, "is put into an index first")
        await pilot.press("n", "o", "y")
        await wait_for_text(pilot, "mlxllm data index tales")
        await wait_for_text(pilot, "44 % copied")
        assert has_index(paths.folder("datasets") / "tales")
        assert "o opens where the answer comes from" in status(screen)
        await pilot.press("o")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, OriginView))


async def test_what_is_not_known_is_said_in_a_sentence() -> None:
    trained(indexed=True)
    run_with_checkpoints("stranger", 5)
    async with chatting("--answer", "Nothing of this is in any book, I am sure of it.", model="stranger") as (
        pilot,
        screen,
    ):
        await wait_for_text(pilot, "answers")
        await write(pilot, "Go", "enter")
        await wait_for(pilot, lambda: "tok/s" in status(screen))
        await pilot.press("escape", "o")
        await wait_for_text(pilot, "no stage of 'stranger@100' read a dataset")
        pilot.app.open_chat("tales-base")  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: screen._talk.form == "text", "the base model, whose heading a toast may cover")
        await write(pilot, "Go", "enter")
        await wait_for_text(pilot, "all of it its own")
        await pilot.press("escape", "o")
        await wait_for_text(pilot, "no eight words in a row of it stand in the training text")


async def test_a_document_cannot_steer_the_terminal() -> None:
    trained(indexed=True)
    said = "herrings swim where they want to swim in this strange little document"
    async with chatting("--answer", said, model="tales-base") as (pilot, _):
        await write(pilot, "Go", "enter")
        await wait_for_text(pilot, "100 % copied")
        await pilot.press("escape", "o")
        await wait_for_text(pilot, "␛[31mRed␛[0m")
        assert "\x1b" not in screen_text(pilot.app)


async def test_looking_for_a_long_answer_does_not_hold_the_screen_up() -> None:
    trained(indexed=True)
    words = " ".join([*STORIES[:2], "and then"] * 40)
    async with chatting("--answer", words, model="tales-base") as (pilot, screen):
        await wait_for_text(pilot, "continues your text")
        longest, last, over = 0.0, time.monotonic(), False

        async def watch() -> None:
            nonlocal longest, last
            while not over:
                await asyncio.sleep(0.001)
                now = time.monotonic()
                longest, last = max(longest, now - last), now

        await write(pilot, "Go", "enter")
        await wait_for(pilot, lambda: "tok/s" in status(screen))
        longest, last = 0.0, time.monotonic()
        watching = asyncio.create_task(watch())
        answer = screen._talk.answer
        assert answer is not None
        await asyncio.to_thread(screen._tracer.trace, "tales-base", answer.content)
        over = True
        await watching
        assert longest < 0.5, "a thread looks; on an idle machine it is a hundredth of a second"
