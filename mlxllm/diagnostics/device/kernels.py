"""The device's fused kernels, and their gradients, against the plain formulas in float32 on the CPU.

Shapes: B batch, T time, S key time, D hidden, H query heads, K key-value heads, d width of one head.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.diagnostics.device.result import Test, largest_difference, relative_difference
from mlxllm.model.attention import Mask, causal_mask, fused_attention, plain_attention
from mlxllm.model.positions import rope_wavelengths, rotate, rotate_plain

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}

_EPS = 1e-5
_HEAD_DIM = 64  # Metal has kernels for this width; odd ones take other roads
_FLOAT32_NOISE = 2e-5
_GPU_TRIGONOMETRY = 5e-4
"""A GPU's fast sine and cosine."""
_REDUCED_FLOAT32 = 4e-3
"""Ten bits of mantissa, as TensorFloat-32 has."""
_HALF = {"bfloat16": 2e-2, "float16": 3e-3}


@dataclass(frozen=True)
class Kernel:
    """A fused operation and its formula, both over arrays of `shapes`."""

    name: str
    fast: Callable[..., mx.array]
    plain: Callable[..., mx.array]
    shapes: tuple[tuple[int, ...], ...]
    multiplies: bool = False
    """Whether it contains matrix products, which some devices round to fewer bits."""
    largest_angle: float = 0.0
    """In radians, of the sines that it takes: a float32 angle is uncertain by its last bit."""


def kernels() -> tuple[Kernel, ...]:
    """What the model is made of."""
    row, weight = (3, 33, 256), (256,)
    config = ModelConfig(hidden_size=4 * _HEAD_DIM, num_attention_heads=4, rope_theta=10000.0)
    periods = rope_wavelengths(config)
    heads = (2, 4, 65, _HEAD_DIM)
    return (
        Kernel("rms_norm", lambda x, w: mx.fast.rms_norm(x, w, _EPS), _rms_norm, (row, weight)),
        Kernel(
            "layer_norm",
            lambda x, w, b: mx.fast.layer_norm(x, w, b, _EPS),
            _layer_norm,
            (row, weight, weight),
        ),
        *(
            Kernel(
                f"rope from position {start}",
                lambda x, start=start: rotate(x, periods, start),
                lambda x, start=start: rotate_plain(x, periods, start),
                (heads,),
                largest_angle=start + heads[2],
            )
            for start in (0, 4000)
        ),
        _attention("attention, causal", H=4, K=4, T=65, S=65, mask="causal"),
        _attention("attention, grouped queries", H=4, K=2, T=65, S=65, mask="causal"),
        _attention("attention, window of 16", H=4, K=2, T=65, S=65, mask=causal_mask(65, 65, 16)),
        _attention("attention, last 1 of 300", H=4, K=2, T=1, S=300, mask=None),
        _attention("attention, last 20 of 90", H=4, K=2, T=20, S=90, mask="causal"),
    )


def _attention(name: str, H: int, K: int, T: int, S: int, mask: Mask) -> Kernel:
    shapes = ((2, H, T, _HEAD_DIM), (2, K, S, _HEAD_DIM), (2, K, S, _HEAD_DIM))
    scale = _HEAD_DIM**-0.5
    return Kernel(
        name,
        lambda q, k, v: fused_attention(q, k, v, scale, mask),
        lambda q, k, v: plain_attention(q, k, v, scale, mask),
        shapes,
        multiplies=True,
    )


def _rms_norm(x: mx.array, weight: mx.array) -> mx.array:
    return x / mx.sqrt(mx.mean(x * x, axis=-1, keepdims=True) + _EPS) * weight


def _layer_norm(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    centred = x - mx.mean(x, axis=-1, keepdims=True)
    return centred / mx.sqrt(mx.mean(centred * centred, axis=-1, keepdims=True) + _EPS) * weight + bias


def kernel_tests() -> Iterator[Test]:
    """Each kernel in each dtype; its gradients in those that training computes in."""
    yield Test("matrix product, float32", _REDUCED_FLOAT32, matrix_product_difference)
    for kernel in kernels():
        for dtype in DTYPES:
            tolerance = kernel_tolerance(kernel, dtype)
            yield Test(f"{kernel.name}, {dtype}", tolerance, partial(_compare, kernel, DTYPES[dtype]))
        for dtype in ("float32", "bfloat16"):
            # A gradient sums more products than the value does.
            tolerance = 2 * kernel_tolerance(kernel, dtype)
            yield Test(
                f"{kernel.name}, gradient, {dtype}",
                tolerance,
                partial(_compare_gradients, kernel, DTYPES[dtype]),
            )


def kernel_tolerance(kernel: Kernel, dtype: str) -> float:
    """How far a kernel may be from its formula on the default device."""
    if dtype != "float32":
        return _HALF[dtype]
    if kernel.multiplies and reduced_float32():
        return _REDUCED_FLOAT32
    tolerance = _FLOAT32_NOISE + kernel.largest_angle * 2**-22
    if kernel.largest_angle and mx.default_device().type == mx.gpu:
        tolerance += _GPU_TRIGONOMETRY
    return tolerance


@cache
def reduced_float32() -> bool:
    """Whether the device rounds the factors of float32 matrix products to TensorFloat-32.

    MLX lets GPUs that gain by it (NVIDIA's, Apple's from the M5 on) unless MLX_ENABLE_TF32=0.
    """
    return mx.default_device().type == mx.gpu and matrix_product_difference() > _FLOAT32_NOISE


def matrix_product_difference() -> float:
    """Largest relative difference of a float32 matrix product to the CPU's."""
    a, b = _inputs(((256, 256), (256, 256)), mx.float32)
    with mx.stream(mx.cpu):
        expected = a @ b
    return relative_difference(a @ b, expected)


def _inputs(shapes: tuple[tuple[int, ...], ...], dtype: mx.Dtype) -> list[mx.array]:
    """The same normal numbers on every machine."""
    with mx.stream(mx.cpu):
        keys = mx.random.split(mx.random.key(20), len(shapes))
        return [mx.random.normal(s, key=keys[i]).astype(dtype) for i, s in enumerate(shapes)]


def _compare(kernel: Kernel, dtype: mx.Dtype) -> float:
    inputs = _inputs(kernel.shapes, dtype)
    got = kernel.fast(*inputs)
    mx.eval(got)
    with mx.stream(mx.cpu):
        expected = kernel.plain(*(x.astype(mx.float32) for x in inputs))
    return relative_difference(got, expected)


def _compare_gradients(kernel: Kernel, dtype: mx.Dtype) -> float:
    inputs = _inputs(kernel.shapes, dtype)
    cotangent = _inputs((kernel.plain(*(x.astype(mx.float32) for x in inputs)).shape,), dtype)
    got = mx.vjp(kernel.fast, inputs, cotangent)[1]
    mx.eval(got)
    with mx.stream(mx.cpu):
        exact = [x.astype(mx.float32) for x in inputs]
        expected = mx.vjp(kernel.plain, exact, [cotangent[0].astype(mx.float32)])[1]
    return largest_difference(got, expected)
