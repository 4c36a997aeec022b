"""A linear layer whose gradient comes in the layout of its matrix.

Shapes: W is (out, in).
"""

from typing import cast

import mlx.core as mx
import mlx.nn as nn


@mx.custom_function
def _product(x: mx.array, weight: mx.array) -> mx.array:
    return x @ weight.T


@_product.vjp
def _product_backward(
    primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    """dX = G W, dW = G^T X. Autodiff would form (X^T G)^T, whose transposed layout every sum and update has to copy."""
    x, weight = primals
    out, width = weight.shape
    return cotangent @ weight, cotangent.reshape(-1, out).T @ x.reshape(-1, width)


class Linear(nn.Linear):
    """y = x W^T + b."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) -> (..., out)."""
        if not self.training or "weight" in self._no_grad:
            return super().__call__(x)
        y = cast(mx.array, _product(x, self.weight))
        return y + self.bias if "bias" in self else y
