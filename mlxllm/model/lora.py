"""Low-rank adapters: a frozen matrix W, and beside it two thin ones that are trained.

- LoRA (arXiv:2106.09685): y = x W^T + s (x A) B. B starts at zero, so that the first step is the base model's.
- rsLoRA (arXiv:2312.03732): the same with s = alpha / sqrt(r), which keeps the update's size whatever the rank.
- DoRA (arXiv:2402.09353): the rows of W + s (A B)^T are brought to trained lengths m, which start at those of W's rows.

Arrays are shaped as mlx-lm saves them. Only lora_a, lora_b and m_change are unfrozen.

Shapes: r rank, N rows of a batch, E experts; W is (out, in), A (in, r), B (r, out), m (out,). Of experts W is
(E, out, in), A (E, r, in), B (E, out, r).
"""

import mlx.core as mx
import mlx.nn as nn

from mlxllm.model.feed_forward import Experts
from mlxllm.model.module import Module
from mlxllm.model.quantization import QuantizedExperts, QuantizedLinear

Linear = nn.Linear | QuantizedLinear
"""What an adapter can sit on."""


def _dense(linear: Linear) -> mx.array:
    """W in float32, (out, in)."""
    if isinstance(linear, QuantizedLinear):
        return linear.packed.dense(mx.float32)
    return linear.weight.astype(mx.float32)


def _product(linear: Linear, x: mx.array) -> mx.array:
    """x W^T without the bias."""
    return linear.product(x) if isinstance(linear, QuantizedLinear) else x @ linear.weight.T


def shape_of(linear: Linear) -> tuple[int, ...]:
    """(out, in)."""
    return linear.packed.shape if isinstance(linear, QuantizedLinear) else linear.weight.shape


def _initial(shape: tuple[int, ...], width: int, key: mx.array) -> mx.array:
    """Uniform within 1 / sqrt(in), as a fresh linear layer."""
    bound = width**-0.5
    return mx.random.uniform(-bound, bound, shape, key=key)


class Adapter(Module):
    """What adapters have in common: a scale, dropout on the input, and a switch."""

    def __init__(self, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self._rank, self._scale, self._dropout_share = rank, scale, dropout
        self._on = True

    @property
    def rank(self) -> int:
        """r."""
        return self._rank

    @property
    def scale(self) -> float:
        """s."""
        return self._scale

    @property
    def dropout_share(self) -> float:
        """The share of inputs that are dropped while training."""
        return self._dropout_share

    @property
    def on(self) -> bool:
        """Whether it takes part; if not, the layer is the base model's. Looked at when a compiled function is traced."""
        return self._on

    @on.setter
    def on(self, value: bool) -> None:
        self._on = value


class LoraLinear(Adapter):
    """A linear layer with a low-rank update.

    Args:
        linear: the layer below; shared, not copied.
        rank: r.
        scale: s.
        dropout: share of the adapter's inputs that are dropped while training.
        key: draws A.
    """

    def __init__(self, linear: Linear, rank: int, scale: float, dropout: float, key: mx.array) -> None:
        super().__init__(rank, scale, dropout)
        out, width = shape_of(linear)
        self.linear = linear
        self.lora_a = _initial((width, rank), width, key)
        self.lora_b = mx.zeros((rank, out))
        self.freeze()
        self.unfreeze(recurse=False, keys=["lora_a", "lora_b"])

    def _updated(self, y: mx.array, x: mx.array) -> mx.array:
        """y + s (x A) B."""
        return mx.addmm(y, (self.dropout(x) @ self.lora_a) * self._scale, self.lora_b).astype(y.dtype)

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) -> (..., out)."""
        y = self.linear(x)
        return self._updated(y, x) if self._on else y

    def merged(self) -> mx.array:
        """The matrix that does all in one: W + s (A B)^T in float32, (out, in)."""
        a, b = self.lora_a.astype(mx.float32), self.lora_b.astype(mx.float32)
        return _dense(self.linear) + self._scale * (a @ b).T


class DoraLinear(LoraLinear):
    """A linear layer whose rows' directions have a low-rank update, and whose rows' lengths are trained by themselves.

    What is trained is the change of m: in half precision m itself would be off by up to 0.4 % from the first step on.
    """

    keeps_results = True
    """The gradient of m needs the product, which is too dear to be formed again (`model.recompute`)."""

    def __init__(self, linear: Linear, rank: int, scale: float, dropout: float, key: mx.array) -> None:
        super().__init__(linear, rank, scale, dropout, key)
        self._squares = mx.sum(mx.square(_dense(linear)), axis=1)  # (out,)
        self.m_change = mx.zeros(self._squares.shape)
        # Lazy arrays would hold the unpacked matrix, and be computed anew in each compiled step.
        mx.eval(self._squares)
        self.unfreeze(recurse=False, keys=["m_change"])

    @property
    def lengths(self) -> mx.array:
        """m in float32, (out,)."""
        return mx.sqrt(self._squares) + self.m_change.astype(mx.float32)

    def take_lengths(self, lengths: mx.array) -> None:
        """Set m, (out,)."""
        self.m_change = lengths.astype(mx.float32) - mx.sqrt(self._squares)

    def _lengths_now(self) -> mx.array:
        """Of the rows of W + s (A B)^T, (out,) float32, without ever forming that matrix.

        |w + s u|^2 = |w|^2 + 2 s w.u + s^2 |u|^2 with u = A b: the middle is (A^T W^T) b, the last b (A^T A) b. Float32
        has digits to spare for this unless the update all but cancels a row.
        """
        a, b = self.lora_a, self.lora_b.astype(mx.float32)
        between = _product(self.linear, a.T).astype(mx.float32)  # (r, out)
        a = a.astype(mx.float32)
        s = self._scale
        squares = self._squares + 2 * s * mx.sum(between * b, axis=0) + s * s * mx.sum(b * ((a.T @ a) @ b), axis=0)
        return mx.sqrt(mx.maximum(squares, 1e-24))

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) -> (..., out)."""
        if not self._on:
            return self.linear(x)
        y = _product(self.linear, x)
        # The lengths count as constant (section 4.3), which halves the backward pass and changes little.
        stretch = self.lengths / mx.stop_gradient(self._lengths_now())
        y = self._updated(y, x) * stretch.astype(y.dtype)
        return y + self.linear.bias if "bias" in self.linear else y

    def merged(self) -> mx.array:
        """m / |row| times each row of W + s (A B)^T, in float32, (out, in)."""
        matrix = super().merged()
        lengths = mx.sqrt(mx.maximum(mx.sum(mx.square(matrix), axis=1), 1e-24))
        return matrix * (self.lengths / lengths)[:, None]


class ExpertAdapter(Adapter):
    """The low-rank updates of one kind of matrix, one for each expert."""

    def __init__(self, shape: tuple[int, ...], rank: int, scale: float, dropout: float, key: mx.array) -> None:
        super().__init__(rank, scale, dropout)
        experts, out, width = shape
        self.lora_a = _initial((experts, rank, width), width, key)
        self.lora_b = mx.zeros((experts, out, rank))

    def __call__(self, rows: mx.array, expert: mx.array) -> mx.array:
        """s (x A) B of row n (N, in) with the pair of expert[n], which is sorted: (N, out)."""

        def through(rows: mx.array, matrices: mx.array) -> mx.array:
            return mx.gather_mm(rows, matrices.swapaxes(-1, -2), rhs_indices=expert, sorted_indices=True)

        inner = through(self.dropout(rows)[:, None, :], self.lora_a) * self._scale
        return through(inner, self.lora_b).squeeze(1)

    def delta(self) -> mx.array:
        """s (A B)^T of each expert in float32, (E, out, in)."""
        return self._scale * (self.lora_b.astype(mx.float32) @ self.lora_a.astype(mx.float32))


class LoraExperts(Module):
    """Experts some of whose matrices have low-rank updates; they are added as `self[name] = ExpertAdapter(...)`."""

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.experts = experts
        self.freeze()

    def add(self, name: str, rank: int, scale: float, dropout: float, key: mx.array) -> None:
        """Give the matrices `name` an adapter; see `LoraLinear` for the arguments."""
        self[name] = ExpertAdapter(self.experts.shapes()[name], rank, scale, dropout, key)

    def __call__(self, x: mx.array, expert: mx.array) -> mx.array:
        """(N, D) -> (N, D); see `Experts`."""

        def project(name: str, rows: mx.array, expert: mx.array) -> mx.array:
            y = self.experts.project(name, rows, expert)
            adapter = self.get(name)
            if isinstance(adapter, ExpertAdapter) and adapter.on:
                y = y + adapter(rows, expert).astype(y.dtype)
            return y

        return self.experts(x, expert, project)

    def merged(self, name: str) -> mx.array:
        """The matrices `name` with their updates, in float32, (E, out, in)."""
        experts = self.experts
        if isinstance(experts, QuantizedExperts):
            matrices = experts.packed(name).dense(mx.float32)
        else:
            matrices = experts[name].astype(mx.float32)
        adapter = self.get(name)
        return matrices + adapter.delta() if isinstance(adapter, ExpertAdapter) else matrices
