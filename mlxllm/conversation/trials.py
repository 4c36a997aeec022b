"""Two answers compared with names hidden and sides shuffled: one round, or many and then a verdict with its chance."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mlxllm.conversation.records import Message
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.conversation.verdict import Verdict
from mlxllm.errors import ConfigError
from mlxllm.runs import short_name

Choice = Literal["a", "b", "tie", "both bad", "rewritten"]
Prompt = tuple[Message, ...]
"""The turns up to the one that is to be answered."""

STANDS = ("tuned", "untuned")
"""Player of a taste test -> what it stands for."""

USUAL_ROUNDS, MOST_ROUNDS = 10, 200
"""Of a taste test."""

PROMPTS_A_ROUND = 3
"""So many are tried where answers are the same, word for word."""
_DRAWS_A_PROMPT = 3
_MOST_ALIKE = PROMPTS_A_ROUND * _DRAWS_A_PROMPT
"""When so many pairs of answers in a row were the same, the models are taken to be alike."""

_SEEDS = 1 << 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of the two models wrote."""

    text: str
    model: str
    """Its address."""
    seed: int = 0
    fingerprint: str = ""
    step: int | None = None
    sample: Mapping[str, Any] = field(default_factory=dict)
    cut_off: bool = False
    """It was stopped, or had no room to come to its end."""


@dataclass(slots=True)
class Round:
    """One prompt, the two answers, and what was chosen."""

    prompt: Prompt
    sides: tuple[int, int]
    """Which player's answer is shown as A, and which as B."""
    answers: dict[int, Answer] = field(default_factory=dict)
    """Player -> answer."""
    draws: int = 1
    """So many times both answers were drawn; more than once where they were the same."""
    choice: Choice | None = None
    rewritten: str = ""
    stored: tuple[str, ...] = ()
    """Ids of the preferences that were made of it."""

    @property
    def is_complete(self) -> bool:
        """Both answers are there."""
        return len(self.answers) == 2

    @property
    def is_same(self) -> bool:
        """Both answers are the same, word for word: there is nothing to choose."""
        return self.is_complete and self.answers[0].text == self.answers[1].text

    @property
    def alike(self) -> str:
        """What there is to say of answers that are the same."""
        told = "both answers are the same, word for word"
        return f"{told}, after {self.draws} tries as well: the models seem alike" if self.draws > 1 else told

    def shown(self, side: Literal["a", "b"]) -> Answer:
        """The answer on a side."""
        return self.answers[self.sides["ab".index(side)]]

    @property
    def winner(self) -> int | None:
        """The player whose answer was preferred, if one was."""
        return self.sides["ab".index(self.choice)] if self.choice in ("a", "b") else None

    @property
    def told(self) -> str:
        """What was chosen in a taste test, such as `A, the tuned one`."""
        if self.winner is not None:
            return f"{str(self.choice).upper()}, the {STANDS[self.winner]} one"
        return "you wrote a better one" if self.choice == "rewritten" else str(self.choice or "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a choice comes to."""

    preferences: tuple[StoredPreference, ...] = ()
    left_out: str = ""
    """Why it makes no preference although an answer was chosen, in a sentence."""


class Trial:
    """Rounds one after another, each judged once; the last judgement can be taken back."""

    def __init__(
        self, players: tuple[str, str], prompts: Sequence[Prompt], seed: int, rounds: int | None = None
    ) -> None:
        """Shuffle the sides: each player stands as often left as right (as far as that goes), in an order that `seed`
        decides.

        Args:
            players: the models' addresses; the first one is what the trial is about, such as the tuned one. Both may be
                the same, and then they differ in their seeds.
            prompts: one a round; those that are left take the place of prompts to which both answer the same.
            seed: decides the sides and the seeds of the answers.
            rounds: how many, by default one for each prompt; there are fewer where prompts are.
        """
        self.spare = list(prompts[rounds:]) if rounds is not None else []
        """Prompts that were not asked yet."""
        prompts = prompts[:rounds]
        self._alike = 0
        """So many pairs of answers, the last ones, were the same."""
        self.players, self.seed = players, seed
        self.id = f"{time.strftime('%Y%m%d-%H%M%S')}-{seed % _SEEDS:08x}"
        draw = random.Random(seed)
        first = draw.randrange(2)
        sides = [(0, 1) if (number + first) % 2 else (1, 0) for number in range(len(prompts))]
        draw.shuffle(sides)
        self.rounds = [Round(prompt, side) for prompt, side in zip(prompts, sides, strict=True)]
        self.number = 0
        """The round that is to be judged; the number of rounds when all are."""

    def add(self, prompt: Prompt) -> Round:
        """One round more, at the end, with sides of its own."""
        first = random.Random(f"{self.seed} {len(self.rounds)}").randrange(2)
        self.rounds.append(Round(prompt, (first, 1 - first)))
        return self.rounds[-1]

    @property
    def current(self) -> Round | None:
        """The round that is to be judged; None when all are."""
        return self.rounds[self.number] if self.number < len(self.rounds) else None

    def seed_of(self, number: int, player: int) -> int:
        """The seed of an answer: the same for two models, so that they differ in nothing else."""
        draws = self.rounds[number].draws if number < len(self.rounds) else 1
        number += MOST_ROUNDS * (draws - 1)
        return (self.seed + 2 * number + (player if self.players[0] == self.players[1] else 0)) % _SEEDS

    def draw_anew(self, number: int) -> bool:
        """Have a round answered once more if its answers are the same: with other seeds, then to another prompt.

        Call it once after both answers were written. Returns False where they differ and where it is no use: so many were
        the same that the models are alike, or no prompt is left.
        """
        each = self.rounds[number]
        self._alike = self._alike + 1 if each.is_same else 0
        draws = 1 if each.is_same and each.answers[0].sample.get("temperature") == 0 else _DRAWS_A_PROMPT
        if not each.is_same or self._alike >= _MOST_ALIKE or each.draws >= draws * PROMPTS_A_ROUND:
            return False
        if each.draws % draws == 0:
            if not self.spare:
                return False
            each.prompt = self.spare.pop(0)
        each.draws += 1
        each.answers.clear()
        return True

    def judge(self, choice: Choice, rewritten: str = "") -> Outcome:
        """Judge the current round and go on to the next.

        A preferred answer makes a preference, and one that was `rewritten` is preferred to both; a tie and two bad
        answers make none.

        Raises:
            ConfigError: this cannot be chosen here; the message says what can.
        """
        judged = self.current
        if judged is None:
            raise ConfigError("all rounds are judged; take the last one back to judge it anew")
        if not judged.is_complete:
            raise ConfigError("both answers have to be there before one can be chosen; they are still being written")
        if judged.is_same and choice in ("a", "b"):
            raise ConfigError(
                "both answers are the same, word for word; call it a tie, both bad, or write a better one"
            )
        if choice == "rewritten" and (not rewritten.strip() or rewritten in (a.text for a in judged.answers.values())):
            raise ConfigError("a better answer has to be written first, and it has to differ from both")
        judged.choice, judged.rewritten = choice, rewritten
        outcome = _outcome(judged)
        judged.stored = tuple(preference.id for preference in outcome.preferences)
        self.number += 1
        return outcome

    def undo(self) -> tuple[str, ...] | None:
        """Take the last judgement back; returns the ids of the preferences that it made, None where there is none."""
        if self.number == 0:
            return None
        self.number -= 1
        taken = self.rounds[self.number]
        stored, taken.stored = taken.stored, ()
        taken.choice, taken.rewritten = None, ""
        return stored

    def as_json(self) -> dict[str, Any]:
        """What was asked, answered and chosen, of the rounds judged so far."""
        judged = [
            {
                "prompt": [message.as_dict() for message in each.prompt],
                "a": asdict(each.shown("a")) | {"sample": dict(each.shown("a").sample)},
                "b": asdict(each.shown("b")) | {"sample": dict(each.shown("b").sample)},
                "sides": list(each.sides),
                "choice": each.choice,
                **({"rewritten": each.rewritten} if each.rewritten else {}),
            }
            for each in self.rounds[: self.number]
        ]
        about = {"id": self.id, "time": round(time.time(), 3), "seed": self.seed, "players": list(self.players)}
        return {**about, "verdict": asdict(self.verdict()), "rounds": judged}

    def taste(self) -> str:
        """The verdict of a taste test, in which the first player is the tuned one."""
        tuned, untuned = map(short_name, self.players)
        return self.verdict().sentence(f"the tuned model ({tuned})", f"the untuned one ({untuned})")

    def verdict(self) -> Verdict:
        """Of the rounds judged so far."""
        judged = self.rounds[: self.number]
        wins = tuple(sum(each.winner == player for each in judged) for player in (0, 1))
        ties = sum(each.choice == "tie" for each in judged)
        return Verdict(wins[0], wins[1], ties, len(judged) - sum(wins) - ties)


def _outcome(judged: Round) -> Outcome:
    answers = list(judged.answers.values())
    if judged.choice == "rewritten":
        worse = [answers[0]] if judged.is_same else answers
        made = [_preference(judged, each) for each in worse if each.text.strip()]
        return Outcome(tuple(made), "" if made else "an empty answer teaches nothing, so no preference is stored")
    if (winner := judged.winner) is None:
        return Outcome()
    better, worse_one = judged.answers[winner], judged.answers[1 - winner]
    if better.cut_off:
        return Outcome(
            left_out="the answer was cut off, and a model would learn to end there: the choice counts, but no preference "
            "is stored; a larger max tokens lets answers end"
        )
    if not (better.text.strip() and worse_one.text.strip()):
        return Outcome(
            left_out="one answer is empty, which teaches nothing: the choice counts, but no preference is stored"
        )
    return Outcome((_preference(judged, worse_one, better),))


def _preference(judged: Round, worse: Answer, better: Answer | None = None) -> StoredPreference:
    """The worse answer against the better one, or against what was written."""
    by_another = better is not None and (better.model, better.fingerprint) != (worse.model, worse.fingerprint)
    seeds = {"rejected": worse.seed} if better is None else {"chosen": better.seed, "rejected": worse.seed}
    return StoredPreference(
        prompt=judged.prompt,
        chosen=judged.rewritten if better is None else better.text,
        rejected=worse.text,
        how="rewritten" if better is None else "compared",
        model=worse.model,
        fingerprint=worse.fingerprint,
        step=worse.step,
        chosen_by=_by(better) if better is not None and by_another else {},
        seed=seeds,
        sample=worse.sample,
    )


def _by(answer: Answer) -> dict[str, Any]:
    return {"model": answer.model, "fingerprint": answer.fingerprint, "step": answer.step}
