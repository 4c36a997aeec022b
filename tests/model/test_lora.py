"""LoRA, rsLoRA and DoRA on small models: what they compute, what is trained, and that merging changes nothing."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mlx import nn
from pydantic import ValidationError

from mlxllm.config import LORA_TARGETS, LoraConfig, ModelConfig, RunConfig, TrainConfig
from mlxllm.errors import ConfigError, ModelError
from mlxllm.model.adapters import (
    AdapterSpec,
    adapt,
    adapters,
    adapters_off,
    attach,
    fused,
    has_adapters,
    target_paths,
)
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.lora import DoraLinear, LoraLinear
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.quantization import QuantizedLinear
from mlxllm.model.quantized_models import quantize_blocks
from mlxllm.model.transformer import Transformer
from mlxllm.settings import build_config
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.step import TrainStep, initial_state, install
from tests.model.tiny import BASE, VARIANTS, max_difference, tiny_config, tiny_model, token_ids

DENSE = [name for name, changes in VARIANTS.items() if "num_experts" not in changes]
METHODS = [LoraConfig(rank=4), LoraConfig(method="dora", rank=4)]


def moved(model: Transformer, seed: int = 5, size: float = 0.2) -> Transformer:
    """The model with its trainable weights off their first values."""
    rng = np.random.default_rng(seed)
    weights = trainable_parameters(model)
    assert weights
    set_parameters(model, {n: w + mx.array(size * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})
    return model


def trained(model: Transformer, steps: int = 3, **train: Any) -> tuple[Transformer, TrainStep]:
    """The model after some real steps."""
    recipe = TrainConfig(batch_size=2, learning_rate=0.05, warmup_steps=0, schedule="constant", **train)
    step = TrainStep(model, recipe, next_token_loss)
    state = initial_state(model, recipe)
    ids = token_ids(2, 12)
    for _ in range(steps):
        state, metrics = step(state, (ids[:, :-1], ids[:, 1:]))
        mx.eval(state.arrays(), metrics.arrays())
        assert bool(metrics.finite)
    install(model, state.parameters)
    model.eval()
    return model, step


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


# Which layers, and that nothing else is trained


@pytest.mark.parametrize("lora", METHODS)
@pytest.mark.parametrize("layers", [1, 2, -1])
def test_only_the_adapters_of_the_last_blocks_are_trainable(lora: LoraConfig, layers: int) -> None:
    model = tiny_model()
    lora = lora.model_copy(update={"targets": ("q_proj", "down_proj"), "layers": layers})
    adapt(model, lora)
    blocks = range(2) if layers == -1 else range(2 - layers, 2)
    leaves = ["lora_a", "lora_b"] + ["m_change"] * (lora.method == "dora")
    expected = {
        f"model.layers.{i}.{module}.{leaf}"
        for i in blocks
        for module in ("self_attn.q_proj", "mlp.down_proj")
        for leaf in leaves
    }
    assert trainable_parameters(model).keys() == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_is_every_matrix_of_the_blocks(variant: str) -> None:
    """Attention and feed-forward, but no router, embedding, head or norm."""
    config = tiny_config(**VARIANTS[variant])
    model = tiny_model(**VARIANTS[variant])
    adapt(model, LoraConfig())
    matrices = {
        name.removesuffix(".weight")
        for name, weight in named_parameters(Transformer(config)).items()
        if weight.ndim > 1 and ".layers." in name and not name.endswith("mlp.gate.weight")
    }
    assert adapters(model).keys() == matrices == set(target_paths(config, LoraConfig()))


@pytest.mark.parametrize("lora", METHODS)
def test_training_moves_adapters_and_leaves_the_base_to_the_bit(lora: LoraConfig) -> None:
    model = tiny_model()
    adapt(model, lora.model_copy(update={"dropout": 0.1}))
    before = {name: np.array(weight) for name, weight in named_parameters(model).items()}
    trained(model)
    moving = trainable_parameters(model).keys()
    for name, weight in named_parameters(model).items():
        assert np.array_equal(before[name], weight) != (name in moving), name


def test_the_state_of_training_holds_adapters_only() -> None:
    model = tiny_model()
    adapt(model, LoraConfig(rank=2))
    state = initial_state(model, TrainConfig())
    assert state.parameters.keys() == trainable_parameters(model).keys()
    assert {name[2:] for name in state.optimizer} == state.parameters.keys()
    assert all("lora_" in name for name in state.parameters)


@pytest.mark.compiled
@pytest.mark.parametrize("variant", ["llama", "experts"])
def test_compiled_steps_are_the_uncompiled_ones(variant: str) -> None:
    found = []
    for compiled in (True, False):
        (mx.enable_compile if compiled else mx.disable_compile)()
        model = tiny_model(**VARIANTS[variant])
        adapt(model, LoraConfig(rank=2, layers=1))
        found.append(trainable_parameters(trained(model)[0]))
    for name, weight in found[0].items():
        assert max_difference(weight, found[1][name]) < 1e-4


@pytest.mark.parametrize("lora", METHODS)
def test_recomputing_blocks_changes_nothing(lora: LoraConfig) -> None:
    found = []
    for recompute in (False, True):
        model = tiny_model()
        adapt(model, lora.model_copy(update={"layers": 1}))
        model.model.gradient_checkpointing = recompute
        found.append(trainable_parameters(trained(model)[0]))
    for name, weight in found[0].items():
        assert max_difference(weight, found[1][name]) < 1e-5


def test_equal_seeds_draw_equal_adapters() -> None:
    def drawn(seed: int) -> dict[str, mx.array]:
        model = tiny_model()
        adapt(model, LoraConfig(), seed)
        return trainable_parameters(model)

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(mx.array_equal(first[name], again[name]) for name in first)
    firsts = [name for name in first if name.endswith("lora_a")]
    assert not any(mx.array_equal(first[name], other[name]) for name in firsts)
    assert not mx.array_equal(first[firsts[0]], first[firsts[1]])


@pytest.mark.parametrize("quantize", [None, "affine4", "nvfp4"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_half_precision(method: str, quantize: str | None) -> None:
    """The base and what flows are bfloat16; at the start nothing differs, and float32 adapters go on a half base."""
    wide = {"hidden_size": 64, "intermediate_size": 64}
    model, ids = tiny_model(**wide), token_ids(2, 9)
    model.set_dtype(mx.bfloat16)
    if quantize is not None:
        quantize_blocks(model, quantize)
    base = model(ids)
    attach(model, target_paths(model.config, LoraConfig()), AdapterSpec(method, 4, 2.0))
    size = max_difference(base, mx.zeros(base.shape))
    assert base.dtype == model(ids).dtype == mx.bfloat16
    assert max_difference(model(ids), base) < 0.02 * size
    recipe = TrainConfig(batch_size=2, learning_rate=0.01, warmup_steps=0)
    step, state = TrainStep(model, recipe, next_token_loss, compute_dtype=mx.bfloat16), initial_state(model, recipe)
    state, metrics = step(state, (ids[:, :-1], ids[:, 1:]))
    assert bool(metrics.finite)
    assert {p.dtype for p in state.parameters.values()} == {mx.float32}
    install(model, state.parameters)
    model.eval()
    assert model(ids).dtype == mx.bfloat16
    plain = fused(model)
    assert {w.dtype for w in named_parameters(plain).values()} == {mx.bfloat16}
    assert max_difference(plain(ids), model(ids)) < 0.1 * size


def test_dropout_is_on_while_training_only() -> None:
    model, ids = tiny_model(), token_ids(1, 9)
    adapt(model, LoraConfig(dropout=0.5))
    moved(model)
    still = model(ids)
    assert mx.array_equal(model(ids), still)
    model.train()
    mx.random.seed(0)
    assert max_difference(model(ids), still) > 1e-3


# Switched off, it is the reference


@pytest.mark.parametrize("lora", METHODS)
def test_switched_off_it_is_the_base_to_the_bit(lora: LoraConfig) -> None:
    model, ids = tiny_model(), token_ids(2, 9)
    base = model(ids)
    adapt(model, lora)
    moved(model)
    policy = model(ids)
    with adapters_off(model):
        assert mx.array_equal(model(ids), base)
        with adapters_off(model):
            pass
        assert mx.array_equal(model(ids), base)
    assert mx.array_equal(model(ids), policy)


def test_it_is_on_again_after_an_error() -> None:
    model, ids = tiny_model(), token_ids(2, 9)
    adapt(model, LoraConfig())
    moved(model)
    policy = model(ids)
    with pytest.raises(KeyError), adapters_off(model):
        raise KeyError
    assert mx.array_equal(model(ids), policy)


@pytest.mark.compiled
@pytest.mark.parametrize("recompute", [False, True])
def test_policy_and_reference_in_one_compiled_function(recompute: bool) -> None:
    """As DPO has them: the reference is the base in each call, and gradients are the policy's alone."""
    model, ids = tiny_model(num_experts=4), token_ids(2, 9)
    base = model(ids)
    adapt(model, LoraConfig(rank=2))
    moved(model)
    model.model.gradient_checkpointing = recompute
    model.train()
    weights = trainable_parameters(model)

    def loss(weights: dict[str, mx.array]) -> tuple[mx.array, mx.array]:
        set_parameters(model, weights)
        policy = model(ids)
        with adapters_off(model):
            reference = model(ids)
        return mx.mean(mx.square(policy - reference)), reference

    step: Callable[..., Any] = mx.compile(mx.value_and_grad(loss))
    for scale in (1.0, 0.5):
        scaled = {name: scale * weight for name, weight in weights.items()}
        (distance, reference), gradients = step(scaled)
        assert max_difference(reference, base) < 1e-4
        set_parameters(model, scaled)
        assert abs(float(distance) - float(mx.mean(mx.square(model(ids) - base)))) < 1e-4
        assert gradients.keys() == weights.keys()
        assert all(float(mx.max(mx.abs(g))) > 0 for g in gradients.values())


# What is asked for and what there is


def test_settings_are_off_until_one_is_set() -> None:
    assert build_config().lora is None
    lora = build_config(settings=["lora.rank=4", "lora.targets=q_proj, v_proj"], flags={"lora.rank": 6}).lora
    assert lora is not None
    assert (lora.rank, lora.targets, lora.layers) == (6, ("q_proj", "v_proj"), -1)
    assert RunConfig.model_validate_json(RunConfig(lora=lora).model_dump_json()).lora == lora


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("lora.targets=q_prj", ["'q_prj'", "known are q_proj"]),
        ("lora.targets=[]", ["lora.targets is empty", "q_proj"]),
        ("lora.layers=0", ["lora.layers is 0", "-1 takes all"]),
        ("lora.layers=-2", ["lora.layers is -2", "greater than or equal to -1"]),
        ("lora.rank=0", ["lora.rank is 0", "greater than 0"]),
        ("lora.method=vera", ["lora.method is 'vera'", "'lora' or 'dora'"]),
        ("lora.quantize=int3", ["lora.quantize is 'int3'", "affine4"]),
        ("lora.dropout=1", ["lora.dropout is 1", "less than 1"]),
    ],
)
def test_wrong_settings_are_one_sentence(setting: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        build_config(settings=[setting])
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert f"(from --set {setting})" in str(error.value)


def test_dropout_and_recomputed_blocks_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match=r"set lora\.dropout to 0"):
        RunConfig(train=TrainConfig(gradient_checkpointing=True), lora=LoraConfig(dropout=0.1))


@pytest.mark.parametrize(
    ("changes", "lora", "parts"),
    [
        ({"mlp_gated": False}, LoraConfig(targets=("gate_proj",)), ["'gate_proj'", "it has q_proj", "down_proj"]),
        ({}, LoraConfig(layers=3), ["lora.layers is 3", "2 blocks"]),
        ({"num_experts": 2}, LoraConfig(method="dora"), ["dora", "experts", "lora.targets=q_proj"]),
    ],
)
def test_what_the_model_lacks_is_one_sentence(changes: dict[str, Any], lora: LoraConfig, parts: list[str]) -> None:
    model = tiny_model(**changes)
    with pytest.raises(ConfigError) as error:
        adapt(model, lora)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert not has_adapters(model)
    assert trainable_parameters(model).keys() == named_parameters(model).keys()


def test_a_model_is_adapted_once() -> None:
    model = tiny_model()
    adapt(model, LoraConfig())
    with pytest.raises(ModelError, match="merge them first"):
        adapt(model, LoraConfig())


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
