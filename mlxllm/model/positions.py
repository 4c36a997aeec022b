"""Where a token stands: rotary and sinusoidal positions.

Shapes: B batch, T time, D hidden, H heads, d width of one head.
"""

import math

import mlx.core as mx

from mlxllm.config import ModelConfig


def rotates(config: ModelConfig, layer: int) -> bool:
    """Whether the attention of a layer turns queries and keys by their position."""
    return config.positions == "rope" and (not config.no_rope_layers or config.no_rope_layers[layer] == 1)


def rope_wavelengths(config: ModelConfig) -> mx.array:
    """Radians-per-position of each rotary pair, inverted: (d / 2,) float32 periods for `mx.fast.rope`.

    Pair i turns by position / theta^(2i/d) (RoFormer, arXiv:2104.09864). `linear` scaling slows every pair by `factor`;
    `llama3` slows only pairs whose wavelength is long against the context that the model was first trained on, and
    blends in between (Llama 3, arXiv:2407.21783).
    """
    width = config.resolved_head_dim
    periods = config.rope_theta ** (mx.arange(0, width, 2, dtype=mx.float32) / width)  # (d / 2,)
    scaling = config.rope_scaling
    if scaling is None:
        return periods
    if scaling.rope_type == "linear":
        return periods * scaling.factor
    wavelength = 2 * math.pi * periods
    context = scaling.original_max_position_embeddings
    smooth = (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = mx.clip(smooth, 0.0, 1.0)  # 0: long waves, slowed; 1: short waves, left alone
    frequencies = (1 - smooth) / (periods * scaling.factor) + smooth / periods
    return 1 / frequencies


def rotate(x: mx.array, periods: mx.array, offset: int | mx.array) -> mx.array:
    """Turn each pair (x[i], x[i + d/2]) of queries or keys by its position: the fused form.

    Args:
        x: (B, H, T, d).
        periods: (d / 2,), from `rope_wavelengths`.
        offset: position of the first of the T tokens.
    """
    return mx.fast.rope(x, x.shape[-1], traditional=False, base=None, scale=1.0, offset=offset, freqs=periods)


def rotate_each(x: mx.array, periods: mx.array, positions: mx.array) -> mx.array:
    """`rotate` where tokens do not stand one after the other.

    Args:
        x: (B, H, T, d).
        periods: (d / 2,), from `rope_wavelengths`.
        positions: (B, T).
    """
    if positions.shape[1] == 1:  # one token a row, as in generation: the fused form takes a place for each row
        return rotate(x, periods, positions[:, 0])
    angles = positions[:, None, :, None] / periods  # (B, 1, T, d / 2)
    cos, sin = mx.cos(angles), mx.sin(angles)
    a, b = mx.split(x.astype(mx.float32), 2, axis=-1)
    return mx.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)


def rotate_plain(x: mx.array, periods: mx.array, offset: int) -> mx.array:
    """What `rotate` computes, written out: (a, b) -> (a cos p - b sin p, a sin p + b cos p) with p = position / period."""
    positions = mx.arange(offset, offset + x.shape[2], dtype=mx.float32)
    angles = positions[:, None] / periods[None, :]  # (T, d / 2)
    cos, sin = mx.cos(angles), mx.sin(angles)
    a, b = mx.split(x.astype(mx.float32), 2, axis=-1)
    return mx.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)


def sinusoidal_table(length: int, hidden_size: int) -> mx.array:
    """The fixed table of "Attention Is All You Need" (arXiv:1706.03762, section 3.5): (length, D) float32.

    PE(pos, 2i) = sin(pos / 10000^(2i/D)), PE(pos, 2i + 1) = cos of the same angle.
    """
    position = mx.arange(length, dtype=mx.float32)[:, None]
    period = 10000.0 ** (mx.arange(0, hidden_size, 2, dtype=mx.float32) / hidden_size)
    angle = position / period  # (length, D / 2)
    return mx.stack([mx.sin(angle), mx.cos(angle)], axis=-1).reshape(length, hidden_size)
