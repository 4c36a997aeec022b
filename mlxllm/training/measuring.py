"""How fast training is on this machine: timed before it begins, and told while it runs."""

import time
from collections import deque
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from mlxllm.budget import Cost, steps_within
from mlxllm.runtime import blas_for_lanes
from mlxllm.training.step import install

if TYPE_CHECKING:  # the trainer tells its rate
    from mlxllm.training.trainer import Trainer


_TIMED, _LONGEST_TIMED = 0.015, 3.0
"""The share of the time that timing steps may take, and the seconds at most."""


def measured_steps(trainer: "Trainer", deadline: float, milestones: int = 0) -> int:
    """How many steps fit before `deadline` (of `time.monotonic()`), from a few that are timed and thrown away."""
    with blas_for_lanes(trainer.config.train.lanes):
        cost = measured_cost(trainer, seconds=_TIMED * (deadline - time.monotonic()))
    return steps_within(trainer.config.train, cost, deadline - time.monotonic(), milestones)


def measured_cost(trainer: "Trainer", steps: int = 4, seconds: float = 0.0) -> Cost:
    """Time a few steps and a part of the validation on this machine, compiled before; changes nothing.

    Small steps are timed for `seconds`: a processor that was idle is faster for a moment than it stays.

    Steps are functions from state to state, so their results are simply thrown away.
    """
    _timed_step(trainer)
    timed = [_timed_step(trainer) for _ in range(steps)]
    while sum(timed) < min(seconds, _LONGEST_TIMED):
        timed.append(_timed_step(trainer))
    step = float(np.mean(timed) if len(timed) > steps else np.median(timed))
    validation = _timed_validation(trainer)
    begun = time.perf_counter()
    trainer.complete(trainer.config.train.sample_prompt, trainer.config.sample)
    return Cost(step, validation, time.perf_counter() - begun)


def _timed_validation(trainer: "Trainer") -> float:
    """Seconds that a whole validation would take."""
    validation = trainer.task.validation
    if validation is None:
        return 0.0
    measured = min(max(1, trainer.config.train.lanes), validation.num_batches)
    seconds = []
    for _ in range(3):  # the first one warms up; one hiccup, times the number of batches, would eat the time
        begun = time.perf_counter()
        validation(trainer.model, max_batches=measured)
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:]) * validation.num_batches / measured


def _timed_step(trainer: "Trainer") -> float:
    begun = time.perf_counter()
    state, metrics = trainer.step(trainer.state, trainer.batch(trainer.state.step))
    mx.eval(state.arrays(), metrics.arrays())
    install(trainer.model, trainer.state.parameters)
    return time.perf_counter() - begun


class Rate:
    """Tokens a second over the last few steps: the numbers of one step may arrive together with the next one's."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=9)
        self.restart()

    def restart(self) -> None:
        """Leave out what happened since the last step: a validation, a sample, a pause."""
        self._marks.clear()
        self._marks.append((time.perf_counter(), 0))

    def add(self, tokens: int) -> float:
        """Count a step's tokens; returns the rate."""
        now = time.perf_counter()
        self._marks.append((now, tokens))
        counted = sum(count for _, count in list(self._marks)[1:])
        return round(counted / max(now - self._marks[0][0], 1e-9), 1)
