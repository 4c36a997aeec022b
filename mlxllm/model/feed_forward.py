"""The feed-forward network of a block: what each position does by itself.

Shapes: B batch, T time, D hidden, F hidden layer of the feed-forward, E experts, k experts a token, N = B * T * k.
"""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from mlxllm.config import ModelConfig
from mlxllm.model import cpu_math
from mlxllm.model.linear import Linear
from mlxllm.model.module import Module
from mlxllm.model.norms import Norm
from mlxllm.model.recompute import forming_again


def _squared_relu(x: mx.array) -> mx.array:
    """max(x, 0)^2 (Primer, arXiv:2109.08668)."""
    return mx.square(mx.maximum(x, 0))


def _silu(x: mx.array) -> mx.array:
    """x sigmoid(x)."""
    return cpu_math.silu(x) if cpu_math.worthwhile(x.size, x.dtype) else nn.silu(x)


ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "silu": _silu,
    "gelu": nn.gelu,
    "gelu_new": nn.gelu_approx,
    "relu": nn.relu,
    "relu2": _squared_relu,
}


class FeedForward(Module):
    """down(act(up(x))), or with a gate down(act(gate(x)) * up(x)): SwiGLU where act is SiLU (arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig, bias: bool) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        if config.mlp_gated:
            self.gate_proj = Linear(width, inner, bias=bias)
        self.up_proj = Linear(width, inner, bias=bias)
        self.down_proj = Linear(inner, width, bias=bias)
        self._gated = config.mlp_gated
        self._act = ACTIVATIONS[config.hidden_act]

    def __call__(self, x: mx.array, norm: Norm | None = None) -> mx.array:
        """(B, T, D) -> (B, T, D), of x normalised by `norm`."""

        def before(x: mx.array) -> tuple[mx.array, ...]:
            x = x if norm is None else norm(x)
            return (self.gate_proj(x), self.up_proj(x)) if self._gated else (self.up_proj(x),)

        def behind(first: mx.array, *up: mx.array) -> tuple[mx.array, ...]:
            inner = self._act(first)
            return (self.down_proj(inner * up[0] if up else inner),)

        entry = [self.gate_proj, self.up_proj] if self._gated else [self.up_proj]
        inner = forming_again(before, entry if norm is None else [norm, *entry], x)
        return forming_again(behind, [self.down_proj], *inner)[0]


Project = Callable[[str, mx.array, mx.array], mx.array]
"""(name of a matrix, rows, expert of each row) -> products; see `Experts.project`."""


class Experts(Module):
    """E feed-forwards side by side: each weight is (E, out, in)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, width, inner = config.num_experts, config.hidden_size, config.moe_intermediate_size
        if config.mlp_gated:
            self.gate_proj = mx.zeros((experts, inner, width))
        self.up_proj = mx.zeros((experts, inner, width))
        self.down_proj = mx.zeros((experts, width, inner))
        self._gated = config.mlp_gated
        self._act = ACTIVATIONS[config.hidden_act]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> (E, out, in) of each matrix."""
        return {name: self[name].shape for name in ("gate_proj", "up_proj", "down_proj") if name in self}

    def project(self, name: str, rows: mx.array, expert: mx.array) -> mx.array:
        """(N, in) -> (N, out): row n through the matrix `name` of expert[n]."""
        weight = self[name].swapaxes(-1, -2)  # (E, in, out)
        return mx.gather_mm(rows[:, None, :], weight, rhs_indices=expert, sorted_indices=True).squeeze(1)

    def __call__(self, x: mx.array, expert: mx.array, project: Project | None = None) -> mx.array:
        """Send row n of x (N, D) through expert[n] (N,), which is sorted; returns (N, D).

        Args:
            x: the rows.
            expert: where each of them goes.
            project: what multiplies with a matrix; by default the method of that name.
        """
        project = project or self.project
        up = project("up_proj", x, expert)
        inner = self._act(project("gate_proj", x, expert)) * up if self._gated else self._act(up)
        return project("down_proj", inner, expert)


class MixtureOfExperts(Module):
    """Each token goes to its top-k experts, weighted by a softmax router (Switch, arXiv:2101.03961; Mixtral, 2401.04088).

    After a call, `balance_loss` holds E * sum_e(share of the tokens sent to e * mean probability of e), which is k when
    the load is even; times `router_aux_loss_coef` it is added to the training loss, so that no expert starves.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = Experts(config)
        self._num_experts = config.num_experts
        self._top_k = config.num_experts_per_tok
        self._normalise = config.norm_topk_prob
        self._balance_loss = mx.zeros(())

    @property
    def balance_loss(self) -> mx.array:
        """Scalar: the load-balancing loss of the last call."""
        return self._balance_loss

    def __call__(self, x: mx.array, norm: Norm | None = None) -> mx.array:
        """(B, T, D) -> (B, T, D), of x normalised by `norm`."""
        B, T, D = x.shape
        k = self._top_k
        x = x if norm is None else norm(x)
        rows = x.reshape(B * T, D)
        probs = mx.softmax(self.gate(rows).astype(mx.float32), axis=-1)  # (B*T, E)
        chosen = mx.stop_gradient(mx.argpartition(-probs, kth=k - 1, axis=-1)[:, :k])  # (B*T, k)
        weights = mx.take_along_axis(probs, chosen, axis=-1)
        if self._normalise:
            weights = weights / mx.sum(weights, axis=-1, keepdims=True)

        # One sorted list of (token, expert) pairs: every expert then reads one contiguous piece.
        order = mx.argsort(chosen.reshape(-1))  # (N,)
        expert = chosen.reshape(-1)[order]
        out = self.experts(rows[order // k], expert)  # (N, D)
        out = out[mx.argsort(order)].reshape(B * T, k, D)

        counts = mx.sum(chosen[:, :, None] == mx.arange(self._num_experts), axis=(0, 1))  # (E,)
        share = counts.astype(mx.float32) / (B * T)
        self._balance_loss = self._num_experts * mx.sum(share * mx.mean(probs, axis=0))
        return mx.sum(out * weights[:, :, None].astype(out.dtype), axis=1).reshape(B, T, D)
