"""What each change bought: paired differences to the base, how sure they are, and what a step costs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from mlxllm.ablation.record import Ablation, Outcome, Point
from mlxllm.ablation.student import t_interval

BETTER, WORSE, UNDECIDED = "better", "worse", "cannot be told apart"
DIVERGED, ONE_SEED, UNFINISHED = "diverged", "one seed tells nothing", "not finished"


@dataclass(frozen=True)
class Curve:
    """Validation of one variant over the steps; all of its seeds at each step."""

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class VariantResult:
    """One line of the table. Losses are in the unit of `Results`."""

    name: str
    changes: tuple[str, ...]
    parameters: int
    runs: tuple[str, ...]
    loss: tuple[float | None, ...]
    """The last validation's, by seed; None where the run diverged or has not ended."""
    mean: float | None
    """Over the seeds that it was trained with."""
    difference: float | None
    """The mean over seeds of its loss less the base's with the same seed; None for the base."""
    interval: tuple[float, float] | None
    """Of the difference, 95 %; None with fewer than two seeds."""
    verdict: str
    seconds_per_step: float | None
    equal_time: float | None
    """Its mean loss after as many seconds of training as the quickest variant took in all, read off the curve."""
    curve: Curve
    note: str = ""


@dataclass(frozen=True)
class Results:
    """The whole table."""

    unit: str
    """"bits per byte", or "nats per token" where the text has no bytes."""
    base: VariantResult
    variants: tuple[VariantResult, ...]
    equal_seconds: float | None
    """The training time at which `equal_time` is read off."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def results(ablation: Ablation) -> Results:
    """The table of an ablation, as far as its runs have ended."""
    has_bytes = all(p.bits_per_byte is not None for o in ablation.outcomes for p in o.validations if p.loss is not None)
    speeds = {each.name: _seconds_per_step(_of(ablation, each.name)) for each in ablation.variants}
    known = [seconds for seconds in speeds.values() if seconds is not None]
    equal = ablation.steps * min(known) if len(known) == len(speeds) else None
    lines = [_line(ablation, n, has_bytes, speeds, equal) for n in range(len(ablation.variants))]
    return Results("bits per byte" if has_bytes else "nats per token", lines[0], tuple(lines[1:]), equal)


def _line(
    ablation: Ablation, number: int, has_bytes: bool, speeds: dict[str, float | None], equal: float | None
) -> VariantResult:
    planned, base = ablation.variants[number], ablation.variants[0].name
    outcomes = [ablation.outcome(planned.name, seed) for seed in ablation.seeds]
    losses = [_final(outcome, has_bytes) for outcome in outcomes]
    theirs = [_final(ablation.outcome(base, seed), has_bytes) for seed in ablation.seeds]
    pairs = [a - b for a, b in zip(losses, theirs, strict=True) if a is not None and b is not None]
    ended = [outcome for outcome in outcomes if outcome is not None]
    diverged = sum(outcome.status == "diverged" for outcome in ended)
    # The mean of those seeds that held out would flatter a variant.
    compared = bool(pairs) and not diverged and number > 0
    interval = t_interval(pairs) if compared else None
    done = [loss for loss in losses if loss is not None]
    curve = _curve(ended, has_bytes)
    speed = speeds[planned.name]
    return VariantResult(
        name=planned.name,
        changes=planned.changes,
        parameters=planned.parameters,
        runs=tuple(outcome.run for outcome in ended),
        loss=tuple(losses),
        mean=fmean(done) if done and not diverged else None,
        difference=fmean(pairs) if compared else None,
        interval=interval,
        verdict=_verdict(number, diverged, len(ablation.seeds), len(pairs), interval),
        seconds_per_step=speed,
        equal_time=_read_off(curve, equal / speed) if equal is not None and speed and not diverged else None,
        curve=curve,
        note=planned.note,
    )


def _verdict(number: int, diverged: int, seeds: int, pairs: int, interval: tuple[float, float] | None) -> str:
    if diverged:
        return f"{DIVERGED} with {diverged} of {seeds} seeds" if seeds > 1 else DIVERGED
    if number == 0:
        return ""
    if pairs < seeds and interval is None:
        return f"{UNFINISHED} ({pairs} of {seeds} seeds)" if pairs else UNFINISHED
    if pairs < seeds:
        return f"{_word(interval)} so far ({pairs} of {seeds} seeds)"
    return _word(interval)


def _word(interval: tuple[float, float] | None) -> str:
    """An interval in words; lower losses are better."""
    if interval is None:
        return ONE_SEED
    low, high = interval
    return BETTER if high < 0 else WORSE if low > 0 else UNDECIDED


def _of(ablation: Ablation, variant: str) -> list[Outcome]:
    return [outcome for outcome in ablation.outcomes if outcome.variant == variant]


def _seconds_per_step(outcomes: Sequence[Outcome]) -> float | None:
    known = [o.seconds_per_step for o in outcomes if o.seconds_per_step is not None and o.status == "finished"]
    return median(known) if known else None


def _value(point: Point, has_bytes: bool) -> float | None:
    return point.bits_per_byte if has_bytes else point.loss


def _final(outcome: Outcome | None, has_bytes: bool) -> float | None:
    """The last validation's loss of a run that came to its end."""
    if outcome is None or outcome.status != "finished" or not outcome.validations:
        return None
    return _value(outcome.validations[-1], has_bytes)


def _curve(outcomes: Sequence[Outcome], has_bytes: bool) -> Curve:
    """Of the steps at which all seeds have a finite loss."""
    each = [{p.step: value for p in o.validations if (value := _value(p, has_bytes)) is not None} for o in outcomes]
    steps = sorted(set.intersection(*(set(points) for points in each))) if each else []
    values = [[points[step] for points in each] for step in steps]
    return Curve(tuple(steps), *(tuple(of(some) for some in values) for of in (fmean, min, max)))


def _read_off(curve: Curve, step: float) -> float | None:
    """The mean loss at a step that may lie between two validations, on the straight line between them."""
    if not curve.steps or step < curve.steps[0]:
        return None
    after = next((n for n, at in enumerate(curve.steps) if at >= step or math.isclose(at, step)), None)
    if after is None:
        return curve.mean[-1]
    if after == 0 or math.isclose(curve.steps[after], step):
        return curve.mean[after]
    share = (step - curve.steps[after - 1]) / (curve.steps[after] - curve.steps[after - 1])
    return curve.mean[after - 1] * (1 - share) + curve.mean[after] * share
