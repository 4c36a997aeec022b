"""The transformer: one decoder-only model that covers, by configuration, what the field uses.

What can be chosen (see `ModelConfig`):
- attention: multi-head, grouped-query, multi-query; sliding window; normalised queries and keys; biases
- positions: rotary (plain, linear, llama3; in all layers or in some), learned, sinusoidal, none
- norm: RMSNorm or LayerNorm, before each sublayer or after the residual sum
- feed-forward: SwiGLU and other gated forms, GELU, ReLU, squared ReLU; or a mixture of such experts
- output head tied to the embedding, or its own

Shapes: B batch, T time, D hidden, V vocabulary.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError
from mlxllm.model.attention import (
    Attend,
    Attention,
    Mask,
    Packed,
    attention_weights,
    causal_mask,
    fused_attention,
    mixed_values,
)
from mlxllm.model.feed_forward import FeedForward, MixtureOfExperts
from mlxllm.model.kv_cache import KVCache
from mlxllm.model.module import Module, named_parameters, set_parameters, trainable_parameters
from mlxllm.model.norms import make_norm
from mlxllm.model.positions import sinusoidal_table
from mlxllm.model.quantization import QuantizedLinear


class Block(Module):
    """One layer: attention, then feed-forward, each added to the residual stream.

    Before ("pre"): x + f(norm(x)), the stream itself is never normalised. After ("post", 2017): norm(x + f(x)).
    """

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MixtureOfExperts(config) if config.num_experts else FeedForward(config, config.mlp_bias)
        self.input_layernorm = make_norm(config)
        self.post_attention_layernorm = make_norm(config)
        self.dropout = nn.Dropout(config.dropout)
        self._pre = config.norm_position == "pre"

    def __call__(
        self, x: mx.array, mask: Mask, cache: KVCache | None = None, attend: Attend = fused_attention
    ) -> mx.array:
        """(B, T, D) -> (B, T, D)."""
        if self._pre:
            x = x + self.dropout(self.self_attn(x, mask, cache, attend, self.input_layernorm))
            return x + self.dropout(self.mlp(x, self.post_attention_layernorm))
        x = self.input_layernorm(x + self.dropout(self.self_attn(x, mask, cache, attend)))
        return self.post_attention_layernorm(x + self.dropout(self.mlp(x)))


class Decoder(Module):
    """Embedding, positions, the stack of blocks, the last norm: everything but the output head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = [Block(config, layer) for layer in range(config.num_hidden_layers)]
        if config.norm_position == "pre":
            self.norm = make_norm(config)
        self.dropout = nn.Dropout(config.dropout)
        self._config = config
        self._table = (
            sinusoidal_table(config.max_position_embeddings, config.hidden_size)
            if config.positions == "sinusoidal"
            else None
        )
        self.gradient_checkpointing = False

    def __call__(
        self,
        token_ids: mx.array,
        cache: Sequence[KVCache] | None = None,
        attend: Attend = fused_attention,
        positions: mx.array | None = None,
        mask: Mask = None,
    ) -> mx.array:
        """(B, T) token ids -> (B, T, D) hidden states.

        Args:
            token_ids: (B, T).
            cache: what came before, if anything.
            attend: how attention is computed.
            positions: (B, T), for rows that hold several texts side by side: where each token stands in its own, from
                0. Attention then stays within each text.
            mask: who sees whom, in place of what follows from `cache` and `positions`.
        """
        T = token_ids.shape[1]
        x = self.embedded(token_ids, cache[0].offset if cache else 0, positions)
        if mask is None:
            mask = self._mask(T, cache, positions)
        for i, block in enumerate(self.layers):
            if self.gradient_checkpointing and self.training:
                x = _recomputed(block, x, mask)
            else:
                x = block(x, mask, cache[i] if cache else None, attend)
        return self.norm(x) if self._config.norm_position == "pre" else x

    def embedded(
        self, token_ids: mx.array, offset: int = 0, positions: mx.array | None = None, *, placed: bool = True
    ) -> mx.array:
        """(B, T) token ids -> (B, T, D): what the first block reads.

        Args:
            token_ids: (B, T).
            offset: position of the first of them.
            positions: see `__call__`.
            placed: with learned or sinusoidal positions; without them nothing in the result tells where a token stands.

        Raises:
            ModelError: there are more tokens than learned or sinusoidal positions.
        """
        x = self.embed_tokens(token_ids)
        T, longest = token_ids.shape[1], self._config.max_position_embeddings
        if self._config.positions in ("learned", "sinusoidal") and positions is None and offset + T > longest:
            # Slices end early without a word, and one row would be broadcast to all.
            raise ModelError(
                f"{offset + T:,} positions are more than the {longest:,} of this model's {self._config.positions} "
                f"positions (max_position_embeddings); use a shorter text"
            )
        where = slice(offset, offset + T) if positions is None else positions
        if self._config.positions == "learned" and placed:
            x = x + self.embed_positions.weight[where]
        elif self._table is not None:
            # The 2017 model scales its embeddings up to the table's size (section 3.4).
            x = x * self._config.hidden_size**0.5
            x = x + self._table[where].astype(x.dtype) if placed else x
        return self.dropout(x)

    def _mask(self, T: int, cache: Sequence[KVCache] | None, positions: mx.array | None) -> Mask:
        window = self._config.sliding_window
        if window is not None and window >= T:
            window = None
        if cache:
            return cache[0].mask(T)
        if positions is not None:
            # Rotary positions are relative: only who sees whom has to change.
            return Packed(mx.cumsum(positions == 0, axis=1), window)
        return "causal" if window is None else causal_mask(T, T, window)


def _recomputed(block: Block, x: mx.array, mask: Mask) -> mx.array:
    """Run a block without keeping its activations; the backward pass runs it again (arXiv:1604.06174)."""

    def forward(parameters: dict[str, mx.array], x: mx.array) -> mx.array:
        set_parameters(block, parameters)
        return block(x, mask)

    return mx.checkpoint(forward)(trainable_parameters(block), x)


class Transformer(Module):
    """A decoder-only language model: token ids in, logits of the next token out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.model = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._config = config

    @property
    def config(self) -> ModelConfig:
        """The shape that the model was built with."""
        return self._config

    def __call__(
        self, token_ids: mx.array, cache: Sequence[KVCache] | None = None, attend: Attend = fused_attention
    ) -> mx.array:
        """Logits (B, T, V) for token ids (B, T).

        Args:
            token_ids: integers below V; MLX reads out of bounds otherwise, so check them where they come in.
            cache: one `KVCache` a layer, from `make_cache`; the ids then continue what it holds.
            attend: how attention is computed; `plain_attention` gives the formula instead of the kernel.
        """
        return self.logits(self.model(token_ids, cache, attend))

    def logits(self, hidden: mx.array) -> mx.array:
        """(..., D) hidden states -> (..., V)."""
        if self._config.tie_word_embeddings:
            tied: mx.array = self.model.embed_tokens.as_linear(hidden)
            return tied
        return self.lm_head(hidden)

    def output_weight(self) -> mx.array:
        """The output head's matrix, (V, D)."""
        head = self.model.embed_tokens if self._config.tie_word_embeddings else self.lm_head
        if isinstance(head, QuantizedLinear):
            return head.packed.dense(self.model.layers[0].input_layernorm.weight.dtype)
        return head.weight

    @property
    def head_is_trained(self) -> bool:
        """Whether the output head's matrix has a gradient; under adapters it has none."""
        head = self.model.embed_tokens if self._config.tie_word_embeddings else self.lm_head
        return bool(trainable_parameters(head))

    def balance_loss(self) -> mx.array | None:
        """Mean over the layers of the load-balancing loss of the last call; None for a dense model."""
        losses = [b.mlp.balance_loss for b in self.model.layers if isinstance(b.mlp, MixtureOfExperts)]
        return sum(losses[1:], losses[0]) / len(losses) if losses else None

    def attention_maps(self, token_ids: mx.array) -> list[mx.array]:
        """What every head looks at: one (B, H, T, T) array a layer, each row summing to one."""
        maps: list[mx.array] = []

        def recording(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: Mask) -> mx.array:
            weights = attention_weights(q, k, scale, mask)
            maps.append(weights)
            return mixed_values(weights, v).astype(q.dtype)

        self(token_ids, attend=recording)
        return maps


def init_weights(model: Transformer, seed: int) -> None:
    """Draw the initial weights, the same for the same seed on every machine.

    Matrices and embeddings are normal with `initializer_range`; output projections of a block start at zero or smaller
    by sqrt(2 * layers), so that the residual stream's scale does not grow with depth (GPT-2); norms at one, biases at zero.
    """
    config = model.config
    key = mx.random.key(seed)
    drawn: dict[str, mx.array] = {}
    for name, weight in named_parameters(model).items():
        if name.endswith("norm.weight"):
            continue
        if name.endswith("bias"):
            drawn[name] = mx.zeros(weight.shape)  # nn.Linear draws them from the global state
            continue
        key, sub = mx.random.split(key)
        scale = config.initializer_range
        if name == "model.embed_tokens.weight" and config.tie_word_embeddings:
            # The head sees the token itself with a logit of about D * deviation: it must not begin by repeating it.
            scale = min(scale, 1 / config.hidden_size)
        if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down_proj")):
            scale = 0.0 if config.zero_init_outputs else scale / (2 * config.num_hidden_layers) ** 0.5
        drawn[name] = scale * mx.random.normal(weight.shape, key=sub)
    set_parameters(model, drawn)


def build_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A transformer with fresh weights."""
    model = Transformer(config)
    init_weights(model, seed)
    mx.eval(named_parameters(model))
    return model
