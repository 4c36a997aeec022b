"""LoRA, rsLoRA and DoRA on small models: what they compute, and that merging changes nothing."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mlx import nn

from mlxllm.config import LORA_TARGETS, LoraConfig, ModelConfig
from mlxllm.model.adapters import (
    adapt,
    adapters,
    fused,
    has_adapters,
)
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.lora import DoraLinear, LoraLinear
from mlxllm.model.module import named_parameters
from mlxllm.model.quantization import QuantizedLinear
from mlxllm.model.transformer import Transformer
from tests.model.adapted import DENSE, moved
from tests.model.tiny import BASE, VARIANTS, max_difference, tiny_model, token_ids

# At the start the model is its base, and merged it stays what it is


@pytest.mark.parametrize("variant", VARIANTS)
def test_at_the_start_lora_is_the_base_to_the_bit(variant: str) -> None:
    model, ids = tiny_model(**VARIANTS[variant]), token_ids(2, 9)
    before = model(ids)
    adapt(model, LoraConfig(rank=4))
    assert mx.array_equal(model(ids), before)


@pytest.mark.parametrize("variant", DENSE)
def test_at_the_start_dora_is_the_base(variant: str) -> None:
    model, ids = tiny_model(**VARIANTS[variant]), token_ids(2, 9)
    before = model(ids)
    adapt(model, LoraConfig(method="dora", rank=4))
    assert max_difference(model(ids), before) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_equals_unfused(variant: str) -> None:
    model, ids = tiny_model(**VARIANTS[variant]), token_ids(2, 9)
    before = model(ids)
    adapt(model, LoraConfig(rank=4, layers=1))
    moved(model)
    plain = fused(model)
    assert max_difference(model(ids), before) > 0.1
    assert max_difference(plain(ids), model(ids)) < 1e-4
    assert named_parameters(plain).keys() == named_parameters(Transformer(model.config)).keys()
    assert not has_adapters(plain)


@pytest.mark.parametrize("variant", DENSE)
def test_fused_equals_unfused_for_dora(variant: str) -> None:
    model, ids = tiny_model(**VARIANTS[variant]), token_ids(2, 9)
    before = model(ids)
    adapt(model, LoraConfig(method="dora", rank=4))
    moved(model, size=0.1)
    assert max_difference(model(ids), before) > 0.1
    assert max_difference(fused(model)(ids), model(ids)) < 1e-4


def test_merging_leaves_the_adapted_model_alone() -> None:
    model = tiny_model()
    adapt(model, LoraConfig())
    moved(model)
    before = {name: np.array(weight) for name, weight in named_parameters(model).items()}
    fused(model)
    after = named_parameters(model)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_token_by_token_is_the_same_as_in_one_pass() -> None:
    model, ids = tiny_model(), token_ids(2, 9)
    adapt(model, LoraConfig(method="dora"))
    moved(model, size=0.1)
    cache = make_cache(model.config)
    steps = [model(ids[:, t : t + 1], cache) for t in range(ids.shape[1])]
    assert max_difference(mx.concatenate(steps, axis=1), model(ids)) < 1e-4


# The layers by their formulas, in float64


@given(
    out=st.integers(1, 12),
    width=st.integers(1, 12),
    rank=st.integers(1, 5),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_layers_compute_the_papers_formulas(out: int, width: int, rank: int, bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    linear = nn.Linear(width, out, bias=bias)
    weight = np.array(linear.weight, np.float64)
    constant = np.array(linear.bias, np.float64) if bias else 0.0
    x, s = rng.normal(size=(3, width)), 1.7
    a, b = rng.normal(size=(width, rank)), rng.normal(size=(rank, out))
    m = rng.uniform(0.5, 2, size=out)

    lora = LoraLinear(linear, rank, s, 0.0, mx.random.key(0))
    dora = DoraLinear(linear, rank, s, 0.0, mx.random.key(0))
    for layer in (lora, dora):
        layer.lora_a, layer.lora_b = mx.array(a, mx.float32), mx.array(b, mx.float32)
    dora.take_lengths(mx.array(m, mx.float32))

    updated = weight + s * (a @ b).T
    # Where the update cancels a row, few digits of its length are left in float32.
    parts = np.linalg.norm(weight, axis=1) + s * np.linalg.norm((a @ b).T, axis=1)
    assume(np.all(np.linalg.norm(updated, axis=1) > 0.1 * parts))
    stretched = updated * (m / np.linalg.norm(updated, axis=1))[:, None]
    inputs = mx.array(x, mx.float32)
    for layer, matrix in ((lora, updated), (dora, stretched)):
        size = np.abs(x) @ np.abs(matrix).T + np.abs(constant)
        assert np.all(np.abs(np.array(layer(inputs)) - (x @ matrix.T + constant)) < 1e-4 * (1 + size))
        assert np.all(np.abs(np.array(layer.merged()) - matrix) < 1e-4 * (1 + np.abs(matrix)))


def test_scale_is_alpha_over_rank_or_over_its_root() -> None:
    assert LoraConfig(rank=16, alpha=8).scale == 0.5
    assert LoraConfig(rank=16, alpha=8, rslora=True).scale == 2.0
    model = tiny_model()
    adapt(model, LoraConfig(rank=4, alpha=3, rslora=True))
    assert {adapter.scale for adapter in adapters(model).values()} == {1.5}


def test_gradients_of_dora_take_the_lengths_as_constant() -> None:
    """Section 4.3: with L = sum(y g), dL/dB = s (x A)^T (g m / |row|), not what differentiating |row| would add."""
    rng = np.random.default_rng(0)
    layer = DoraLinear(nn.Linear(6, 5, bias=False), 2, 1.5, 0.0, mx.random.key(1))
    layer.lora_b = mx.array(rng.normal(size=(2, 5)), mx.float32)
    x, g = mx.array(rng.normal(size=(4, 6)), mx.float32), mx.array(rng.normal(size=(4, 5)), mx.float32)

    def loss(arrays: dict[str, mx.array]) -> mx.array:
        layer.update(arrays)
        return mx.sum(layer(x) * g)

    names = ("lora_a", "lora_b", "m_change")
    found = mx.grad(loss)({name: layer[name] for name in names})
    row = layer.linear.weight + 1.5 * (layer.lora_a @ layer.lora_b).T
    lengths = mx.linalg.norm(row, axis=1)
    assert max_difference(found["lora_b"], 1.5 * (x @ layer.lora_a).T @ (g * layer.lengths / lengths)) < 1e-4
    assert max_difference(found["m_change"], mx.sum(g * (x @ row.T), axis=0) / lengths) < 1e-4


def test_dora_on_the_attention_of_experts_works() -> None:
    model, ids = tiny_model(num_experts=2), token_ids(1, 5)
    adapt(model, LoraConfig(method="dora", targets=LORA_TARGETS[:4]))
    moved(model, size=0.1)
    assert max_difference(fused(model)(ids), model(ids)) < 1e-4


def test_adapters_sit_on_the_layers_of_the_base_without_a_copy() -> None:
    model = tiny_model()
    linear = model.model.layers[0].self_attn.q_proj
    adapt(model, LoraConfig())
    adapted = model.model.layers[0].self_attn.q_proj
    assert isinstance(adapted, LoraLinear)
    assert adapted.linear is linear
    assert not isinstance(linear, QuantizedLinear)


def test_a_model_of_the_base_config_has_no_adapters() -> None:
    assert not has_adapters(Transformer(ModelConfig.model_validate(BASE)))
