"""From what was found about each item to the figures of a task, with standard errors."""

import math
from collections.abc import Mapping, Sequence

from mlxllm.evaluation.intervals import mean_and_error
from mlxllm.scores import STDERR


def means(items: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Metric -> mean and, under its name with `_stderr`, the standard error."""
    figures: dict[str, float | None] = {}
    for name in items[0]:
        figures[name], figures[name + STDERR] = mean_and_error([item[name] for item in items])
    return figures


def perplexity(logprobs: Sequence[float]) -> dict[str, float | None]:
    """exp of the mean surprise of a target, and its standard error by the delta method.

    Args:
        logprobs: of each target as a whole, nats.
    """
    middle, error = mean_and_error(logprobs)
    value = math.exp(min(-middle, 700.0))
    return {"perplexity": value, "perplexity" + STDERR: None if error is None else value * error}


def pass_at(count: int, passed: int, k: int) -> float:
    """How likely one of k programs passes, without bias, from `count` of which `passed` did (Chen et al. 2021, eq. 1)."""
    return 1.0 - math.comb(count - passed, k) / math.comb(count, k)
