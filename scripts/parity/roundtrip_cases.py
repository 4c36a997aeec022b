"""The models of the round trip: every architecture, with its switches, and models with tokenizers of our own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxllm.config import LoraConfig, ModelConfig, RunConfig
from mlxllm.export.sample_text import PROMPT, SAMPLES
from mlxllm.model.adapters import adapt
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import set_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.tokenizer.training import train_tokenizer

_LLAMA: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,  # large weights: errors of position or mask must show
    "bos_token_id": None,
    "eos_token_id": 0,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.1}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 2": ("Llama", {**_LLAMA, "num_key_value_heads": 4}),
    "Llama 3": ("Llama", {**_LLAMA, "rope_parameters": _LLAMA3_ROPE}),
    "SmolLM (tied)": ("Llama", {**_LLAMA, "tie_word_embeddings": True}),
    "SmolLM3 (no rotation)": ("SmolLM3", {**_LLAMA, "num_hidden_layers": 4, "pad_token_id": 0}),
    "Mistral (window)": ("Mistral", {**_LLAMA, "sliding_window": 96}),
    "Qwen2 (biases)": ("Qwen2", {**_LLAMA, "tie_word_embeddings": True}),
    "Qwen3 (QK-norm)": ("Qwen3", {**_LLAMA, "head_dim": 32}),
    "Qwen3-MoE": ("Qwen3Moe", {**_LLAMA, **_MOE, "head_dim": 32, "norm_topk_prob": True}),
    "Mixtral": ("Mixtral", {**_LLAMA, "num_local_experts": 4}),
    "GPT-2": ("GPT2", {**_GPT2, "bos_token_id": 0, "eos_token_id": 0}),
}
"""name -> (class of transformers, settings)."""

OWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "own: char": ("char", ("base",)),
    "own: byte": ("byte", ("base", "sft")),
    "own: BPE": ("bpe", ("base", "sft", "dpo")),
}
"""name -> (kind of tokenizer, stages)."""

PACKED = {
    "Qwen3 (QK-norm)": ("affine4", "affine8", "mxfp4", "nvfp4"),
    "Qwen3-MoE": ("affine4",),
    "Mixtral": ("affine8",),
}

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ADAPTERS: dict[str, tuple[tuple[str, LoraConfig, tuple[str, ...]], ...]] = {
    "Llama 3": (
        ("LoRA", LoraConfig(rank=4), ("peft", "mlx-lm")),
        ("rsLoRA", LoraConfig(rank=4, rslora=True, layers=1), ("peft", "mlx-lm")),
        ("DoRA", LoraConfig(method="dora", rank=4), ("peft", "mlx-lm")),
    ),
    "Qwen3-MoE": (("LoRA", LoraConfig(rank=4), ("mlx-lm",)),),
    "Mixtral": (("LoRA", LoraConfig(rank=4, targets=_ATTENTION), ("peft", "mlx-lm")),),
}
"""name -> (label, settings, layouts)."""


def own_model(kind: str, history: tuple[str, ...]) -> LoadedModel:
    """A random Qwen3 with a tokenizer of ours."""
    tokenizer = train_tokenizer(kind, [*SAMPLES, PROMPT], vocab_size=420 if kind == "bpe" else None)
    names = "hidden_size num_hidden_layers num_attention_heads num_key_value_heads intermediate_size".split()
    shape = {name: _LLAMA[name] for name in [*names, "max_position_embeddings", "initializer_range"]}
    config = ModelConfig(vocab_size=tokenizer.vocab_size, qk_norm=True, head_dim=32, **shape)
    model = build_model(config, seed=0)
    model.eval()
    return LoadedModel(model, config, tokenizer, Path("none"), kind, Path("none"), None, history, ())


def adapted(base: LoadedModel, lora: LoraConfig) -> LoadedModel:
    """What a run that trained adapters on `base` would be loaded as; they are off their beginning."""
    model = Transformer(base.config)
    model.update(base.model.parameters())
    model.eval()
    adapt(model, lora)
    rng = np.random.default_rng(5)
    weights = trainable_parameters(model)
    set_parameters(model, {n: w + mx.array(0.1 * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})
    config = RunConfig.model_validate({"method": "sft", "model": base.config, "lora": lora, "base_model": base.name})
    return replace(base, model=model, run_config=config)
