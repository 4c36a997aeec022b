"""What it takes to turn messages into token ids: one interface for our own models and for those of others.

The law that every format keeps, and on which training and chat both rest:

    generation_prompt(messages before an answer) is the beginning of the ids that are trained for that answer

so that a model is asked in chat exactly what it has learned to answer.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxllm.conversation.records import Conversation, Message

Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Piece:
    """Ids in a row that belong to one turn, or to what a template writes around turns."""

    token_ids: list[int]
    role: str
    """Who speaks, or `system, user` where a template does not say where one ends and the next begins."""
    answer: bool = False
    """An assistant's text and its end token, which is what a model learns to write."""
    message: int = 0
    """Number of the message in its conversation; of several, the last."""


Pieces = list[Piece]
"""One sequence for the model: the pieces' ids, one after the other."""


class ChatFormat(ABC):
    """Messages to ids, for one tokenizer and one template. Immutable."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 over template, variables and tokenizer: the same messages give the same ids."""

    @property
    @abstractmethod
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer."""

    @abstractmethod
    def generation_prompt(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """The ids that the assistant continues: all of `messages`, and where its answer begins.

        Raises:
            DataError: the template does not take these messages.
        """

    @abstractmethod
    def generation_text(self, messages: Sequence[Message], tools: Tools = ()) -> str:
        """The text that a tokenizer turns into `generation_prompt` when it reads special tokens where they are spelled.

        For readers that want text. What a message spells is then not told apart from what the format put in.

        Raises:
            DataError: the template does not take these messages.
        """

    @abstractmethod
    def sequences(self, conversation: Conversation) -> list[Pieces]:
        """The ids of a conversation in pieces: one sequence with all answers, wherever the law above allows that.

        Some templates write earlier turns otherwise once a later one follows (they drop what the assistant
        thought). Then no single text shows all answers as they are written in chat, and there is one sequence
        an answer instead, each with the turns before it as they look at that time.

        Raises:
            DataError: the template does not take the conversation, or does not keep the law.
        """

    @abstractmethod
    def text_ids(self, text: str) -> list[int]:
        """The ids of a plain text and its end, as in pre-training."""

    @abstractmethod
    def completion(self, prompt: Sequence[Message], answer: Sequence[Message], tools: Tools = ()) -> list[int]:
        """All ids that the template writes behind `generation_prompt(prompt)` when `answer` follows.

        Raises:
            DataError: the template does not take the messages, or does not keep the law.
        """

    def notes(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Reason and detail of what a person should know about how these messages are written; mostly nothing."""
        return []


def fingerprint_of(chat_format: ChatFormat, settings: Mapping[str, Any]) -> str:
    """SHA-256 over a format and the settings that decide masks and lengths; keys what is stored beside a run.

    Args:
        chat_format: the format.
        settings: anything that JSON can hold.
    """
    content = json.dumps([chat_format.fingerprint, dict(settings)], sort_keys=True)
    return hashlib.sha256(b"mlxllm conversation" + content.encode()).hexdigest()
