"""What a ModelConfig refuses, and that the message names what to change."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlxllm.config import ModelConfig, RunConfig
from tests.model.tiny import tiny_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 33}, r"hidden_size 33 is not a multiple of num_attention_heads 4"),
        ({"num_key_value_heads": 3}, r"num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"num_key_value_heads": 8}, r"num_attention_heads 4 is not a multiple of num_key_value_heads 8"),
        ({"head_dim": 7}, r"rotary positions need an even head width, not 7"),
        (
            {"positions": "sinusoidal", "hidden_size": 33, "head_dim": 8},
            r"sinusoidal positions need an even hidden_size, not 33",
        ),
        (
            {"num_experts": 2, "num_experts_per_tok": 3},
            r"num_experts_per_tok 3 is more than num_experts 2",
        ),
        ({"positions": "alibi"}, r"positions"),
        ({"norm": "batchnorm"}, r"norm"),
        ({"norm_position": "both"}, r"norm_position"),
        ({"hidden_act": "tanh"}, r"hidden_act"),
        ({"rope_scaling": {"rope_type": "yarn"}}, r"rope_type"),
        ({"rope_scaling": {"factor": 0}}, r"factor"),
        ({"dropout": 1.0}, r"dropout"),
        ({"dropout": -0.1}, r"dropout"),
        ({"vocab_size": -1}, r"vocab_size"),
        ({"hidden_size": 0}, r"hidden_size"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers"),
        ({"num_attention_heads": 0}, r"num_attention_heads"),
        ({"num_key_value_heads": 0}, r"num_key_value_heads"),
        ({"head_dim": 0}, r"head_dim"),
        ({"intermediate_size": 0}, r"intermediate_size"),
        ({"max_position_embeddings": 0}, r"max_position_embeddings"),
        ({"sliding_window": 0}, r"sliding_window"),
        ({"rope_theta": 0}, r"rope_theta"),
        ({"norm_eps": 0}, r"norm_eps"),
        ({"num_experts": -1}, r"num_experts"),
        ({"num_experts_per_tok": 0}, r"num_experts_per_tok"),
        ({"moe_intermediate_size": 0}, r"moe_intermediate_size"),
        ({"router_aux_loss_coef": -1}, r"router_aux_loss_coef"),
        ({"initializer_range": 0}, r"initializer_range"),
        ({"n_layer": 3}, r"n_layer"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_config(**changes)


def test_allowed_because_another_field_makes_it_so() -> None:
    assert tiny_config(hidden_size=33, head_dim=8).resolved_head_dim == 8
    assert tiny_config(head_dim=7, positions="none").resolved_head_dim == 7
    assert tiny_config(num_experts=0, num_experts_per_tok=9).num_experts == 0
    assert tiny_config(hidden_size=32, num_attention_heads=4).resolved_head_dim == 8


def test_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        tiny_config().hidden_size = 3  # type: ignore[misc]


def test_survives_json() -> None:
    config = tiny_config(rope_scaling={"rope_type": "llama3", "factor": 8.0}, sliding_window=5)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"dropout": 0.1}, "train": {"gradient_checkpointing": True}},
            r"set model.dropout to 0 \(it is 0.1\)",
        ),
        (
            {"model": {"positions": "learned", "max_position_embeddings": 8}, "data": {"max_seq_len": 9}},
            r"max_seq_len 9 is longer than model.max_position_embeddings 8",
        ),
        (
            {"model": {"positions": "sinusoidal", "max_position_embeddings": 8}, "data": {"max_seq_len": 9}},
            r"sinusoidal positions end there",
        ),
    ],
)
def test_refused_in_a_run(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RunConfig().with_values(**sections)


def test_rotary_positions_may_go_beyond_the_table_in_a_run() -> None:
    run = RunConfig().with_values(model={"max_position_embeddings": 8}, data={"max_seq_len": 9})
    assert run.data.max_seq_len == 9
