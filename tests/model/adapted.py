"""Adapted models for tests: moved off their beginning, or trained for a few real steps."""

from typing import Any

import mlx.core as mx
import numpy as np

from mlxllm.config import LoraConfig, TrainConfig
from mlxllm.model.module import set_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.step import TrainStep, initial_state, install
from tests.model.tiny import VARIANTS, token_ids

DENSE = [name for name, changes in VARIANTS.items() if "num_experts" not in changes]
METHODS = [LoraConfig(rank=4), LoraConfig(method="dora", rank=4)]


def moved(model: Transformer, seed: int = 5, size: float = 0.2) -> Transformer:
    """The model with its trainable weights off their first values."""
    rng = np.random.default_rng(seed)
    weights = trainable_parameters(model)
    assert weights
    set_parameters(model, {n: w + mx.array(size * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})
    return model


def trained(model: Transformer, steps: int = 3, **train: Any) -> tuple[Transformer, TrainStep]:
    """The model after some real steps."""
    recipe = TrainConfig(batch_size=2, learning_rate=0.05, warmup_steps=0, schedule="constant", **train)
    step = TrainStep(model, recipe, next_token_loss)
    state = initial_state(model, recipe)
    ids = token_ids(2, 12)
    for _ in range(steps):
        state, metrics = step(state, (ids[:, :-1], ids[:, 1:]))
        mx.eval(state.arrays(), metrics.arrays())
        assert bool(metrics.finite)
    install(model, state.parameters)
    model.eval()
    return model, step
