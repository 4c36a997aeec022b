"""The whole forward pass a second time, in numpy and float64, straight from the papers: it shares no code with ours."""

from collections.abc import Callable
from math import erf

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import ModelConfig
from mlxllm.model.module import named_parameters
from tests.model.tiny import VARIANTS, tiny_model, token_ids

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "silu": lambda z: z / (1 + np.exp(-z)),
    "gelu": lambda z: z * 0.5 * (1 + np.vectorize(erf)(z / 2**0.5)),
    "gelu_new": lambda z: 0.5 * z * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3))),
    "relu": lambda z: np.maximum(z, 0),
    "relu2": lambda z: np.maximum(z, 0) ** 2,
}


class Reference:
    """One text at a time; `weights` are ours by name."""

    def __init__(self, config: ModelConfig, weights: dict[str, np.ndarray]) -> None:
        self.config, self.weights = config, weights

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def rms_norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config.norm_eps) * self.weights[f"{name}.weight"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        if self.config.norm == "rmsnorm":
            return self.rms_norm(name, x)
        deviation = np.sqrt(x.var(-1, keepdims=True) + self.config.norm_eps)
        return (x - x.mean(-1, keepdims=True)) / deviation * self.weights[f"{name}.weight"] + self.weights[
            f"{name}.bias"
        ]

    def frequencies(self) -> np.ndarray:
        width = self.config.resolved_head_dim
        base = np.array([self.config.rope_theta ** (-2 * i / width) for i in range(width // 2)])
        scaling = self.config.rope_scaling
        if scaling is None:
            return base
        if scaling.rope_type == "linear":
            return base / scaling.factor
        for i, frequency in enumerate(base):
            turns = scaling.original_max_position_embeddings * frequency / (2 * np.pi)  # in the first context
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            kept = 1.0 if turns > high else 0.0 if turns < low else (turns - low) / (high - low)
            base[i] = kept * frequency + (1 - kept) * frequency / scaling.factor
        return base

    def rotate(self, head: np.ndarray) -> np.ndarray:
        """(T, d): the pair (i, i + d/2) as a complex number, turned."""
        half = head.shape[1] // 2
        turned = (head[:, :half] + 1j * head[:, half:]) * np.exp(
            1j * np.outer(np.arange(len(head)), self.frequencies())
        )
        return np.concatenate([turned.real, turned.imag], axis=1)

    def attention(self, layer: int, x: np.ndarray) -> np.ndarray:
        c, T, name = self.config, len(x), f"model.layers.{layer}.self_attn"
        q, k, v = (self.linear(f"{name}.{p}_proj", x).reshape(T, -1, c.resolved_head_dim).swapaxes(0, 1) for p in "qkv")
        out = []
        for h in range(c.num_attention_heads):
            shared = h * c.num_key_value_heads // c.num_attention_heads
            query, key = q[h], k[shared]
            if c.qk_norm:
                query, key = self.rms_norm(f"{name}.q_norm", query), self.rms_norm(f"{name}.k_norm", key)
            if c.positions == "rope" and (not c.no_rope_layers or c.no_rope_layers[layer]):
                query, key = self.rotate(query), self.rotate(key)
            scores = query @ key.T / np.sqrt(c.resolved_head_dim)
            for i in range(T):
                first = 0 if c.sliding_window is None else max(0, i - c.sliding_window + 1)
                scores[i, i + 1 :] = scores[i, :first] = -np.inf
            exps = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(exps / exps.sum(-1, keepdims=True) @ v[shared])
        return self.linear(f"{name}.o_proj", np.concatenate(out, axis=1))

    def feed_forward(self, name: str, x: np.ndarray) -> np.ndarray:
        act = ACTIVATIONS[self.config.hidden_act]
        up = self.linear(f"{name}.up_proj", x)
        inner = act(self.linear(f"{name}.gate_proj", x)) * up if self.config.mlp_gated else act(up)
        return self.linear(f"{name}.down_proj", inner)

    def experts(self, name: str, x: np.ndarray) -> np.ndarray:
        act, out = ACTIVATIONS[self.config.hidden_act], np.zeros_like(x)
        for t, row in enumerate(x):
            exps = np.exp(self.linear(f"{name}.gate", row))
            chosen = np.argsort(-exps)[: self.config.num_experts_per_tok]
            total = exps[chosen].sum() if self.config.norm_topk_prob else exps.sum()
            for e in chosen:
                up = self.weights[f"{name}.experts.up_proj"][e] @ row
                gated = self.config.mlp_gated
                inner = act(self.weights[f"{name}.experts.gate_proj"][e] @ row) * up if gated else act(up)
                out[t] += exps[e] / total * (self.weights[f"{name}.experts.down_proj"][e] @ inner)
        return out

    def logits(self, ids: np.ndarray) -> np.ndarray:
        c, T = self.config, len(ids)
        x = self.weights["model.embed_tokens.weight"][ids]
        if c.positions == "learned":
            x = x + self.weights["model.embed_positions.weight"][:T]
        if c.positions == "sinusoidal":
            angles = np.outer(np.arange(T), 10000.0 ** (-np.arange(0, c.hidden_size, 2) / c.hidden_size))
            x = x * np.sqrt(c.hidden_size)
            x[:, 0::2] += np.sin(angles)
            x[:, 1::2] += np.cos(angles)
        mlp = self.experts if c.num_experts else self.feed_forward
        for i in range(c.num_hidden_layers):
            block = f"model.layers.{i}"
            first, second = f"{block}.input_layernorm", f"{block}.post_attention_layernorm"
            if c.norm_position == "pre":
                x = x + self.attention(i, self.norm(first, x))
                x = x + mlp(f"{block}.mlp", self.norm(second, x))
            else:
                x = self.norm(first, x + self.attention(i, x))
                x = self.norm(second, x + mlp(f"{block}.mlp", x))
        if c.norm_position == "pre":
            x = self.norm("model.norm", x)
        head = "model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"
        return np.asarray(x @ self.weights[head].T)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_the_references(variant: str, window: int | None) -> None:
    model = tiny_model(**VARIANTS[variant], sliding_window=window)
    weights = {name: np.array(w.astype(mx.float32), dtype=np.float64) for name, w in named_parameters(model).items()}
    reference = Reference(model.config, weights)
    ids = token_ids(2, 18)
    found = np.array(model(ids))
    for row in range(2):
        expected = reference.logits(np.array(ids[row]))
        assert expected.std() > 0.1
        assert np.abs(found[row] - expected).max() < 1e-4
