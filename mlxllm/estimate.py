"""What a configuration will cost: parameters, memory, tokens; arithmetic alone, so that anyone can ask.

Shapes: B batch, T time, D hidden, F feed-forward, H heads, K key-value heads, d head width, L layers, V vocabulary.
"""

from dataclasses import asdict, dataclass

from mlxllm.config import LORA_TARGETS, LoraConfig, ModelConfig, RunConfig

_FLOAT32 = 4
_MUON_ITERATIONS = 5

_PACKED = {"affine4": (4, 64), "affine8": (8, 64), "mxfp4": (4, 32), "nvfp4": (4, 16)}
"""`lora.quantize` -> bits of a weight, and weights that share a scale."""


@dataclass(frozen=True)
class Costs:
    """Counts and bytes."""

    parameters: int
    """All weights, adapters among them."""
    trained_parameters: int
    """Weights that training moves: all, or the adapters."""
    active_parameters: int
    """Weights that one token passes through: fewer than all in a mixture of experts."""
    tokens_per_step: int
    """Tokens of one update at most: of preferences, of both answers with their prompt."""
    tokens: int
    """Tokens of the whole run."""
    flops_per_token: int
    """Floating-point operations of forward and backward pass, a token."""
    training_bytes: int
    """Weights, gradients, optimizer state, activations and one chunk of logits; an estimate. The reference of dpo takes
    none: it is asked beforehand."""
    checkpoint_bytes: int
    """One checkpoint on disk."""

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def count_parameters(model: ModelConfig, *, active: bool = False) -> int:
    """Number of weights; with `active` only those of the experts that a token is sent to.

    Equal to the sizes of the built model's arrays: a test holds it to them.
    """
    D, d = model.hidden_size, model.resolved_head_dim
    H, K = model.num_attention_heads, model.num_key_value_heads
    attention = D * d * (H + 2 * K) + H * d * D
    attention += d * (H + 2 * K) * model.attention_bias + D * model.attention_out_bias + 2 * d * model.qk_norm
    matrices = 3 if model.mlp_gated else 2
    if model.num_experts:
        experts = min(model.num_experts_per_tok, model.num_experts) if active else model.num_experts
        feed_forward = matrices * D * model.moe_intermediate_size * experts + D * model.num_experts
    else:
        feed_forward = matrices * D * model.intermediate_size
        feed_forward += ((matrices - 1) * model.intermediate_size + D) * model.mlp_bias
    norm = D * (2 if model.norm == "layernorm" else 1)
    total = model.num_hidden_layers * (attention + feed_forward + 2 * norm)
    total += norm * (model.norm_position == "pre")
    total += model.vocab_size * D * (1 if model.tie_word_embeddings else 2)
    return total + D * model.max_position_embeddings * (model.positions == "learned")


def count_trained(config: RunConfig) -> int:
    """Number of weights that training moves; a test holds it to the model's trainable arrays."""
    if config.lora is None:
        return count_parameters(config.model)
    return _adapted_blocks(config) * sum(
        count * (config.lora.rank * (out + width) + out * (config.lora.method == "dora"))
        for count, out, width in _adapted(config.model, config.lora)
    )


def muon_flops(model: ModelConfig) -> int:
    """Floating-point operations of one orthogonalisation of every matrix of the blocks: what an update by Muon adds.

    Each of the five iterations multiplies an m x n matrix (m <= n) with its transpose, the m x m product with itself,
    and that with the matrix: 4 m^2 n + 2 m^3.
    """
    total = 0
    for count, out, width in _matrices(model).values():
        m, n = sorted((out, width))
        total += count * _MUON_ITERATIONS * (4 * m * m * n + 2 * m**3)
    return total * model.num_hidden_layers


def block_parameters(model: ModelConfig) -> int:
    """Weights in the matrices of the blocks: those that Muon updates."""
    return model.num_hidden_layers * sum(count * out * width for count, out, width in _matrices(model).values())


def _matrices(model: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """The matrices of a block by name: how many (experts have several), out, in."""
    D, heads = model.hidden_size, model.num_attention_heads * model.resolved_head_dim
    keys = model.num_key_value_heads * model.resolved_head_dim
    experts = model.num_experts or 1
    inner = model.moe_intermediate_size if model.num_experts else model.intermediate_size
    shapes = ((1, heads, D), (1, keys, D), (1, keys, D), (1, D, heads))
    forward = ((experts, inner, D), (experts, inner, D), (experts, D, inner))
    found = dict(zip(LORA_TARGETS, (*shapes, *forward), strict=True))
    return {name: shape for name, shape in found.items() if model.mlp_gated or name != "gate_proj"}


def _adapted(model: ModelConfig, lora: LoraConfig) -> list[tuple[int, int, int]]:
    """Those of a block that have adapters."""
    return [shape for name, shape in _matrices(model).items() if "all" in lora.targets or name in lora.targets]


def _adapted_blocks(config: RunConfig) -> int:
    """How many of the last blocks have adapters: the backward pass goes no further down."""
    blocks = config.model.num_hidden_layers
    return blocks if config.lora is None or config.lora.layers < 0 else min(config.lora.layers, blocks)


def estimate(config: RunConfig) -> Costs:
    """The costs of a run."""
    model, train = config.model, config.train
    base, active, trained = count_parameters(model), count_parameters(model, active=True), count_trained(config)
    extra = trained if config.lora is not None else 0
    tokens_per_step = train.grad_accum_steps * _tokens(config)
    # 2 operations a weight and token forward, 2 for the gradient of the input, 2 for that of the weight, if it is
    # trained; and the two products of attention over half of T^2.
    operations = 6 * active if config.lora is None else 4 * active + 6 * extra
    attention = 6 * model.num_hidden_layers * model.num_attention_heads * model.resolved_head_dim
    moments = 1 if train.optimizer == "lion" else 2  # Muon keeps one for most: an upper bound
    state = trained * _FLOAT32 * (2 + moments)  # weights, gradients, moments
    # An adapter is saved once more, in the layout that others load.
    copies = 1 + moments + (config.lora is not None)
    return Costs(
        parameters=base + extra,
        active_parameters=active + extra,
        trained_parameters=trained,
        tokens_per_step=tokens_per_step,
        tokens=tokens_per_step * train.max_steps,
        flops_per_token=operations + attention * config.data.max_seq_len,
        training_bytes=state + _frozen_bytes(config) + _activation_bytes(config),
        checkpoint_bytes=trained * _FLOAT32 * copies,
    )


def _tokens(config: RunConfig) -> int:
    """Tokens of one forward pass at most."""
    return config.train.batch_size * config.data.max_seq_len * (2 if config.method == "dpo" else 1)


def _width(config: RunConfig) -> int:
    """Bytes of a number that the forward pass computes with."""
    return 2 if config.train.compute_dtype == "bfloat16" else _FLOAT32


def _frozen_bytes(config: RunConfig) -> int:
    """The base below adapters, and with QLoRA the largest of its matrices unpacked."""
    if config.lora is None:
        return 0
    width, every = _width(config), count_parameters(config.model)
    if config.lora.quantize is None:
        return every * width
    bits, group = _PACKED[config.lora.quantize]
    shared = 16 * width if config.lora.quantize.startswith("affine") else 8  # scale and bias, or a scale of 8 bits
    sizes = [count * rows * columns for count, rows, columns in _matrices(config.model).values()]
    packed = config.model.num_hidden_layers * sum(sizes)
    return round((every - packed + max(sizes)) * width + packed * (bits + shared / group) / 8)


def _activation_bytes(config: RunConfig) -> int:
    """What the forward pass keeps for the backward pass, and one chunk of logits with its gradient."""
    model, train, tokens, blocks = config.model, config.train, _tokens(config), _adapted_blocks(config)
    inner = model.moe_intermediate_size * model.num_experts_per_tok if model.num_experts else model.intermediate_size
    heads = model.num_attention_heads * model.resolved_head_dim
    block = 6 * model.hidden_size + 4 * heads + (4 if model.mlp_gated else 2) * inner
    block += model.num_attention_heads * config.data.max_seq_len  # attention weights, where no fused kernel avoids them
    if config.lora is not None:
        block += 2 * config.lora.rank * len(_adapted(model, config.lora))
    kept = model.hidden_size * blocks + block if train.gradient_checkpointing else block * blocks
    logits = 3 * min(train.loss_chunk_tokens, tokens) * model.vocab_size * _FLOAT32
    return tokens * kept * _width(config) + logits
