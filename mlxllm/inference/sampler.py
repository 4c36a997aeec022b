"""From logits to the next token: what may be drawn, and the draw.

In this order, each step seeing what the one before left:

1. logit bias        logit[i] += bias[i]
2. repetition        tokens among the last ones: a logit above 0 is divided by the penalty, one below is
                     multiplied, once, however often the token occurred (CTRL, arXiv:1909.05858)
3. temperature       (logit - max) / temperature; at 0 the greatest logit is taken, and 4 to 7 are skipped
4. top-k             the k greatest
5. top-p             the fewest greatest whose probability, among those left, reaches p (arXiv:1904.09751)
6. min-p             those at least min_p times as likely as the likeliest (arXiv:2407.01082)
7. the draw          from the softmax of what is left

Where logits are equal the lower id goes first: exactly k tokens pass top-k, and temperature 0 takes the
lowest id. Everything is computed in float32. Nothing is compiled: on the CPU that takes seconds of g++, and
the model's own step is a hundred times longer than these few operations.

Shapes: V vocabulary, N looked-back tokens; every function takes one row, (V,), or B of them, (B, V).
"""

import math
from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, ModelError

# Small enough to change nothing, large enough that dividing by it as a float32 is no division by zero.
_LEAST_TEMPERATURE = 1e-30


def check_numbers(logits: mx.array) -> None:
    """Refuse logits of any shape from which nothing can be chosen.

    Raises:
        ModelError: some are no numbers.
    """
    if mx.any(mx.isnan(logits)).item():
        raise ModelError(
            "the model's logits are not numbers (NaN): its weights are damaged or its training diverged; "
            "use an earlier checkpoint"
        )


def penalise_repetition(logits: mx.array, recent: mx.array, penalty: float) -> mx.array:
    """Step 2: (..., V) logits, those of the tokens in `recent`, (..., N) ids, less likely (penalty > 1)."""
    found = mx.take_along_axis(logits, recent, axis=-1)
    # A token that occurs twice is written twice, with the same value.
    return mx.put_along_axis(logits, recent, mx.where(found > 0, found / penalty, found * penalty), axis=-1)


def apply_temperature(logits: mx.array, temperature: float) -> mx.array:
    """Step 3: (logits - max) / temperature, which is above 0; the greatest becomes 0: no overflow."""
    return (logits - mx.max(logits, axis=-1, keepdims=True)) / max(temperature, _LEAST_TEMPERATURE)


def keep_greatest(logits: mx.array, threshold: mx.array, count: mx.array | int) -> mx.array:
    """The `count` greatest logits, the others -inf; equal ones from the lowest id on.

    Args:
        logits: (..., V).
        threshold: (..., 1), the count-th greatest logit.
        count: how many stay, at least 1; an integer or (..., 1) integers.
    """
    above = logits > threshold
    equal = logits == threshold
    room = count - mx.sum(above, axis=-1, keepdims=True)
    # Counted in int32: a cumulative sum of booleans is a boolean.
    first = mx.cumsum(equal.astype(mx.int32), axis=-1) <= room
    return mx.where(above | (equal & first), logits, -mx.inf)


def top_k(logits: mx.array, k: int) -> mx.array:
    """Step 4: the k greatest of (..., V) logits, the others -inf."""
    V = logits.shape[-1]
    if k >= V:
        return logits
    threshold = mx.partition(logits, V - k, axis=-1)[..., V - k : V - k + 1]
    return keep_greatest(logits, threshold, k)


def top_p(logits: mx.array, p: float, candidates: int = 0) -> mx.array:
    """Step 5: the fewest greatest of (..., V) logits whose softmax sums to p or more, the others -inf.

    Args:
        logits: (..., V).
        p: above 0, at most 1; the likeliest token always stays.
        candidates: if not 0, all but so many logits are known to be -inf, which makes for a shorter sort.
    """
    V = logits.shape[-1]
    if p >= 1:
        return logits
    if 0 < candidates < V:
        pool = mx.partition(logits, V - candidates, axis=-1)[..., V - candidates :]
    else:
        pool = logits
    ranked = mx.sort(pool, axis=-1)[..., ::-1]
    probs = mx.softmax(ranked, axis=-1)
    before = mx.cumsum(probs, axis=-1) - probs  # the probability of all that rank higher
    count = mx.maximum(mx.sum(before < p, axis=-1, keepdims=True), 1)
    return keep_greatest(logits, mx.take_along_axis(ranked, count - 1, axis=-1), count)


def min_p(logits: mx.array, share: float) -> mx.array:
    """Step 6: those of (..., V) logits at least `share` times as likely as the likeliest, the others -inf."""
    if share <= 0:
        return logits
    return mx.where(logits >= mx.max(logits, axis=-1, keepdims=True) + math.log(share), logits, -mx.inf)


def logprob_of(logits: mx.array, token_ids: mx.array) -> mx.array:
    """Log-probability, natural, of each row's token under softmax(logits).

    Args:
        logits: (V,) or (B, V), as the model gave them.
        token_ids: () or (B,).

    Returns:
        float32, of the shape of `token_ids`.
    """
    logits = logits.astype(mx.float32)
    chosen = mx.take_along_axis(logits, token_ids[..., None], axis=-1)[..., 0]
    return chosen - mx.logsumexp(logits, axis=-1)


def likeliest(logits: mx.array, k: int, usable: int) -> tuple[mx.array, mx.array]:
    """The k likeliest tokens under softmax(logits), the likeliest first.

    Args:
        logits: (V,), as the model gave them.
        k: how many, from 1 to `usable`.
        usable: ids from here on have no token (the embedding is padded).

    Returns:
        ids, uint32 (k,), and probabilities, float32 (k,).
    """
    logits = logits.astype(mx.float32)
    scores = -logits[:usable]
    greatest = mx.argpartition(scores, k - 1)[:k] if k < usable else mx.arange(usable)
    ids = greatest[mx.argsort(scores[greatest])].astype(mx.uint32)
    return ids, mx.exp(logits[ids] - mx.logsumexp(logits))


class Sampler:
    """Chooses the next token of each row as a `SampleConfig` says.

    It holds no state: draw n is a function of logits, seed and n, so a continuation can be taken up anywhere.
    """

    def __init__(
        self,
        sample: SampleConfig,
        vocab_size: int,
        logit_bias: Mapping[int, float] | None = None,
        usable: int | None = None,
    ) -> None:
        """Prepare for logits of `vocab_size`.

        Args:
            sample: temperature, filters, penalty and seed.
            vocab_size: V.
            logit_bias: what is added to the logits of some ids; -inf forbids one.
            usable: ids from here on have no token (the embedding is padded) and are never drawn.

        Raises:
            ConfigError: a bias is for an id that does not exist, is no number, or leaves nothing to draw.
        """
        usable = vocab_size if usable is None else min(usable, vocab_size)
        self._config = sample
        self._bias = _bias_vector(logit_bias or {}, vocab_size, usable)

    @property
    def looks_back(self) -> int:
        """How many last tokens `__call__` wants to know; 0 if none."""
        return self._config.repetition_context_size if self._config.repetition_penalty != 1.0 else 0

    def __call__(
        self, logits: mx.array, draw: int = 0, recent: mx.array | None = None, rows: np.ndarray | None = None
    ) -> mx.array:
        """The next token ids, uint32 of shape () for (V,) logits and (B,) for (B, V).

        Args:
            logits: of the model, any float type.
            draw: the number of this draw; the same number draws the same.
            recent: (N,) or (B, N) ids that the penalty applies to.
            rows: (B,) a number for each row: a draw follows from it too, and not from the rows beside it.
        """
        logits = self.scores(logits, recent)
        if self._config.temperature == 0:
            return mx.argmax(logits, axis=-1)
        if rows is not None:
            keys = mx.array(
                np.stack([_row_seeds(self._config.seed, rows), np.full(len(rows), draw)], 1).astype(np.uint32)
            )
            return mx.vmap(_draw)(self.filtered(logits), keys)
        # Threefry keyed by seed and number: no chain of splits that would tie a draw to the ones before.
        key = mx.array([self._config.seed, draw], dtype=mx.uint32)
        return mx.random.categorical(self.filtered(logits), axis=-1, key=key)

    def scores(self, logits: mx.array, recent: mx.array | None = None) -> mx.array:
        """Steps 1 and 2: float32 logits after bias and penalty."""
        logits = logits.astype(mx.float32)
        if self._bias is not None:
            logits = logits + self._bias
        if recent is not None and self.looks_back:
            logits = penalise_repetition(logits, recent, self._config.repetition_penalty)
        return logits

    def filtered(self, logits: mx.array) -> mx.array:
        """Steps 3 to 6, for a temperature above 0: their softmax is what is drawn from."""
        config = self._config
        logits = apply_temperature(logits, config.temperature)
        if config.top_k:
            logits = top_k(logits, config.top_k)
        logits = top_p(logits, config.top_p, config.top_k)
        return min_p(logits, config.min_p)


def _draw(logits: mx.array, key: mx.array) -> mx.array:
    """One id, (), from (V,) logits."""
    return mx.random.categorical(logits, axis=-1, key=key)


def _row_seeds(seed: int, rows: np.ndarray) -> np.ndarray:
    """A seed of 32 bits for each row, far from those of its neighbours (Steele, Lea and Flood 2014: SplitMix64)."""
    z = np.uint64(seed) + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = (z ^ (z >> np.uint64(31))) >> np.uint64(32)
    return mixed


def _bias_vector(logit_bias: Mapping[int, float], vocab_size: int, usable: int) -> mx.array | None:
    """The (V,) float32 bias, or None where there is none."""
    if not logit_bias and usable == vocab_size:
        return None
    values = [0.0] * usable + [-math.inf] * (vocab_size - usable)
    for token_id, value in logit_bias.items():
        if not 0 <= token_id < usable:
            raise ConfigError(f"there is no token {token_id} to bias: ids go from 0 to {usable - 1:,}")
        if math.isnan(value) or value == math.inf:
            raise ConfigError(f"the bias of token {token_id} is {value}; use a number, or -inf to forbid it")
        values[token_id] = value
    if all(value == -math.inf for value in values):
        raise ConfigError("every token is forbidden by a bias of -inf; leave at least one")
    return mx.array(values, dtype=mx.float32)
