"""What a run will cost: the counts are exact, the bytes are near what MLX takes."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.estimate import count_parameters, count_trained, estimate
from mlxllm.model.adapters import adapt
from mlxllm.model.module import named_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.presets import preset_config
from mlxllm.training.optimizers import init_state

shapes = st.fixed_dictionaries(
    {
        "vocab_size": st.integers(1, 40),
        "hidden_size": st.sampled_from([8, 12, 24]),
        "num_hidden_layers": st.integers(1, 3),
        "num_attention_heads": st.sampled_from([1, 2, 4]),
        "num_key_value_heads": st.sampled_from([1, 2, 4]),
        "head_dim": st.sampled_from([None, 2, 6]),
        "intermediate_size": st.integers(1, 20),
        "max_position_embeddings": st.integers(1, 16),
        "positions": st.sampled_from(["rope", "learned", "sinusoidal", "none"]),
        "norm": st.sampled_from(["rmsnorm", "layernorm"]),
        "norm_position": st.sampled_from(["pre", "post"]),
        "mlp_gated": st.booleans(),
        "qk_norm": st.booleans(),
        "attention_bias": st.booleans(),
        "attention_out_bias": st.booleans(),
        "mlp_bias": st.booleans(),
        "tie_word_embeddings": st.booleans(),
        "num_experts": st.sampled_from([0, 0, 2, 5]),
        "num_experts_per_tok": st.integers(1, 3),
        "moe_intermediate_size": st.integers(1, 9),
    }
)


@settings(max_examples=150)
@given(shape=shapes)
def test_the_count_is_that_of_the_built_model(shape: dict[str, Any]) -> None:
    try:
        config = ModelConfig.model_validate(shape)
    except ValidationError:
        assume(False)
    parameters = named_parameters(Transformer(config))
    assert count_parameters(config) == sum(p.size for p in parameters.values())
    experts = sum(p.size for n, p in parameters.items() if ".experts." in n)
    idle = experts * (config.num_experts - config.num_experts_per_tok) // max(1, config.num_experts)
    assert count_parameters(config, active=True) == count_parameters(config) - idle


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "muon"])
def test_a_checkpoint_is_no_larger_than_told(optimizer: str) -> None:
    config = preset_config("char-tiny").with_values(train={"optimizer": optimizer}, model={"vocab_size": 100})
    parameters = named_parameters(Transformer(config.model))
    state = init_state(config.train, parameters)
    real = sum(a.nbytes for a in [*parameters.values(), *state.values()])
    told = estimate(config).checkpoint_bytes
    assert real <= told
    if optimizer != "muon":
        assert real == told


def test_tokens_and_operations() -> None:
    config = preset_config("char-tiny").with_values(
        model={"vocab_size": 100},
        data={"max_seq_len": 20},
        train={"batch_size": 3, "grad_accum_steps": 5, "max_steps": 7},
    )
    costs = estimate(config)
    assert costs.tokens_per_step == 3 * 5 * 20
    assert costs.tokens == 7 * 3 * 5 * 20
    # Six operations a weight, and 12 L H d T / 2 for the scores and the mixing of causal attention, three times over.
    assert costs.flops_per_token == 6 * costs.parameters + 6 * 2 * 2 * 32 * 20
    untied = estimate(config.with_values(model={"tie_word_embeddings": False}))  # the embedding is only looked up
    assert untied.flops_per_token == costs.flops_per_token < 6 * untied.parameters
    assert costs.as_dict()["parameters"] == costs.parameters


targets = st.sampled_from([("all",), ("q_proj", "v_proj"), ("o_proj", "up_proj"), ("k_proj", "down_proj")])


@settings(max_examples=80)
@given(
    shape=shapes,
    method=st.sampled_from(["lora", "dora"]),
    rank=st.integers(1, 5),
    layers=st.sampled_from([-1, 1]),
    names=targets,
)
def test_what_is_trained_is_what_the_adapted_model_trains(
    shape: dict[str, Any], method: str, rank: int, layers: int, names: tuple[str, ...]
) -> None:
    assume(method == "lora" or not shape["num_experts"])
    lora = {"method": method, "rank": rank, "layers": layers, "targets": names}
    try:
        config = RunConfig.model_validate({"model": shape, "data": {"max_seq_len": 4}, "lora": lora})
    except ValidationError:
        assume(False)
    model = Transformer(config.model)
    assert config.lora is not None
    adapt(model, config.lora)
    trained = sum(p.size for p in trainable_parameters(model).values())
    costs = estimate(config)
    assert count_trained(config) == costs.trained_parameters == trained
    assert costs.parameters == sum(p.size for p in named_parameters(model).values())


def test_adapters_cost_a_fraction_and_pairs_twice_as_much() -> None:
    full = preset_config("story-30m").with_values(model={"vocab_size": 8192})
    lora, qlora = full.with_values(lora={"rank": 8}), full.with_values(lora={"rank": 8, "quantize": "affine4"})
    last = full.with_values(lora={"rank": 8, "layers": 1})
    costs = {name: estimate(c) for name, c in (("full", full), ("lora", lora), ("qlora", qlora), ("last", last))}
    assert costs["full"].trained_parameters == costs["full"].parameters
    assert costs["lora"].trained_parameters < 0.05 * costs["lora"].parameters
    assert costs["qlora"].trained_parameters == costs["lora"].trained_parameters
    by_memory = [costs[name].training_bytes for name in ("full", "lora", "qlora")]
    assert by_memory == sorted(by_memory, reverse=True)
    assert costs["last"].training_bytes < 0.5 * costs["lora"].training_bytes
    assert costs["lora"].checkpoint_bytes < 0.1 * costs["full"].checkpoint_bytes
    assert costs["lora"].flops_per_token < 0.75 * costs["full"].flops_per_token
    pairs = estimate(full.model_copy(update={"method": "dpo"}))
    assert pairs.tokens_per_step == 2 * costs["full"].tokens_per_step
    # Rows are twice as long, so that scores, where they are kept, are four times as many.
    assert costs["full"].training_bytes < pairs.training_bytes < 3 * costs["full"].training_bytes


def test_recomputation_is_told_to_need_less() -> None:
    config = preset_config("story-30m").with_values(model={"vocab_size": 8192})
    saving = config.with_values(train={"gradient_checkpointing": True})
    assert estimate(saving).training_bytes < 0.6 * estimate(config).training_bytes
    half = config.with_values(train={"compute_dtype": "bfloat16"})
    assert estimate(half).training_bytes < estimate(config).training_bytes


def test_arithmetic_needs_no_mlx() -> None:
    program = "import sys, mlxllm.estimate, mlxllm.presets, mlxllm.settings; print('mlx.core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
