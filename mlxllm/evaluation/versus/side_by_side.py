"""Two models side by side: both answer the same prompts, and a judge says of each pair of answers which is better.

Shapes: N pairs of answers.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlxllm.conversation.trials import Answer, Prompt
from mlxllm.conversation.verdict import Verdict
from mlxllm.evaluation.intervals import mean_and_error, wilson
from mlxllm.evaluation.versus.judges import Judge, Judgements, Question, ask
from mlxllm.evaluation.versus.length_control import length_controlled
from mlxllm.scores import STDERR


@dataclass(frozen=True, slots=True)
class Contest:
    """What both models wrote."""

    prompts: Sequence[Prompt]
    first: Sequence[Answer]
    second: Sequence[Answer]

    def is_same(self, number: int) -> bool:
        """Both answers to a prompt are the same, word for word: a tie about which nobody needs to be asked."""
        return self.first[number].text == self.second[number].text


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge said of all pairs."""

    preferences: list[float | None]
    """(N,) how likely the first model's answer is the better one, the mean over both orders; None is not judged."""
    agreed: float | None = None
    """The share of pairs asked in both orders in which the same answer was preferred, or neither, both times."""
    shown_first: float | None = None
    """How much the answer that was shown first was preferred, whosesoever it was; 0.5 is fair."""
    reason: str = ""
    """Why one was not judged, in the judge's own words; of several the first."""


def judge_pairs(
    contest: Contest,
    judge: Judge,
    kept: Judgements,
    told: Callable[[int, int], None],
    *,
    both_orders: bool = True,
    seed: int = 0,
    fresh: bool = False,
) -> Judged:
    """Have all pairs judged.

    Args:
        contest: the answers.
        judge: who is asked.
        kept: what it has said so far.
        told: called with how many questions are answered, and how many there are.
        both_orders: ask about each pair twice, the second time with the sides exchanged, so that a liking for one place
            cancels; otherwise the first model stands as often left as right, in an order that `seed` decides.
        seed: of the sides.
        fresh: ask again what was asked before.
    """
    count = len(contest.prompts)
    sides = [bool(number % 2) for number in range(count)]
    random.Random(seed).shuffle(sides)
    asked: list[tuple[int, bool]] = []
    """(pair, whether the second model's answer is shown as A)"""
    for number in range(count):
        if not contest.is_same(number):
            asked += [(number, False), (number, True)] if both_orders else [(number, sides[number])]
    questions = []
    for number, exchanged in asked:
        a, b = contest.first[number].text, contest.second[number].text
        questions.append(
            Question(contest.prompts[number], b, a) if exchanged else Question(contest.prompts[number], a, b)
        )
    opinions = ask(judge, questions, kept, lambda done: told(done, len(questions)), fresh=fresh)
    said: list[list[float]] = [[] for _ in range(count)]
    for (number, exchanged), opinion in zip(asked, opinions, strict=True):
        if opinion.score is not None:
            said[number].append(opinion.score if exchanged else 1 - opinion.score)
    preferences: list[float | None] = [
        0.5 if contest.is_same(number) else sum(each) / len(each) if each else None for number, each in enumerate(said)
    ]
    twice = [np.sign(each[0] - 0.5) == np.sign(each[1] - 0.5) for each in said if len(each) == 2]
    shown = [1 - opinion.score for opinion in opinions if opinion.score is not None]
    return Judged(
        preferences,
        float(np.mean(twice)) if twice else None,
        float(np.mean(shown)) if len(shown) > 1 else None,
        next((opinion.reason for opinion in opinions if opinion.score is None and opinion.reason), ""),
    )


@dataclass(frozen=True)
class Comparison:
    """What came of it, of the first model against the second."""

    wins: int
    losses: int
    ties: int
    """As good as each other, or preferred in one order each."""
    unjudged: int
    """The judge could not tell."""
    win_rate: float | None
    """The mean preference, a tie counting half; None where nothing was judged."""
    win_rate_stderr: float | None
    win_rate_interval: tuple[float, float] | None
    """95 %, Wilson's."""
    chance: float
    """How often a coin prefers one of them in as many of the decided pairs as the one preferred more often was, or more."""
    length_controlled_win_rate: float | None
    """The win rate if both wrote answers of the same length; see `length_control`."""
    length_controlled_interval: tuple[float, float] | None
    mean_lengths: tuple[float, float] | None
    """Characters of the first model's answers and of the second's, of the pairs that were judged."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def metrics(self) -> dict[str, float | None]:
        """For `scores.keep`."""
        return {
            "win_rate": self.win_rate,
            "win_rate" + STDERR: self.win_rate_stderr,
            "length_controlled_win_rate": self.length_controlled_win_rate,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
        }


def compare(contest: Contest, preferences: Sequence[float | None]) -> Comparison:
    """Count what was preferred.

    Args:
        contest: the answers.
        preferences: (N,), see `Judged`.
    """
    told = [(number, p) for number, p in enumerate(preferences) if p is not None]
    p = np.array([each for _, each in told])
    wins, losses = int((p > 0.5).sum()), int((p < 0.5).sum())
    count = len(p)
    lengths = np.array([[len(side[n].text) for side in (contest.first, contest.second)] for n, _ in told])  # (N, 2)
    mean, error = mean_and_error(p) if count else (None, None)
    controlled = length_controlled(p, lengths[:, 0] - lengths[:, 1]) if count else None
    return Comparison(
        wins,
        losses,
        count - wins - losses,
        len(preferences) - count,
        mean,
        error,
        wilson(mean, count) if mean is not None else None,
        Verdict(wins, losses).chance,
        controlled.win_rate if controlled else None,
        (controlled.low, controlled.high) if controlled else None,
        (float(lengths[:, 0].mean()), float(lengths[:, 1].mean())) if count else None,
    )
