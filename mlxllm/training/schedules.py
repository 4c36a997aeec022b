"""The learning rate's shape over a run."""

import math

from mlxllm.config import TrainConfig


def warmup_steps(train: TrainConfig) -> int:
    """Steps of linear warm-up: as configured, but no more than half of a short run."""
    return min(train.warmup_steps, train.max_steps // 2)


def decay_start(train: TrainConfig) -> int:
    """The first step at which the rate falls: the checkpoint before it is the one to extend a run from."""
    if train.schedule == "constant":
        return train.max_steps
    if train.schedule == "wsd":
        return max(warmup_steps(train), train.max_steps - max(1, round(train.decay_fraction * train.max_steps)))
    return warmup_steps(train)


def learning_rate_scale(train: TrainConfig, step: int) -> float:
    """The share of the peak learning rate with which update `step` (from 0) is made.

    Warm-up: (step + 1) / warmup. Then, with t running from 0 to 1 over the decay and m = min_lr_ratio:
    cosine m + (1 - m)(1 + cos(pi t))/2 (arXiv:1608.03983); linear 1 - (1 - m) t; wsd stays at 1 and decays linearly at
    the end (MiniCPM, arXiv:2404.06395); constant stays at 1.
    """
    warmup = warmup_steps(train)
    if step < warmup:
        return (step + 1) / warmup
    begin = decay_start(train)
    if step < begin or train.schedule == "constant":
        return 1.0
    # The last update is made at t < 1: a rate of exactly zero would waste it.
    t = min(1.0, (step - begin + 1) / (train.max_steps - begin + 1))
    floor = train.min_lr_ratio
    if train.schedule == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * t))
    return 1 - (1 - floor) * t
