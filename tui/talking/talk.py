"""A conversation with a model as it stands: what was said, what the model is to be asked next, and what can be taken back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxllm.config import SampleConfig
from mlxllm.conversation import Message
from mlxllm.conversation.saved import Chat, ChatWriter, Form, Said
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import ConfigError

_SEEDS = 1 << 32


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine is asked; one of `messages` and `text` is given."""

    messages: tuple[Message, ...] | None
    text: str | None
    sample: Mapping[str, Any]
    go_on: bool = False
    """The last message is the model's own, and goes on."""


@dataclass(slots=True)
class Talk:
    """Turns with a model that answers, or one text with a base model."""

    form: Form = "turns"
    system: str = ""
    said: list[Said] = field(default_factory=list)
    earlier: tuple[tuple[Message, ...], Said] | None = None
    """The prompt of the last question and the answer that another one was asked for in place of."""
    _again: int = 0

    @classmethod
    def of(cls, chat: Chat) -> "Talk":
        """A saved one, to go on with."""
        return cls(chat.form, chat.system, list(chat.said))

    @property
    def answer(self) -> Said | None:
        """The last answer, where it is the last that was said."""
        return self.said[-1] if self.said and self.said[-1].role == "assistant" else None

    @property
    def question(self) -> Said | None:
        """What was asked last."""
        return next((said for said in reversed(self.said) if said.role == "user"), None)

    @property
    def is_cut_off(self) -> bool:
        """The last answer stopped before its end, and can go on."""
        return self.answer is not None and self.answer.about.get("finish_reason") in ("length", "cancelled")

    @property
    def text(self) -> str:
        """Of a base model: all of it."""
        return "".join(said.content for said in self.said)

    def prompt(self) -> tuple[Message, ...]:
        """The messages that the last answer answers, or that the next one will."""
        said = self.said[:-1] if self.answer is not None else self.said
        return self._messages(said)

    def question_prompt(self) -> tuple[Message, ...]:
        """The messages up to the last question; none where nothing was asked."""
        if self.question is None:
            return ()
        last = max(n for n, said in enumerate(self.said) if said.role == "user")
        return self._messages(self.said[: last + 1])

    def ask(self, text: str) -> Said:
        """Say something; a question that never got an answer is given up for this one."""
        if self.form == "turns" and self.said and self.answer is None:
            self.said.pop()
        if self.form == "text":
            before = self.text
            if before and not before[-1].isspace() and text[:1].isalnum():
                text = " " + text  # or two words would become one
        self.said.append(Said("user", text))
        self.earlier, self._again = None, 0
        return self.said[-1]

    def request(self, sample: SampleConfig, seed: int | None) -> Request:
        """What to ask the engine now.

        Args:
            sample: how tokens are chosen.
            seed: decides the draws; None is a new one each time. Asking again for another answer takes the next one.
        """
        chosen: dict[str, Any] = sample.model_dump(exclude={"seed"})
        if seed is not None:
            chosen["seed"] = (seed + self._again) % _SEEDS
        if self.form == "text":
            return Request(None, self.text, chosen)
        return Request(self._messages(self.said), None, chosen, go_on=self.answer is not None)

    def answered(self, text: str, about: Mapping[str, Any]) -> Said:
        """Take in what the model wrote, or how it went on; the answer as it now is."""
        before = self.answer
        if before is not None:
            self.said.pop()
            # Where it began decides what it is; only its end is news.
            about = {**about, **{key: before.about[key] for key in ("seed", "sample") if key in before.about}}
        self.said.append(Said("assistant", (before.content if before else "") + text, about=dict(about)))
        return self.said[-1]

    def again(self) -> None:
        """Take the last answer back, so that another is asked for.

        Raises:
            ConfigError: nothing was asked yet.
        """
        if not self.said:
            raise ConfigError("there is nothing to answer again yet; write something first")
        if (answer := self.answer) is not None:
            self.earlier = (self.prompt(), answer)
            self.said.pop()
        self._again += 1

    def take_back(self) -> str:
        """Take the last thing that the user said back, with its answer, and return it.

        Raises:
            ConfigError: nothing was said yet.
        """
        last = next((n for n in range(len(self.said) - 1, -1, -1) if self.said[n].role == "user"), None)
        if last is None:
            raise ConfigError("there is no message of yours to edit yet; write one first")
        text = self.said[last].content
        del self.said[last:]
        self.earlier, self._again = None, 0
        return text.removeprefix(" ") if self.form == "text" and self.said else text

    def prefer(self, last: bool) -> StoredPreference:
        """Of the last answer and the one before it, in whose place it was asked for, one is better; the talk goes on with it.

        Raises:
            ConfigError: there are no two answers, or nothing can be learned from the better one.
        """
        if self.answer is None or self.earlier is None or self.form != "turns":
            raise ConfigError("there is no other answer to compare with; ask for another one first (ctrl+r)")
        prompt, before = self.earlier
        better, worse = (self.answer, before) if last else (before, self.answer)
        if better.content == worse.content:
            raise ConfigError("both answers are the same; ask for another one, with a higher temperature")
        if better.about.get("finish_reason") != "stop":
            raise ConfigError(
                "that answer was cut off, and a model would learn to end there; let it go on first (enter on an empty line), "
                "or raise max tokens and ask again"
            )
        seeds = {"chosen": better.about.get("seed"), "rejected": worse.about.get("seed")}
        made = StoredPreference(
            chosen=better.content,
            how="picked",
            seed={side: seed for side, seed in seeds.items() if isinstance(seed, int)},
            **_about(prompt, worse),
        )
        self.said[-1], self.earlier = better, None
        return made

    def rewrite(self, text: str) -> StoredPreference:
        """Put one's own answer in place of the last one, and prefer it.

        Raises:
            ConfigError: there is no answer, or nothing was written.
        """
        if self.answer is None or self.form != "turns":
            raise ConfigError("there is no answer of a model to put yours in place of")
        if not text.strip() or text == self.answer.content:
            raise ConfigError("write the answer that you would have liked; it has to differ from the model's")
        seed = self.answer.about.get("seed")
        made = StoredPreference(
            chosen=text,
            how="rewritten",
            seed={"rejected": seed} if isinstance(seed, int) else {},
            **_about(self.prompt(), self.answer),
        )
        self.said[-1] = Said("assistant", text, about={"rewritten": True})
        self.earlier = None
        return made

    def _messages(self, said: Sequence[Said]) -> tuple[Message, ...]:
        system = [Message("system", self.system)] if self.system.strip() else []
        return (*system, *(Message(each.role, each.content) for each in said))


def _about(prompt: tuple[Message, ...], rejected: Said) -> dict[str, Any]:
    """What a preference keeps of the answer that was not liked."""
    about = rejected.about
    return {
        "prompt": prompt,
        "rejected": rejected.content,
        "model": str(about.get("model", "")),
        "fingerprint": str(about.get("fingerprint", "")),
        "step": about.get("step"),
        "sample": about.get("sample") or {},
    }


def save(talk: Talk, writer: ChatWriter) -> None:
    """Bring a conversation's file to where the talk stands: what was taken back, then what is new.

    Raises:
        DataError: the file cannot be written.
    """
    writer.tell(talk.system)
    written = writer.chat.said
    same = next(
        (
            n
            for n, (a, b) in enumerate(zip(written, talk.said, strict=False))
            if (a.role, a.content) != (b.role, b.content)
        ),
        min(len(written), len(talk.said)),
    )
    writer.keep(same)
    for said in talk.said[same:]:
        writer.say(said.role, said.content, **said.about)
