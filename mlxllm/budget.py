"""From minutes to steps, and from steps to minutes."""

from dataclasses import dataclass

from mlxllm.config import TrainConfig

_SLACK = 0.96
"""The share of the time that is planned for: the machine has other things to do as well."""


@dataclass(frozen=True)
class Cost:
    """What was measured on this machine, in seconds."""

    step: float
    """One update."""
    validation: float
    """One pass over the validation split."""
    sample: float
    """One sample during training."""


def steps_within(train: TrainConfig, cost: Cost, seconds: float, milestones: int = 0) -> int:
    """Updates that fit into `seconds` together with what is done between them; at least 1.

    Args:
        train: says how often to validate and to sample, unless `milestones` does.
        cost: measured.
        seconds: the time there is.
        milestones: do both so many times.
    """
    once = cost.validation + cost.sample
    available = max(0.0, seconds) * _SLACK - (milestones + 1) * once
    a_step = cost.step
    if not milestones:
        a_step += cost.validation / train.eval_every if train.eval_every else 0.0
        a_step += cost.sample / train.sample_every if train.sample_every else 0.0
    return max(1, int(available / a_step))


def seconds_of(train: TrainConfig, cost: Cost) -> float:
    """How long all updates of a run take, with the validations and samples between them."""
    validations = 1 + -(-train.max_steps // train.eval_every) if train.eval_every else 2
    samples = 1 + -(-train.max_steps // train.sample_every) if train.sample_every else 0
    return train.max_steps * cost.step + validations * cost.validation + samples * cost.sample
