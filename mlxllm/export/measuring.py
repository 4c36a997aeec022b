"""What a model says about a fixed text: its logits, and what it writes greedily through its cache.

Shapes: T positions, N generated tokens, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.records import Message
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.loading import LoadedModel
from mlxllm.model.transformer import Transformer

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """One model on one question."""

    logits: Logits
    """(T, V) after each id of the sequence."""
    prompt_ids: tuple[int, ...]
    greedy: tuple[int, ...]
    """The N ids that follow the prompt."""
    greedy_logits: Logits
    """(N, V): what each of them was the largest of."""


def measure(loaded: LoadedModel, sequence: Sequence[int], prompt: str, max_tokens: int) -> Measured:
    """Logits on a sequence of ids, and the greedy continuation of a text; nothing ends it before `max_tokens`."""
    model, tokenizer = loaded.model, loaded.tokenizer
    prompt_ids = tuple(tokenizer.encode_begun(prompt))
    logits = _array(model(mx.array([list(sequence)]))[0])
    greedy, chosen_from = _greedy(model, prompt_ids, max_tokens)
    return Measured(logits, prompt_ids, greedy, chosen_from)


def chat_ids(loaded: LoadedModel, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The ids that an answer to these messages continues."""
    chat_format = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    turns = [Message(message["role"], message["content"]) for message in messages]  # type: ignore[arg-type]
    return [int(i) for i in chat_format.generation_prompt(turns)]


def _greedy(model: Transformer, prompt_ids: Sequence[int], max_tokens: int) -> tuple[tuple[int, ...], Logits]:
    cache = make_cache(model.config)
    ids, rows = list(prompt_ids), []
    written: list[int] = []
    for _ in range(max_tokens):
        last = _array(model(mx.array([ids]), cache)[0, -1:])
        rows.append(last)
        ids = [int(last[0].argmax())]
        written += ids
    return tuple(written), np.concatenate(rows) if rows else np.zeros((0, model.config.vocab_size), np.float32)


def _array(logits: mx.array) -> Logits:
    return np.array(logits.astype(mx.float32))
