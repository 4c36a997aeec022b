"""A budget becomes a model, a batch and a number of steps.

With time: the largest model to which this machine can show twenty tokens for each of its weights (compute-optimal training,
Hoffmann et al., "Chinchilla", arXiv:2203.15556) in that time; of a dataset, at most four times through (up to there repeated
text teaches as much as fresh text, Muennighoff et al., arXiv:2305.16264). With memory: the largest model and batch in it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlxllm.budget import Cost, seconds_of, steps_within
from mlxllm.config import RunConfig
from mlxllm.dials import scaled_model
from mlxllm.errors import ConfigError
from mlxllm.estimate import Place, block_parameters, count_parameters, estimate, memory
from mlxllm.planning.budgets import Budget
from mlxllm.planning.remedies import as_options, first_that_fits
from mlxllm.presets import PRESETS

OPTIMAL_TOKENS = 20
"""Tokens a parameter of compute-optimal training (arXiv:2203.15556)."""
LEAST_TOKENS = 2.5
"""A weight, that a small model needs to see when there are only minutes: it learns a small world better than one that is
small enough for `OPTIMAL_TOKENS`, but not with less than this (`training.sizing` was tried out with it)."""
OVERTRAINED_TOKENS = 1875
"""Llama 3 8B's: 15 trillion tokens (arXiv:2407.21783); a smaller model trained for longer is cheaper to run afterwards."""
MOST_EPOCHS = 4
"""Times through the same text that cost next to nothing (arXiv:2305.16264)."""
USABLE_SHARE = 0.7
"""Of the machine's memory: beyond, it has too little left for everything else."""
START_SECONDS = 10.0
"""Until the first step, when kernels have been compiled before."""

DEFAULT_PRESET = "small-10m"
"""What is scaled where none is named: today's block."""
_FACTORS = tuple(2.0**power for power in range(-12, 13))
_TOKENS_PER_STEP = 32_768
"""A batch for large models is not made larger than this: more updates of fewer tokens learn faster at these sizes."""
_MILESTONES = 10
_NEAR = 1.4


@dataclass(frozen=True)
class Proposal:
    """What to train."""

    config: RunConfig
    changes: dict[str, Any]
    """section.key -> value, of what differs from the preset."""
    cost: Cost
    seconds: float
    epochs: float | None
    """Times through the dataset; None without one."""
    tokens_per_parameter: float
    peak_bytes: int
    why: str

    def command(self, dataset: str | None, run: str | None = None) -> str:
        """The `mlxllm train` that does it."""
        data = dataset if dataset is not None else "NAME"
        words = [f"mlxllm train --preset {self.config.preset} --data {data}", as_options(self.changes)]
        return " ".join(word for word in (*words, f"--run {run}" if run else "") if word)


Pace = Callable[[RunConfig], Cost]
"""A configuration -> what a step of it costs."""


def propose(
    budget: Budget,
    base: RunConfig,
    pace: Pace,
    memory_bytes: int,
    *,
    vocab_size: int = 0,
    tokens: int | None = None,
    place: Place | None = None,
) -> Proposal:
    """What to train within a budget.

    Args:
        budget: time or memory.
        base: a preset, with the user's settings; it is tried in all sizes.
        pace: how long a step takes.
        memory_bytes: of the machine.
        vocab_size: of the dataset's tokenizer; 0 takes 8,192.
        tokens: of the dataset; None where none is known.
        place: where it trains; by default here.

    Raises:
        ConfigError: not even the smallest model fits.
    """
    name, start = base.preset, base
    limit = budget.bytes if budget.bytes is not None else int(USABLE_SHARE * memory_bytes)
    vocab = vocab_size or start.model.vocab_size or 8192
    found = [p for p in _candidates(name, start, vocab, limit, place) if p is not None]
    if not found:
        raise ConfigError(
            f"--budget {budget.text} is too little memory for even the smallest model of preset {name}; give more, or "
            f"choose a smaller preset"
        )
    if budget.seconds is None:
        config = found[-1]
        steps = max(1, math.ceil(OPTIMAL_TOKENS * count_parameters(config.model) / estimate(config).tokens_per_step))
        if tokens:
            steps = min(steps, max(1, MOST_EPOCHS * tokens // estimate(config).tokens_per_step))
        why = "the largest model whose training fits this memory"
        if tokens and MOST_EPOCHS * tokens < LEAST_TOKENS * count_parameters(config.model):
            why += "; the data are far too few for it, and a budget of time would propose one that suits them"
        return _finished(name, config, steps, pace, tokens, place, why)
    proposals = [_within(name, config, budget.seconds, pace, tokens, place) for config in found]
    for enough in (OPTIMAL_TOKENS, LEAST_TOKENS):
        if seen := [p for p in proposals if p.tokens_per_parameter >= enough]:
            return max(seen, key=lambda p: count_parameters(p.config.model))
    return proposals[0]


def _within(
    name: str, config: RunConfig, seconds: float, pace: Pace, tokens: int | None, place: Place | None
) -> Proposal:
    cost, a_step = pace(config), estimate(config).tokens_per_step
    steps = steps_within(config.train, cost, max(1.0, seconds - START_SECONDS), milestones=_MILESTONES)
    most = max(1, MOST_EPOCHS * tokens // a_step) if tokens else steps
    limit, where, ratio = "time", "in this time", min(steps, most) * a_step / count_parameters(config.model)
    if most < steps:
        limit, where, steps = "data", f"in {MOST_EPOCHS} times through the data", most
    why = f"the largest model that sees {OPTIMAL_TOKENS} tokens a parameter {where}"
    if ratio < OPTIMAL_TOKENS:
        why = f"too little {limit} for {OPTIMAL_TOKENS} tokens a parameter; the largest model with {LEAST_TOKENS:g} {where}"
    if ratio < LEAST_TOKENS:
        why = "the smallest size of this preset, and still too large for the time or the data"
    return _finished(name, config, steps, pace, tokens, place, why)


def _finished(
    name: str, config: RunConfig, steps: int, pace: Pace, tokens: int | None, place: Place | None, why: str
) -> Proposal:
    every = max(1, -(-steps // _MILESTONES))
    values = {"max_steps": steps, "eval_every": every, "checkpoint_every": every}
    values["warmup_steps"] = min(config.train.warmup_steps, max(1, steps // 10))
    config = config.with_values(train=values)
    cost, seen = pace(config), steps * estimate(config).tokens_per_step
    return Proposal(
        config=config,
        changes=_changes(name, config),
        cost=cost,
        seconds=START_SECONDS + seconds_of(config.train, cost),
        epochs=seen / tokens if tokens else None,
        tokens_per_parameter=seen / count_parameters(config.model),
        peak_bytes=memory(config, place).peak,
        why=why,
    )


def _candidates(name: str, start: RunConfig, vocab: int, limit: int, place: Place | None) -> Iterator[RunConfig | None]:
    """Sizes of a preset that fit, the smallest first, each with the largest batch that does."""
    last: dict[str, Any] | None = None
    for factor in _FACTORS:
        model = scaled_model(start.model, factor).model_copy(update={"vocab_size": vocab})
        shape = model.model_dump()
        if shape == last or not _NEAR > block_parameters(model) / block_parameters(start.model) / factor > 1 / _NEAR:
            continue  # whole heads and blocks come no nearer
        last = shape
        yield _with_batch(start.with_values(model=shape), limit, place)


def _with_batch(config: RunConfig, limit: int, place: Place | None) -> RunConfig | None:
    """The configuration as it is, or with a smaller batch that is accumulated; None where nothing of it fits."""
    train, length = config.train, config.data.max_seq_len
    while train.batch_size * train.grad_accum_steps * length > _TOKENS_PER_STEP and train.batch_size > 1:
        train = train.model_copy(update={"batch_size": train.batch_size // 2})
    config = config.with_values(train=train.model_dump())
    if memory(config, place).peak <= limit:
        return config
    change = first_that_fits(config, limit, place)
    if change is None:
        return None
    sections = {key.partition(".")[2]: value for key, value in change.items()}
    return config.with_values(train=sections)


def _changes(name: str, config: RunConfig) -> dict[str, Any]:
    """What differs from the preset, but for what the dataset decides."""
    preset = PRESETS[name]().model_dump()
    own = config.model_dump()
    changed = {}
    for section in ("model", "data", "train"):
        for key, value in own[section].items():
            if value != preset[section][key] and f"{section}.{key}" not in ("model.vocab_size", "data.dataset"):
                changed[f"{section}.{key}"] = value
    return changed
