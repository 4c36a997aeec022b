"""A short held-out passage whose loss is watched token by token: which tokens it is, and their losses in validation.

Shapes: n tokens of the passage, m of them scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlxllm.evaluation.perplexity import Evaluator, Perplexity, ScoredSplit
from mlxllm.model.transformer import Transformer

LONGEST = 256
"""Tokens of a passage at most."""
_SHORTEST = 64
"""A passage of a split ends with the document that holds this token, where that ends early enough."""
_BEFORE = 64
"""Tokens that are kept in front of the first one that is scored."""

Watch = Callable[[np.ndarray], None]
"""Gets the losses of the scored tokens, nats, (m,) float32: the very numbers that enter the validation loss."""


@dataclass(frozen=True)
class Passage:
    """Tokens in a row."""

    token_ids: np.ndarray
    """(n,) integers."""
    scored: np.ndarray
    """(n,) whether validation has a loss for the token; the others are what stands before."""


def cut_around(token_ids: np.ndarray, scored: np.ndarray) -> tuple[Passage, int]:
    """At most `LONGEST` tokens of a longer text, the first scored one among them; and where they begin in it."""
    begin = max(0, int(np.argmax(scored)) - _BEFORE)
    here = slice(begin, begin + LONGEST)
    return Passage(np.array(token_ids[here]), np.array(scored[here], dtype=bool)), begin


def first_of(split: ScoredSplit, end_id: int) -> Passage:
    """The beginning of a split: whole documents, where one ends in time. Its first token follows nothing and has no loss."""
    ids = np.array(split.read(0, min(LONGEST + 1, split.num_tokens)))
    ends = np.flatnonzero(ids == end_id)
    ends = ends[ends >= _SHORTEST]
    ids = ids[: int(ends[0]) + 1] if len(ends) else ids
    return Passage(ids, np.arange(len(ids)) > 0)


class SplitValidation:
    """Scores a split, and hands out the losses of the tokens that it begins with."""

    def __init__(self, evaluator: Evaluator, passage: Passage) -> None:
        """Keep both.

        Args:
            evaluator: of the whole split.
            passage: as `first_of` has it.
        """
        self._evaluator, self.passage = evaluator, passage

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return self._evaluator.num_batches

    def __call__(
        self, model: Transformer, max_batches: int | None = None, *, watch: Watch | None = None
    ) -> Mapping[str, Perplexity]:
        """See `Evaluator.__call__`; the passage costs no pass of its own."""
        wanted = len(self.passage.token_ids) - 1
        parts: list[np.ndarray] = []

        def scored(position: int, losses: np.ndarray) -> None:
            if position <= wanted:
                parts.append(losses[: wanted + 1 - position])

        scores = self._evaluator(model, max_batches, scored=scored if watch is not None else None)
        if watch is not None:
            watch(_joined(parts))
        return scores


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts).astype(np.float32)
