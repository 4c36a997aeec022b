"""What lasts from turn to turn: the KV cache of a conversation, and the text that it is about."""

import codecs
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError
from mlxllm.inference.generate import Generation, Token, generate
from mlxllm.model.kv_cache import GrowingKVCache, KVCache, QuantizedKVCache, make_cache
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer


class Session:
    """A model with a cache that follows one conversation: what it has seen before is not computed again."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        max_kv_size: int | None = None,
        kv_bits: int | None = None,
    ) -> None:
        """Start with an empty cache.

        Args:
            model: any transformer.
            tokenizer: its tokenizer.
            max_kv_size: keep at most so many positions, the first four and the newest; what lies between is
                forgotten, and memory is bounded however long it goes on.
            kv_bits: keep the cache in 4 or 8 bits a number.

        Raises:
            ConfigError: a cache that is not possible with this model.
        """
        self._model, self._tokenizer = model, tokenizer
        self._max_kv_size, self._kv_bits = max_kv_size, kv_bits
        self._known: list[int] = []  # what the cache held before the last generation began
        self._last: Generation | None = None
        self._cache = self._new_cache()

    @property
    def cached_ids(self) -> list[int]:
        """The ids that the cache has seen, in order."""
        return self._known + (self._last.fed if self._last is not None else [])

    @property
    def nbytes(self) -> int:
        """Bytes that the cache holds."""
        return sum(layer.nbytes for layer in self._cache)

    def reset(self) -> None:
        """Forget everything."""
        self._end_last()
        self._known, self._cache = [], self._new_cache()

    def generate(
        self,
        token_ids: Sequence[int],
        sample: SampleConfig,
        *,
        stop: Sequence[str] = (),
        stop_ids: Collection[int] | None = None,
        logit_bias: Mapping[int, float] | None = None,
        max_tokens: int | None = None,
        logprobs: bool = False,
        alternatives: int = 0,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Generation:
        """Continue `token_ids`, the whole conversation; an earlier generation of this session ends.

        Only what the cache has not seen is computed: where the conversation goes on that is the new part; where
        it was edited, the cache is first cut back to what both have in common (a bounded cache is filled anew,
        since it no longer has all positions). The other arguments are those of `generate`.

        Raises:
            ConfigError: see `generate`; the session stays usable.
        """
        shared = self._cut_back(list(token_ids))
        generation = generate(
            self._model,
            self._tokenizer,
            token_ids[shared:],
            sample,
            stop=stop,
            stop_ids=stop_ids,
            logit_bias=logit_bias,
            cache=self._cache,
            context=token_ids[:shared],
            max_tokens=max_tokens,
            logprobs=logprobs,
            alternatives=alternatives,
            interrupted=interrupted,
        )
        self._last = generation
        return generation

    def _cut_back(self, token_ids: Sequence[int]) -> int:
        """Leave in the cache only what `token_ids` begin with, at most all but the last; returns how many."""
        self._end_last()
        # The last one is needed for its logits.
        shared = min(_common_prefix(self._known, token_ids), max(len(token_ids) - 1, 0))
        # An exception inside a step leaves some layers a position ahead of others: start anew then.
        whole = all(layer.offset == len(self._known) for layer in self._cache)
        if shared < len(self._known) or not whole:
            trimmable = [c for c in self._cache if isinstance(c, GrowingKVCache | QuantizedKVCache)]
            if whole and len(trimmable) == len(self._cache):
                for layer in trimmable:
                    layer.trim(len(self._known) - shared)
            else:
                self._cache, shared = self._new_cache(), 0
            self._known = self._known[:shared]
        return shared

    def _end_last(self) -> None:
        if self._last is not None:
            self._last.close()
            self._known, self._last = self.cached_ids, None

    def _new_cache(self) -> list[KVCache]:
        try:
            return make_cache(self._model.config, max_size=self._max_kv_size, bits=self._kv_bits)
        except ValueError as error:
            raise ConfigError(str(error)) from None


class Dialogue(Protocol):
    """What a person and a model write together."""

    @property
    def ids(self) -> list[int]:
        """What the model is to continue, from the beginning."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end what the model writes."""

    @property
    def text(self) -> str:
        """All of it, for people."""

    def add_user(self, text: str) -> None:
        """Add what the person wrote."""

    def add_answer(self, tokens: Iterable[Token]) -> None:
        """Add what the model wrote, as far as it came."""

    def take_back_answer(self) -> bool:
        """Remove the last answer, so that another can be made; False where none can."""

    def reset(self) -> None:
        """Begin anew."""


class GrowingText:
    """A dialogue with a base model: one text to which both sides add.

    A base model has not been tuned to answer; it goes on with what it reads. `turns.Turns` is the other kind.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start with an empty text."""
        self._tokenizer = tokenizer
        self._start = list(tokenizer.start_ids)
        self._ids: list[int] = []
        self._before_answer: list[int] | None = None

    @property
    def ids(self) -> list[int]:
        """What the model is to continue. Where it is to begin, that is what stands before a document."""
        return self._start + self._ids

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """What ends a text: `<|endoftext|>` in our own models."""
        return self._tokenizer.stop_ids

    @property
    def text(self) -> str:
        """The whole text."""
        return self._tokenizer.decode(self._ids)

    def add_user(self, text: str) -> None:
        """Append what the user wrote, after a space where two words would otherwise become one."""
        so_far = self.text
        self._before_answer = None
        begins = not self._ids
        if text and begins:
            self._start = list(self._tokenizer.prefix_ids)
        if so_far and not so_far[-1].isspace() and text[:1].isalnum():
            text = " " + text
        self._ids += self._tokenizer.encode(text) if begins else self._tokenizer.encode_continued(text)

    def add_answer(self, tokens: Iterable[Token]) -> None:
        """Append what the model wrote; `<|endoftext|>` and what a stop string cut off do not become part of it."""
        tokens = list(tokens)
        self._before_answer = list(self._ids)
        text = "".join(token.text for token in tokens)
        ids = [token.id for token in tokens if token.id not in self._tokenizer.stop_ids]
        stopped = bool(tokens) and tokens[-1].finish_reason == "stop"
        if stopped and self._tokenizer.decode_continued(ids) != text:
            ids = self._tokenizer.encode_continued(text)
        self._ids += whole_characters(self._tokenizer, ids)

    def take_back_answer(self) -> bool:
        """Remove the last answer, so that another can be made; False where there is none."""
        if self._before_answer is None:
            return False
        self._ids, self._before_answer = self._before_answer, None
        return True

    def reset(self) -> None:
        """Begin a new text."""
        self._start, self._ids, self._before_answer = list(self._tokenizer.start_ids), [], None


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def whole_characters(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """`ids` without the last ones if their bytes are the beginning of a character only."""
    for end in range(len(ids), max(len(ids) - 4, -1), -1):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(tokenizer.decode_bytes(ids[max(end - 4, 0) : end]))
        if not decoder.getstate()[0]:
            return ids[:end]
    return ids
