"""Packed matrices: what they compute, that nothing trains them, and models that come quantised."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx import nn

from mlxllm.config import LoraConfig, TrainConfig
from mlxllm.errors import ConfigError, ModelError
from mlxllm.model.adapters import adapt, adapters_off, fused
from mlxllm.model.hf_weights import expected_shapes
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.quantization import FORMATS, PackedMatrix, QuantizedLinear, format_for, pack
from mlxllm.model.quantized_models import dense_weights, is_quantized, packed_in, quantize_blocks, unpacked, use_packed
from mlxllm.model.transformer import Transformer
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.step import TrainStep, initial_state, install
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids

WIDE = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "initializer_range": 0.15}
"""Rows that every format can pack."""

WORST = {"affine4": 0.15, "affine8": 0.01, "mxfp4": 0.4, "nvfp4": 0.25}
"""Largest error of one weight as a share of the largest weight, with room."""


def wide_model(**changes: Any) -> Transformer:
    return tiny_model(**{**WIDE, **changes})


def randomised(model: Transformer) -> None:
    rng = np.random.default_rng(5)
    weights = trainable_parameters(model)
    set_parameters(model, {n: w + mx.array(0.1 * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})


# One matrix


@given(
    name=st.sampled_from(sorted(FORMATS)),
    out=st.integers(1, 9),
    groups=st.integers(1, 3),
    rows=st.sampled_from([1, 3, 16, 40]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_packed_layer_is_the_plain_layer_of_its_unpacked_matrix(
    name: str, out: int, groups: int, rows: int, bias: bool, seed: int
) -> None:
    """Value and gradient, for few rows (packed product) and for many (unpacked first)."""
    rng = np.random.default_rng(seed)
    matrix = mx.array(rng.normal(size=(out, 64 * groups)), mx.float32)
    constant = mx.array(rng.normal(size=out), mx.float32) if bias else None
    packed = pack(matrix, format_for(name, 64 * groups, "it"))
    assert packed.shape == matrix.shape
    dense = packed.dense(mx.float32)
    assert max_difference(dense, matrix) < WORST[name] * float(mx.max(mx.abs(matrix)))

    layer = QuantizedLinear(packed, constant)
    x = mx.array(rng.normal(size=(rows, 64 * groups)), mx.float32)
    pull = mx.array(rng.normal(size=(rows, out)), mx.float32)
    plain = x @ dense.T + (constant if constant is not None else 0)
    assert max_difference(layer(x), plain) < 1e-3
    gradient = mx.grad(lambda x: mx.sum(layer(x) * pull))(x)
    assert max_difference(gradient, pull @ dense) < 1e-3


def test_groups_of_32_where_64_does_not_divide() -> None:
    assert [format_for("affine4", width, "it").group_size for width in (128, 96)] == [64, 32]
    assert format_for("nvfp4", 48, "it").group_size == 16


@pytest.mark.parametrize(
    ("name", "width", "parts"),
    [
        ("affine4", 48, ["groups of 32", "it has 48", "use nvfp4"]),
        ("nvfp4", 40, ["groups of 16", "it has 40", "leave lora.quantize out"]),
    ],
)
def test_rows_that_no_group_divides_are_one_sentence(name: str, width: int, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        format_for(name, width, "it")
    assert all(part in str(error.value) for part in parts), str(error.value)


# A model with a packed base


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("variant", ["llama", "gpt2", "experts"])
def test_a_packed_model_is_the_plain_model_of_its_unpacked_weights(name: str, variant: str) -> None:
    model, ids = wide_model(**{**VARIANTS[variant], **WIDE}), token_ids(3, 9)
    before = model(ids)
    quantize_blocks(model, name)
    assert is_quantized(model)
    weights = dense_weights(model)
    plain = Transformer(model.config)
    plain.load_weights(list(weights.items()))
    plain.eval()
    assert max_difference(model(ids), plain(ids)) < 1e-3
    assert max_difference(model(ids), before) > 1e-3
    packed = {n for n, w in named_parameters(model).items() if w.dtype in (mx.uint32, mx.uint8)}
    assert packed
    assert all(".layers." in n and "norm" not in n and "mlp.gate." not in n for n in packed)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("variant", ["llama", "gpt2", "experts"])
def test_qlora_trains_adapters_and_leaves_the_base_to_the_bit(name: str, variant: str) -> None:
    model = wide_model(**{**VARIANTS[variant], **WIDE})
    adapt(model, LoraConfig(rank=2, quantize=name))
    before = {n: np.array(w) for n, w in named_parameters(model).items()}
    recipe = TrainConfig(batch_size=2, learning_rate=0.02, warmup_steps=0, schedule="constant")
    step, state = TrainStep(model, recipe, next_token_loss), initial_state(model, recipe)
    ids = token_ids(2, 17)
    losses = []
    for _ in range(6):
        state, metrics = step(state, (ids[:, :-1], ids[:, 1:]))
        mx.eval(state.arrays(), metrics.arrays())
        losses.append(float(metrics.loss))
    assert losses[-1] < losses[0]
    install(model, state.parameters)
    moving = trainable_parameters(model).keys()
    for n, w in named_parameters(model).items():
        assert np.array_equal(before[n], w) != (n in moving), n


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("name", FORMATS)
def test_adapters_on_a_packed_base_begin_as_it_switch_off_and_merge(name: str, method: str) -> None:
    model, ids = wide_model(), token_ids(2, 9)
    quantize_blocks(model, name)
    base = model(ids)
    model = wide_model()
    adapt(model, LoraConfig.model_validate({"method": method, "quantize": name}))
    assert max_difference(model(ids), base) < (1e-6 if method == "lora" else 1e-4)
    randomised(model)
    assert max_difference(model(ids), base) > 0.1
    with adapters_off(model):
        assert mx.array_equal(model(ids), base)
    plain = fused(model)
    assert not is_quantized(plain)
    assert max_difference(plain(ids), model(ids)) < 1e-4


def test_experts_with_a_packed_base_merge() -> None:
    model, ids = wide_model(**{**VARIANTS["experts"], **WIDE}), token_ids(4, 9)
    adapt(model, LoraConfig(quantize="affine8", targets=("up_proj", "down_proj")))
    randomised(model)
    assert max_difference(fused(model)(ids), model(ids)) < 1e-4


@pytest.mark.compiled
def test_a_compiled_step_on_a_packed_base_is_the_uncompiled_one() -> None:
    found = []
    for compiled in (True, False):
        (mx.enable_compile if compiled else mx.disable_compile)()
        model = wide_model()
        adapt(model, LoraConfig(rank=2, quantize="affine4"))
        model.model.gradient_checkpointing = compiled
        recipe = TrainConfig(batch_size=2, learning_rate=0.01, warmup_steps=0)
        step, state = TrainStep(model, recipe, next_token_loss), initial_state(model, recipe)
        ids = token_ids(2, 17)
        for _ in range(2):
            state, _ = step(state, (ids[:, :-1], ids[:, 1:]))
        found.append(state.parameters)
    for name, weight in found[0].items():
        assert max_difference(weight, found[1][name]) < 1e-3


def test_packing_is_the_same_each_time() -> None:
    """A resumed run packs its base again."""
    first, again = wide_model(), wide_model()
    for model in (first, again):
        quantize_blocks(model, "nvfp4")
    weights = named_parameters(again)
    assert all(mx.array_equal(weight, weights[name]) for name, weight in named_parameters(first).items())


def test_what_cannot_be_packed_names_the_matrix() -> None:
    model = tiny_model(intermediate_size=40)
    with pytest.raises(ConfigError, match=r"a row of model\.layers\.0\.mlp\.down_proj has 40"):
        adapt(model, LoraConfig(quantize="affine8"))


def test_a_model_is_packed_once() -> None:
    model = wide_model()
    quantize_blocks(model, "mxfp4")
    with pytest.raises(ConfigError, match=r"leave lora\.quantize out"):
        adapt(model, LoraConfig(quantize="mxfp4"))


# Models that come quantised


SETTINGS = {
    "affine4": (4, 64, "affine"),
    "affine8": (8, 32, "affine"),
    "mxfp4": (4, 32, "mxfp4"),
    "nvfp4": (4, 16, "nvfp4"),
}


def coming_model(**changes: Any) -> Transformer:
    return wide_model(intermediate_size=128, **changes)


def as_it_comes(model: Transformer, name: str) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Weights as `mlx.nn.quantize` names them, and what config.json says under `quantization`."""
    bits, group_size, mode = SETTINGS[name]
    nn.quantize(model, group_size, bits, mode=mode)
    return named_parameters(model), {"bits": bits, "group_size": group_size, "mode": mode}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_that_comes_packed_stays_packed_and_computes_the_same(name: str, tied: bool) -> None:
    source = coming_model(tie_word_embeddings=tied)
    config, ids = source.config, token_ids(3, 9)
    theirs, settings = as_it_comes(source, name)
    packed = packed_in(theirs, settings, "the file")
    weights = unpacked(theirs, packed, mx.float32)
    assert {n: w.shape for n, w in weights.items()} == expected_shapes(config)
    model = Transformer(config)
    model.load_weights(list(weights.items()))
    use_packed(model, packed, mx.float32)
    model.eval()
    assert max_difference(model(ids), source(ids)) < 1e-3
    assert all(n in theirs for n in named_parameters(model))
    hidden = model.model(ids)
    assert max_difference(hidden @ model.output_weight().T, model(ids)) < 1e-3
    before = model(ids)
    adapt(model, LoraConfig(rank=2))
    assert mx.array_equal(model(ids), before)
    assert max_difference(fused(model)(ids), before) < 1e-3


def test_layers_may_differ() -> None:
    source = coming_model()
    theirs, settings = as_it_comes(source, "affine4")
    matrix = mx.array(np.random.default_rng(0).normal(size=(64, 64)), mx.float32)
    layer = "model.layers.0.self_attn.q_proj"
    theirs |= dict(
        zip([f"{layer}.{n}" for n in ("weight", "scales", "biases")], mx.quantize(matrix, 32, 8), strict=True)
    )
    packed = packed_in(theirs, {**settings, layer: {"bits": 8, "group_size": 32}}, "the file")
    assert packed[layer].format.bits == 8
    assert max_difference(packed[layer].dense(mx.float32), matrix) < 0.05
    assert len({matrix.format for matrix in packed.values()}) == 2


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"bits": 5, "group_size": 16, "mode": "nvfp4"}, ["'nvfp4'", "bits 5", "affine, mxfp4"]),
        ({"group_size": 64}, ["bits None"]),
        ({"bits": 4, "group_size": 7}, ["group_size 7"]),
        ({"bits": 8, "group_size": 64}, ["the arrays of", "8 bits", "config.json says"]),
        ({"bits": 4, "group_size": 32}, ["the arrays of", "groups of 32"]),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: dict[str, Any], parts: list[str]) -> None:
    theirs, _ = as_it_comes(coming_model(), "affine4")
    with pytest.raises(ModelError) as error:
        packed_in(theirs, settings, "a/model")
    assert all(part in str(error.value) for part in ["a/model", *parts]), str(error.value)


def test_scales_without_a_weight_are_one_sentence() -> None:
    theirs, settings = as_it_comes(coming_model(), "affine4")
    del theirs["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ModelError, match=r"the arrays of model\.layers\.1\.mlp\.up_proj are not"):
        packed_in(theirs, settings, "a/model")


def test_the_shape_of_a_packed_matrix_is_that_of_its_numbers() -> None:
    for name in FORMATS:
        form = format_for(name, 192, "it")
        packed = pack(mx.zeros((3, 5, 192)), form)
        assert isinstance(packed, PackedMatrix)
        assert packed.shape == packed.dense(mx.float32).shape == (3, 5, 192)
