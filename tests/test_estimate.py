"""What a run will cost: the counts are exact, the bytes are near what MLX takes."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.estimate import count_parameters, estimate
from mlxllm.model.module import named_parameters
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
    assert costs.as_dict()["parameters"] == costs.parameters


_PEAK = """
import sys, mlxllm.runtime, mlx.core as mx
from mlxllm.config import RunConfig
from mlxllm.model.transformer import build_model
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.step import TrainStep, initial_state

config = RunConfig.model_validate_json(sys.argv[1])
train = config.train
model = build_model(config.model)
step, state = TrainStep(model, train, next_token_loss), initial_state(model, train)
rows = mx.random.randint(0, config.model.vocab_size, (train.batch_size, config.data.max_seq_len + 1))
for _ in range(2):
    state, metrics = step(state, (rows[:, :-1], rows[:, 1:]))
    mx.eval(state.arrays(), metrics.arrays())
print(mx.get_peak_memory())
"""


@pytest.mark.parametrize(("T", "batch"), [(64, 8), (16, 1)])
def test_memory_is_of_the_order_that_mlx_takes(T: int, batch: int) -> None:
    config = RunConfig.model_validate(
        {
            "model": {"vocab_size": 2000, "hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 344},
            "data": {"max_seq_len": T},
            "train": {"batch_size": batch, "lanes": 1},
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, config.model_dump_json()], capture_output=True, text=True, check=True
    )
    assert 0.5 < estimate(config).training_bytes / int(done.stdout) < 2.0


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
