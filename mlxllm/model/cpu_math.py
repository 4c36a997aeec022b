"""Faster formulas for MLX's CPU backend, where an exponential costs as much as fifty multiplications.

Chosen by device and size (`worthwhile`): Metal and CUDA have kernels of their own, and on few numbers the overhead of
many small operations would eat the gain. Tests hold each one to its plain formula.

Shapes: B batch, H heads, T time, d head width, F feed-forward, N queries of one block, S keys that they can see.
"""

from typing import cast

import mlx.core as mx
import numpy as np

_LOWEST = -20.0
"""Below this an exponential counts as exp(-20) = 2e-9."""
_SQUARINGS = 5
_DEGREE = 5
_QUERY_BLOCK = 64
_WORTHWHILE_SIZE = 1 << 15


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
    """log(sum(exp(x))) over the last axis, on any device."""
    if not worthwhile(x.size, x.dtype):
        return mx.logsumexp(x, axis=-1)
    top = mx.max(x, axis=-1, keepdims=True)
    return (mx.log(mx.sum(exp_nonpositive(x - top), axis=-1, keepdims=True)) + top).squeeze(-1)


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


@mx.custom_function
def _silu_product(gate: mx.array, up: mx.array) -> mx.array:
    return gate * sigmoid(gate) * up


@_silu_product.vjp
def _silu_product_backward(
    primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    gate, up = primals
    # Without the dependency a compiled step would notice that this sigmoid is the forward pass's, and keep that one.
    (gate,) = mx.depends([gate], [cotangent])
    s = sigmoid(gate)
    y = gate * s
    return cotangent * up * (s + y * (1 - s)), cotangent * y


def silu_product(gate: mx.array, up: mx.array) -> mx.array:
    """silu(gate) up; the sigmoid is taken again in the backward pass rather than kept, the widest array of a block."""
    return cast(mx.array, _silu_product(gate, up))


def same_text(query: mx.array, key: mx.array) -> mx.array:
    """Whether a query of one segment may see a key of another: of its own, or of 0, which all share."""
    return (query == key) | (key == 0)


def causal_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, segments: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + causal mask) v without the half that the mask hides, (B, H, T, d) each.

    With `segments`, (B, T) integers, a position sees those of its own segment and of segment 0 only.

    Blocks of N queries are computed against only the S keys that they can see. The weights stay unnormalised, P =
    exp(scores - max), and the much smaller output is divided by their sums l. Backward, with D = sum(dO * O):
    dS = P * (dO v^T - D) / l, dv = P^T dO / l, dq = dS k, dk = dS^T q (FlashAttention, arXiv:2205.14135, section 3.1).
    """
    T = q.shape[2]
    blocks = [(start, min(start + _QUERY_BLOCK, T)) for start in range(0, T, _QUERY_BLOCK)]

    @mx.custom_function
    def attend(q: mx.array, k: mx.array, v: mx.array) -> tuple[mx.array, ...]:
        outputs: list[mx.array] = []
        sums: list[mx.array] = []
        weights: list[mx.array] = []
        for start, stop in blocks:
            scores = (q[:, :, start:stop] * scale) @ k[:, :, :stop].swapaxes(-1, -2)  # (B, H, N, S)
            visible = mx.array(np.arange(start, stop)[:, None] >= np.arange(stop)[None, :])
            if segments is not None:
                visible = visible & same_text(segments[:, None, start:stop, None], segments[:, None, None, :stop])
            scores = mx.where(visible, scores, -1e30)
            p = exp_nonpositive(scores - mx.max(scores, axis=-1, keepdims=True))
            p = p * visible  # exp_nonpositive gives exp(-20) where it should be nothing
            total = mx.sum(p, axis=-1, keepdims=True)
            outputs.append((p @ v[:, :, :stop]) / total)
            sums.append(total)
            weights.append(p)
        return mx.concatenate(outputs, axis=2), mx.concatenate(sums, axis=2), *weights

    @attend.vjp
    def backward(
        primals: tuple[mx.array, ...], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array, mx.array]:
        q, k, v = primals
        out, sums, *weights = outputs
        d_out = cotangents[0] / sums
        delta = mx.sum(d_out * out, axis=-1, keepdims=True)
        d_q: list[mx.array] = []
        d_k, d_v = mx.zeros_like(k), mx.zeros_like(v)
        for (start, stop), p in zip(blocks, weights, strict=True):
            g = d_out[:, :, start:stop]
            d_scores = p * (g @ v[:, :, :stop].swapaxes(-1, -2) - delta[:, :, start:stop])
            d_q.append(d_scores @ k[:, :, :stop])
            below = [(0, 0), (0, 0), (0, T - stop), (0, 0)]
            d_k = d_k + mx.pad(d_scores.swapaxes(-1, -2) @ q[:, :, start:stop], below)
            d_v = d_v + mx.pad(p.swapaxes(-1, -2) @ g, below)
        return mx.concatenate(d_q, axis=2) * scale, d_k * scale, d_v

    return cast(tuple[mx.array, ...], attend(q, k, v))[0]
