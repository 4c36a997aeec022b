"""Each update rule against the formulas of its paper, computed in float64 by numpy."""

import math
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.config import TrainConfig
from mlxllm.training.optimizers import (
    MUON_COEFFICIENTS,
    MUON_ITERATIONS,
    apply_updates,
    decays,
    init_state,
    is_muon_matrix,
    orthogonalise,
    squared_norms,
    update_constants,
)

Arrays = dict[str, np.ndarray]

SHAPES = {
    "model.embed_positions.weight": (6, 4),
    "model.embed_tokens.weight": (7, 4),
    "model.layers.0.input_layernorm.weight": (4,),
    "model.layers.0.mlp.down_proj.weight": (4, 9),
    "model.layers.0.mlp.experts.up_proj": (3, 5, 4),
    "model.layers.0.mlp.gate.weight": (3, 4),
    "model.layers.0.mlp.up_proj.bias": (9,),
    "model.layers.0.mlp.up_proj.weight": (9, 4),
    "model.layers.1.mlp.down_proj.weight": (4, 9),
    "model.norm.weight": (4,),
    "lm_head.weight": (7, 4),
}
MATRICES = {
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.0.mlp.experts.up_proj",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.1.mlp.down_proj.weight",
}
DECAYED = MATRICES | {"model.embed_tokens.weight", "model.layers.0.mlp.gate.weight", "lm_head.weight"}

TRAIN = TrainConfig(
    learning_rate=0.05, muon_learning_rate=0.04, weight_decay=0.3, betas=(0.8, 0.9), eps=1e-6, muon_momentum=0.7
)


def draw(seed: int, scale: float = 1.0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: scale * rng.standard_normal(shape) for name, shape in SHAPES.items()}


def to_mlx(arrays: Arrays) -> dict[str, mx.array]:
    return {name: mx.array(a.astype(np.float32)) for name, a in arrays.items()}


def reference_adamw(train: TrainConfig, rates: list[float], weights: Arrays, gradients: list[Arrays]) -> Arrays:
    """Kingma & Ba, algorithm 1, with the decay of Loshchilov & Hutter, algorithm 2."""
    (beta1, beta2), result = train.betas, {}
    for name, w in weights.items():
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, (rate, g) in enumerate(zip(rates, gradients, strict=True), 1):
            m = beta1 * m + (1 - beta1) * g[name]
            v = beta2 * v + (1 - beta2) * g[name] ** 2
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            decay = train.weight_decay if name in DECAYED else 0.0
            w = w - rate * (m_hat / (np.sqrt(v_hat) + train.eps) + decay * w)
        result[name] = w
    return result


def reference_lion(train: TrainConfig, rates: list[float], weights: Arrays, gradients: list[Arrays]) -> Arrays:
    """Chen et al., algorithm 2."""
    (beta1, beta2), result = train.betas, {}
    for name, w in weights.items():
        m = np.zeros_like(w)
        for rate, g in zip(rates, gradients, strict=True):
            direction = np.sign(beta1 * m + (1 - beta1) * g[name])
            m = beta2 * m + (1 - beta2) * g[name]
            decay = train.weight_decay if name in DECAYED else 0.0
            w = w - rate * (direction + decay * w)
        result[name] = w
    return result


def newton_schulz(x: np.ndarray) -> np.ndarray:
    """One matrix, by its singular values: each goes through the quintic, the vectors stay."""
    a, b, c = MUON_COEFFICIENTS
    u, s, vt = np.linalg.svd(x / (np.linalg.norm(x) + 1e-7), full_matrices=False)
    for _ in range(MUON_ITERATIONS):
        s = a * s + b * s**3 + c * s**5
    return u @ np.diag(s) @ vt


def reference_muon(train: TrainConfig, rates: list[float], weights: Arrays, gradients: list[Arrays]) -> Arrays:
    """Nesterov momentum, orthogonalised one matrix at a time; AdamW for the rest."""
    beta = train.muon_momentum
    result = reference_adamw(train, rates, weights, gradients)
    for name in MATRICES:
        w, m = weights[name], np.zeros_like(weights[name])
        for rate, g in zip(rates, gradients, strict=True):
            m = beta * m + (1 - beta) * g[name]
            nesterov = (1 - beta) * g[name] + beta * m
            matrices = nesterov.reshape(-1, *nesterov.shape[-2:])
            rows, columns = matrices.shape[1:]
            step = np.stack([newton_schulz(x) for x in matrices]).reshape(w.shape) * math.sqrt(max(1, rows / columns))
            muon_rate = rate / train.learning_rate * train.muon_learning_rate
            w = w - muon_rate * (step + train.weight_decay * w)
        result[name] = w
    return result


REFERENCES: dict[str, Callable[..., Arrays]] = {
    "adamw": reference_adamw,
    "lion": reference_lion,
    "muon": reference_muon,
}


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_several_updates_equal_the_formulas(optimizer: str) -> None:
    train = TRAIN.model_copy(update={"optimizer": optimizer})
    scales = [0.25, 0.5, 1.0, 1.0, 0.4]
    weights, gradients = draw(0), [draw(10 + t, scale=10.0 ** (t - 2)) for t in range(5)]
    expected = REFERENCES[optimizer](train, [train.learning_rate * s for s in scales], weights, gradients)
    parameters = to_mlx(weights)
    state = init_state(train, parameters)
    for t, (scale, gradient) in enumerate(zip(scales, gradients, strict=True), 1):
        constants = update_constants(train, scale, t)
        parameters, state = apply_updates(train, parameters, to_mlx(gradient), state, constants)
    assert list(parameters) == list(SHAPES)
    for name, found in parameters.items():
        np.testing.assert_allclose(np.array(found), expected[name], rtol=2e-4, atol=2e-5, err_msg=name)
    assert all(a.dtype == mx.float32 for a in [*parameters.values(), *state.values()])


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_decay_alone_shrinks_matrices_and_nothing_else(optimizer: str) -> None:
    train = TRAIN.model_copy(update={"optimizer": optimizer})
    weights = to_mlx(draw(1))
    nothing = {n: mx.zeros(w.shape) for n, w in weights.items()}
    after, _ = apply_updates(train, weights, nothing, init_state(train, weights), update_constants(train, 1.0, 1))
    for name, weight in weights.items():
        muon = optimizer == "muon" and name in MATRICES
        rate = train.muon_learning_rate if muon else train.learning_rate
        kept = 1 - rate * train.weight_decay if name in DECAYED else 1.0
        np.testing.assert_allclose(np.array(after[name]), kept * np.array(weight), rtol=1e-6, err_msg=name)


def test_which_weights_decay_and_which_muon_takes() -> None:
    weights = to_mlx(draw(0))
    assert {n for n, w in weights.items() if decays(n, w)} == DECAYED
    assert {n for n, w in weights.items() if is_muon_matrix(n, w)} == MATRICES


def test_state_holds_what_each_rule_needs() -> None:
    weights = to_mlx(draw(0))
    names = {o: set(init_state(TrainConfig(optimizer=o), weights)) for o in ("adamw", "lion", "muon")}
    first, second = {f"m.{n}" for n in SHAPES}, {f"v.{n}" for n in SHAPES}
    assert names["adamw"] == first | second
    assert names["lion"] == first
    assert names["muon"] == first | {f"v.{n}" for n in SHAPES if n not in MATRICES}


def test_the_first_adamw_update_is_the_sign_times_the_rate() -> None:
    """With bias correction the size of the first gradient does not matter; without it, it would be scaled."""
    train = TrainConfig(learning_rate=0.1, weight_decay=0.0)
    weights = {"w": mx.zeros((3,))}
    gradient = {"w": mx.array([1e-3, -5.0, 200.0])}
    after, _ = apply_updates(train, weights, gradient, init_state(train, weights), update_constants(train, 1.0, 1))
    np.testing.assert_allclose(np.array(after["w"]), [-0.1, 0.1, -0.1], rtol=1e-4)


@settings(max_examples=30)
@given(rows=st.integers(1, 24), extra=st.integers(0, 24), count=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_orthogonalise_keeps_singular_vectors_and_evens_the_values(
    rows: int, extra: int, count: int, seed: int
) -> None:
    x = np.random.default_rng(seed).standard_normal((count, rows, rows + extra)).astype(np.float32)
    found = np.array(orthogonalise(mx.array(x))).astype(np.float64)
    for matrix, result in zip(x.astype(np.float64), found, strict=True):
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        inner = u.T @ result @ vt.T  # diagonal where the singular vectors are kept
        assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-3
        large = s / np.linalg.norm(matrix) > 0.02
        values = np.diag(inner)
        assert np.all(values < 1.25)
        assert np.all(values > -1e-3)
        assert np.all(values[large] > 0.6)
        # Between U V^T and nothing: never further from it than the bounds say.
        assert np.abs(values[large] - 1).max() < 0.4


def test_orthogonalise_takes_any_scale() -> None:
    x = mx.random.normal((1, 8, 12), key=mx.random.key(3))
    expected = np.array(orthogonalise(x))
    for scale in (1e-4, 1e4):
        np.testing.assert_allclose(np.array(orthogonalise(x * scale)), expected, atol=2e-3)
    assert float(mx.abs(orthogonalise(mx.zeros((2, 3, 4)))).max()) == 0.0


def test_stacked_equals_one_by_one() -> None:
    """Same-shaped matrices, also transposed ones, are orthogonalised together; alone they get the same update."""
    train = TrainConfig(optimizer="muon")
    shapes = {"a": (6, 4), "b": (4, 6), "c": (6, 4), "d": (5, 5), "e": (2, 4, 6)}
    names = {f"model.layers.0.{n}.weight": s for n, s in shapes.items()}
    rng = np.random.default_rng(5)
    weights = {n: mx.array(rng.standard_normal(s).astype(np.float32)) for n, s in names.items()}
    gradients = {n: mx.array(rng.standard_normal(s).astype(np.float32)) for n, s in names.items()}
    constants = update_constants(train, 1.0, 1)
    together, _ = apply_updates(train, weights, gradients, init_state(train, weights), constants)
    for name in names:
        alone, gradient = {name: weights[name]}, {name: gradients[name]}
        single, _ = apply_updates(train, alone, gradient, init_state(train, alone), constants)
        np.testing.assert_allclose(np.array(together[name]), np.array(single[name]), atol=1e-6)


def test_a_transposed_matrix_gets_the_transposed_direction() -> None:
    train = TrainConfig(optimizer="muon", weight_decay=0.0)
    g = mx.random.normal((5, 9), key=mx.random.key(1))
    steps = []
    for gradient in (g, g.T):
        weight = {"model.layers.0.w": mx.zeros(gradient.shape)}
        after, _ = apply_updates(
            train, weight, {"model.layers.0.w": gradient}, init_state(train, weight), update_constants(train, 1.0, 1)
        )
        steps.append(np.array(after["model.layers.0.w"]))
    np.testing.assert_allclose(steps[0] * math.sqrt(9 / 5), steps[1].T, atol=1e-6)


def test_squared_norms() -> None:
    arrays = draw(4)
    found = squared_norms(to_mlx(arrays))
    assert {name: float(n.item()) for name, n in found.items()} == pytest.approx(
        {name: float((a**2).sum()) for name, a in arrays.items()}, rel=1e-6
    )
