"""What can be typed in a chat with a model that was tuned to answer: questions, commands, and which answer is better."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm.cli import sampling
from mlxllm.cli.chat_commands import END_HELP, LINES_HELP, Chat
from mlxllm.cli.prefs import beginning
from mlxllm.config import SampleConfig
from mlxllm.conversation import Message
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import ConfigError
from mlxllm.inference.session import Session
from mlxllm.inference.turns import Turns
from mlxllm.model.loading import LoadedModel


@dataclass(frozen=True)
class _Answer:
    """An answer of the model, and how it came to be."""

    prompt: tuple[Message, ...]
    text: str
    sample: SampleConfig
    cut_off: bool


class TurnsChat(Chat):
    """The state of a chat in turns, and what each input does to it."""

    help: Sequence[tuple[str, str]] = (
        ("text", "is your turn; the model answers"),
        ("Enter alone", "lets an answer that was cut off go on"),
        *LINES_HELP,
        ("/again", "another answer in place of the last one"),
        ("/better", "after /again: store that this answer is better than the one before it"),
        ("/worse", "after /again: store that the one before it is better, and go on with that one"),
        ("/rewrite TEXT", "store your own answer as better than the model's, and go on with it"),
        ("/undo", "take your last turn and its answer back"),
        ("/system TEXT", "tell the model something before all turns; without TEXT, show it; /system off, no more"),
        ("/text", "show the whole conversation"),
        ("/save FILE", "write it to a new file; to FILE.jsonl as a record that `mlxllm sft` reads"),
        ("/reset", "begin a new conversation"),
        *END_HELP,
    )
    commands: Sequence[str] = (*Chat.commands, "/better", "/rewrite", "/system", "/worse")
    with_text: Sequence[str] = (*Chat.with_text, "/system", "/rewrite")

    def __init__(
        self,
        session: Session,
        loaded: LoadedModel,
        sample: SampleConfig,
        stop: Sequence[str] = (),
        logit_bias: Mapping[int, float] | None = None,
    ) -> None:
        """Begin with nothing said."""
        self._turns = Turns(chat_format_of(loaded.tokenizer, loaded.tokenizer_directory), loaded.tokenizer)
        super().__init__(session, loaded.tokenizer, sample, stop, logit_bias, self._turns)
        self._loaded = loaded
        self._store = PreferenceStore()
        self._last: _Answer | None = None  # what the model wrote last, as far as it stands in the conversation
        self._earlier: _Answer | None = None  # what /again put that in place of

    def last_words(self) -> str:
        """Nothing: an answer begins on its own."""
        return ""

    def how_it_ended(self) -> str:
        """See `Chat.how_it_ended`; called when the answer is complete as far as it comes."""
        if self._turns.answer == "" and not self._turns.is_cut_off:
            return "the answer is empty; /again asks for another"
        if self._generation is not None and self._generation.stats.finish_reason == "length":
            return "the answer is cut off here; Enter lets it go on"
        return ""

    def _take_text(self, text: str) -> None:
        if text.strip():
            self._turns.add_user(text)
            self._forget_answers()
        elif not self._turns.wants_answer:
            raise ConfigError("there is nothing to answer; type a question, or /again for another answer")
        self.wants_answer = True

    def _answered(self, sample: SampleConfig) -> None:
        if (answer := self._turns.answer) is not None:
            begun = self._last.sample if self._last is not None else sample  # it may have gone on with a cut-off one
            self._last = _Answer(self._turns.prompt, answer, begun, self._turns.is_cut_off)

    def _do(self, command: str, value: str) -> None:
        if command == "/system":
            self._set_system(value)
        elif command in ("/better", "/worse"):
            self._pick(command)
        elif command == "/rewrite":
            self._rewrite(value)
        elif command == "/again":
            if not self._turns.take_back_answer():
                raise ConfigError("/again: nothing was asked yet")
            if self._last is not None:
                self._earlier, self._last = self._last, None
            self.wants_answer = True
        elif command == "/undo":
            if not self._turns.take_back_turn():
                raise ConfigError("/undo: there is no turn to take back")
            self._forget_answers()
        elif command == "/reset":
            self._turns.reset()
            self._session.reset()
            self._forget_answers()
            sampling.say("a new conversation begins")
        else:
            super()._do(command, value)

    def _set_system(self, text: str) -> None:
        if not text:
            said = self._turns.system
            sampling.say("there is no system text; /system TEXT sets one" if said is None else f"system: {said}")
            return
        self._turns.system = None if text == "off" else text
        self._forget_answers()
        sampling.say("the model is told nothing before the turns" if text == "off" else "the model is told that first")

    def _pick(self, command: str) -> None:
        last, earlier = self._last, self._earlier
        if last is None or earlier is None:
            raise ConfigError(f"{command} compares an answer with the one before it; get another one with /again first")
        better, worse = (last, earlier) if command == "/better" else (earlier, last)
        if better.text == worse.text:
            raise ConfigError(f"{command}: both answers are the same; try /again, with a higher /temp")
        if better.cut_off:
            raise ConfigError(
                f"{command}: that answer was cut off, and a model would learn to end there; let it go on with Enter, "
                f"or raise /max-tokens and try /again"
            )
        seeds = {"chosen": better.sample.seed, "rejected": worse.sample.seed}
        self._add(StoredPreference(how="picked", chosen=better.text, seed=seeds, **self._about(worse)))
        if better is earlier:
            self._turns.replace_answer(better.text)
            sampling.say("the conversation goes on with that one")
        self._last, self._earlier = better, None

    def _rewrite(self, text: str) -> None:
        if not text:
            raise ConfigError("/rewrite needs the answer that you would have liked; such as /rewrite It was Mia.")
        if self._last is None:
            raise ConfigError("/rewrite: there is no answer of the model to put it in place of")
        seeds = {"rejected": self._last.sample.seed}
        self._add(StoredPreference(how="rewritten", chosen=text, seed=seeds, **self._about(self._last)))
        self._turns.replace_answer(text)
        self._forget_answers()

    def _about(self, rejected: _Answer) -> dict[str, Any]:
        loaded = self._loaded
        return {
            "prompt": rejected.prompt,
            "rejected": rejected.text,
            "model": loaded.address + (f" with {loaded.adapter}" if loaded.adapter is not None else ""),
            "fingerprint": loaded.fingerprint,
            "step": loaded.step,
            "sample": rejected.sample.model_dump(exclude={"seed"}),
        }

    def _add(self, preference: StoredPreference) -> None:
        self._store.add(preference)
        chosen, rejected = beginning(preference.chosen), beginning(preference.rejected)
        sampling.say(f"stored in {self._store.path}: {chosen!r} is better than {rejected!r}")

    def _forget_answers(self) -> None:
        self._last = self._earlier = None

    def _saved(self, path: Path) -> str:
        if path.suffix != ".jsonl":
            return self._turns.text
        record = {"messages": [message.as_dict() for message in self._turns.messages]}
        return json.dumps(record, ensure_ascii=False) + "\n"
