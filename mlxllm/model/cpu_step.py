"""One token of each row through a dense float32 model on the CPU, in NumPy: the step of generation.

A token costs at least one look at every weight. MLX's CPU backend adds to that some 600 small operations, each of which it
plans, hands to a thread and gives memory to, and multiplies a row by means for whole matrices. NumPy has a matrix times a
vector, and a quarter of the operations, as it need not plan for a gradient.

`cpu_step` says for which models and caches there is one; all others go through `Transformer`, to which tests hold this.

Shapes: B rows, D hidden, H query heads, K key-value heads, G = H / K, d head width, S positions in the cache, V vocabulary.
Activations stand upright, (D, B), so that a matrix W (out, in) acts on them as W @ x.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxllm.config import ModelConfig
from mlxllm.model.attention import Attention
from mlxllm.model.cpu_products import Array, Pace, Product, view
from mlxllm.model.feed_forward import FeedForward, MixtureOfExperts
from mlxllm.model.kv_cache import GrowingKVCache, KVCache
from mlxllm.model.linear import Linear
from mlxllm.model.module import named_modules, named_parameters
from mlxllm.model.norms import LayerNorm, RMSNorm
from mlxllm.model.positions import rope_wavelengths, rotates, sinusoidal_table
from mlxllm.model.transformer import Block, Decoder, Transformer

Function: TypeAlias = Callable[[Array], Array]

_ONE_THREAD = 1 << 18
"""Multiplications up to which NumPy's BLAS stays on one thread; more would get in the way of those of the products."""

_KNOWN = {Transformer, Decoder, Block, Attention, FeedForward, Linear, nn.Linear, nn.Embedding, RMSNorm, LayerNorm}
_KNOWN |= {nn.Dropout}  # which does nothing outside of training


def cpu_step(model: Transformer, cache: Sequence[KVCache]) -> "CpuStep | None":
    """The step of this model as it is now, behind what the caches hold; None where only the general one will do.

    That is for GPUs, half precision, quantised matrices, adapters, mixtures of experts, GELU by the error function (NumPy
    has none), and caches that forget or are quantised.
    """
    suitable = (
        mx.default_device().type == mx.cpu
        and model.config.hidden_act in _ACTIVATIONS
        and all(type(module) in _KNOWN for module in named_modules(model).values())
        and all(weight.dtype == mx.float32 for weight in named_parameters(model).values())
        and all(type(layer) is GrowingKVCache and layer.holds(mx.float32) for layer in cache)
    )
    return CpuStep(model, [layer for layer in cache if isinstance(layer, GrowingKVCache)]) if suitable else None


class CpuStep:
    """See `cpu_step`. It reads the very memory of weights and caches, so weights must not be replaced, or
    written to in place, while it is used.
    """

    def __init__(self, model: Transformer, cache: list[GrowingKVCache]) -> None:
        config, decoder = model.config, model.model
        self._cache = cache
        self._embedding = view(decoder.embed_tokens.weight)  # (V, D)
        self._head = Product((decoder.embed_tokens if config.tie_word_embeddings else model.lm_head).weight)
        self._pace = Pace()
        self._scale = np.float32(1)
        self._table: Array | None = None
        if config.positions == "learned":
            self._table = view(decoder.embed_positions.weight)
        elif config.positions == "sinusoidal":
            self._table = view(sinusoidal_table(config.max_position_embeddings, config.hidden_size))
            self._scale = np.float32(config.hidden_size**0.5)
        self._blocks = [
            _Block(config, block, layer, rotates(config, number))
            for number, (block, layer) in enumerate(zip(decoder.layers, cache, strict=True))
        ]
        self._norm = _norm(decoder.norm, config) if config.norm_position == "pre" else None
        self._frequencies = view(1 / rope_wavelengths(config))[:, None]  # (d / 2, 1)

    def __call__(
        self, token_ids: np.ndarray, positions: np.ndarray | None = None, visible: np.ndarray | None = None
    ) -> mx.array:
        """(B,) token ids -> (B, V) logits after them; the caches grow by a position.

        Args:
            token_ids: one of each row.
            positions: (B,), where each stands in its text; by default behind what the cache holds.
            visible: (B, S) booleans, which of all positions a row may look at; by default all.
        """
        if positions is None:
            positions = np.array([self._cache[0].offset])
        x: Array = self._embedding[token_ids].T * self._scale  # (D, B)
        if self._table is not None:
            x = x + self._table[positions].T
        turn = _turn(self._frequencies, positions)
        # exp(-x) may become infinite, and 1 / (1 + exp(-x)) is 0 then. Of logits that are no numbers the caller tells.
        with self._pace.step(), np.errstate(over="ignore", invalid="ignore"):
            for block in self._blocks:
                x = block(x, turn, visible)
            x = x if self._norm is None else self._norm(x)
            return mx.array(self._head(x).T)


class _Block:
    """One layer; see `transformer.Block`."""

    def __init__(self, config: ModelConfig, block: Block, cache: GrowingKVCache, rotates: bool) -> None:
        attention = block.self_attn
        self._cache = cache
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._scale = np.float32(config.resolved_head_dim**-0.5)
        self._rotates = rotates
        self._qkv = [_product(p) for p in (attention.q_proj, attention.k_proj, attention.v_proj)]
        self._rows = sum(product.rows for product in self._qkv)
        self._qk_norms = [_norm(n, config) for n in (attention.q_norm, attention.k_norm)] if config.qk_norm else []
        self._out = _product(attention.o_proj)
        self._norms = _norm(block.input_layernorm, config), _norm(block.post_attention_layernorm, config)
        self._pre = config.norm_position == "pre"
        self._feed_forward = _feed_forward(block.mlp, _ACTIVATIONS[config.hidden_act])

    def __call__(self, x: Array, turn: tuple[Array, Array], visible: np.ndarray | None) -> Array:
        """(D, B) -> (D, B)."""
        first, second = self._norms
        if self._pre:
            x = x + self._attention(first(x), turn, visible)
            return x + self._feed_forward(second(x))
        x = first(x + self._attention(x, turn, visible))
        return second(x + self._feed_forward(x))

    def _attention(self, x: Array, turn: tuple[Array, Array], visible: np.ndarray | None) -> Array:
        B, H, K = x.shape[1], self._heads, self._kv_heads
        qkv = np.empty((self._rows, B), np.float32)
        start = 0
        for product in self._qkv:
            product(x, out=qkv[start : (start := start + product.rows)])
        heads = qkv.reshape(H + 2 * K, -1, B)  # (H + 2 K, d, B)
        for norm, part in zip(self._qk_norms, (heads[:H], heads[H : H + K]), strict=False):
            part[:] = norm(part)
        qk = _rotated(heads[: H + K], *turn) if self._rotates else heads[: H + K]
        k_all, v_all = self._cache.grown()  # (B, K, S, d)
        k_all[:, :, -1] = qk[H:].transpose(2, 0, 1)
        v_all[:, :, -1] = heads[H + K :].transpose(2, 0, 1)
        q = (qk[:H] * self._scale).transpose(2, 0, 1).reshape(B, K, H // K, -1)  # (B, K, G, d)
        return self._out(_attend(q, k_all, v_all, visible).reshape(B, -1).T)


def _product(layer: nn.Linear) -> Product:
    return Product(layer.weight, layer.get("bias"))


def _norm(layer: RMSNorm | LayerNorm, config: ModelConfig) -> Function:
    """Over the last axis but one; see `norms`."""
    weight, eps = view(layer.weight)[:, None], np.float32(config.norm_eps)
    share = np.float32(1 / len(weight))

    def rms(x: Array) -> Array:
        upright = x.swapaxes(-1, -2)
        squares = np.vecdot(upright, upright)[..., None, :]
        normalised: Array = x * (weight / np.sqrt(squares * share + eps))
        return normalised

    if isinstance(layer, RMSNorm):
        return rms
    bias = view(layer.bias)[:, None]
    return lambda x: rms(x - x.mean(axis=-2, keepdims=True)) + bias


def _feed_forward(layer: FeedForward | MixtureOfExperts, act: Function) -> Function:
    """See `feed_forward.FeedForward`."""
    assert isinstance(layer, FeedForward)
    up, down = _product(layer.up_proj), _product(layer.down_proj)
    if "gate_proj" not in layer:
        return lambda x: down(act(up(x)))
    gate = _product(layer.gate_proj)
    return lambda x: down(act(gate(x)) * up(x))


def _attend(q: Array, k: Array, v: Array, visible: np.ndarray | None) -> Array:
    """softmax(q k^T) v: (B, K, G, d) queries, (B, K, S, d) keys and values -> (B, K, G, d)."""
    G, S = q.shape[2], k.shape[2]
    if G == 1:  # a vector, for which NumPy would start threads sooner than for a matrix
        q = np.repeat(q, 2, axis=2)
    width = max(1, _ONE_THREAD // (q.shape[2] * q.shape[3]))
    parts = [slice(start, start + width) for start in range(0, S, width)]
    p = np.empty((*q.shape[:3], S), np.float32)
    for part in parts:
        np.matmul(q, k[:, :, part].swapaxes(2, 3), out=p[..., part])
    if visible is not None:
        np.copyto(p, -np.inf, where=~visible[:, None, None])
    p -= p.max(axis=-1, keepdims=True)
    np.exp(p, out=p)
    mixed = p[..., parts[0]] @ v[:, :, parts[0]]
    for part in parts[1:]:
        mixed += p[..., part] @ v[:, :, part]
    mixed /= p.sum(axis=-1, keepdims=True)
    return mixed[:, :, :G]


def _turn(frequencies: Array, positions: np.ndarray) -> tuple[Array, Array]:
    """(cos, cos) and (-sin, sin) of each pair's angle, (2, d / 2, B) each."""
    angles = positions.astype(np.float32) * frequencies  # (d / 2, B)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos, cos]), np.stack([-sin, sin])


def _rotated(x: Array, cos: Array, sin: Array) -> Array:
    """(heads, d, B) with each pair (a, b) = (x[i], x[i + d/2]) turned: (a cos - b sin, b cos + a sin)."""
    pairs = x.reshape(len(x), *cos.shape)
    turned: Array = pairs * cos
    turned += pairs[:, ::-1] * sin
    return turned.reshape(x.shape)


def _silu(x: Array) -> Array:
    e: Array = np.exp(-x)
    e += 1
    return np.divide(x, e, out=e)


def _gelu_new(x: Array) -> Array:
    y: Array = 0.5 * x * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + 0.044715 * x**3)))
    return y


_ACTIVATIONS: dict[str, Function] = {
    "silu": _silu,
    "gelu_new": _gelu_new,
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.square(np.maximum(x, 0)),
}
"""By their names in the configuration; see `feed_forward.ACTIVATIONS`."""
