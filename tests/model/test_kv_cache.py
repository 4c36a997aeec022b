"""The cache changes nothing: token by token, or in pieces, a model says what it says in one pass."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.model.attention import causal_mask, fused_attention
from mlxllm.model.kv_cache import (
    STEP,
    GrowingKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
    make_cache,
)
from mlxllm.model.transformer import Transformer
from tests.model.tiny import VARIANTS, max_difference, tiny_config, tiny_model, token_ids

pieces = st.lists(st.integers(1, 9), min_size=1, max_size=8)
"""Lengths of what goes through a model one after another."""


def in_pieces(model: Transformer, ids: mx.array, lengths: list[int], cache: list[KVCache]) -> mx.array:
    ends = np.cumsum(lengths)
    return mx.concatenate(
        [model(ids[:, end - n : end], cache) for n, end in zip(lengths, ends.tolist(), strict=True)], axis=1
    )


MODELS = {name: tiny_model(**changes) for name, changes in VARIANTS.items()}


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=6)
@given(lengths=pieces, rows=st.integers(1, 2))
def test_growing_cache_changes_nothing(variant: str, lengths: list[int], rows: int) -> None:
    model = MODELS[variant]
    ids = token_ids(rows, sum(lengths))
    assert max_difference(in_pieces(model, ids, lengths, make_cache(model.config)), model(ids)) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_token_by_token_changes_nothing(variant: str) -> None:
    model = MODELS[variant]
    ids = token_ids(2, 24)
    assert max_difference(in_pieces(model, ids, [1] * 24, make_cache(model.config)), model(ids)) < 1e-4


def test_growing_past_its_step_changes_nothing() -> None:
    model = tiny_model(num_hidden_layers=1)
    length = STEP + 20
    ids = token_ids(1, length)
    lengths = [STEP - 3, 1, 1, 1, 1, 10, length - STEP - 11]
    cache = make_cache(model.config)
    assert max_difference(in_pieces(model, ids, lengths, cache), model(ids)) < 1e-4
    assert cache[0].offset == length
    assert cache[0].nbytes == 2 * 2 * STEP * 2 * 8 * 4  # keys and values, two steps, 2 heads of 8 floats


@settings(max_examples=40)
@given(window=st.integers(1, 7), lengths=pieces, tail=st.integers(0, 30))
def test_rotating_cache_equals_a_window_far_past_its_size(window: int, lengths: list[int], tail: int) -> None:
    model = tiny_model(sliding_window=window)
    lengths = [*lengths, *[1] * tail, *lengths]  # back to pieces once the ring has gone round
    ids = token_ids(1, sum(lengths))
    cache = make_cache(model.config)
    assert max_difference(in_pieces(model, ids, lengths, cache), model(ids)) < 1e-4
    assert cache[0].offset == sum(lengths)
    assert cache[0].nbytes <= window * 2 * 2 * 8 * 4


@settings(max_examples=60)
@given(keep=st.integers(0, 4), room=st.integers(1, 5), lengths=pieces, tail=st.integers(0, 20))
def test_rotating_cache_keeps_the_first_and_the_newest(keep: int, room: int, lengths: list[int], tail: int) -> None:
    """Queries see `keep` first positions and `room` newest: the same as attention under that mask."""
    lengths = [*lengths, *[1] * tail, *lengths]
    T = sum(lengths)
    q, k, v = (mx.random.normal((1, 2, T, 4), key=mx.random.key(i)) for i in range(3))
    sinks = mx.arange(T)[None, :] < keep
    expected = fused_attention(q, k, v, 0.5, causal_mask(T, T) & (causal_mask(T, T, room) | sinks))
    cache = RotatingKVCache(keep + room, keep)
    found, start = [], 0
    for n in lengths:
        mask = cache.mask(n)
        stored = cache.update(k[:, :, start : start + n], v[:, :, start : start + n])
        found.append(fused_attention(q[:, :, start : start + n], *stored, 0.5, mask))
        start += n
    assert max_difference(mx.concatenate(found, axis=2), expected) < 1e-5
    assert cache.nbytes <= (keep + room) * 2 * 2 * 4 * 4


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.05), (4, 0.6)])
@settings(max_examples=10)
@given(lengths=pieces)
def test_quantised_cache_is_near(bits: int, tolerance: float, lengths: list[int]) -> None:
    model = tiny_model(head_dim=32, initializer_range=0.1)
    ids = token_ids(1, sum(lengths))
    cache = make_cache(model.config, bits=bits)
    found, expected = in_pieces(model, ids, lengths, cache), model(ids)
    assert max_difference(found, expected) < tolerance * float(mx.std(expected))


def test_quantised_cache_is_smaller_and_less_exact() -> None:
    model = tiny_model(head_dim=64)
    ids = token_ids(1, 40)
    sizes, errors = [], []
    for bits in (None, 8, 4):
        cache = make_cache(model.config, bits=bits)
        errors.append(max_difference(in_pieces(model, ids, [7] * 5 + [5], cache), model(ids)))
        sizes.append(sum(layer.nbytes for layer in cache))
    assert errors[0] < 1e-4 < errors[1] < errors[2]
    assert sizes[1] < 0.3 * sizes[0]
    assert sizes[2] < 0.6 * sizes[1]


def test_writing_into_a_cache_s_memory_changes_nothing_that_others_hold() -> None:
    cache = GrowingKVCache()
    k, v = (mx.random.normal((1, 2, 6, 4), key=mx.random.key(i)) for i in (1, 2))
    handed_out, _ = cache.update(k, v)
    pending = handed_out * 2  # not computed yet
    twin = cache.repeated(1)
    for _ in range(2):
        cache.trim(3)
        for number in (7.0, 8.0):
            for memory in cache.grown():
                memory[:, :, -1] = number
        twin_of_now = cache.repeated(1)
    cache.trim(1)
    cache.grown()[0][:, :, -1] = 9.0
    assert mx.array_equal(handed_out, k)
    assert mx.array_equal(pending, 2 * k)
    assert mx.array_equal(twin.update(k[:, :, :1], v[:, :, :1])[0][:, :, :6], k)
    held = twin_of_now.update(k[:, :, :1], v[:, :, :1])[0][0, 0, :, 0]
    assert held[2:4].tolist() == [7.0, 8.0]
    assert mx.array_equal(held[:2], k[0, 0, :2, 0])


@pytest.mark.parametrize("bits", [None, 8])
def test_trim_forgets_the_newest(bits: int | None) -> None:
    model = tiny_model(head_dim=32)
    ids, other = token_ids(1, 12), token_ids(1, 12, seed=1)
    cache = make_cache(model.config, bits=bits)
    model(ids, cache)
    for layer in cache:
        assert isinstance(layer, GrowingKVCache | QuantizedKVCache)
        layer.trim(5)
    fresh = make_cache(model.config, bits=bits)
    model(ids[:, :7], fresh)
    assert max_difference(model(other, cache), model(other, fresh)) < 1e-5


def test_make_cache_chooses_by_config_and_bounds() -> None:
    assert isinstance(make_cache(tiny_config())[0], GrowingKVCache)
    assert len(make_cache(tiny_config(num_hidden_layers=5))) == 5
    assert isinstance(make_cache(tiny_config(head_dim=64), bits=4)[0], QuantizedKVCache)
    bounded = make_cache(tiny_config(), max_size=16)[0]
    assert isinstance(bounded, RotatingKVCache)
    keys = mx.zeros((1, 2, 1, 8))
    for _ in range(40):
        stored, _ = bounded.update(keys, keys)
    assert stored.shape[2] == 16
    for window, size, kept in ((8, None, 8), (8, 30, 8), (30, 10, 10)):
        cache = make_cache(tiny_config(sliding_window=window), max_size=size)[0]
        for _ in range(40):
            stored, _ = cache.update(keys, keys)
        assert stored.shape[2] == kept


@pytest.mark.parametrize(
    ("changes", "size", "bits", "message"),
    [
        ({}, 4, None, "too small"),
        ({"head_dim": 64}, None, 3, "use 4 or 8"),
        ({"head_dim": 24}, None, 4, "width 24"),
        ({"head_dim": 64}, 64, 4, "cannot be quantised as well"),
        ({"head_dim": 64, "sliding_window": 8}, None, 8, "cannot be quantised as well"),
    ],
)
def test_make_cache_refuses_what_cannot_work(
    changes: dict[str, int], size: int | None, bits: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_cache(tiny_config(**changes), max_size=size, bits=bits)


def test_rotating_cache_refuses_to_keep_more_than_it_holds() -> None:
    with pytest.raises(ValueError, match="cannot always keep"):
        RotatingKVCache(4, keep=4)
