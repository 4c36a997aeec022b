"""Counts of weights and tokens, from a configuration alone.

Shapes: D hidden, F feed-forward, H heads, K key-value heads, d head width, L layers, V vocabulary.
"""

from mlxllm.config import LORA_TARGETS, LoraConfig, ModelConfig, RunConfig

_PACKED = {"affine4": (4, 64), "affine8": (8, 64), "mxfp4": (4, 32), "nvfp4": (4, 16)}
"""`lora.quantize` -> bits of a weight, and weights that share a scale."""


def parameters_by_part(model: ModelConfig, *, active: bool = False) -> dict[str, int]:
    """Number of weights of embedding, attention, feed_forward, norms and head; a tied head has none of its own.

    With `active` only those of the experts that a token is sent to.
    """
    D, d, L = model.hidden_size, model.resolved_head_dim, model.num_hidden_layers
    H, K = model.num_attention_heads, model.num_key_value_heads
    attention = D * d * (H + 2 * K) + H * d * D
    attention += d * (H + 2 * K) * model.attention_bias + D * model.attention_out_bias
    products = 3 if model.mlp_gated else 2
    if model.num_experts:
        experts = min(model.num_experts_per_tok, model.num_experts) if active else model.num_experts
        feed_forward = products * D * model.moe_intermediate_size * experts + D * model.num_experts
    else:
        feed_forward = products * D * model.intermediate_size
        feed_forward += ((products - 1) * model.intermediate_size + D) * model.mlp_bias
    norm = D * (2 if model.norm == "layernorm" else 1)
    table = D * model.max_position_embeddings * (model.positions == "learned")
    return {
        "embedding": model.vocab_size * D + table,
        "attention": L * attention,
        "feed_forward": L * feed_forward,
        "norms": L * (2 * norm + 2 * d * model.qk_norm) + norm * (model.norm_position == "pre"),
        "head": 0 if model.tie_word_embeddings else model.vocab_size * D,
    }


def count_parameters(model: ModelConfig, *, active: bool = False) -> int:
    """Number of weights; with `active` only those of the experts that a token is sent to.

    Equal to the sizes of the built model's arrays: a test holds it to them.
    """
    return sum(parameters_by_part(model, active=active).values())


def count_trained(config: RunConfig) -> int:
    """Number of weights that training moves; a test holds it to the model's trainable arrays."""
    if config.lora is None:
        return count_parameters(config.model)
    return adapted_blocks(config) * sum(
        count * (config.lora.rank * (out + width) + out * (config.lora.method == "dora"))
        for count, out, width in adapted(config.model, config.lora)
    )


def block_parameters(model: ModelConfig) -> int:
    """Weights in the matrices of the blocks: those that Muon updates."""
    return model.num_hidden_layers * sum(count * out * width for count, out, width in matrices(model).values())


def matrices(model: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """The matrices of a block by name: how many (experts have several), out, in."""
    D, heads = model.hidden_size, model.num_attention_heads * model.resolved_head_dim
    keys = model.num_key_value_heads * model.resolved_head_dim
    experts = model.num_experts or 1
    inner = model.moe_intermediate_size if model.num_experts else model.intermediate_size
    shapes = ((1, heads, D), (1, keys, D), (1, keys, D), (1, D, heads))
    forward = ((experts, inner, D), (experts, inner, D), (experts, D, inner))
    found = dict(zip(LORA_TARGETS, (*shapes, *forward), strict=True))
    return {name: shape for name, shape in found.items() if model.mlp_gated or name != "gate_proj"}


def adapted(model: ModelConfig, lora: LoraConfig) -> list[tuple[int, int, int]]:
    """Those of a block that have adapters."""
    return [shape for name, shape in matrices(model).items() if "all" in lora.targets or name in lora.targets]


def adapted_blocks(config: RunConfig) -> int:
    """How many of the last blocks have adapters: the backward pass goes no further down."""
    blocks = config.model.num_hidden_layers
    return blocks if config.lora is None or config.lora.layers < 0 else min(config.lora.layers, blocks)


def tokens_of_row(config: RunConfig) -> int:
    """T of one row at most: of preferences, a prompt with both answers."""
    return config.data.max_seq_len * (2 if config.method == "dpo" else 1)


def tokens_per_pass(config: RunConfig) -> int:
    """Tokens of one forward pass at most."""
    return config.train.batch_size * tokens_of_row(config)


def frozen_bytes(config: RunConfig, width: int) -> int:
    """The base below adapters, and with QLoRA the largest of its matrices unpacked."""
    if config.lora is None:
        return 0
    every = count_parameters(config.model)
    if config.lora.quantize is None:
        return every * width
    bits, group = _PACKED[config.lora.quantize]
    shared = 16 * width if config.lora.quantize.startswith("affine") else 8  # scale and bias, or a scale of 8 bits
    sizes = [count * rows * columns for count, rows, columns in matrices(config.model).values()]
    packed = config.model.num_hidden_layers * sum(sizes)
    return round((every - packed + max(sizes)) * width + packed * (bits + shared / group) / 8)
