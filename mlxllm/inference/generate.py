"""One continuation, token by token: the prompt in one go, then one position a token.

Evaluation is asynchronous: while the device computes token n + 1, Python shows token n. So the KV cache is a
token ahead of what was yielded; `Generation.fed` says at any time which ids it has been given. Where there is a
`cpu_step`, the processor has computed token n + 1 before n is shown, and only the order remains.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import mlx.core as mx
import numpy as np

from mlxllm.config import ModelConfig, SampleConfig
from mlxllm.errors import ConfigError
from mlxllm.inference.sampler import Sampler, check_numbers, likeliest, logprob_of
from mlxllm.inference.stopping import StopMatcher
from mlxllm.model.cpu_step import cpu_step
from mlxllm.model.kv_cache import KVCache, make_cache
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import StreamDecoder, Tokenizer

PREFILL_CHUNK = 512
"""Positions of the prompt that go through the model at once: bounds the memory of a long one."""

FinishReason = Literal["stop", "length"]
"""`stop`: the model ended its text, or a stop string came; `length`: there was no more room."""


@dataclass(frozen=True, slots=True)
class Token:
    """One step of a continuation."""

    id: int
    """The token."""
    text: str
    """Text that is certain from here on: never half a character, never what may become a stop string. All joined
    are what `tokenizer.decode` gives, up to the end and without a character that lacks its last byte there."""
    logprob: float | None
    """Natural log-probability under the bare model (no bias, penalty, temperature); None if not asked for."""
    finish_reason: FinishReason | None
    """Why this token is the last one; None for all others."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens here and their probabilities under the bare model, likeliest first; as many as asked for."""


@dataclass(slots=True)
class Stats:
    """What a continuation took; complete when it has ended."""

    prompt_tokens: int
    """Tokens that are continued, those in the cache included; 0 for an empty prompt."""
    cached_tokens: int
    """So many of them were in the cache and were not computed again."""
    tokens: int = 0
    """Tokens that were yielded, a final end-of-text token included."""
    time_to_first_token: float = 0.0
    """Seconds from the call to the first token, the prompt's computation included."""
    tok_per_sec: float = 0.0
    """Tokens after the first for each second after the first; with a single token 1 / time_to_first_token."""
    peak_memory: int = 0
    """Most bytes that MLX has held in this process so far, its cache not counted."""
    finish_reason: FinishReason | None = None
    """See `Token.finish_reason`; None while it goes on, or when the caller stopped it."""
    note: str = ""
    """A sentence about an end that one would not expect, otherwise empty."""


@dataclass(slots=True)
class _Plan:
    """A checked request."""

    model: Transformer
    tokenizer: Tokenizer
    prompt: list[int]
    sampler: Sampler
    stop: StopMatcher
    stop_ids: frozenset[int]
    cache: list[KVCache]
    max_tokens: int
    note: str
    logprobs: bool
    alternatives: int
    context: list[int]
    interrupted: Callable[[], bool]


class Generation(Iterator[Token]):
    """An iterator of `Token`; `stats` and `fed` can be read at any time. To stop it, no longer ask it."""

    def __init__(self, plan: _Plan, prompt_tokens: int, cached_tokens: int) -> None:
        self.stats = Stats(prompt_tokens, cached_tokens)
        self.fed: list[int] = []
        """The ids that this generation has added to the cache: the prompt, then what was generated."""
        self._steps = _steps(plan, self.stats, self.fed)

    def __next__(self) -> Token:
        return next(self._steps)

    def close(self) -> None:
        """Make sure that it touches the cache no more."""
        self._steps.close()


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt_ids: Sequence[int],
    sample: SampleConfig,
    *,
    stop: Sequence[str] = (),
    stop_ids: Collection[int] | None = None,
    logit_bias: Mapping[int, float] | None = None,
    cache: list[KVCache] | None = None,
    context: Sequence[int] = (),
    max_tokens: int | None = None,
    logprobs: bool = False,
    alternatives: int = 0,
    interrupted: Callable[[], bool] = lambda: False,
) -> Generation:
    """Continue `prompt_ids`. The request is checked at once; nothing is computed before the first `next`.

    Args:
        model: any transformer; it runs in evaluation mode and is left as it was.
        tokenizer: the one that the model was trained with.
        prompt_ids: what to continue. An empty prompt with an empty cache begins after the tokenizer's
            `start_ids`, which are what stands before a document in training (`<|endoftext|>` in our own models).
        sample: how tokens are chosen, and how many.
        stop: strings that end the text; they are not part of it.
        stop_ids: tokens that end the text; by default the tokenizer's `stop_ids`, with `()` none.
        logit_bias: token id -> what is added to its logit.
        cache: one `KVCache` a layer; what it holds comes before the prompt.
        context: the ids that the cache holds; only a repetition penalty looks at them.
        max_tokens: overrides `sample.max_tokens`.
        logprobs: give each token its log-probability.
        alternatives: give each token so many of the likeliest ones beside it.
        interrupted: asked while a long prompt is read; when it says yes, the generation ends without a token.

    Raises:
        ConfigError: an id outside the vocabulary, an unusable bias or stop string, a prompt that is too long.
        ModelError: while iterating: the model's first logits are not numbers.
    """
    config = model.config
    cache = make_cache(config) if cache is None else cache
    offset = cache[0].offset
    prompt = [int(i) for i in prompt_ids]
    if not prompt and offset:
        raise ValueError("a filled cache needs at least one more token; trim it by one and give that")
    prompt_tokens = offset + len(prompt)
    prompt = prompt or list(tokenizer.start_ids)
    _check_ids(prompt, config, tokenizer)
    wanted = sample.max_tokens if max_tokens is None else max_tokens
    room = _room(config, offset + len(prompt))
    plan = _Plan(
        model=model,
        tokenizer=tokenizer,
        prompt=prompt,
        sampler=Sampler(sample, config.vocab_size, logit_bias, usable=tokenizer.vocab_size),
        stop=StopMatcher(stop),
        stop_ids=frozenset(tokenizer.stop_ids if stop_ids is None else stop_ids),
        cache=cache,
        max_tokens=wanted if room is None else min(wanted, room),
        note=_context_end(config) if room is not None and room < wanted else "",
        logprobs=logprobs,
        alternatives=min(alternatives, tokenizer.vocab_size),
        context=[*context, *prompt],
        interrupted=interrupted,
    )
    return Generation(plan, prompt_tokens, offset)


def _steps(plan: _Plan, stats: Stats, fed: list[int]) -> Generator[Token, None, None]:
    """The loop itself; keeps `stats` and `fed` up to date."""
    model, cache, sampler = plan.model, plan.cache, plan.sampler
    was_training = model.training
    if was_training:
        model.eval()
    decoder = StreamDecoder(plan.tokenizer)
    started = time.perf_counter()
    try:
        if (read := _prefill(model, plan.prompt, cache, fed, plan.interrupted)) is None:
            return
        logits = read  # (V,)
        recent = _recent(plan.context, sampler.looks_back)
        choice = _choose(plan, logits, 0, recent)
        check_numbers(logits)
        step = cpu_step(model, cache)
        for n in range(plan.max_tokens):
            now = choice
            last = n + 1 == plan.max_tokens
            if not last:
                if step is not None:
                    logits = step(np.array([now.token.item()]))[0]
                else:
                    logits = model(now.token.reshape(1, 1), cache)[0, 0]
                if recent is not None:
                    recent = mx.concatenate([recent[1:], now.token.reshape(1)])
                choice = _choose(plan, logits, n + 1, recent)
            token_id = int(now.token)
            if not last:
                fed.append(token_id)
            _time(stats, n, started)
            ended = token_id in plan.stop_ids
            # An end inside a character spoils it. Where only room is lacking it is not shown instead.
            text = plan.stop.add(decoder.flush() if ended else decoder.add(token_id))
            ended = ended or plan.stop.stopped
            if ended or last:
                text += plan.stop.flush()
            reason: FinishReason | None = "stop" if ended else "length" if last else None
            stats.finish_reason = reason
            stats.note = plan.note if reason == "length" else ""
            yield Token(token_id, text, now.logprob_value(), reason, now.alternatives())
            if reason is not None:
                return
    finally:
        if was_training:
            model.train()


def _prefill(
    model: Transformer,
    prompt: Sequence[int],
    cache: list[KVCache],
    fed: list[int],
    interrupted: Callable[[], bool],
) -> mx.array | None:
    """Put the prompt into the cache, chunk by chunk; returns the logits after its last token, (V,), or None if stopped."""
    for start in range(0, len(prompt), PREFILL_CHUNK):
        chunk = list(prompt[start : start + PREFILL_CHUNK])
        hidden = model.model(mx.array([chunk], dtype=mx.uint32), cache)  # (1, T, D)
        fed.extend(chunk)
        if start + len(chunk) < len(prompt):
            mx.eval(hidden)
            if interrupted():
                return None
    # The head sees the last position only: the logits of a whole prompt would be (T, V).
    return model.logits(hidden[0, -1])


@dataclass(frozen=True, slots=True)
class _Choice:
    """A token that was chosen, while the device still computes it."""

    token: mx.array
    """()"""
    logprob: mx.array | None
    """(), if asked for."""
    likeliest: tuple[mx.array, mx.array] | None
    """Ids and probabilities, (K,) each, if asked for."""

    def logprob_value(self) -> float | None:
        return None if self.logprob is None else float(self.logprob)

    def alternatives(self) -> tuple[tuple[int, float], ...]:
        if self.likeliest is None:
            return ()
        ids, probs = (cast(list[float], array.tolist()) for array in self.likeliest)
        return tuple((int(token_id), prob) for token_id, prob in zip(ids, probs, strict=True))


def _choose(plan: _Plan, logits: mx.array, draw: int, recent: mx.array | None) -> _Choice:
    """Choose the next token after (V,) logits, and have the device begin with it."""
    token = plan.sampler(logits, draw, recent)
    logprob = logprob_of(logits, token) if plan.logprobs else None
    ranked = likeliest(logits, plan.alternatives, plan.tokenizer.vocab_size) if plan.alternatives else None
    mx.async_eval(token, *([] if logprob is None else [logprob]), *(ranked or ()))
    return _Choice(token, logprob, ranked)


def _recent(context: Sequence[int], size: int) -> mx.array | None:
    """The last `size` ids, filled up with one of them, as a penalty counts each id once; None for size 0."""
    if not size:
        return None
    last = list(context[-size:])
    return mx.array([last[0]] * (size - len(last)) + last, dtype=mx.uint32)


def _time(stats: Stats, n: int, started: float) -> None:
    elapsed = time.perf_counter() - started
    stats.tokens = n + 1
    stats.peak_memory = mx.get_peak_memory()
    if n == 0:
        stats.time_to_first_token = elapsed
        stats.tok_per_sec = 1 / elapsed
    else:
        stats.tok_per_sec = n / (elapsed - stats.time_to_first_token)


def _check_ids(ids: Sequence[int], config: ModelConfig, tokenizer: Tokenizer) -> None:
    """MLX reads out of bounds for an id that has no row, so none may pass."""
    size = min(config.vocab_size, tokenizer.vocab_size)
    for at, token_id in enumerate(ids):
        if not 0 <= token_id < size:
            raise ConfigError(
                f"token {at} of the prompt has the id {token_id}, but the model has {config.vocab_size:,} "
                f"ids and its tokenizer {tokenizer.vocab_size:,}; encode it with the model's own tokenizer"
            )


def _room(config: ModelConfig, used: int) -> int | None:
    """How many tokens can follow `used` ones; None if positions have no end.

    Raises:
        ConfigError: the prompt itself does not fit.
    """
    if config.positions not in ("learned", "sinusoidal"):
        return None
    if used > config.max_position_embeddings:
        raise ConfigError(
            f"the text has {used:,} tokens, but this model's {config.positions} positions end after "
            f"{config.max_position_embeddings:,} (max_position_embeddings); shorten it or begin a new one"
        )
    # The last token is only chosen, never fed, so it needs no position.
    return config.max_position_embeddings - used + 1


def _context_end(config: ModelConfig) -> str:
    return (
        f"the text ends here because this model's {config.positions} positions end after "
        f"{config.max_position_embeddings:,} tokens (max_position_embeddings)"
    )
