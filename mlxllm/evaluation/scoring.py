"""How likely a model finds a text after another one: what multiple choice and every log-likelihood task rest on.

Shapes: B requests, T time, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlxllm.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Request:
    """A target that is to be scored after a context."""

    context: tuple[int, ...]
    """Token ids before it, at least one."""
    target: tuple[int, ...]
    """Token ids that are scored, at least one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a request."""

    logprob: float
    """log p(target | context), nats: the sum over the target's tokens."""
    is_greedy: bool
    """Whether each of the target's tokens was the likeliest one."""


class Scorer:
    """Scores targets after their contexts.

    Args:
        model: with its weights; it runs in evaluation mode and is left as it was.
        max_length: positions that one request may take; a longer one loses tokens at its beginning, a target that is
            longer than that keeps its end.
        batch_tokens: tokens of one forward pass at most, padding counted.
    """

    def __init__(self, model: Transformer, max_length: int, batch_tokens: int = 4096) -> None:
        self._model, self._max_length, self._batch_tokens = model, max_length, batch_tokens

    def __call__(self, requests: Sequence[Request], done: Callable[[int, Scored], None] | None = None) -> list[Scored]:
        """Score requests, in any order; the results are in theirs.

        Args:
            requests: what is asked.
            done: told of each as soon as it is known, with its number.
        """
        was_training = self._model.training
        self._model.eval()
        found: dict[int, Scored] = {}
        for number, request in enumerate(requests):
            found[number] = self._score(request)
            if done is not None:
                done(number, found[number])
        if was_training:
            self._model.train()
        return [found[number] for number in range(len(requests))]

    def _score(self, request: Request) -> Scored:
        ids = np.array((*request.context, *request.target)[-(self._max_length + 1) :])
        count = min(len(request.target), len(ids) - 1)
        logits = self._model(mx.array(ids[None, :-1]))[0, -count:].astype(mx.float32)
        target = mx.array(ids[-count:])
        logprobs = mx.take_along_axis(logits, target[:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
        is_greedy = bool((logits.argmax(axis=-1) == target).all().item())
        return Scored(float(np.array(logprobs, dtype=np.float64).sum()), is_greedy)
