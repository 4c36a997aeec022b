"""Rounds of two answers with names hidden, in a terminal or over a pipe: what `prefs judge` and `taste` share."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from mlxllm.cli import sampling
from mlxllm.cli.chat_input import LineReader
from mlxllm.cli.streaming import Stream
from mlxllm.config import SampleConfig
from mlxllm.conversation.judging import judge
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.conversation.trials import Answer, Choice, Round, Trial
from mlxllm.errors import DataError, UserError
from mlxllm.inference.asking import ask
from mlxllm.inference.engine_models import Models

_CHOICES: Mapping[str, Choice] = {"a": "a", "b": "b", "t": "tie", "=": "tie", "n": "both bad", "0": "both bad"}
LEAVE, UNDO, WRITE, VERDICT = "q", "u", "w", "v"


@dataclass
class Judging:
    """The rounds of a trial, each shown, judged, and perhaps taken back."""

    trial: Trial
    models: Models | None
    """Who answers; None where all answers are there already."""
    sample: SampleConfig
    json: bool
    """Only JSON may go to stdout, so the answers are shown on stderr."""
    reveals: bool
    """Say after each choice whose answers they were."""
    kept: dict[str, StoredPreference] = field(default_factory=dict)
    """Id -> preference that came of the choices."""

    def __post_init__(self) -> None:
        """Load both models before the first word: how long that takes would tell which is which."""
        self._store = PreferenceStore()
        self._reader = LineReader(editing=not self.json)
        self._out: TextIO = sys.stderr if self.json else sys.stdout
        if self.models is None:
            return
        for name in dict.fromkeys(self.trial.players):
            if note := self.models.load(name).loaded.note:
                sampling.say(f"warning: {note}")

    def judge_all(self) -> str:
        """Have every round judged; returns the letter that ended it earlier, or "".

        The end of the input counts as `q`.

        Raises:
            UserError: an answer cannot be written, or what was typed is not UTF-8.
        """
        while (each := self.trial.current) is not None:
            self._show(each)
            while each is self.trial.current:
                typed = self.read(self._question(each))
                if typed is None or typed == LEAVE:
                    return LEAVE
                if typed == VERDICT and not self.reveals:
                    return VERDICT
                if typed == UNDO:
                    self.undo()
                else:
                    self._choose(each, typed)
        return ""

    def undo(self) -> None:
        """Take the last choice back, and the pair that came of it."""
        if self.trial.number == 0:
            sampling.say("there is no choice to take back yet")
            return
        stored = self.trial.undo() or ()
        try:
            if stored:
                self._store.drop(*stored)
        except UserError as error:
            sampling.say(f"{error}; the pair is still there, and `mlxllm prefs rm` takes it out")
        for gone in stored:
            self.kept.pop(gone, None)
        sampling.say("the last choice is taken back")

    def read(self, question: str) -> str | None:
        """What is typed, without blanks around it; None at the end of the input."""
        sampling.say(question)
        while True:
            try:
                return self._reader.read("> ", ". ").strip()
            except EOFError:
                return None
            except DataError as error:
                if not self._reader.interactive:
                    raise
                sampling.say(str(error))

    def _question(self, each: Round) -> str:
        choices = ["t tie", "n both bad", "w write a better one"]
        if each.is_same:
            asked = f"{each.alike}:"
        else:
            asked, choices = "which one is better?", ["a", "b", *choices]
        choices += ["u undo"] if self.trial.number else []
        choices += [] if self.reveals else ["v verdict now"]
        return f"{asked} {', '.join([*choices, 'q leave'])}"

    def _choose(self, each: Round, typed: str) -> None:
        rewritten = ""
        if typed == WRITE:
            rewritten = self.read('the answer that you would have liked (""" begins and ends several lines):') or ""
            if not rewritten:
                sampling.say("nothing was written, so nothing is chosen")
                return
        elif typed not in _CHOICES:
            sampling.say(f"{typed!r} is none of the letters")
            return
        try:
            outcome = judge(self.trial, self._store, _CHOICES.get(typed, "rewritten"), rewritten)
        except UserError as error:
            sampling.say(str(error))
            return
        self.kept.update((made.id, made) for made in outcome.preferences)
        if self.reveals:
            names = [f"{side.upper()} was {_name(each.shown(side))}" for side in ("a", "b")]
            sampling.say(f"{' and '.join(names)}; {pairs(len(self.kept))} kept")
        if outcome.left_out:
            sampling.say(outcome.left_out)

    def _show(self, each: Round) -> None:
        """The prompt, and both answers as they come or as they are."""
        number = self.trial.number
        if not self.reveals:
            sampling.say(f"round {number + 1} of {len(self.trial.rounds)}")
        self._show_both(each, number)
        while not self.reveals and self.trial.draw_anew(number):
            sampling.say("both answers were the same, word for word, so here are two others")
            self._show_both(each, number)

    def _show_both(self, each: Round, number: int) -> None:
        self._print("Asked", [each.prompt[-1].content])
        print(file=self._out)
        for side, player in zip(("A", "B"), each.sides, strict=True):
            if player in each.answers:
                self._print(side, [each.answers[player].text])
            else:
                self._print(side, self._written(each, number, player))
            if each.answers[player].cut_off:
                print(sampling.dim("(cut off here)", self._out), file=self._out)
            print(file=self._out, flush=True)

    def _print(self, title: str, pieces: Iterable[str]) -> None:
        print(sampling.bold(title, self._out), file=self._out, flush=True)
        stream = Stream(self._out)
        try:
            for piece in stripped(pieces):
                stream.add(piece)
        finally:  # after Ctrl-C as well
            stream.end()

    def _written(self, each: Round, number: int, player: int) -> Iterator[str]:
        """An answer as it is written; at its end the round has it."""
        assert self.models is not None
        held = self.models.get(self.trial.players[player])
        sample = self.sample.model_copy(update={"seed": self.trial.seed_of(number, player)})
        generation, _ = ask(held, each.prompt, sample)  # a note on the length would tell which model it is
        text = ""
        for token in generation:
            text += token.text
            yield token.text
        each.answers[player] = Answer(
            text.strip(),
            held.loaded.address,
            sample.seed,
            held.loaded.fingerprint,
            held.loaded.step,
            sample.model_dump(exclude={"seed"}),
            cut_off=generation.stats.finish_reason != "stop",
        )


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of a text as they come, without the blanks at its two ends."""
    blanks, begun = "", False
    for piece in pieces:
        text = blanks + piece if begun else piece.lstrip()
        solid = text.rstrip()
        blanks = text[len(solid) :]
        if solid:
            begun = True
            yield solid


def pairs(number: int) -> str:
    """So many preference pairs."""
    return "1 preference pair" if number == 1 else f"{number:,} preference pairs"


def _name(answer: Answer) -> str:
    cut_off = ", cut off" if answer.cut_off else ""
    return f"{answer.model} (seed {answer.seed}{cut_off})"
