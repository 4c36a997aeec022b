"""From what was found about each item to the figures of a task, with standard errors."""

import math
from collections.abc import Mapping, Sequence

from mlxllm.scores import STDERR


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return math.fsum(values) / len(values)


def stderr(values: Sequence[float]) -> float | None:
    """The standard error of the mean, from the sample's deviation (n - 1); None of a single value."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))


def means(items: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Metric -> mean and, under its name with `_stderr`, the standard error."""
    figures: dict[str, float | None] = {}
    for name in items[0]:
        values = [item[name] for item in items]
        figures[name], figures[name + STDERR] = mean(values), stderr(values)
    return figures


def perplexity(logprobs: Sequence[float]) -> dict[str, float | None]:
    """exp of the mean surprise of a target, and its standard error by the delta method.

    Args:
        logprobs: of each target as a whole, nats.
    """
    value = math.exp(min(-mean(logprobs), 700.0))
    error = stderr(logprobs)
    return {"perplexity": value, "perplexity" + STDERR: None if error is None else value * error}


def pass_at(count: int, passed: int, k: int) -> float:
    """How likely one of k programs passes, without bias, from `count` of which `passed` did (Chen et al. 2021, eq. 1)."""
    return 1.0 - math.comb(count - passed, k) / math.comb(count, k)
