"""Small models for the tests of this folder, with weights large enough for mistakes to show."""

from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map_with_path

from mlxllm.config import ModelConfig
from mlxllm.model.transformer import Transformer, build_model

VOCAB = 37

BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query": {"num_key_value_heads": 1, "head_dim": 12},
    "qwen3": {"qk_norm": True, "head_dim": 16},
    "llama3-scaling": {"rope_scaling": {"rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": 16}},
    "linear-scaling": {"rope_scaling": {"rope_type": "linear", "factor": 3.0}},
    "some-layers-rotate": {"no_rope_layers": [1, 0]},
    "gpt2": {
        "positions": "learned",
        "norm": "layernorm",
        "hidden_act": "gelu_new",
        "mlp_gated": False,
        "attention_bias": True,
        "attention_out_bias": True,
        "mlp_bias": True,
        "num_key_value_heads": 4,
    },
    "transformer-2017": {
        "positions": "sinusoidal",
        "norm": "layernorm",
        "norm_position": "post",
        "hidden_act": "relu",
        "mlp_gated": False,
    },
    "no-positions": {"positions": "none", "hidden_act": "relu2", "mlp_gated": False},
    "gated-gelu-untied": {"hidden_act": "gelu", "tie_word_embeddings": False},
    "experts": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "qk_norm": True},
    "experts-plain-unnormalised": {
        "num_experts": 3,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 24,
        "mlp_gated": False,
        "norm_topk_prob": False,
    },
}
"""Every switch of the model at least once in each position."""


def tiny_config(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate({**BASE, **changes})


def tiny_model(seed: int = 0, **changes: Any) -> Transformer:
    """In evaluation mode; norms and biases are off their initial ones and zeros."""
    model = build_model(tiny_config(**changes), seed)
    key = mx.random.key(seed + 1)

    def moved(name: str, weight: mx.array) -> mx.array:
        nonlocal key
        if weight.ndim > 1:
            return weight
        key, sub = mx.random.split(key)
        return weight + 0.2 * mx.random.normal(weight.shape, key=sub)

    model.update(tree_map_with_path(moved, model.parameters()))
    model.eval()
    return model


def token_ids(rows: int, length: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).integers(0, VOCAB, size=(rows, length)))


def max_difference(a: mx.array, b: mx.array) -> float:
    assert a.shape == b.shape
    return float(mx.max(mx.abs(a.astype(mx.float32) - b.astype(mx.float32))))
