"""Attention: each position looks at the ones before it.

Shapes: B batch, T query time, S key time, D hidden, H query heads, K key-value heads, d width of one head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.model.cpu_math import causal_attention, same_text, worthwhile
from mlxllm.model.kv_cache import KVCache
from mlxllm.model.linear import Linear
from mlxllm.model.module import Module
from mlxllm.model.norms import Norm, RMSNorm
from mlxllm.model.positions import rope_wavelengths, rotate, rotate_each, rotates
from mlxllm.model.recompute import forming_again


@dataclass
class Packed:
    """Several texts side by side in a row: attention is causal and stays within each."""

    segments: mx.array
    """(B, T) integers: which text of its row a token belongs to; what belongs to 0 is seen by all texts behind it."""
    window: int | None = None
    """See at most this many positions, the own one included."""
    positions: mx.array | None = None
    """(B, T): where each token stands, for texts that go on from one beginning; else each counts from its first token."""

    @cached_property
    def dense(self) -> mx.array:
        """(B, 1, T, T) booleans, true where a query may look."""
        T = self.segments.shape[1]
        visible = same_text(self.segments[:, None, :, None], self.segments[:, None, None, :])
        if self.window is None or self.positions is None:
            return visible & causal_mask(T, T, self.window)
        apart = self.positions[:, None, :, None] - self.positions[:, None, None, :]
        return visible & causal_mask(T, T) & (apart < self.window)


@dataclass
class Placed:
    """Tokens whose places do not follow from their order, behind others in a cache."""

    visible: mx.array
    """(B, 1, T, S) booleans, true where a query may look."""
    positions: mx.array
    """(B, T): where each of the T new tokens stands in its own text."""


Mask = mx.array | Packed | Placed | str | None
"""Booleans that broadcast to (B, H, T, S), true where a query may look; "causal"; or None for everything."""

Attend = Callable[[mx.array, mx.array, mx.array, float, Mask], mx.array]
"""(queries, keys, values, scale, mask) -> (B, H, T, d)."""


def causal_mask(queries: int, keys: int, window: int | None = None) -> mx.array:
    """(T, S) booleans: query i, which stands at key S - T + i, sees itself and what came before.

    Args:
        queries: T.
        keys: S, at least T.
        window: see at most this many positions, the own one included (arXiv:2310.06825).
    """
    query_at = mx.arange(keys - queries, keys)[:, None]
    key_at = mx.arange(keys)[None, :]
    mask = key_at <= query_at
    return mask if window is None else mask & (key_at > query_at - window)


def fused_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: Mask) -> mx.array:
    """softmax(q k^T * scale) v by MLX's fused kernel: the one that training and generation use.

    Whole texts on the CPU, for which MLX has no fused kernel, go through `cpu_math`.
    """
    T, S = q.shape[2], k.shape[2]
    segments = mask.segments if isinstance(mask, Packed) and mask.window is None else None
    whole = segments is not None or (isinstance(mask, str) and T == S)
    if whole and worthwhile(q.size // q.shape[-1] * S, q.dtype):
        return causal_attention(q, k, v, scale, segments)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=_booleans(mask))


def _booleans(mask: Mask) -> mx.array | str | None:
    """A mask as the kernel takes it."""
    if isinstance(mask, Packed):
        return mask.dense
    return mask.visible if isinstance(mask, Placed) else mask


def attention_weights(q: mx.array, k: mx.array, scale: float, mask: Mask) -> mx.array:
    """softmax(q k^T * scale) in float32, written out: (B, H, T, S); each row sums to one."""
    k = mx.repeat(k, q.shape[1] // k.shape[1], axis=1)  # every query head gets its group's keys
    scores = (q.astype(mx.float32) * scale) @ k.astype(mx.float32).swapaxes(-1, -2)  # (B, H, T, S)
    seen = _booleans(mask)
    if isinstance(seen, str):
        seen = causal_mask(q.shape[2], k.shape[2])
    if seen is not None:
        scores = mx.where(seen, scores, -mx.inf)
    scores = scores - mx.max(scores, axis=-1, keepdims=True)
    exps = mx.exp(scores)
    return exps / mx.sum(exps, axis=-1, keepdims=True)


def mixed_values(weights: mx.array, v: mx.array) -> mx.array:
    """Each head's values (B, K, S, d) by its weights (B, H, T, S): (B, H, T, d) in float32."""
    v = mx.repeat(v, weights.shape[1] // v.shape[1], axis=1)
    return weights @ v.astype(mx.float32)


def plain_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: Mask) -> mx.array:
    """softmax(Q K^T / sqrt(d)) V as the paper writes it (arXiv:1706.03762, equation 1); tests hold the fused one to it."""
    return mixed_values(attention_weights(q, k, scale, mask), v).astype(q.dtype)


class Attention(Module):
    """Multi-head, grouped-query or multi-query attention (arXiv:1706.03762, arXiv:2305.13245, arXiv:1911.02150).

    With K key-value heads, query heads h*H/K ... (h+1)*H/K - 1 share key-value head h. `qk_norm` normalises each head's
    queries and keys before the rotation, which keeps the scores bounded (arXiv:2302.05442).
    """

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        width = config.resolved_head_dim
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = Linear(config.hidden_size, heads * width, bias=config.attention_bias)
        self.k_proj = Linear(config.hidden_size, kv_heads * width, bias=config.attention_bias)
        self.v_proj = Linear(config.hidden_size, kv_heads * width, bias=config.attention_bias)
        self.o_proj = Linear(heads * width, config.hidden_size, bias=config.attention_out_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(width, config.norm_eps)
            self.k_norm = RMSNorm(width, config.norm_eps)
        self._heads, self._kv_heads = heads, kv_heads
        self._scale = width**-0.5
        self._qk_norm = config.qk_norm
        self._rope = rope_wavelengths(config) if rotates(config, layer) else None

    def __call__(
        self,
        x: mx.array,
        mask: Mask,
        cache: KVCache | None = None,
        attend: Attend = fused_attention,
        norm: Norm | None = None,
    ) -> mx.array:
        """Mix the T positions of x (B, T, D), normalised by `norm` first, and those in the cache; returns (B, T, D)."""

        def projected(x: mx.array) -> tuple[mx.array, ...]:
            x = x if norm is None else norm(x)
            return self.q_proj(x), self.k_proj(x), self.v_proj(x)

        B, T, _ = x.shape
        modules = [m for m in (norm, self.q_proj, self.k_proj, self.v_proj) if m is not None]
        q, k, v = forming_again(projected, modules, x)
        q = q.reshape(B, T, self._heads, -1)
        k = k.reshape(B, T, self._kv_heads, -1)
        v = v.reshape(B, T, self._kv_heads, -1).swapaxes(1, 2)  # (B, K, T, d)
        if self._qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.swapaxes(1, 2), k.swapaxes(1, 2)
        if self._rope is not None and isinstance(mask, (Packed, Placed)) and mask.positions is not None:
            q, k = rotate_each(q, self._rope, mask.positions), rotate_each(k, self._rope, mask.positions)
        elif self._rope is not None:
            offset = cache.offset if cache is not None else 0
            q, k = rotate(q, self._rope, offset), rotate(k, self._rope, offset)
        if cache is not None:
            k, v = cache.update(k, v)  # (B, K, S, d)
        out = attend(q, k, v, self._scale, mask)  # (B, H, T, d)
        out = out.swapaxes(1, 2).reshape(B, T, -1)
        return forming_again(lambda out: (self.o_proj(out),), [self.o_proj], out)[0]
