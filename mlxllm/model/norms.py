"""Normalisation: what keeps the residual stream's scale in hand."""

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.model.module import Module


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = mx.ones((width,))
        self._eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight, self._eps)


class LayerNorm(Module):
    """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias over the last axis (arXiv:1607.06450)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = mx.ones((width,))
        self.bias = mx.zeros((width,))
        self._eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.weight, self.bias, self._eps)


Norm = RMSNorm | LayerNorm


def make_norm(config: ModelConfig) -> Norm:
    """The normalisation that `config.norm` names, over the residual stream's width."""
    kind = RMSNorm if config.norm == "rmsnorm" else LayerNorm
    return kind(config.hidden_size, config.norm_eps)
