"""Models that a reader cannot have, known beforehand: those are told of and skipped, rather than taken for mistakes.

As of transformers 5.23 and mlx-lm 0.32.2.
"""

from collections.abc import Mapping
from typing import Any

from mlxllm.config import ModelConfig
from mlxllm.model.hf_config import architecture_of

_ROPE_THETA = {"Qwen2ForCausalLM": 1e6, "MixtralForCausalLM": 1e6, "Qwen3MoeForCausalLM": 0.0}
"""What mlx-lm takes where config.json has no `rope_theta` of its own; 10,000 for the others, and for one with 0 it fails."""


def why_not(
    reader: str, config: ModelConfig, raw: Mapping[str, Any] | None = None, *, own_tokenizer: bool, packed: bool
) -> str:
    """Why a reader cannot read a folder, in a sentence; empty where it should.

    Args:
        reader: its name.
        config: of the folder.
        raw: its config.json; None for one of ours.
        own_tokenizer: whether the tokenizer is one of ours.
        packed: whether MLX has packed its matrices.
    """
    architecture = architecture_of(config)
    if reader == "transformers" and packed:
        return "transformers does not read matrices that MLX has packed"
    if reader != "mlxllm" and architecture == "Qwen2ForCausalLM" and own_tokenizer:
        return "transformers reads each qwen2 folder with Qwen's tokenizer"
    if reader != "mlx-lm":
        return ""
    if architecture == "GPT2LMHeadModel":
        if not config.tie_word_embeddings:
            return "mlx-lm's GPT-2 has no output head of its own"
        if config.intermediate_size != 4 * config.hidden_size or config.hidden_act != "gelu_new":
            return "mlx-lm's GPT-2 has a feed-forward of four times its width with gelu_new only"
        return ""
    if architecture != "Qwen3ForCausalLM" and raw and raw.get("rope_parameters") and "rope_theta" not in raw:
        taken = _ROPE_THETA.get(architecture or "", 1e4)
        if config.positions == "rope" and (config.rope_theta != taken or config.rope_scaling is not None):
            return "mlx-lm does not see rope_parameters, in which transformers 5 writes the frequencies of this architecture"
    if config.hidden_act != "silu":
        return f"mlx-lm computes silu where this model has {config.hidden_act}"
    if architecture in ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM") and config.attention_bias:
        return "mlx-lm's Qwen3 has no attention biases"
    if (
        architecture in ("Qwen2ForCausalLM", "MixtralForCausalLM")
        and config.resolved_head_dim * config.num_attention_heads != config.hidden_size
    ):
        return "mlx-lm's heads are hidden_size / num_attention_heads wide in this architecture"
    return ""


def window_in_mlx_lm(config: ModelConfig) -> int | None:
    """Up to how many tokens mlx-lm computes the model, where that is less than its context; else None.

    It attends to everything before, which makes a difference as soon as a sliding window leaves something out.
    """
    window = config.sliding_window
    return window if window is not None and window < config.max_position_embeddings else None
