"""How likely a model finds a text after another one: what multiple choice and every log-likelihood task rest on.

Shapes: B rows, T time, D hidden, V vocabulary, L shared beginning, N positions whose logits are wanted, M scored tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlxllm.evaluation.score_planning import Batch, Family, batches, families, trees
from mlxllm.inference.shared_prefix import PrefixCache, read_prefix
from mlxllm.model.attention import Packed, Placed
from mlxllm.model.kv_cache import GrowingKVCache
from mlxllm.model.transformer import Transformer

_LOGITS = 1 << 23
"""So many logits exist at a time."""
_GAIN_SHARE = 4
"""A beginning is computed by itself where that saves this part of a batch or more."""

Pending = tuple[Batch, list[tuple[mx.array, mx.array]]]


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
    """Scores targets after their contexts, each context once for all its targets, and a long common beginning once.

    Args:
        model: with its weights; it runs in evaluation mode and is left as it was.
        max_length: positions that one request may take; a longer one loses tokens at its beginning, a target that is
            longer than that keeps its end. Learned and sinusoidal positions bound it as well.
        batch_tokens: tokens of one forward pass at most, padding counted; a longer request is one by itself.
    """

    def __init__(self, model: Transformer, max_length: int, batch_tokens: int = 4096) -> None:
        made_for = model.config.max_position_embeddings
        if model.config.positions in ("learned", "sinusoidal"):
            max_length = min(max_length, made_for)
        self._model, self._max_length, self._batch_tokens = model, max_length, batch_tokens

    def __call__(self, requests: Sequence[Request], done: Callable[[int, Scored], None] | None = None) -> list[Scored]:
        """Score requests, in any order; the results are in theirs.

        Args:
            requests: what is asked.
            done: told of each as soon as it is known, with its number; not in the order of the requests.
        """
        was_training = self._model.training
        self._model.eval()
        found: dict[int, Scored] = {}
        try:
            for number, scored in self._results(requests):
                found[number] = scored
                if done is not None:
                    done(number, scored)
        finally:
            if was_training:
                self._model.train()
        return [found[number] for number in range(len(requests))]

    def _results(self, requests: Sequence[Request]) -> Iterator[tuple[int, Scored]]:
        pairs = [(request.context, request.target) for request in requests]
        before: Pending | None = None
        for family in families(trees(pairs, self._max_length), max(1, self._batch_tokens // _GAIN_SHARE)):
            for pending in self._forward(family):
                # A GPU computes this batch while the results of the one before are read.
                mx.async_eval(pending[1])
                if before is not None:
                    yield from _read(before)
                before = pending
        if before is not None:
            yield from _read(before)

    def _forward(self, family: Family) -> Iterator[Pending]:
        prefix = read_prefix(self._model, family.prefix) if family.prefix else None
        for batch in batches(family, self._batch_tokens, self._max_length):
            yield batch, self._scores(self._hidden(batch, prefix), batch)

    def _hidden(self, batch: Batch, prefix: list[GrowingKVCache] | None) -> mx.array:
        """(B, T, D)."""
        ids, window = mx.array(batch.token_ids), self._model.config.sliding_window
        cache = None if prefix is None else [PrefixCache(layer, window) for layer in prefix]
        if batch.segments is None:  # texts one after another need no places of their own
            return self._model.model(ids, cache)
        positions = mx.array(batch.positions)
        mask = Packed(mx.array(batch.segments), window, positions)
        placed = mask if prefix is None else Placed(_behind(mask, prefix[0].offset), positions)
        return self._model.model(ids, cache, positions=positions, mask=placed)

    def _scores(self, hidden: mx.array, batch: Batch) -> list[tuple[mx.array, mx.array]]:
        """Log-probability and whether it is the likeliest, (M,) in all: rows of logits only where something is scored."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        rows = max(1, _LOGITS // self._model.config.vocab_size)
        results: list[tuple[mx.array, mx.array]] = []
        for start in range(0, len(batch.at), rows):
            picked = flat[mx.array(batch.at[start : start + rows])]
            if results:
                [picked] = mx.depends([picked], [results[-1][0]])
            logits = self._model.logits(picked).astype(mx.float32)  # (N, V)
            mine = slice(*np.searchsorted(batch.row_of, (start, start + rows)))
            row, token = mx.array(batch.row_of[mine] - start), mx.array(batch.wanted[mine])
            logprobs = logits[row, token] - mx.logsumexp(logits, axis=-1)[row]
            results.append((logprobs, logits.argmax(axis=-1)[row] == token))
        return results


def _behind(mask: Packed, before: int) -> mx.array:
    """(B, 1, T, L + T): the mask of tokens that all stand behind the first L."""
    assert mask.positions is not None
    B, T = mask.segments.shape
    apart = mask.positions[:, None, :, None] - mx.arange(before)  # (B, 1, T, L)
    seen = mx.ones((B, 1, T, before), mx.bool_) if mask.window is None else apart < mask.window
    return mx.concatenate([seen, mask.dense], axis=-1)


def _read(pending: Pending) -> Iterator[tuple[int, Scored]]:
    """(number of the request, its result) for all of a batch."""
    batch, parts = pending
    logprobs = np.concatenate([np.array(part, dtype=np.float64) for part, _ in parts])
    likeliest = np.concatenate([np.array(part) for _, part in parts])
    sums = np.bincount(batch.target_of, logprobs, len(batch.requests))
    misses = np.bincount(batch.target_of, ~likeliest, len(batch.requests))
    for numbers, total, missed in zip(batch.requests, sums.tolist(), misses.tolist(), strict=True):
        for number in numbers:
            yield number, Scored(total, not missed)
