"""What a configuration will cost: parameters, memory, tokens; arithmetic alone, so that anyone can ask.

Shapes: B batch, T time, D hidden, F feed-forward, H heads, K key-value heads, d head width, L layers, V vocabulary.
"""

from dataclasses import asdict, dataclass

from mlxllm.config import ModelConfig, RunConfig

_FLOAT32 = 4


@dataclass(frozen=True)
class Costs:
    """Counts and bytes."""

    parameters: int
    """All weights."""
    active_parameters: int
    """Weights that one token passes through: fewer than all in a mixture of experts."""
    tokens_per_step: int
    """Tokens of one update."""
    tokens: int
    """Tokens of the whole run."""
    flops_per_token: int
    """Floating-point operations of forward and backward pass, a token."""
    training_bytes: int
    """Weights, gradients, optimizer state, activations and one chunk of logits; an estimate."""
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


def estimate(config: RunConfig) -> Costs:
    """The costs of a run."""
    model, train = config.model, config.train
    parameters, active = count_parameters(model), count_parameters(model, active=True)
    T, rows = config.data.max_seq_len, train.batch_size
    tokens_per_step = rows * train.grad_accum_steps * T
    # 6 operations a weight and token (2 forward, 4 backward), and the two products of attention over half of T^2.
    attention = 6 * model.num_hidden_layers * model.num_attention_heads * model.resolved_head_dim * T
    moments = 1 if train.optimizer == "lion" else 2  # Muon keeps one for most: an upper bound
    state = parameters * _FLOAT32 * (2 + moments)  # weights, gradients, moments
    return Costs(
        parameters=parameters,
        active_parameters=active,
        tokens_per_step=tokens_per_step,
        tokens=tokens_per_step * train.max_steps,
        flops_per_token=6 * active + attention,
        training_bytes=state + _activation_bytes(config),
        checkpoint_bytes=parameters * _FLOAT32 * (1 + moments),
    )


def _activation_bytes(config: RunConfig) -> int:
    """What the forward pass keeps for the backward pass, and one chunk of logits with its gradient."""
    model, train = config.model, config.train
    tokens = train.batch_size * config.data.max_seq_len
    width = 2 if train.compute_dtype == "bfloat16" else _FLOAT32
    inner = model.moe_intermediate_size * model.num_experts_per_tok if model.num_experts else model.intermediate_size
    heads = model.num_attention_heads * model.resolved_head_dim
    block = 6 * model.hidden_size + 4 * heads + (4 if model.mlp_gated else 2) * inner
    block += model.num_attention_heads * config.data.max_seq_len  # attention weights, where no fused kernel avoids them
    kept = (
        model.hidden_size * model.num_hidden_layers + block
        if train.gradient_checkpointing
        else (block * model.num_hidden_layers)
    )
    logits = 3 * min(train.loss_chunk_tokens, tokens) * model.vocab_size * _FLOAT32
    return tokens * kept * width + logits
