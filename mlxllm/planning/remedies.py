"""What would fit where a run does not: the first of a few changes that cost little, found by arithmetic."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from mlxllm.config import RunConfig
from mlxllm.estimate import Place, memory

Change = dict[str, Any]
"""section.key -> value, as `--set` takes them."""


def changed(config: RunConfig, change: Change) -> RunConfig:
    """The configuration with a change."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in change.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return config.with_values(**sections)


def first_that_fits(
    config: RunConfig, limit: int, place: Place | None = None, val_tokens: int | None = None
) -> Change | None:
    """The first change after which `config` needs at most `limit` bytes; None where none of them is enough.

    In this order: smaller batches whose gradients are summed (the same updates), blocks computed again in the backward
    pass (the same updates, a third more work), both, then in fine-tuning adapters instead of all weights, and adapters on
    a packed base.
    """
    for change in _changes(config):
        if memory(changed(config, change), place, val_tokens).peak <= limit:
            return change
    return None


def as_options(change: Change) -> str:
    """The change as one writes it on the command line."""
    return " ".join(f"--set {key}={_value(value)}" for key, value in change.items())


def _changes(config: RunConfig) -> Iterator[Change]:
    again = {"train.gradient_checkpointing": True}
    may_recompute = not config.train.gradient_checkpointing and not config.model.dropout
    lora_drops = config.lora is not None and config.lora.dropout
    yield from _smaller(config)
    if may_recompute and not lora_drops:
        yield again
        yield from ({**smaller, **again} for smaller in _smaller(config))
    if config.method == "pretrain":
        return
    if config.lora is None:
        yield from _with(config, {"lora.rank": 8}, may_recompute, again)
    if config.lora is None or config.lora.quantize is None:
        yield from _with(config, {"lora.rank": 8, "lora.quantize": "affine4"}, may_recompute, again)


def _with(config: RunConfig, adapters: Change, may_recompute: bool, again: Change) -> Iterator[Change]:
    rank = {"lora.rank": config.lora.rank} if config.lora is not None else {}
    base = {**adapters, **rank}
    smallest = list(_smaller(config))[-1:]
    yield base
    yield from ({**smaller, **base} for smaller in smallest)
    if may_recompute:
        yield from ({**smaller, **base, **again} for smaller in smallest or [{}])


def _smaller(config: RunConfig) -> Iterator[Change]:
    """Half the batch and twice the passes, again and again."""
    train = config.train
    rows, passes = train.batch_size, train.grad_accum_steps
    while rows % 2 == 0 and rows > 1:
        rows, passes = rows // 2, passes * 2
        change: Change = {"train.batch_size": rows, "train.grad_accum_steps": passes}
        if train.lanes and rows % train.lanes:
            change["train.lanes"] = 0
        yield change


def _value(value: Any) -> str:
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
