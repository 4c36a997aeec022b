"""Several continuations side by side: one forward pass a step for all of them.

Prompts are padded on the left, so that all end at the same place; nobody attends to padding.

Shapes: B prompts, P length of the longest, S positions so far, V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from typing import cast

import mlx.core as mx
import numpy as np

from mlxllm.config import SampleConfig
from mlxllm.inference.sampler import Sampler
from mlxllm.model.attention import causal_mask
from mlxllm.model.kv_cache import GrowingKVCache
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer

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
        model: without a sliding window; it runs in evaluation mode and is left as it was.
        tokenizer: the one that the model was trained with.
        prompts: ids, at least one each.
        sample: how tokens are chosen, and how many at most. A repetition penalty is not looked at.
        stop_ids: tokens that end a continuation; by default the tokenizer's `stop_ids`.
        batch_size: B; prompts of about equal length go together.
        watch: sees each token as it comes, and can end a continuation.
    """
    stops = frozenset(tokenizer.stop_ids if stop_ids is None else stop_ids)
    sampler = Sampler(sample, model.config.vocab_size, usable=tokenizer.vocab_size)
    was_training = model.training
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    results: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        written = _continue(members, prompts, model, sampler, sample.max_tokens, stops, tokenizer.eot_id, watch)
        for i, ids in zip(members, written, strict=True):
            results[i] = ids
    if was_training:
        model.train()
    return results


def _continue(
    members: Sequence[int],
    every_prompt: Sequence[Sequence[int]],
    model: Transformer,
    sampler: Sampler,
    max_tokens: int,
    stops: frozenset[int],
    filler: int,
    watch: Watch | None,
) -> list[list[int]]:
    prompts = [every_prompt[i] for i in members]
    longest = max(len(p) for p in prompts)
    padding = np.array([longest - len(p) for p in prompts])  # (B,)
    ids = np.array([[filler] * (longest - len(p)) + list(p) for p in prompts], dtype=np.uint32)  # (B, P)
    cache = [GrowingKVCache() for _ in model.model.layers]
    hidden = model.model(
        mx.array(ids), cache, positions=_positions(padding, 0, longest), mask=_prompt_mask(padding, longest)
    )
    logits = model.logits(hidden[:, -1])  # (B, V)
    written: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    for n in range(max_tokens):
        tokens = sampler(logits, n)  # (B,)
        for row, token in enumerate(cast(list[int], tokens.tolist())):
            if row not in running:
                continue
            ended = token in stops
            if not ended:
                written[row].append(token)
                ended = n + 1 == max_tokens
                if watch is not None and watch(members[row], token):
                    ended = True
            if ended:
                running.remove(row)
                if watch is not None:
                    watch(members[row], None)
        if not running or n + 1 == max_tokens:
            break
        S = longest + n + 1
        seen = mx.array((np.arange(S)[None, :] >= padding[:, None])[:, None, None, :])  # (B, 1, 1, S)
        hidden = model.model(tokens[:, None], cache, positions=_positions(padding, S - 1, 1), mask=seen)
        logits = model.logits(hidden[:, -1])
    return written


def _prompt_mask(padding: np.ndarray, length: int) -> mx.array:
    """(B, 1, P, P): causal, no padding. Padding sees itself, as a softmax over nothing is not a number."""
    real = mx.array((np.arange(length)[None, :] >= padding[:, None])[:, None, None, :])
    return (causal_mask(length, length) & real) | mx.eye(length, dtype=mx.bool_)


def _positions(padding: np.ndarray, start: int, count: int) -> mx.array:
    """(B, T): where each token stands in its own text."""
    return mx.array(np.maximum(np.arange(start, start + count)[None, :] - padding[:, None], 0).astype(np.int32))
