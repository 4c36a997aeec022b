"""Models that a reader cannot have, known beforehand: those are told of and skipped, rather than taken for mistakes.

As of transformers 5.23 and mlx-lm 0.32.2.
"""

from mlxllm.config import ModelConfig
from mlxllm.model.hf_config import architecture_of


def why_not(reader: str, config: ModelConfig, *, own_tokenizer: bool, packed: bool) -> str:
    """Why a reader cannot read a folder, in a sentence; empty where it should.

    Args:
        reader: its name.
        config: of the folder.
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
