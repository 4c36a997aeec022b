"""An answer of the engine, followed ten times a second until its end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mlxllm.conversation.asking import asked_of
from mlxllm.conversation.trials import Prompt
from tui.engine_replies import Answer, AnswerToken, Done, LoadedInfo

DRAIN_SECONDS = 0.1
ALTERNATIVES = 5
"""So many of the likeliest tokens are asked for with each, for the token view."""


async def follow(answer: Answer, on_tokens: Callable[[Sequence[AnswerToken]], Awaitable[None]]) -> Done:
    """Hand on what comes until the answer is at its end.

    Args:
        answer: of the engine; it is cancelled where the task that waits here is.
        on_tokens: gets what has come since the last call.

    Raises:
        EngineError: there is no end, as the engine died or refused.
    """
    try:
        while True:
            await asyncio.wait({answer.done}, timeout=DRAIN_SECONDS)
            if fresh := answer.drain():
                await on_tokens(fresh)
            if answer.finished:
                return await answer.done
    finally:
        if not answer.finished:
            answer.cancel()


def speed(done: Done) -> str:
    """What an answer took, in one line."""
    share = 100 * done.context_used / done.context if done.context else 0
    full = f" ({share:.0f} %)" if share <= 100 else ": longer than it learned to read"
    parts = [
        f"{done.tokens:,} tokens",
        f"{done.tok_per_sec:,.1f} tok/s",
        f"first after {done.time_to_first_token:.2f} s",
        f"context {done.context_used:,}/{done.context:,}{full if done.context else ''}",
    ]
    return "   ".join(parts)


def asked(loaded: LoadedInfo, prompt: Prompt) -> tuple[list[dict[str, Any]] | None, str | None]:
    """A prompt as a request to the engine has it: `messages` and `text`, one of them None."""
    said = asked_of(prompt, base=loaded.kind == "base")
    return (None, said) if isinstance(said, str) else ([message.as_dict() for message in said], None)
