"""Attention: the kernel against the formula, who may see whom, shared heads."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.model.attention import attention_weights, causal_mask, fused_attention, plain_attention
from tests.model.tiny import VARIANTS, max_difference, tiny_config, tiny_model, token_ids


def random_qkv(
    B: int, H: int, K: int, T: int, S: int, d: int, dtype: mx.Dtype = mx.float32
) -> tuple[mx.array, mx.array, mx.array]:
    keys = mx.random.split(mx.random.key(B + 10 * H + 100 * T + 1000 * S), 3)
    shapes = ((B, H, T, d), (B, K, S, d), (B, K, S, d))
    q, k, v = (mx.random.normal(s, key=key) for s, key in zip(shapes, keys, strict=True))
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)


def numpy_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, seen: np.ndarray) -> np.ndarray:
    """One query at a time, in float64: independent of both implementations."""
    q, k, v = (np.array(x, dtype=np.float64) for x in (q, k, v))
    B, H, T, _ = q.shape
    out = np.zeros_like(q)
    for b in range(B):
        for h in range(H):
            shared = h // (H // k.shape[1])
            for t in range(T):
                scores = (k[b, shared][seen[t]] @ q[b, h, t]) * scale
                weights = np.exp(scores - scores.max())
                out[b, h, t] = weights @ v[b, shared][seen[t]] / weights.sum()
    return out


@settings(max_examples=25)
@given(
    B=st.integers(1, 2),
    K=st.integers(1, 3),
    group=st.integers(1, 3),
    T=st.integers(1, 9),
    before=st.integers(0, 7),
    d=st.sampled_from([4, 8, 12, 64]),
    window=st.one_of(st.none(), st.integers(1, 6)),
)
def test_fused_plain_and_numpy_agree(
    B: int, K: int, group: int, T: int, before: int, d: int, window: int | None
) -> None:
    S = before + T
    q, k, v = random_qkv(B, K * group, K, T, S, d)
    mask = causal_mask(T, S, window)
    seen = np.array(
        [[s <= before + t and (window is None or s > before + t - window) for s in range(S)] for t in range(T)]
    )
    assert np.array_equal(np.array(mask), seen)
    expected = numpy_attention(q, k, v, d**-0.5, seen)
    for attend in (fused_attention, plain_attention):
        assert np.abs(np.array(attend(q, k, v, d**-0.5, mask)) - expected).max() < 2e-6
        if window is None:
            assert np.abs(np.array(attend(q, k, v, d**-0.5, "causal")) - expected).max() < 2e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(mx.bfloat16, 2e-2), (mx.float16, 3e-3)])
def test_fused_and_plain_agree_in_half_precision(dtype: mx.Dtype, tolerance: float) -> None:
    q, k, v = random_qkv(2, 4, 2, 33, 33, 64, dtype)
    fused, plain = (attend(q, k, v, 0.125, "causal") for attend in (fused_attention, plain_attention))
    assert fused.dtype == plain.dtype == dtype
    assert max_difference(fused, plain) < tolerance


def test_attention_weights_are_distributions_over_the_past() -> None:
    q, k, _ = random_qkv(2, 4, 2, 6, 6, 8)
    weights = np.array(attention_weights(q * 30, k * 30, 1.0, "causal"))  # large scores must not overflow
    assert np.allclose(weights.sum(-1), 1, atol=1e-6)
    assert (weights[..., ~np.tri(6, dtype=bool)] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_model_with_plain_attention_equals_fused(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    ids = token_ids(2, 21)
    assert max_difference(model(ids, attend=plain_attention), model(ids)) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_later_tokens_change_no_earlier_logit(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    ids = token_ids(1, 12)
    changed = mx.concatenate([ids[:, :7], (ids[:, 7:] + 1) % 37], axis=1)
    before, after = model(ids), model(changed)
    assert max_difference(before[:, :7], after[:, :7]) < 1e-5
    assert max_difference(before[:, 7:], after[:, 7:]) > 1e-2


def test_window_bounds_what_reaches_a_position() -> None:
    """With L layers of window w, position t depends on the last L * (w - 1) positions before it and no others."""
    model = tiny_model(sliding_window=3)
    ids = token_ids(1, 12)
    reach = 2 * (3 - 1)
    for t in (6, 11):
        for changed_at in range(t):
            changed = mx.array(np.array(ids))
            changed[0, changed_at] = (ids[0, changed_at] + 1) % 37
            difference = max_difference(model(changed)[:, t], model(ids)[:, t])
            assert difference > 1e-4 if changed_at >= t - reach else difference < 1e-6


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_shared_key_value_heads_equal_repeated_ones(kv_heads: int) -> None:
    shared = tiny_model(num_key_value_heads=kv_heads)
    full = tiny_model(num_key_value_heads=4)
    width = tiny_config().resolved_head_dim
    for block, wide in zip(shared.model.layers, full.model.layers, strict=True):
        for name in ("k_proj", "v_proj"):
            weight = block.self_attn[name].weight.reshape(kv_heads, width, -1)
            wide.self_attn[name].weight = mx.repeat(weight, 4 // kv_heads, axis=0).reshape(4 * width, -1)
        for name in ("q_proj", "o_proj"):
            wide.self_attn[name].weight = block.self_attn[name].weight
        wide.mlp, wide.input_layernorm = block.mlp, block.input_layernorm
        wide.post_attention_layernorm = block.post_attention_layernorm
    full.model.embed_tokens, full.model.norm = shared.model.embed_tokens, shared.model.norm
    ids = token_ids(2, 15)
    assert max_difference(shared(ids), full(ids)) < 1e-5


@pytest.mark.parametrize("window", [None, 4])
def test_attention_maps_show_what_each_head_looks_at(window: int | None) -> None:
    model = tiny_model(sliding_window=window)
    maps = model.attention_maps(token_ids(2, 9))
    assert [m.shape for m in maps] == [(2, 4, 9, 9)] * 2
    seen = np.array(causal_mask(9, 9, window))
    for weights in map(np.array, maps):
        assert np.allclose(weights.sum(-1), 1, atol=1e-6)
        assert (weights[..., ~seen] == 0).all()
        assert (weights[..., seen] > 0).all()
