"""A dialogue in turns, with a model that was tuned to answer."""

from collections.abc import Iterable

from mlxllm.conversation import ChatFormat, Message
from mlxllm.inference.generate import Token
from mlxllm.inference.session import whole_characters
from mlxllm.tokenizer import Tokenizer


class Turns:
    """What was said so far, and the ids that the model is to continue: a `Dialogue`.

    The ids are always those that the chat format writes for the messages, which is what the model was trained on.
    They are the ids that the model generated wherever the format spells its text the same way, so that a session
    has them in its cache; a spelling that training never shows is replaced in the next turn.
    """

    def __init__(self, chat_format: ChatFormat, tokenizer: Tokenizer) -> None:
        """Start with nothing said."""
        self._format, self._tokenizer = chat_format, tokenizer
        self._system: Message | None = None
        self._said: list[Message] = []  # a user's turn, an answer, and so on
        self._cut_off: list[int] | None = None  # the ids of the last answer, where it has not come to its end

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns in order, the system's first."""
        return (*([self._system] if self._system is not None else []), *self._said)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The turns before the last answer, or all where the last question has none yet."""
        return self.messages[:-1] if self.answer is not None else self.messages

    @property
    def answer(self) -> str | None:
        """The last answer; None where the last question has none yet, or nothing was asked."""
        return self._said[-1].content if self._said and self._said[-1].role == "assistant" else None

    @property
    def wants_answer(self) -> bool:
        """A question has no answer yet, or one that was cut off and can go on."""
        return bool(self._said) and (self.answer is None or self._cut_off is not None)

    @property
    def is_cut_off(self) -> bool:
        """The last answer has not come to its end."""
        return self._cut_off is not None

    @property
    def ids(self) -> list[int]:
        """What the model is to continue: all turns and where its answer begins, and that as far as it was cut off."""
        if self._cut_off is not None:
            return [*self._format.generation_prompt(self.prompt), *self._cut_off]
        return self._format.generation_prompt(self.messages)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return self._format.stop_ids

    @property
    def text(self) -> str:
        """All turns, each after who said it, with an empty line between them."""
        return "\n\n".join(f"{message.role}: {message.content}" for message in self.messages)

    @property
    def system(self) -> str | None:
        """What the model is told before all turns, if anything."""
        return self._system.content if self._system is not None else None

    @system.setter
    def system(self, text: str | None) -> None:
        self._system = Message("system", text) if text is not None else None

    def add_user(self, text: str) -> None:
        """Ask; a question that never got an answer is given up for this one."""
        if self.answer is None:
            self._said = self._said[:-1]
        self._said.append(Message("user", text))
        self._cut_off = None

    def add_answer(self, tokens: Iterable[Token]) -> None:
        """Take in what the model answered, or how it went on with an answer that was cut off."""
        tokens = list(tokens)
        if not tokens:
            return
        before = self._cut_off or []
        if self.answer is not None:
            self._said.pop()
        if tokens[-1].finish_reason == "stop":
            self._cut_off = None
            text = self._tokenizer.decode_continued(before) + "".join(token.text for token in tokens)
        else:
            self._cut_off = whole_characters(self._tokenizer, [*before, *(token.id for token in tokens)])
            text = self._tokenizer.decode_continued(self._cut_off)
        self._said.append(Message("assistant", text))

    def replace_answer(self, text: str) -> None:
        """Go on with another answer in place of the last one."""
        assert self.answer is not None
        self._said[-1] = Message("assistant", text)
        self._cut_off = None

    def take_back_answer(self) -> bool:
        """Remove the last answer, so that another can be made; False where nothing was asked."""
        if self.answer is not None:
            self._said.pop()
        self._cut_off = None
        return bool(self._said)

    def take_back_turn(self) -> bool:
        """Remove the last question with its answer; False where nothing was asked."""
        asked = self.take_back_answer()
        self._said = self._said[:-1]
        return asked

    def reset(self) -> None:
        """Begin a new conversation under the same system text."""
        self._said, self._cut_off = [], None
