"""What the engine process says, as it reaches a screen: a model that was loaded, and an answer while it comes."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar

from mlxllm.errors import UserError

T = TypeVar("T")


class EngineError(UserError):
    """Why a request has no result, in one sentence."""


@dataclass(frozen=True)
class LoadedInfo:
    """A model that the engine holds."""

    model: str
    """As it was asked for."""
    address: str
    """A name that still finds these weights when their run has gone on; see `adapter`."""
    adapter: str | None
    """The folder of the adapter that is stacked on it, if any."""
    kind: Literal["base", "chat"]
    """`base` continues a text, `chat` was tuned to answer."""
    name: str
    """The run or folder."""
    step: int | None
    """Of the checkpoint; None for a folder."""
    history: list[str]
    """The stages that made it: `base`, then `sft`, `dpo`."""
    fingerprint: str
    """SHA-256 of the weight files."""
    context: int
    """Tokens that the model was made for."""
    parameters: int
    suggestions: list[str]
    """What it can answer, up to three."""
    note: str
    """A sentence about the choice of the checkpoint; usually nothing."""


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """One token of an answer."""

    text: str
    """Text that is certain from here on; often none in the middle of a character."""
    token_id: int
    logprob: float | None
    """Natural log-probability under the bare model, before temperature and filters."""
    piece: str = ""
    """The token by itself; only where alternatives were asked for."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens here and their probabilities, likeliest first."""


@dataclass(frozen=True)
class Done:
    """An answer at its end."""

    text: str
    """The answer as it stands; the tokens' texts may lack its last characters where it was cut off."""
    finish_reason: Literal["stop", "length", "cancelled"]
    """`stop`: the model ended it, or a stop string came; `length`: there was no more room."""
    prompt_tokens: int
    cached_tokens: int
    """So many of the prompt's tokens had been read before."""
    tokens: int
    tok_per_sec: float
    time_to_first_token: float
    """Seconds."""
    context_used: int
    """Tokens of prompt and answer."""
    context: int
    seed: int
    note: str
    """A sentence about the length; usually nothing."""


@dataclass(frozen=True)
class Tokens:
    """A text or conversation as a model reads it."""

    token_ids: list[int]
    pieces: list[str]


class Call(Generic[T]):
    """A request and the reply that it waits for."""

    def __init__(self, convert: Callable[[Mapping[str, Any]], T]) -> None:
        """Wait for a reply that `convert` makes a result of."""
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        """The result; raises `EngineError`. Who is cancelled while waiting no longer wants it."""
        # An error that nobody waits for is no error of the program.
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._convert = convert

    def take_token(self, reply: Mapping[str, Any]) -> None:
        """Take in a token; only an answer has any."""

    def end(self, reply: Mapping[str, Any]) -> None:
        """Take in the reply."""
        if self.done.done():
            return
        try:
            self.done.set_result(self._convert(reply))
        except TypeError as error:
            self.fail(f"the engine process said something that this version does not understand ({error})")

    def fail(self, message: str) -> None:
        """There will be no reply."""
        if not self.done.done():
            self.done.set_exception(EngineError(message))


class Answer(Call[Done]):
    """An answer while it comes: `drain` now and then, and `await answer.done`."""

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        """Begin without a token.

        Args:
            on_cancel: tells the engine that the answer is wanted no longer.
        """
        super().__init__(done_of)
        self.cancelled = False
        """Somebody has asked it to end."""
        self._on_cancel = on_cancel
        self._fresh: list[AnswerToken] = []
        self.done.add_done_callback(lambda done: self.cancel() if done.cancelled() else None)

    @property
    def finished(self) -> bool:
        """No token comes any more; `drain` may still have some."""
        return self.done.done()

    def drain(self) -> list[AnswerToken]:
        """All tokens since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def cancel(self) -> None:
        """Ask for its end after the current token; `done` then comes with what there is."""
        if not self.cancelled:
            self.cancelled = True
            self._on_cancel()

    def take_token(self, reply: Mapping[str, Any]) -> None:
        """Take in a token."""
        alternatives = tuple((str(piece), float(prob)) for piece, prob in reply.get("alternatives", ()))
        self._fresh.append(_made(AnswerToken, {**reply, "alternatives": alternatives}))


def loaded_of(reply: Mapping[str, Any]) -> LoadedInfo:
    """The model in a `loaded` reply."""
    return _made(LoadedInfo, reply)


def tokens_of(reply: Mapping[str, Any]) -> Tokens:
    """The tokens in a `tokens` reply."""
    return _made(Tokens, reply)


def explanation_of(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """The explanation in an `explained` reply.

    Raises:
        TypeError: there is none.
    """
    found = reply.get("explanation")
    if not isinstance(found, dict):
        raise TypeError("no explanation")
    return found


def done_of(reply: Mapping[str, Any]) -> Done:
    """The end in a `done` reply."""
    return _made(Done, reply)


def _made(kind: Callable[..., T], reply: Mapping[str, Any]) -> T:
    """The dataclass `kind` of a reply's fields; what it does not know is left out.

    Raises:
        TypeError: a field is missing.
    """
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in reply.items() if name in known})
