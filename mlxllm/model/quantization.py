"""Matrices held in a few bits a weight and never trained: the base of QLoRA (arXiv:2305.14314), or a model that came so.

Neighbours in a row of a matrix form groups, and a group shares its scale:

- affine4, affine8: w = scale * q + bias, q an integer of 4 or 8 bits; groups of 64, or 32 where 64 does not divide a row
- mxfp4: w = scale * f, f a float of 4 bits (E2M1), the scale a power of two; groups of 32 (OCP Microscaling, 2023)
- nvfp4: the same with a scale of 8 bits (E4M3) and groups of 16

Shapes: N rows of a batch, E experts; a packed (..., out, in) matrix is (..., out, in * bits / 32) words of 32 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.errors import ConfigError
from mlxllm.model.feed_forward import Experts
from mlxllm.model.module import Module

_UNPACK_ROWS = {"affine": 4, "mxfp4": 16, "mxfp8": 16, "nvfp4": 16}
"""On the CPU: from so many rows on, unpacking a matrix and multiplying by BLAS is faster than MLX's packed product."""


@dataclass(frozen=True)
class Format:
    """How weights are packed, in the words of `mx.quantize`."""

    mode: str
    bits: int
    group_size: int


FORMATS: dict[str, tuple[Format, ...]] = {
    "affine4": (Format("affine", 4, 64), Format("affine", 4, 32)),
    "affine8": (Format("affine", 8, 64), Format("affine", 8, 32)),
    "mxfp4": (Format("mxfp4", 4, 32),),
    "nvfp4": (Format("nvfp4", 4, 16),),
}
"""What `lora.quantize` names; of several the first whose groups divide a row."""


@dataclass(frozen=True)
class PackedMatrix:
    """The arrays of one quantised matrix."""

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    """Of the affine modes only."""
    format: Format

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix, (..., out, in)."""
        return (*self.weight.shape[:-1], self.weight.shape[-1] * 32 // self.format.bits)

    def dense(self, dtype: mx.Dtype, after: mx.array | None = None) -> mx.array:
        """The matrix, (..., out, in).

        Args:
            dtype: of the result.
            after: unpack only when this has been computed. Nothing else would keep MLX from unpacking a whole model
                at once, since no matrix depends on another.
        """
        weight = self.weight if after is None else mx.depends([self.weight], [after])[0]
        f = self.format
        dense = mx.dequantize(
            weight, self.scales, self.biases, group_size=f.group_size, bits=f.bits, mode=f.mode, dtype=dtype
        )
        return dense.astype(dtype)


def pack(matrix: mx.array, form: Format) -> PackedMatrix:
    """Quantise (..., out, in)."""
    weight, scales, *biases = mx.quantize(matrix, form.group_size, form.bits, form.mode)
    return PackedMatrix(weight, scales, biases[0] if biases else None, form)


def format_for(name: str, width: int, where: str) -> Format:
    """The format of `FORMATS` that rows of `width` weights can have.

    Raises:
        ConfigError: none of that name; the message names the layer, `where`.
    """
    for form in FORMATS[name]:
        if width % form.group_size == 0:
            return form
    others = [n for n, forms in FORMATS.items() if any(width % f.group_size == 0 for f in forms)]
    remedy = f"use {' or '.join(others)}, or leave lora.quantize out" if others else "leave lora.quantize out"
    raise ConfigError(
        f"lora.quantize {name} packs groups of {FORMATS[name][-1].group_size} weights, and a row of {where} has {width}, "
        f"which is no multiple of that; {remedy}"
    )


def _stays_packed(rows: int, form: Format) -> bool:
    """Whether MLX's product with a packed matrix is the better way for so many rows."""
    return mx.default_device().type == mx.gpu or rows < _UNPACK_ROWS[form.mode]


def _unpacking(
    x: mx.array, packed: PackedMatrix, forward: Callable[..., mx.array], backward: Callable[..., mx.array]
) -> mx.array:
    """forward(x, matrix), whose gradient is backward(cotangent, matrix); the matrix is unpacked for each of the two.

    A plain product would keep every unpacked matrix from the forward to the backward pass: the whole model, in full.
    """

    @mx.custom_function
    def product(x: mx.array) -> mx.array:
        return forward(x, packed.dense(x.dtype, after=x))

    @product.vjp
    def gradient(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
        return backward(cotangent, packed.dense(cotangent.dtype, after=cotangent))

    return cast(mx.array, product(x))


class QuantizedLinear(Module):
    """x W^T + bias with a packed W. Arrays are named as in `mlx.nn.QuantizedLinear`; all are frozen."""

    def __init__(self, packed: PackedMatrix, bias: mx.array | None = None) -> None:
        super().__init__()
        self.weight, self.scales = packed.weight, packed.scales
        if packed.biases is not None:
            self.biases = packed.biases
        if bias is not None:
            self.bias = bias
        self._format = packed.format
        self.freeze()

    @property
    def packed(self) -> PackedMatrix:
        """The matrix."""
        return PackedMatrix(self.weight, self.scales, self.get("biases"), self._format)

    def product(self, x: mx.array) -> mx.array:
        """x W^T without the bias, (..., in) -> (..., out)."""
        packed, form = self.packed, self._format
        if _stays_packed(x.size // x.shape[-1], form):
            return mx.quantized_matmul(
                x,
                packed.weight,
                packed.scales,
                packed.biases,
                transpose=True,
                group_size=form.group_size,
                bits=form.bits,
                mode=form.mode,
            )
        return _unpacking(x, packed, lambda x, w: x @ w.T, lambda cotangent, w: cotangent @ w)

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) -> (..., out)."""
        y = self.product(x)
        return y + self.bias if "bias" in self else y


class QuantizedEmbedding(QuantizedLinear):
    """A packed table of embeddings, (V, D), which can be the output head as well."""

    def __init__(self, packed: PackedMatrix, dtype: mx.Dtype) -> None:
        super().__init__(packed)
        self._dtype = dtype

    def __call__(self, token_ids: mx.array) -> mx.array:
        """(...) token ids -> (..., D) in the dtype that the table was made with."""
        table = self.packed
        biases = None if table.biases is None else table.biases[token_ids]
        rows = PackedMatrix(table.weight[token_ids], table.scales[token_ids], biases, table.format)
        return rows.dense(self._dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        """(..., D) -> (..., V)."""
        return self.product(x)


class QuantizedExperts(Experts):
    """Experts with packed matrices; `gate_proj_scales` and `gate_proj_biases` lie beside `gate_proj`."""

    def __init__(self, config: ModelConfig, packed: dict[str, PackedMatrix]) -> None:
        super().__init__(config)
        for name, matrix in packed.items():
            self[name], self[f"{name}_scales"] = matrix.weight, matrix.scales
            if matrix.biases is not None:
                self[f"{name}_biases"] = matrix.biases
        self._formats = {name: matrix.format for name, matrix in packed.items()}
        self.freeze()

    def packed(self, name: str) -> PackedMatrix:
        """The matrices of that name, (E, out, in)."""
        return PackedMatrix(self[name], self[f"{name}_scales"], self.get(f"{name}_biases"), self._formats[name])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> (E, out, in) of each matrix."""
        return {name: self.packed(name).shape for name in self._formats}

    def project(self, name: str, rows: mx.array, expert: mx.array) -> mx.array:
        """(N, in) -> (N, out): row n through the matrix `name` of expert[n]."""
        packed, form = self.packed(name), self._formats[name]
        rows = rows[:, None, :]
        if _stays_packed(len(rows), form):
            out = mx.gather_qmm(
                rows,
                packed.weight,
                packed.scales,
                packed.biases,
                rhs_indices=expert,
                transpose=True,
                group_size=form.group_size,
                bits=form.bits,
                mode=form.mode,
                sorted_indices=True,
            )
            return out.squeeze(1)

        def through(rows: mx.array, weight: mx.array) -> mx.array:
            return mx.gather_mm(rows, weight, rhs_indices=expert, sorted_indices=True)

        out = _unpacking(rows, packed, lambda x, w: through(x, w.swapaxes(-1, -2)), through)
        return out.squeeze(1)
