"""Training on the device: the loss in chunks, the compiled step.

Shapes: B batch, T time, N tokens, D hidden, V vocabulary.
"""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import mlx.core as mx

from mlxllm import runtime
from mlxllm.config import ModelConfig, TrainConfig
from mlxllm.diagnostics.device.kernels import DTYPES, reduced_float32
from mlxllm.diagnostics.device.result import Skip, Test, largest_difference
from mlxllm.model.transformer import build_model
from mlxllm.training.objectives import cross_entropy, next_token_loss
from mlxllm.training.step import Objective, TrainStep, initial_state

SMALL_MODEL = ModelConfig(
    vocab_size=96,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    intermediate_size=256,
    max_position_embeddings=256,
    qk_norm=True,
)
"""Two heads of width 64, which take the GPU's fused attention."""

TRAINED_MODEL = SMALL_MODEL.model_copy(update={"num_hidden_layers": 1})
"""On the CPU each fused expression of a new model costs a call of the compiler: one layer has them all."""

_B, _T = 4, 32


def step_tests() -> Iterator[Test]:
    """What a training step is made of."""
    tolerance = 8e-3 if reduced_float32() else 5e-5
    yield Test("cross-entropy in chunks, float32", tolerance, partial(_cross_entropy, mx.float32))
    yield Test("cross-entropy in chunks, bfloat16", 3e-2, partial(_cross_entropy, mx.bfloat16))
    on_gpu = mx.default_device().type == mx.gpu
    dtypes = {"float32": 1e-4, "bfloat16": 4e-2} if on_gpu else {"float32": 1e-5}
    for dtype, tolerance in dtypes.items():
        name = f"training step, compiled and eager, {dtype}"
        yield Test(name, tolerance, partial(_compiled_and_eager, DTYPES[dtype]))


def _cross_entropy(dtype: mx.Dtype) -> float:
    """Value and both gradients, with z-loss, smoothing, masked tokens and a last chunk that is not full."""
    N, D, V = 200, 64, 500
    with mx.stream(mx.cpu):
        keys = mx.random.split(mx.random.key(30), 4)
        hidden = mx.random.normal((N, D), key=keys[0]).astype(dtype)
        weight = (0.3 * mx.random.normal((V, D), key=keys[1])).astype(dtype)
        targets = mx.random.randint(0, V, (N,), key=keys[2])
        mask = (mx.random.uniform(shape=(N,), key=keys[3]) < 0.8).astype(mx.float32)
    z_loss, smoothing = 1e-3, 0.1

    def chunked(hidden: mx.array, weight: mx.array) -> mx.array:
        return cross_entropy(hidden, weight, targets, mask, chunk_tokens=64, z_loss=z_loss, label_smoothing=smoothing)

    def plain(hidden: mx.array, weight: mx.array) -> mx.array:
        logits = hidden @ weight.T
        lse = mx.logsumexp(logits, axis=-1)
        picked = mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)
        smoothed = (1 - smoothing) * picked + smoothing * mx.mean(logits, axis=-1)
        return mx.sum(mask * (lse - smoothed + z_loss * lse * lse))

    loss, gradients = mx.value_and_grad(chunked, argnums=(0, 1))(hidden, weight)
    mx.eval(loss, gradients)
    with mx.stream(mx.cpu):
        exact = (hidden.astype(mx.float32), weight.astype(mx.float32))
        expected, expected_gradients = mx.value_and_grad(plain, argnums=(0, 1))(*exact)
    return largest_difference((loss, *gradients), (expected, *expected_gradients))


def _first_step(objective: Objective, dtype: mx.Dtype) -> list[mx.array]:
    """Make two steps; the first one's loss, gradient norm, and first moments, which are its gradients."""
    recipe = TrainConfig(batch_size=_B, max_steps=2, warmup_steps=0, seed=7)
    model = build_model(TRAINED_MODEL, seed=recipe.seed)
    step = TrainStep(model, recipe, objective, compute_dtype=dtype)
    with mx.stream(mx.cpu):
        rows = mx.random.randint(0, TRAINED_MODEL.vocab_size, (_B, _T + 1), key=mx.random.key(31))
    batch = (rows[:, :-1], rows[:, 1:])
    state, metrics = step(initial_state(model, recipe), batch)
    moments = [array for name, array in state.optimizer.items() if name.startswith("m.")]
    outcome = [metrics.loss, metrics.grad_norm, *moments]
    mx.eval(outcome, state.arrays())
    mx.eval(step(state, batch)[0].arrays())
    return outcome


def _compiled_and_eager(dtype: mx.Dtype) -> float:
    if "MLX_DISABLE_COMPILE" in os.environ:
        raise Skip("MLX_DISABLE_COMPILE is set, so nothing is compiled")
    if not runtime.compiler_available():
        raise Skip("there is no g++, so nothing is compiled on the CPU")
    calls = 0

    def objective(*arguments: Any) -> tuple[mx.array, mx.array]:
        nonlocal calls
        calls += 1
        return next_token_loss(*arguments)

    compiled = _first_step(objective, dtype)
    compiled_calls, calls = calls, 0
    mx.disable_compile()
    try:
        eager = _first_step(objective, dtype)
    finally:
        mx.enable_compile()
    if (compiled_calls, calls) != (1, 2):
        raise ValueError(
            f"two steps built their computation {compiled_calls} times compiled and {calls} times eager, "
            f"instead of 1 and 2"
        )
    return largest_difference(compiled, eager)
