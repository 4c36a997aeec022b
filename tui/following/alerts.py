"""What somebody who trains should be told at once: losses that jump or are no numbers, silence, a full disk."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tui.following.run_view import Alert
from tui.following.series import Array, MovingMean
from tui.words import duration, file_size

_SPIKE = 8.0
"""Mean absolute deviations above the mean. Noise that is normally distributed gets there once in 10^10 steps."""
_LEARN_STEPS = 50
_RECENT_STEPS = 200
"""For so long a jump, or a loss that is no number, is news."""

_SILENCE_SECONDS = 30.0
_SILENCE_TIMES = 20.0
"""Silence of less than this, and of less than so many times what is usual, is nothing."""
_LONGEST_TIMES = 3.0
"""Nor is less than so many times the longest silence so far: validation may take long."""

_CHECKPOINTS_AHEAD = 2


@dataclass(frozen=True)
class Spike:
    """A loss far above what it was."""

    step: int
    loss: float
    usual: float


class SpikeWatch:
    """Finds jumps of the loss as it comes.

    A loss is a spike when it is more than 8 mean absolute deviations above the moving mean of those before it; means and
    deviations have a memory of about twenty steps. Of several in a row only the first counts, and the first fifty steps
    are for learning what is usual.
    """

    def __init__(self) -> None:
        self.count = 0
        self.last: Spike | None = None
        self._mean, self._deviation = MovingMean(), MovingMean()
        self._inside = False

    def add(self, steps: Array, losses: Array) -> None:
        """Look at losses in order, of shape (n,); NaN is passed over."""
        known = ~np.isnan(losses)
        steps, losses = steps[known], losses[known]
        if not len(losses):
            return
        seen = self._mean.count
        before = np.concatenate(([self._mean.mean], self._mean.extend(losses)))[:-1]
        above = losses - before
        above[np.isnan(above)] = 0.0  # the very first
        usual = np.concatenate(([self._deviation.mean], self._deviation.extend(np.abs(above))))[:-1]
        with np.errstate(invalid="ignore"):
            spike = (above > _SPIKE * usual) & (usual > 0) & (np.arange(seen, seen + len(losses)) >= _LEARN_STEPS)
        first = np.flatnonzero(spike & ~np.concatenate(([self._inside], spike[:-1])))
        self._inside = bool(spike[-1])
        if len(first):
            at = int(first[-1])
            self.count += len(first)
            self.last = Spike(int(steps[at]), float(losses[at]), float(before[at]))


def spike_alert(watch: SpikeWatch, step: int) -> Alert | None:
    """About the last jump, if it is news."""
    last = watch.last
    if last is None or step - last.step > _RECENT_STEPS:
        return None
    again = f" (jump number {watch.count})" if watch.count > 1 else ""
    return Alert(
        "spike",
        f"the loss jumped to {last.loss:.4g} at step {last.step:,}, where {last.usual:.4g} was usual{again}; most runs "
        f"recover, repeated jumps ask for a lower learning rate",
        False,
    )


def nonfinite_alert(count: int, last_step: int, step: int) -> Alert | None:
    """About losses that are no numbers, if there were any of late."""
    if not count or step - last_step > _RECENT_STEPS:
        return None
    steps = "1 step was" if count == 1 else f"{count:,} steps were"
    return Alert(
        "non-finite",
        f"{steps} not finite, the last is step {last_step:,}; such an update is left out, and several in a row end the run",
        False,
    )


def stall_alert(silent: float, times: Sequence[float], longest: float) -> Alert | None:
    """About a trainer that has not been heard of.

    Args:
        silent: seconds since its last event.
        times: when its last events were, unix seconds.
        longest: its longest silence so far, seconds.
    """
    if len(times) < 3:
        return None
    usual = statistics.median(b - a for a, b in itertools.pairwise(times))
    if silent <= max(_SILENCE_SECONDS, _SILENCE_TIMES * usual, _LONGEST_TIMES * longest):
        return None
    return Alert(
        "stall",
        f"nothing heard for {duration(silent)}, where {usual:.2g} s are usual; the machine may be asleep, out of memory or "
        f"busy with something else",
        True,
    )


def disk_alert(free: int, checkpoint: int) -> Alert | None:
    """About a disk that has no room for the next checkpoints; both in bytes."""
    if free >= _CHECKPOINTS_AHEAD * checkpoint:
        return None
    return Alert(
        "disk",
        f"{file_size(free)} are left on the disk and a checkpoint takes {file_size(checkpoint)}; make room, or the run "
        f"ends when it saves",
        True,
    )
