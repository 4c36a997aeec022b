"""Which adapters are trained and what stays, compiled or not, in half precision; and the base beneath, switched off."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import LoraConfig, TrainConfig
from mlxllm.model.adapters import (
    AdapterSpec,
    adapt,
    adapters,
    adapters_off,
    attach,
    fused,
    target_paths,
)
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.quantized_models import quantize_blocks
from mlxllm.model.transformer import Transformer
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.step import TrainStep, initial_state, install
from tests.model.adapted import METHODS, moved, trained
from tests.model.tiny import VARIANTS, max_difference, tiny_config, tiny_model, token_ids

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
