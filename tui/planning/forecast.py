"""What a prepared run will cost: parameters, memory, tokens, steps and time, and what to think of them."""

import math
from dataclasses import dataclass, replace

from mlxllm.budget import Cost, seconds_of, steps_within
from mlxllm.config import RunConfig
from mlxllm.estimate import Costs, count_parameters, estimate
from mlxllm.planning.proposals import START_SECONDS
from mlxllm.presets import few_steps_hint
from mlxllm.speed import Pace, pace
from tui.machine import TRAINABLE_SHARE
from tui.planning.draft import Draft
from tui.planning.records import RecordsLook
from tui.planning.stock import Dataset, Stock
from tui.planning.suiting import Suited, better_epochs, better_rate

_PADDED = 1.4
"""A step of pairs takes so many times as long as one of as many tokens in full rows (measured)."""

_BY_HEART = 20
"""Times through a text, from which on a model repeats rather than generalises."""
_RECORDS_BY_HEART = 10
"""The same for records of fine-tuning."""
_RECORDS = {"sft": "conversations", "dpo": "pairs"}
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


def suit(draft: Draft, stock: Stock, look: RecordsLook | None = None) -> Draft:
    """The draft with what suits its model and its records, as far as these are known.

    Args:
        draft: what was chosen.
        stock: what is there.
        look: at the records of fine-tuning.

    Raises:
        ConfigError: the settings cannot be.
    """
    model = stock.model(draft.model)
    if draft.method == "pretrain" or model is None:
        return draft.with_(suited=Suited())
    parameters = count_parameters(model.config)
    keys = {setting.partition("=")[0].strip() for setting in draft.settings}
    bare = draft.with_(minutes=None, epochs=None, learning_rate=None, suited=Suited())
    rate = None if "train.learning_rate" in keys else better_rate(bare.config(model.config), parameters)
    taken = bare.with_(learning_rate=draft.learning_rate, suited=Suited(rate)).config(model.config)
    epochs = draft.few_epochs
    if rate is not None and better_rate(taken, parameters) is None:
        # Many epochs at the higher rate, too, would be too much: one of the two is enough.
        rows = look.rows(draft.method, taken.data.max_seq_len) if look is not None else None
        epochs = better_epochs(taken, rows) if rows else None
    return draft.with_(suited=Suited(rate, None if keys & {"train.epochs", "train.max_steps"} else epochs))


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
    work = _of_dataset(config, stock, dataset) if draft.method == "pretrain" else _of_records(config, stock, look)
    steps, found = work.steps, work.pace
    if draft.minutes is not None and found is not None:
        steps = steps_within(config.train, found.cost, 60 * draft.minutes - START_SECONDS - work.before)
    if steps is not None:
        config = config.with_values(train={"max_steps": steps, "epochs": None})
    costs = estimate(config)
    seconds = None
    if found is not None and steps is not None:
        seconds = START_SECONDS + work.before + seconds_of(config.train, found.cost)
    known = Forecast(
        config=config,
        costs=costs,
        steps=steps,
        tokens=costs.tokens if steps is not None and draft.method != "dpo" else None,
        passes=steps * work.a_step / work.data if steps is not None and work.data else None,
        seconds=60.0 * draft.minutes if draft.minutes is not None else seconds,
        source=found.source if found is not None else "",
        by_time=draft.minutes is not None,
        memory_bytes=stock.memory_bytes,
        advice="",
    )
    return replace(known, advice=_advice(draft, known, bool(dataset)))


@dataclass(frozen=True)
class _Work:
    """How much there is to do."""

    steps: int | None = None
    pace: Pace | None = None
    data: int | None = None
    """Tokens of a dataset, rows or pairs of records."""
    a_step: int = 1
    """How many of them a step takes."""
    before: float = 0.0
    """Seconds that the data take before the first step."""


def _of_dataset(config: RunConfig, stock: Stock, dataset: Dataset | None) -> _Work:
    val_tokens = dataset.val_tokens if dataset else 0
    found = pace(config, stock.speed, stock.paced, val_tokens)
    in_data = dataset.tokens if dataset else None
    return _Work(config.train.max_steps, found, in_data, estimate(config).tokens_per_step)


def _of_records(config: RunConfig, stock: Stock, look: RecordsLook | None) -> _Work:
    if look is None or look.mean_tokens is None:
        return _Work()
    rows = look.rows(config.method, config.data.max_seq_len)
    a_step = config.train.batch_size * config.train.grad_accum_steps
    steps: int | None = config.train.max_steps
    if config.train.epochs is not None:
        steps = max(1, math.ceil(config.train.epochs * rows / a_step)) if rows is not None else None
    if config.method == "sft":
        return _Work(steps, pace(config, stock.speed, stock.paced), rows, a_step)
    # Pairs are as long as they are, padded to one of a few lengths; the reference reads each once, before training.
    length = max(8, min(config.data.max_seq_len, round(look.mean_tokens / 2)))
    short = config.with_values(data={"max_seq_len": length})
    found = pace(short, stock.speed, val_tokens=round((rows or 0) * look.mean_tokens))
    a_pace = Pace(Cost(_PADDED * found.cost.step, 0.0, 0.0), found.source)
    return _Work(steps, a_pace, rows, a_step, found.cost.validation)


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
    by_heart = known.passes is not None and known.passes >= _RECORDS_BY_HEART
    few = ""
    if known.steps is not None and known.passes is not None and not (by_heart or draft.minutes):
        few = few_steps_hint(draft.method, known.steps, known.passes)
    if few:
        return few
    if (rate := better_rate(known.config, costs.parameters)) is not None:
        return f"a small model hardly moves at a learning rate of {train.learning_rate:g}; {rate:g} suits it"
    if by_heart:
        more = _RECORDS[draft.method]
        return f"{known.passes:,.0f} times through the data: it will learn it by heart; more {more} teach more"
    return ""
