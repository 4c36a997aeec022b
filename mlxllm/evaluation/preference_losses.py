"""Losses on pairs of answers: what makes the chosen one likelier than the rejected one, without a reward model.

Notation: w the chosen answer and l the rejected one of a prompt; log pi(y) the log-probability of a whole answer under
the model in training, log ref(y) under the frozen reference, |y| tokens of it. The implicit reward of an answer is
beta (log pi(y) - log ref(y)) (DPO, arXiv:2305.18290, equation 5).

Shapes: P pairs.
"""

from dataclasses import dataclass

import mlx.core as mx

from mlxllm.config import DpoConfig

REFERENCE_FREE = frozenset({"simpo", "orpo"})

_TIE = 1e-5
"""Nats a token: a smaller difference is rounding, which another size of the batch would turn round."""


@dataclass(frozen=True)
class Pairs:
    """Scores of P pairs: (P, 2) float32, the chosen answer first."""

    policy: mx.array
    """log pi of each answer: the sum over its tokens, nats."""
    reference: mx.array
    """log ref of each answer; reference-free losses do not look at it."""
    lengths: mx.array
    """Tokens of each answer."""


def log_sigmoid(x: mx.array) -> mx.array:
    """log(1 / (1 + exp(-x))) without overflow on either side."""
    return -mx.logaddexp(mx.zeros_like(x), -x)


def pair_losses(pairs: Pairs, dpo: DpoConfig) -> mx.array:
    """The loss of each pair, (P,) float32. With h = (log pi - log ref)(w) - (log pi - log ref)(l):

    - sigmoid: -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h), e the label smoothing (arXiv:2305.18290, eq. 7;
      smoothed as in Mitchell 2023, "A note on DPO with noisy preferences")
    - robust: (-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2e) (arXiv:2403.00409)
    - hinge: max(0, 1 - beta h) (SLiC-HF, arXiv:2305.10425)
    - ipo: (h' - 1 / (2 beta))^2, h' as h but of means over tokens (arXiv:2310.12036, eq. 17)
    - simpo: -log sigmoid(beta (log pi(w) / |w| - log pi(l) / |l|) - gamma) (arXiv:2405.14734, eq. 6)
    - orpo: -log pi(w) / |w| - beta log sigmoid(log odds(w) - log odds(l)), odds = p / (1 - p) with log p the mean over
      tokens (arXiv:2403.07691, eq. 6 and 7)

    `sft_weight` adds that share of -log pi(w) / |w|.
    """
    means = pairs.policy / mx.maximum(pairs.lengths, 1)
    chosen_nll = -means[:, 0]
    losses = _contrast(pairs, means, dpo)
    if dpo.loss == "orpo":
        losses = losses + chosen_nll
    return losses + dpo.sft_weight * chosen_nll if dpo.sft_weight else losses


def _contrast(pairs: Pairs, means: mx.array, dpo: DpoConfig) -> mx.array:
    """The part of the loss that is about both answers."""
    beta, smoothing = dpo.beta, dpo.label_smoothing
    if dpo.loss == "simpo":
        return -log_sigmoid(beta * (means[:, 0] - means[:, 1]) - dpo.gamma)
    if dpo.loss == "orpo":
        # log(1 - p) for p = exp(mean); the mean is kept below 0 by so much that 1 - p is not 0.
        below = mx.minimum(means, -1e-6)
        log_odds = below - mx.log(-mx.expm1(below))
        return -beta * log_sigmoid(log_odds[:, 0] - log_odds[:, 1])
    gains = pairs.policy - pairs.reference
    if dpo.loss == "ipo":
        gains = gains / mx.maximum(pairs.lengths, 1)
        return (gains[:, 0] - gains[:, 1] - 1 / (2 * beta)) ** 2
    h = beta * (gains[:, 0] - gains[:, 1])
    if dpo.loss == "hinge":
        return mx.maximum(0.0, 1 - h)
    if dpo.loss == "robust":
        return (-(1 - smoothing) * log_sigmoid(h) + smoothing * log_sigmoid(-h)) / (1 - 2 * smoothing)
    return -(1 - smoothing) * log_sigmoid(h) - smoothing * log_sigmoid(-h)


def rewards(pairs: Pairs, dpo: DpoConfig) -> mx.array:
    """The implicit reward of each answer, (P, 2): beta (log pi - log ref); of means over tokens without a reference."""
    if dpo.loss in REFERENCE_FREE:
        return dpo.beta * pairs.policy / mx.maximum(pairs.lengths, 1)
    return dpo.beta * (pairs.policy - pairs.reference)


def pair_metrics(pairs: Pairs, dpo: DpoConfig) -> dict[str, mx.array]:
    """What is watched of each pair, (P,) each, under the names that are usual (TRL's).

    `rewards/accuracies` counts a tie as half, so that a model that is still its own reference has 0.5. `kl` is the mean
    over both answers of log pi - log ref, per token: how far the model has moved on these answers. They are not its own,
    so this is an indication, not the divergence.
    """
    reward = rewards(pairs, dpo)
    margin = reward[:, 0] - reward[:, 1]
    tokens = mx.ones_like(margin) if dpo.loss in REFERENCE_FREE else mx.max(pairs.lengths, axis=-1)
    tied = mx.abs(margin) <= dpo.beta * _TIE * tokens
    moved = (pairs.policy - pairs.reference) / mx.maximum(pairs.lengths, 1)
    metrics = {
        "rewards/chosen": reward[:, 0],
        "rewards/rejected": reward[:, 1],
        "rewards/margins": margin,
        "rewards/accuracies": mx.where(tied, 0.5, (margin > 0).astype(mx.float32)),
        "logps/chosen": pairs.policy[:, 0],
        "logps/rejected": pairs.policy[:, 1],
    }
    if dpo.loss not in REFERENCE_FREE:
        metrics["kl"] = mx.mean(moved, axis=-1)
    return metrics
