"""A home with runs that look whole, a scripted engine, and a chat to press keys in."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from mlxllm import paths
from mlxllm.runs import RunDirectory
from tests.tui.harness import ended_run, new_app, wait_for
from tests.tui.scripted_engine import scripted
from tui.engine import EngineClient
from tui.screens.chat.screen import ChatScreen
from tui.widgets.answers import Message
from tui.widgets.conversation import Conversation
from tui.widgets.writing import Writing


def run_with_checkpoints(
    name: str, *steps: int, method: str = "dpo", base: str = "", prompt: str = "Once upon a time", **config: Any
) -> RunDirectory:
    """A run of the home whose checkpoints are empty: the scripted engine needs none of their files."""
    run = ended_run(name, method=method)
    settings = {"method": method, "base_model": base, "train": {"sample_prompt": prompt}, **config}
    run.config.write_text(json.dumps(settings))
    for step in steps:
        folder = run.checkpoints / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    return run


def life() -> None:
    """Base, SFT and DPO of one model."""
    run_with_checkpoints("tales-base", 10, 20, method="pretrain")
    run_with_checkpoints("tales-sft", 30, method="sft", base="tales-base@20")
    run_with_checkpoints("tales-dpo", 40, method="dpo", base="tales-sft@30")


@asynccontextmanager
async def chatting(
    *options: str, model: str = "tales-dpo", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Pilot[None], ChatScreen]]:
    """The chat with a model open, if one is named, over a scripted engine."""
    app = new_app(engine=EngineClient(scripted(*options)))
    async with app.run_test(size=size, notifications=True) as pilot:
        if model:
            app.open_chat(model)
        else:
            app.action_go("chat")
        await wait_for(pilot, lambda: isinstance(app.screen, ChatScreen) and app.screen.is_mounted, "the chat")
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        yield pilot, screen


async def write(pilot: Pilot[Any], text: str, *keys: str) -> None:
    """Have a text in the input of the screen, and press keys."""
    writing = pilot.app.screen.query_one(Writing)
    writing.focus()
    writing.insert(text)
    await pilot.pause()
    await pilot.press(*keys)


def messages(screen: Any) -> list[str]:
    """What stands in the conversation, without what the application says."""
    return [message.source for message in screen.query_one(Conversation).query(Message) if message.role != "note"]


def status(screen: Any) -> str:
    """The line above the input."""
    return str(screen.query_one("#status").render())


def chats() -> list[dict[str, Any]]:
    """All lines of all saved conversations."""
    files = sorted((paths.home() / "chats").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
