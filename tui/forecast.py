"""What a prepared run will cost: parameters, memory, tokens, steps and time, and what to think of them."""

import math
from dataclasses import dataclass

from mlxllm.budget import Cost, seconds_of, steps_within
from mlxllm.config import RunConfig
from mlxllm.estimate import Costs, estimate
from mlxllm.presets import SMALL_MODEL_RATES, few_steps_hint
from mlxllm.speed import Pace, pace
from tui.draft import Draft
from tui.machine import TRAINABLE_SHARE
from tui.records import RecordsLook
from tui.stock import Stock

START_SECONDS = 5.0
"""Until the first step; compiling for the first time takes half a minute more."""

_SMALL_MODEL = 5_000_000
_BY_HEART = 20
"""Times through the data, from which on a model repeats rather than generalises."""
_FEW_TOKENS = 2.5
"""A weight, below which a smaller model does as well."""


@dataclass(frozen=True)
class Forecast:
    """Numbers for the screen; None is not known."""

    config: RunConfig
    costs: Costs
    steps: int | None
    tokens: int | None
    passes: float | None
    """Times through the data."""
    seconds: float | None
    """From start to end."""
    source: str
    """Where the time is from, as in `Pace`."""
    by_time: bool
    """The time was chosen, and the steps follow from it."""
    memory_bytes: int
    """Of the machine."""
    advice: str
    """The one thing to think about; "" where all is well."""

    @property
    def memory_share(self) -> float:
        """Of the machine's memory that training takes."""
        return self.costs.training_bytes / self.memory_bytes if self.memory_bytes else 0.0


def forecast(draft: Draft, stock: Stock, look: RecordsLook | None = None) -> Forecast | None:
    """The costs of a draft; None where the shape of its model is not known.

    Args:
        draft: what was chosen.
        stock: what is there.
        look: at the records of fine-tuning.

    Raises:
        ConfigError: the settings cannot be.
    """
    dataset, model = stock.dataset(draft.dataset), stock.model(draft.model)
    config = draft.config(model.config if model else None, dataset.vocab_size if dataset else 0)
    if draft.method != "pretrain" and model is None:
        return None
    in_data: int | None
    found: Pace | None
    steps: int | None
    if draft.method == "pretrain":
        in_data = dataset.tokens if dataset else None
        found = pace(config, stock.speed, stock.paced, dataset.val_tokens if dataset else 0)
        steps = config.train.max_steps
    else:
        in_data, found, steps = _of_tuning(config, stock, look)
    if draft.minutes is not None and found is not None:
        steps = steps_within(config.train, found.cost, 60 * draft.minutes - START_SECONDS)
    if steps is not None:
        config = config.with_values(train={"max_steps": steps, "epochs": None})
    costs = estimate(config)
    seconds = seconds_of(config.train, found.cost) + START_SECONDS if found is not None and steps else None
    tokens = costs.tokens if steps is not None and draft.method != "dpo" else None
    passes = None
    if steps is not None and in_data:
        a_step = config.train.batch_size * config.train.grad_accum_steps
        passes = steps * a_step / in_data if draft.method != "pretrain" else costs.tokens / in_data
    known = Forecast(
        config,
        costs,
        steps,
        tokens,
        passes,
        60.0 * draft.minutes if draft.minutes is not None else seconds,
        found.source if found is not None else "",
        draft.minutes is not None,
        stock.memory_bytes,
        "",
    )
    return Forecast(**{**vars(known), "advice": _advice(draft, known, bool(dataset))})


def _of_tuning(config: RunConfig, stock: Stock, look: RecordsLook | None) -> tuple[int | None, Pace | None, int | None]:
    """Rows of the data, what a step takes, and steps."""
    if not config.model.vocab_size or look is None or look.mean_tokens is None:
        return None, None, None
    rows = look.rows(config.method, config.data.max_seq_len)
    steps: int | None = config.train.max_steps
    if config.train.epochs is not None:
        a_step = config.train.batch_size * config.train.grad_accum_steps
        steps = max(1, math.ceil(config.train.epochs * rows / a_step)) if rows is not None else None
    if config.method == "sft":
        return rows, pace(config, stock.speed, stock.paced), steps
    # Pairs are as long as they are, and the reference reads each once before training.
    length = max(8, min(config.data.max_seq_len, round(look.mean_tokens / 2)))
    found = pace(config.with_values(data={"max_seq_len": length}), stock.speed)
    return rows, Pace(Cost(found.cost.step, 0.0, 0.0), found.source), steps


def _advice(draft: Draft, known: Forecast, has_data: bool) -> str:
    train, costs = known.config.train, known.costs
    if known.memory_share > 1:
        return "more memory than there is: a smaller model, train.batch_size or data.max_seq_len needs less"
    if known.memory_share > TRAINABLE_SHARE:
        return "much of the memory: close other programs, or it may become slow"
    if draft.method == "pretrain":
        if not has_data or known.passes is None:
            return ""
        if known.passes > _BY_HEART:
            return f"{known.passes:,.0f} times through the data: it will learn it by heart; more text or less time"
        if known.tokens and known.tokens < _FEW_TOKENS * costs.parameters:
            return f"{known.tokens / costs.parameters:.2g} tokens a parameter: smaller or longer would learn better"
        return ""
    if known.steps is not None and draft.minutes is None and (hint := few_steps_hint(draft.method, known.steps)):
        return hint
    rate = SMALL_MODEL_RATES[draft.method]
    if train.learning_rate < rate / 5 and known.config.lora is None and 0 < costs.parameters < _SMALL_MODEL:
        return f"a small model hardly moves at a learning rate of {train.learning_rate:g}; {rate:g} suits it"
    return ""
