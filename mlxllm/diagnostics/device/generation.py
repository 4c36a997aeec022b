"""Generation on the device: token by token through the key-value cache against one pass over everything."""

from collections.abc import Iterator
from functools import partial

import mlx.core as mx
import numpy as np

from mlxllm.config import ModelConfig
from mlxllm.diagnostics.device.kernels import DTYPES, reduced_float32
from mlxllm.diagnostics.device.result import Test, relative_difference
from mlxllm.diagnostics.device.steps import SMALL_MODEL
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.tokenizer import FIRST_BYTE_ID
from mlxllm.tokenizer.byte import ByteTokenizer

_PROMPT, _NEW = 20, 24
_TEXT = "Grüße, 世界! \N{DOG FACE}\r\n\tand so  on\x00"


def generation_tests() -> Iterator[Test]:
    """Token ids in, logits, token ids out."""
    yield Test("token ids of a text, and back", 0.0, _token_ids, unit="ids")
    yield Test("embedding rows by token id", 0.0, _embedding_rows)
    float32 = 8e-3 if reduced_float32() else 5e-5
    windowed = SMALL_MODEL.model_copy(update={"sliding_window": 16})
    for label, config in (("", SMALL_MODEL), (", window 16", windowed)):
        for dtype, tolerance in (("float32", float32), ("bfloat16", 5e-2)):
            name = f"logits through the cache{label}, {dtype}"
            yield Test(name, tolerance, partial(_logits_through_cache, config, DTYPES[dtype]))
    yield Test("greedy token ids through the cache", float32, _greedy_ids)


def _token_ids() -> float:
    """How many bytes of a text do not come back after its ids went to the device and back."""
    tokenizer = ByteTokenizer()
    ids = mx.array(tokenizer.encode_to_array([_TEXT])[0])
    spelled = bytes(np.array(ids - FIRST_BYTE_ID).astype(np.uint8))
    expected = _TEXT.encode()
    return float(abs(len(spelled) - len(expected)) + sum(a != b for a, b in zip(spelled, expected, strict=False)))


def _embedding_rows() -> float:
    """Every id, also the last one, must fetch its own row."""
    V, D = 1000, 64
    with mx.stream(mx.cpu):
        table = mx.random.normal((V, D), key=mx.random.key(40))
        order = mx.random.permutation(V, key=mx.random.key(41))
    mx.eval(table, order)
    rows = table[order]
    back = mx.zeros((V, D))
    back[order] = rows
    return relative_difference(back, table)


def _model(config: ModelConfig, dtype: mx.Dtype) -> Transformer:
    model = build_model(config, seed=3)
    model.set_dtype(dtype)
    model.eval()
    return model


def _logits_through_cache(config: ModelConfig, dtype: mx.Dtype) -> float:
    model = _model(config, dtype)
    ids = mx.random.randint(0, config.vocab_size, (1, _PROMPT + _NEW), key=mx.random.key(42))
    whole = model(ids)
    cache = make_cache(config)
    pieces = [model(ids[:, :_PROMPT], cache)]
    for i in range(_PROMPT, _PROMPT + _NEW):
        pieces.append(model(ids[:, i : i + 1], cache))
        mx.eval(pieces[-1])
    return relative_difference(mx.concatenate(pieces, axis=1), whole)


def _greedy_ids() -> float:
    """How far the tokens that the cache led to are from being the likeliest in one pass over them all.

    Not a count of equal ids: where two tokens are all but equally likely, rounding may choose.
    """
    model = _model(SMALL_MODEL, mx.float32)
    ids = mx.random.randint(0, SMALL_MODEL.vocab_size, (1, _PROMPT), key=mx.random.key(43))
    cache = make_cache(SMALL_MODEL)
    fed = ids
    for _ in range(_NEW):
        fed = mx.argmax(model(fed, cache)[:, -1], axis=-1)[:, None].astype(ids.dtype)
        ids = mx.concatenate([ids, fed], axis=1)
    logits = model(ids[:, :-1])[0, _PROMPT - 1 :]  # (T, V), of the new tokens
    chosen = mx.take_along_axis(logits, ids[0, _PROMPT:, None], axis=-1).squeeze(-1)
    return relative_difference(chosen, mx.max(logits, axis=-1))
