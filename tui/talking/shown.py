"""Tokens of an answer as the token view shows them: spelling, probability, and what else could stand there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.engine_replies import AnswerToken
from tui.words import visible


@dataclass(frozen=True, slots=True)
class Shown:
    """One token."""

    piece: str
    """How it is spelled."""
    probability: float | None
    """What the model gave it; None where that was not told."""
    alternatives: Sequence[tuple[str, float]] = field(default=())
    """The likeliest tokens in its place, with their probabilities."""

    @property
    def label(self) -> str:
        """The piece with its blanks to be seen."""
        return visible(self.piece.replace("\n", "↵").replace("\t", "→").replace(" ", "·")) or "∅"


def percent(probability: float | None) -> str:
    """In four characters at most: "63%", "0.4%", "?"."""
    if probability is None:
        return "?"
    share = 100 * probability
    return f"{share:.0f}%" if share >= 1 else f"{share:.1f}%" if share >= 0.1 else "<.1%"


def shown(tokens: Sequence[AnswerToken]) -> list[Shown]:
    """The tokens as the token view shows them."""
    return [
        Shown(
            token.piece or token.text,
            None if token.logprob is None else min(1.0, math.exp(token.logprob)),
            token.alternatives,
        )
        for token in tokens
    ]
