"""Faster formulas for MLX's CPU backend, where an exponential costs as much as fifty multiplications.

Chosen by device and size (`worthwhile`): Metal and CUDA have kernels of their own, and on few numbers the overhead of
many small operations would eat the gain. Tests hold each one to its plain formula.

Shapes: B batch, H heads, K of them with keys and values, G = H / K, T time, d head width, N queries of one block, S keys
that they can see, R = G N.
"""

import functools
import math
from typing import cast

import mlx.core as mx
import numpy as np

_LOWEST = -20.0
"""Below this an exponential counts as exp(-20) = 2e-9."""
_SQUARINGS = 5
_DEGREE = 5
_QUERY_BLOCK = 64
_WORTHWHILE_SIZE = 1 << 15
_HIDDEN = -1e30


def worthwhile(size: int, dtype: mx.Dtype) -> bool:
    """Whether arrays of `size` numbers are better computed by the formulas here."""
    return size >= _WORTHWHILE_SIZE and dtype == mx.float32 and mx.default_device().type == mx.cpu


def _coefficients() -> list[float]:
    """Polynomial for exp on [_LOWEST / 2^_SQUARINGS, 0], least squares in the relative error, lowest power first."""
    low = _LOWEST / 2**_SQUARINGS
    x = low / 2 * (1 + np.cos(np.pi * (np.arange(1000) + 0.5) / 1000))  # Chebyshev nodes
    powers = x[:, None] ** np.arange(_DEGREE + 1)
    solution = np.linalg.lstsq(powers / np.exp(x)[:, None], np.ones_like(x), rcond=None)[0]
    return [float(c) for c in solution]


_EXP = _coefficients()


def exp_nonpositive(x: mx.array) -> mx.array:
    """exp(x) for x <= 0 with a relative error below 1e-5, never less than exp(-20).

    exp(x) = exp(x / 32)^32: a polynomial on a short interval, then five squarings. All of it are multiplications and
    additions, which a compiled kernel does several at a time.
    """
    z = mx.maximum(x, _LOWEST) * (1 / 2**_SQUARINGS)
    y = mx.array(_EXP[-1], dtype=x.dtype)
    for coefficient in reversed(_EXP[:-1]):
        y = y * z + coefficient
    for _ in range(_SQUARINGS):
        y = y * y
    return y


def log_sum_exp(x: mx.array) -> mx.array:
    """log(sum(exp(x))) over the last axis, on any device; of finite numbers."""
    if not worthwhile(x.size, x.dtype):
        return mx.logsumexp(x, axis=-1)
    top = mx.max(x, axis=-1, keepdims=True)
    return (mx.log(mx.sum(_weights(x - top), axis=-1, keepdims=True)) + top).squeeze(-1)


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + exp(-x)), from the exponential of -|x|."""
    e = exp_nonpositive(-mx.abs(x))
    return mx.where(x >= 0, 1.0, e) / (1 + e)


@mx.custom_function
def _silu(x: mx.array) -> tuple[mx.array, mx.array]:
    s = sigmoid(x)
    return x * s, s


@_silu.vjp
def _silu_backward(x: mx.array, cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]) -> mx.array:
    y, s = outputs
    return cotangents[0] * (s + y * (1 - s))


def silu(x: mx.array) -> mx.array:
    """x sigmoid(x); its derivative s + x s (1 - s) reuses the sigmoid of the forward pass."""
    return cast(tuple[mx.array, mx.array], _silu(x))[0]


def same_text(query: mx.array, key: mx.array) -> mx.array:
    """Whether a query of one segment may see a key of another: of its own, or of 0, which all share."""
    return (query == key) | (key == 0)


def causal_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, segments: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + causal mask) v without the half that the mask hides: q (B, H, T, d); k, v (B, K, T, d).

    With `segments`, (B, T) integers, a position sees those of its own segment and of segment 0 only.

    Blocks of N queries are computed against only the S keys that they can see, those of the G heads that share keys
    together. No weights are kept: the backward pass has each row's L = log(sum(exp(scores))) and takes
    P = exp(scores - L) again. With D = sum(dO * O) it is dS = P * (dO v^T - D), dv = P^T dO, dq = dS k, dk = dS^T q
    (FlashAttention, arXiv:2205.14135, section 3.1; FlashAttention-2, arXiv:2307.08691, for L).

    What is one number a row would be read number by number beside arrays (R, S), so products of matrices take it along:
    [q, -L] [k, 1]^T = q k^T - L, [dO, -D] [v, 1]^T = dO v^T - D, and P [v, 1] has the sums of P's rows as last column.
    """
    B, H, T, d = q.shape
    K = k.shape[1]
    blocks = [(start, min(start + _QUERY_BLOCK, T)) for start in range(0, T, _QUERY_BLOCK)]

    def rows(x: mx.array, start: int, stop: int) -> mx.array:
        """Those of a block, heads that share keys below each other: (B, H, T, n) -> (B, K, R, n)."""
        return x[:, :, start:stop].reshape(B, K, -1, x.shape[-1])

    def heads(x: mx.array) -> mx.array:
        """And back: (B, K, R, n) -> (B, H, N, n)."""
        return x.reshape(B, H, -1, x.shape[-1])

    def mask(start: int, stop: int) -> mx.array:
        """What is added to a block's scores, to be broadcast to (B, K, R, S)."""
        causal = _causal_rows(start, stop, H // K)
        if segments is None:
            return causal
        same = same_text(segments[:, None, start:stop, None], segments[:, None, None, :stop])
        return mx.where(mx.tile(same, (1, 1, H // K, 1)), causal, _HIDDEN)

    @mx.custom_function
    def attend(q: mx.array, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        q, v = q * scale, _with_ones(v)
        outputs: list[mx.array] = []
        logs: list[mx.array] = []
        for start, stop in blocks:
            scores = mx.addmm(mask(start, stop), rows(q, start, stop), k[:, :, :stop].swapaxes(-1, -2))
            top = mx.max(scores, axis=-1, keepdims=True)
            out = _weights(scores - top) @ v[:, :, :stop]
            out, total = out[..., :d], out[..., d:]
            # One token's heads side by side, as the next product wants them.
            outputs.append(heads(out / total).swapaxes(1, 2))  # (B, N, H, d)
            logs.append(heads(mx.log(total) + top))
        return mx.concatenate(outputs, axis=1), mx.concatenate(logs, axis=2)

    @attend.vjp
    def backward(
        primals: tuple[mx.array, ...], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array, mx.array]:
        d_out, (out, logs) = cotangents[0], outputs
        # Without the dependency a compiled step would notice that these scores are the forward pass's, and keep those.
        q, k, v = mx.depends(list(primals), [d_out])
        delta = mx.sum(d_out * out, axis=-1, keepdims=True)  # (B, T, H, 1)
        q, k, v = q * scale, _with_ones(k), _with_ones(v)
        q_and_log = mx.concatenate([q, -logs], axis=-1)
        g_and_delta = mx.concatenate([d_out, -delta], axis=-1).swapaxes(1, 2)  # (B, H, T, d + 1)
        d_q: list[mx.array] = []
        d_k = d_v = mx.zeros_like(primals[1])
        for start, stop in blocks:
            block, g = rows(q_and_log, start, stop), rows(g_and_delta, start, stop)
            p = _weights(mx.addmm(mask(start, stop), block, k[:, :, :stop].swapaxes(-1, -2)))
            d_scores = p * (g @ v[:, :, :stop].swapaxes(-1, -2))
            d_q.append(heads(d_scores @ k[:, :, :stop, :d]) * scale)
            below = [(0, 0), (0, 0), (0, T - stop), (0, 0)]
            d_k = d_k + mx.pad(d_scores.swapaxes(-1, -2) @ block[..., :d], below)
            d_v = d_v + mx.pad(p.swapaxes(-1, -2) @ g[..., :d], below)
        return mx.concatenate(d_q, axis=2), d_k, d_v

    return cast(tuple[mx.array, mx.array], attend(q, k, v))[0].swapaxes(1, 2)


def _weights(x: mx.array) -> mx.array:
    """exp(x) for x <= 0, off by 1e-5 of itself and by exp(-20); nothing at all from -20 downwards."""
    return mx.maximum(exp_nonpositive(x) - (1 + 2e-5) * math.exp(_LOWEST), 0)


def _with_ones(x: mx.array) -> mx.array:
    """[x, 1]: one column more."""
    return mx.concatenate([x, mx.ones((*x.shape[:-1], 1), dtype=x.dtype)], axis=-1)


@functools.lru_cache(maxsize=256)
def _causal_rows(start: int, stop: int, group: int) -> mx.array:
    """0 where queries `start` to `stop` may look, and below each other the same for each head of a group: (R, S)."""
    seen = np.arange(start, stop)[:, None] >= np.arange(stop)[None, :]
    return mx.array(np.tile(np.where(seen, 0.0, _HIDDEN).astype(np.float32), (group, 1)))
