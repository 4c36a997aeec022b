"""The CPU's faster formulas against the plain ones."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.model import cpu_math
from mlxllm.model.attention import Packed, fused_attention, plain_attention

_LARGE = 1 << 15


def test_the_exponential_is_right_to_a_hundred_thousandth_down_to_its_floor() -> None:
    x = np.linspace(-20, 0, 200_001, dtype=np.float32)
    found = np.array(cpu_math.exp_nonpositive(mx.array(x)), dtype=np.float64)
    assert np.abs(found / np.exp(x.astype(np.float64)) - 1).max() < 1e-5


def test_far_below_the_floor_the_exponential_stays_at_it() -> None:
    found = np.array(cpu_math.exp_nonpositive(mx.array([-25.0, -1e4, -1e30, -np.inf])))
    assert np.allclose(found, np.exp(-20.0), rtol=1e-5)


def test_sigmoid_and_silu_equal_the_plain_ones_with_their_gradients() -> None:
    x = mx.array(np.linspace(-60, 60, 40_001, dtype=np.float32))
    assert mx.abs(cpu_math.sigmoid(x) - mx.sigmoid(x)).max().item() < 1e-5
    upstream = mx.random.normal(x.shape, key=mx.random.key(0))
    value, gradient = mx.value_and_grad(lambda x: (cpu_math.silu(x) * upstream).sum())(x)
    plain, plain_gradient = mx.value_and_grad(lambda x: (nn.silu(x) * upstream).sum())(x)
    assert abs(value.item() - plain.item()) < 1e-2
    assert mx.abs(gradient - plain_gradient).max().item() < 1e-4


def test_log_sum_exp_of_large_arrays_equals_the_plain_one() -> None:
    x = 30 * mx.random.normal((64, _LARGE // 32), key=mx.random.key(1))
    assert cpu_math.worthwhile(x.size, x.dtype) == (mx.default_device().type == mx.cpu)
    assert mx.abs(cpu_math.log_sum_exp(x) - mx.logsumexp(x, axis=-1)).max().item() < 1e-4


def test_of_many_logits_the_small_ones_do_not_add_up() -> None:
    x = mx.where(mx.arange(151_936) == 7, 40.0, mx.zeros((2, 151_936)))
    assert mx.abs(cpu_math.log_sum_exp(x) - 40).max().item() < 1e-5


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    length=st.integers(1, 200),
    width=st.sampled_from([2, 8, 32]),
    size=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 2**16),
)
def test_blockwise_attention_equals_the_formula_with_its_gradients(
    batch: int, kv_heads: int, group: int, length: int, width: int, size: float, seed: int
) -> None:
    keys = mx.random.split(mx.random.key(seed), 4)
    heads = (group * kv_heads, kv_heads, kv_heads, group * kv_heads)
    q, k, v, upstream = (
        mx.random.normal((batch, n, length, width), key=key) for n, key in zip(heads, keys, strict=True)
    )
    q = size * q
    scale = width**-0.5

    def blockwise(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return (cpu_math.causal_attention(q, k, v, scale) * upstream).sum()

    def formula(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return (plain_attention(q, k, v, scale, "causal") * upstream).sum()

    found = mx.grad(blockwise, argnums=(0, 1, 2))(q, k, v)
    expected = mx.grad(formula, argnums=(0, 1, 2))(q, k, v)
    out = cpu_math.causal_attention(q, k, v, scale)
    assert mx.abs(out - plain_attention(q, k, v, scale, "causal")).max().item() < 2e-5
    for a, b in zip(found, expected, strict=True):
        assert mx.abs(a - b).max().item() < 2e-4 * max(1.0, size)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_packed_texts_equal_the_formula_however_wide_the_scores(compiled: bool) -> None:
    """Scores of a hundred and more: of most keys nothing is left, and none may overflow."""
    shapes = ((2, 4, 150, 8), (2, 2, 150, 8), (2, 2, 150, 8), (2, 4, 150, 8))
    q, k, v, upstream = (mx.random.normal(shape, key=mx.random.key(i)) for i, shape in enumerate(shapes))
    segments = mx.array(np.repeat([[0, 1, 2], [1, 2, 3]], 50, axis=1))
    packed = Packed(segments)

    def gradients(attend: Callable[..., mx.array]) -> list[mx.array]:
        function = mx.grad(lambda *qkv: (attend(*qkv) * upstream).sum(), argnums=(0, 1, 2))
        return (mx.compile(function) if compiled else function)(20 * q, k, v)

    found = gradients(lambda q, k, v: cpu_math.causal_attention(q, k, v, 1.0, segments))
    expected = gradients(lambda q, k, v: plain_attention(q, k, v, 1.0, packed))
    for a, b in zip(found, expected, strict=True):
        assert mx.abs(a - b).max().item() < 1e-4 * mx.abs(b).max().item()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_of_a_whole_text_takes_it_and_equals_the_formula(kv_heads: int) -> None:
    keys = mx.random.split(mx.random.key(3), 3)
    q = mx.random.normal((2, 4, 128, 16), key=keys[0])
    k, v = (mx.random.normal((2, kv_heads, 128, 16), key=key) for key in keys[1:])
    assert (
        mx.abs(fused_attention(q, k, v, 0.25, "causal") - plain_attention(q, k, v, 0.25, "causal")).max().item() < 1e-4
    )
