"""Update rules, as pure functions of (weights, gradients, state).

Every rule keeps float32 weights and state. Weight decay is decoupled (arXiv:1711.05101), scaled by the learning rate,
and touches matrices only. Parameters are named as in the model: {"model.layers.0.mlp.up_proj.weight": array, ...}.
"""

import math
from collections.abc import Iterable, Mapping

import mlx.core as mx

from mlxllm.config import TrainConfig

Arrays = dict[str, mx.array]
Constants = dict[str, mx.array]
"""Scalars of one update, by name."""

MUON_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
MUON_ITERATIONS = 5


def decays(name: str, parameter: mx.array) -> bool:
    """Whether weight decay applies: to matrices, not to norms, biases or position tables."""
    return parameter.ndim >= 2 and "embed_positions" not in name


def is_muon_matrix(name: str, parameter: mx.array) -> bool:
    """Whether Muon orthogonalises it: the matrices inside the blocks, not embeddings, head or router."""
    return parameter.ndim >= 2 and ".layers." in name and not name.endswith("mlp.gate.weight")


def init_state(train: TrainConfig, parameters: Mapping[str, mx.array]) -> Arrays:
    """Zeros: first (and, where the rule has them, second) moments, named `m.<parameter>` and `v.<parameter>`."""
    state: Arrays = {}
    for name, parameter in parameters.items():
        state[f"m.{name}"] = mx.zeros(parameter.shape, dtype=mx.float32)
        if train.optimizer == "adamw" or (train.optimizer == "muon" and not is_muon_matrix(name, parameter)):
            state[f"v.{name}"] = mx.zeros(parameter.shape, dtype=mx.float32)
    return state


def update_constants(train: TrainConfig, scale: float, update_number: int) -> Constants:
    """The numbers of one update as scalars, so that no value of theirs is compiled into a kernel.

    Args:
        train: the recipe.
        scale: the schedule's share of the peak learning rate.
        update_number: 1 for the first update (bias correction).
    """
    rate, muon_rate = train.learning_rate * scale, train.muon_learning_rate * scale
    beta1, beta2 = train.betas
    values = {
        "rate": rate,
        "keep": 1 - rate * train.weight_decay,
        "keep_all": 1.0,
        "muon_rate": muon_rate,
        "muon_keep": 1 - muon_rate * train.weight_decay,
        "momentum": train.muon_momentum,
        "beta1": beta1,
        "beta2": beta2,
        "correction1": 1 / (1 - beta1**update_number),
        "correction2": 1 / (1 - beta2**update_number),
        "eps": train.eps,
        "max_grad_norm": train.max_grad_norm or math.inf,
    }
    return {name: mx.array(value, dtype=mx.float32) for name, value in values.items()}


def apply_updates(
    train: TrainConfig,
    parameters: Mapping[str, mx.array],
    gradients: Mapping[str, mx.array],
    state: Mapping[str, mx.array],
    constants: Constants,
) -> tuple[Arrays, Arrays]:
    """One update.

    Args:
        train: names the rule.
        parameters: float32.
        gradients: same names, float32; clipped already.
        state: from `init_state`.
        constants: from `update_constants`.

    Returns:
        (new parameters, new state).
    """
    new_parameters: Arrays = {}
    new_state: Arrays = {}
    muon = [n for n, p in parameters.items() if train.optimizer == "muon" and is_muon_matrix(n, p)]
    for name, parameter in parameters.items():
        if name in muon:
            continue
        gradient = gradients[name]
        if train.optimizer == "lion":
            step, moments = _lion(constants, gradient, state[f"m.{name}"])
            new_state[f"m.{name}"] = moments
        else:
            step, m, v = _adam(constants, gradient, state[f"m.{name}"], state[f"v.{name}"])
            new_state[f"m.{name}"], new_state[f"v.{name}"] = m, v
        keep = constants["keep"] if decays(name, parameter) else constants["keep_all"]
        new_parameters[name] = parameter * keep - constants["rate"] * step
    for name, step, momentum in _muon(constants, muon, gradients, state):
        new_state[f"m.{name}"] = momentum
        new_parameters[name] = parameters[name] * constants["muon_keep"] - constants["muon_rate"] * step
    # The order of names is part of the contract: equal runs write equal files.
    return {n: new_parameters[n] for n in parameters}, {n: new_state[n] for n in state}


def _adam(c: Constants, gradient: mx.array, m: mx.array, v: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """m_hat / (sqrt(v_hat) + eps) with bias correction (arXiv:1412.6980, algorithm 1)."""
    m = c["beta1"] * m + (1 - c["beta1"]) * gradient
    v = c["beta2"] * v + (1 - c["beta2"]) * mx.square(gradient)
    return m * c["correction1"] / (mx.sqrt(v * c["correction2"]) + c["eps"]), m, v


def _lion(c: Constants, gradient: mx.array, m: mx.array) -> tuple[mx.array, mx.array]:
    """sign(beta1 m + (1 - beta1) g); then m <- beta2 m + (1 - beta2) g (arXiv:2302.06675, algorithm 2)."""
    step = mx.sign(c["beta1"] * m + (1 - c["beta1"]) * gradient)
    return step, c["beta2"] * m + (1 - c["beta2"]) * gradient


def _muon(
    c: Constants, names: Iterable[str], gradients: Mapping[str, mx.array], state: Mapping[str, mx.array]
) -> Iterable[tuple[str, mx.array, mx.array]]:
    """Nesterov momentum, orthogonalised; scaled by sqrt(max(1, rows / columns)) so that its size does not depend on
    the shape (Jordan et al., "Muon", 2024). Yields (name, step, new momentum).

    Matrices of one shape, up to transposition, are stacked and orthogonalised together.
    """
    beta = c["momentum"]
    momenta: Arrays = {}
    stacks: dict[tuple[int, ...], list[tuple[str, mx.array]]] = {}
    for name in names:
        gradient = gradients[name]
        momenta[name] = beta * state[f"m.{name}"] + (1 - beta) * gradient
        direction = (1 - beta) * gradient + beta * momenta[name]
        rows, columns = direction.shape[-2:]
        wide = direction if rows <= columns else direction.swapaxes(-1, -2)
        stacks.setdefault(tuple(wide.shape[-2:]), []).append((name, wide.reshape(-1, *wide.shape[-2:])))
    for members in stacks.values():
        orthogonal = orthogonalise(mx.concatenate([wide for _, wide in members], axis=0))
        start = 0
        for name, wide in members:
            shape = gradients[name].shape
            piece = orthogonal[start : start + wide.shape[0]]
            start += wide.shape[0]
            rows, columns = shape[-2:]
            step = piece if rows <= columns else piece.swapaxes(-1, -2)
            yield name, step.reshape(shape) * max(1.0, rows / columns) ** 0.5, momenta[name]


def orthogonalise(x: mx.array) -> mx.array:
    """Bring every singular value of each matrix near 1, keeping its singular vectors: (n, rows <= columns), float32.

    Newton-Schulz iteration of an odd quintic, X <- a X + (b A + c A^2) X with A = X X^T; its coefficients trade an
    exact limit for speed: five rounds bring singular values between about 0.01 and 1 into about 0.7 to 1.2.
    """
    a, b, c = MUON_COEFFICIENTS
    x = x / (mx.sqrt(mx.sum(mx.square(x), axis=(-2, -1), keepdims=True)) + 1e-7)
    for _ in range(MUON_ITERATIONS):
        gram = x @ x.swapaxes(-1, -2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


def squared_norms(gradients: Mapping[str, mx.array]) -> Arrays:
    """The sum of the squares of each, float32 scalars by name."""
    # By rows first: one float32 sum over millions of squares is off by some thousandths on the CPU.
    rows = {name: mx.sum(mx.square(g.astype(mx.float32)), axis=-1) for name, g in gradients.items()}
    return {name: mx.sum(row) for name, row in rows.items()}


def state_of(state: Mapping[str, mx.array], names: Iterable[str]) -> Arrays:
    """The moments of some parameters."""
    wanted = set(names)
    return {key: array for key, array in state.items() if key.partition(".")[2] in wanted}
