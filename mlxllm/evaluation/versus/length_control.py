"""How often one model's answers would be preferred if both wrote answers of the same length.

Judges like long answers, people and models alike. The length-controlled win rate (Dubois et al. 2024, arXiv:2404.04475)
fits by logistic regression how the preference follows from which model wrote and from the difference in length, and
reads the fit where that difference is zero. Theirs has a third term for how hard each instruction is, which takes the
answers of many models to know and is left out here.

Shapes: N pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlxllm.evaluation.intervals import Z

_L2 = np.array([0.01, 0.01])
"""Of both coefficients: next to nothing for a few dozen pairs, but a preference without exception has a finite fit."""
_MOST_STEPS = 100


@dataclass(frozen=True)
class Controlled:
    """The win rate at equal lengths, from 0 to 1."""

    win_rate: float
    low: float
    """Of its 95 % interval."""
    high: float
    length_effect: float
    """What a difference of many standard deviations adds to the logit."""


def length_controlled(preferences: npt.ArrayLike, differences: npt.ArrayLike) -> Controlled | None:
    """Fit logit P(first preferred) = theta + phi tanh(d / sd(d)), and read it at d = 0: sigmoid(theta).

    Args:
        preferences: (N,) how much the first model's answer was preferred: 1, 0, or between, 0.5 for a tie.
        differences: (N,) length of the first model's answer minus the other's.

    Returns:
        None where nothing can be told: fewer than two pairs, or the lengths of all differ by the same.
    """
    p, d = np.asarray(preferences, dtype=np.float64), np.asarray(differences, dtype=np.float64)
    if len(p) < 2:
        return None
    spread = float(d.std())
    if spread == 0:
        if d.any():
            return None
        spread = 1.0
    features = np.stack([np.ones_like(d), np.tanh(d / spread)], axis=1)  # (N, 2)
    weights, hessian = _fit(features, p)
    theta, error = float(weights[0]), float(np.sqrt(np.linalg.inv(hessian)[0, 0]))
    win_rate, low, high = (float(_sigmoid(np.array(theta + side * Z * error))) for side in (0, -1, 1))
    return Controlled(win_rate, low, high, float(weights[1]))


def _fit(features: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients that make `p` likeliest, by Newton's method with halved steps, and the Hessian there."""
    weights = np.zeros(2)
    for _ in range(_MOST_STEPS):
        chance = _sigmoid(features @ weights)
        gradient = features.T @ (chance - p) + _L2 * weights
        hessian = (features * (chance * (1 - chance))[:, None]).T @ features + np.diag(_L2)
        step = np.linalg.solve(hessian, gradient)
        size, before = 1.0, _loss(features, p, weights)
        while _loss(features, p, weights - size * step) > before and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return weights, hessian


def _loss(features: np.ndarray, p: np.ndarray, weights: np.ndarray) -> float:
    z = features @ weights
    return float(np.sum(np.logaddexp(0, z) - p * z) + (_L2 * weights * weights).sum() / 2)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.exp(-np.logaddexp(0, -z))
    return found
