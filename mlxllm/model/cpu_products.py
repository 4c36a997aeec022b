"""Products of a matrix with one or a few columns on the CPU, as fast as the matrix can be read.

MLX multiplies a row by means for whole matrices: small ones on one core, large ones after copying them into another order.
OpenBLAS has a routine for a matrix times a vector, which reads the matrix once, with all cores. Several columns, and all
where no OpenBLAS was found, are NumPy's, but where OpenBLAS is to keep to one thread: of that NumPy's own knows nothing.

Shapes: W (out, in), x (in, B), W x (out, B).
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from mlxllm import runtime

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_ROW_MAJOR, _AS_IS = 101, 111
"""Of cblas.h: CblasRowMajor, CblasNoTrans."""


def view(a: mx.array) -> Array:
    """The numbers of an MLX array where they lie."""
    return np.array(a, copy=False)


class Product:
    """x -> W x + b for any B; it reads the very memory of the arrays, so they must stay as they are."""

    def __init__(self, weight: mx.array, bias: mx.array | None = None) -> None:
        """Of float32 arrays, (out, in) and (out,)."""
        self._weight = np.ascontiguousarray(view(weight))
        self._bias = None if bias is None else view(bias)[:, None]
        self._address = self._weight.ctypes.data

    @property
    def rows(self) -> int:
        """out."""
        return len(self._weight)

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        """(in, B) -> (out, B), into `out` if that is given, which must be contiguous."""
        rows, width = self._weight.shape
        B = x.shape[1]
        if out is None:
            out = np.empty((rows, B), np.float32)
        x = np.ascontiguousarray(x)
        if B == 1 and _GEMV is not None:
            _GEMV(
                _ROW_MAJOR, _AS_IS, rows, width, 1.0, self._address, width, x.ctypes.data, 1, 0.0, out.ctypes.data, 1
            )  # fmt: skip
        elif _GEMM is not None and runtime.blas_threads() == 1:
            _GEMM(
                _ROW_MAJOR, _AS_IS, _AS_IS, rows, B, width,
                1.0, self._address, width, x.ctypes.data, B, 0.0, out.ctypes.data, B,
            )  # fmt: skip
        else:
            # NumPy's wheel brings an OpenBLAS of its own, newer than most systems have, and faster with few columns.
            np.matmul(self._weight, x, out=out)
        if self._bias is not None:
            out += self._bias
        return out


class Pace:
    """Decides whether the next step works with all threads, or with one because other programs want the cores.

    The threads of a product wait for each other, some sixty times in a step. Where the cores are busy, every time one of
    them stands in a queue, and a step that takes 6 ms on all threads and 10 on one takes 300.
    """

    _TOO_LONG = 1.5
    """So many times as long as on one thread: the cores are busy."""
    _FIRST, _MOST = 4, 512
    """Steps on one thread before all are tried again; twice as many each time that this was in vain."""

    def __init__(self) -> None:
        self._alone: float | None = None  # seconds of the last step on one thread
        self._left = 0  # steps to be made on one thread
        self._patience = self._FIRST

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around each step."""
        begun = time.perf_counter()
        with runtime.one_blas_thread() if self.alone else nullcontext():
            yield
        self.note(time.perf_counter() - begun)

    def note(self, seconds: float) -> None:
        """What the step took."""
        if self.alone:
            self._left -= 1
            self._alone = seconds
        elif self._alone is None:
            self._left = 1
        elif seconds > self._TOO_LONG * self._alone:
            self._left, self._patience = self._patience, min(2 * self._patience, self._MOST)
        else:
            self._patience = self._FIRST

    @property
    def alone(self) -> bool:
        """Whether the next step is to be made on one thread."""
        return self._left > 0


def _function(name: str, *types: Any) -> Any:
    """A routine of the OpenBLAS that MLX uses; None where there is none."""
    found = runtime.blas_function(name)
    if found is not None:
        found.argtypes, found.restype = types, None
    return found


_I, _F, _P = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
_GEMV = _function("cblas_sgemv", _I, _I, _I, _I, _F, _P, _I, _P, _I, _F, _P, _I)
_GEMM = _function("cblas_sgemm", _I, _I, _I, _I, _I, _I, _F, _P, _I, _P, _I, _F, _P, _I)
