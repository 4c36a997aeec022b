"""Several continuations side by side: one forward pass a step for all of them.

What all prompts begin with is read once. The rest of each is padded on the right, and what is written goes behind the
padding, which nobody looks at. Rows that have ended leave when half of a batch has.

Shapes: B prompts, L tokens that all begin with, R rest of the longest prompt, S positions in the cache, D hidden,
V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from typing import cast

import mlx.core as mx
import numpy as np

from mlxllm.config import ModelConfig, SampleConfig
from mlxllm.inference.sampler import Sampler, check_numbers
from mlxllm.inference.shared_prefix import common_prefix, read_prefix
from mlxllm.model.attention import Placed, causal_mask
from mlxllm.model.cpu_step import cpu_step
from mlxllm.model.kv_cache import GrowingKVCache
from mlxllm.model.transformer import Transformer
from mlxllm.runtime import device_info
from mlxllm.tokenizer import Tokenizer

_PREFILL_TOKENS = 4096
"""Of prompts that go through the model at once, all rows counted: bounds the memory of long ones."""
_CACHE_SHARE = 8
"""Keys and values of a batch may take this part of memory."""
_LEAST_PREFIX = 16
"""A shorter common beginning is not worth a pass of its own."""

Watch = Callable[[int, int | None], bool]
"""(number of the prompt, its new token or None once it has ended) -> whether the token ends the continuation."""


def generate_batch(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sample: SampleConfig,
    *,
    stop_ids: Collection[int] | None = None,
    batch_size: int = 32,
    watch: Watch | None = None,
) -> list[list[int]]:
    """The continuation of each prompt, without the token that ended it.

    Args:
        model: it runs in evaluation mode and is left as it was.
        tokenizer: the one that the model was trained with.
        prompts: ids, at least one each. Where positions end (learned, sinusoidal), so does a continuation.
        sample: how tokens are chosen, and how many at most. A repetition penalty is not looked at. The draws of a prompt
            follow from the seed and its number.
        stop_ids: tokens that end a continuation; by default the tokenizer's `stop_ids`.
        batch_size: B at most; prompts of about equal length go together, fewer where memory is short.
        watch: sees each token as it comes, and can end a continuation.

    Raises:
        ModelError: the model's logits are not numbers.
    """
    stops = frozenset(tokenizer.stop_ids if stop_ids is None else stop_ids)
    sampler = Sampler(sample, model.config.vocab_size, usable=tokenizer.vocab_size)
    was_training = model.training
    model.eval()
    try:
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        results: list[list[int]] = [[] for _ in prompts]
        shared = common_prefix(prompts) if len(prompts) > 1 else 0
        prefix = read_prefix(model, prompts[0][:shared]) if shared >= _LEAST_PREFIX else None
        while order:
            # Prompts are sorted: the last one that fits tells how long the rows become.
            size = min(batch_size, len(order))
            while size > 1 and size > _most_rows(model, len(prompts[order[size - 1]]) + sample.max_tokens):
                size -= 1
            members, order = order[:size], order[size:]
            rows = _Rows(model, [prompts[i] for i in members], prefix)
            check_numbers(rows.logits)
            for row, ids in enumerate(_continue(rows, members, sampler, sample.max_tokens, stops, watch)):
                results[members[row]] = ids
    finally:
        if was_training:
            model.train()
    return results


def _most_rows(model: Transformer, positions: int) -> int:
    """How many rows of so many positions may be in memory."""
    config = model.config
    row = 8 * positions * config.num_hidden_layers * config.num_key_value_heads * config.resolved_head_dim  # in float32
    return max(1, device_info().memory_bytes // _CACHE_SHARE // row)


def _continue(
    rows: "_Rows",
    numbers: Sequence[int],
    sampler: Sampler,
    max_tokens: int,
    stops: frozenset[int],
    watch: Watch | None,
) -> list[list[int]]:
    """What follows each row, in the order of the batch."""
    written: list[list[int]] = [[] for _ in numbers]
    running = list(range(len(numbers)))  # the rows that are still computed; of these some may have ended
    ended: set[int] = set()
    seeds = np.array(numbers)
    tokens = sampler(rows.logits, 0, rows=seeds)  # (B,)
    for n in range(max_tokens):
        mx.async_eval(tokens)
        now, last = tokens, n + 1 == max_tokens
        if not last:
            # The device begins with the next token before this one is looked at.
            tokens = sampler(rows.step(now), n + 1, rows=seeds)
            mx.async_eval(tokens)
        for row, token in zip(running, cast(list[int], now.tolist()), strict=True):
            if row in ended:
                continue
            over = token in stops
            if not over:
                written[row].append(token)
                over = last or len(written[row]) >= rows.room[row]
                if watch is not None and watch(numbers[row], token):
                    over = True
            if over:
                ended.add(row)
                if watch is not None:
                    watch(numbers[row], None)
        if len(ended) == len(numbers):
            break
        kept = [at for at, row in enumerate(running) if row not in ended]
        if 2 * len(kept) <= len(running):
            running, seeds = [running[at] for at in kept], seeds[kept]
            tokens = tokens[mx.array(kept)]
            rows.keep(kept)
    return written


class _Rows:
    """Prompts that have been read, and then one more token of each at a time."""

    def __init__(
        self, model: Transformer, prompts: Sequence[Sequence[int]], prefix: list[GrowingKVCache] | None
    ) -> None:
        """Read them; they begin with the prefix, if there is one."""
        self._model, config = model, model.config
        B, skipped = len(prompts), prefix[0].offset if prefix else 0
        self._lengths = np.array([len(prompt) for prompt in prompts])  # (B,)
        self._padded = int(self._lengths.max())
        self._written = 0
        self._window = config.sliding_window
        self._end = config.max_position_embeddings
        self.room = [_room(config, length) for length in self._lengths.tolist()]
        """Tokens that can follow each prompt."""
        ids = np.zeros((B, self._padded - skipped), np.uint32)  # (B, R)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt) - skipped] = prompt[skipped:]
        self._cache = (
            [layer.repeated(B) for layer in prefix] if prefix else [GrowingKVCache() for _ in model.model.layers]
        )
        self.logits = model.logits(self._read(ids, skipped))
        """(B, V), after the last token of each."""
        self._cpu_step = cpu_step(model, self._cache)

    def _read(self, ids: np.ndarray, skipped: int) -> mx.array:
        """The hidden state at the end of each prompt, (B, D)."""
        ends = self._lengths - 1 - skipped
        chunk = max(1, _PREFILL_TOKENS // len(ids))
        found: mx.array | None = None
        for start in range(0, ids.shape[1], chunk):
            part = mx.array(ids[:, start : start + chunk])
            stop = start + part.shape[1]
            keys = skipped + stop
            narrow = self._window is not None and self._window < keys
            mask = causal_mask(part.shape[1], keys, self._window) if narrow else None
            hidden = self._model.model(part, self._cache, mask=mask)
            # Where a prompt ends in an earlier or later part, any place will do: that part's is the one that stays.
            at = mx.array(np.clip(ends, start, stop - 1) - start)
            here = hidden[mx.arange(len(ids)), at]
            found = here if found is None else mx.where(mx.array(ends >= start)[:, None], here, found)
            mx.eval(found)
        assert found is not None
        return found

    def step(self, tokens: mx.array) -> mx.array:
        """(B,) tokens -> (B, V) logits after them."""
        positions = self._lengths + self._written  # (B,)
        self._written += 1
        slots = np.arange(self._padded + self._written)
        behind = slots >= self._padded
        # Where each slot's token stands in the text of its row.
        stands = np.where(behind, self._lengths[:, None] + slots - self._padded, slots)  # (B, S)
        visible = behind | (slots < self._lengths[:, None])
        if self._window is not None:
            visible &= stands > positions[:, None] - self._window
        # Rows that have ended may be computed on beyond the last position, where nobody looks at them.
        where = np.minimum(positions, self._end - 1) if self._bounded else positions
        if self._cpu_step is not None:
            return self._cpu_step(np.array(tokens), where, visible)
        mask = Placed(mx.array(visible[:, None, None, :]), mx.array(where)[:, None])
        hidden = self._model.model(tokens[:, None], self._cache, positions=mask.positions, mask=mask)
        return self._model.logits(hidden[:, -1])

    @property
    def _bounded(self) -> bool:
        return self._model.config.positions in ("learned", "sinusoidal")

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        self._lengths = self._lengths[rows]
        for layer in self._cache:
            layer.keep(mx.array(rows))


def _room(config: ModelConfig, length: int) -> float:
    """How many tokens can follow so many; the last of them is never read, so it needs no position."""
    if config.positions not in ("learned", "sinusoidal"):
        return float("inf")
    return config.max_position_embeddings - length + 1
