"""Where a model comes from: what is known of a stage of training and of its data, as far as they are still there.

Names only, never a folder of this machine: what is published tells nothing of where it lay.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.data.manifest import LABEL_FILE
from mlxllm.data.sources import kind_named, kinds
from mlxllm.errors import UserError
from mlxllm.runs.files import read_json
from mlxllm.runs.lineage import Stage, run_settings
from mlxllm.runs.summary import RunSummary, summarise

_TOLD = "optimizer learning_rate schedule warmup_steps batch_size grad_accum_steps weight_decay seed".split()
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class StageFacts:
    """One stage of training. None is "not known"."""

    method: str
    data: tuple[str, ...]
    """Names of data sets and record files."""
    dataset: str
    """As its run has it, to find its label; empty for records."""
    base_model: str
    """What the first stage began with; empty for fresh weights, and for a run of the same chain."""
    steps: int | None
    tokens: int | None
    val_loss: float | None
    bits_per_byte: float | None
    settings: Mapping[str, str]


@dataclass(frozen=True)
class SourceFacts:
    """One source of a data set."""

    name: str
    documents: int
    tokens: int
    share: float | None
    """Of the tokens trained on, repetitions counted."""
    licences: tuple[str, ...]


@dataclass(frozen=True)
class DataFacts:
    """A data set, from its label."""

    sources: tuple[SourceFacts, ...]
    cautions: tuple[str, ...]


def data_of(stage: StageFacts) -> DataFacts | None:
    """What a stage was trained on; None where its data set is gone, or was records."""
    if not stage.dataset:
        return None
    try:
        label = read_json(paths.existing("datasets", stage.dataset) / LABEL_FILE)
        sources = tuple(
            SourceFacts(
                name=nameless(name),
                documents=int(source["documents_kept"]),
                tokens=int(source["tokens"]),
                share=source.get("train_share"),
                licences=tuple(sorted(source.get("licences", {}))) or _known_licence(str(source.get("spec", name))),
            )
            for name, source in label["sources"].items()
        )
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return None
    # A caution may name a file of this machine.
    cautions = tuple(text for text in label.get("cautions", ()) if isinstance(text, str) and "/" not in text)
    return DataFacts(sources, cautions)


def _known_licence(spec: str) -> tuple[str, ...]:
    """Of a source whose documents are all under one."""
    kind = spec.partition(":")[0]
    known = kind_named(kind).one_licence if kind in kinds() else ""
    return (known,) if known else ()


def nameless(name: str) -> str:
    """A name without the folder that it lies in; names of the Hub stay."""
    kind, colon, rest = name.partition(":")
    if colon and "/" not in kind:
        return f"{kind}:{nameless(rest)}"
    if hub_name(name) is not None:
        return name
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def hub_name(name: str) -> str | None:
    """The `owner/name` of a name of the Hub, without its revision; None for anything else."""
    name = name.rpartition("@")[0] or name
    return name if _HUB_NAME.fullmatch(name) and not name.startswith(".") and not Path(name).exists() else None


def stage_facts(stage: Stage, step: int | None, base: str) -> StageFacts:
    """What is known of a stage up to a step; `base` is what it began with, where no run of the chain made that."""
    settings = run_settings(stage.run)
    data, train = _section(settings, "data"), _section(settings, "train")
    try:
        summary = summarise(stage.run)
    except UserError:
        summary = None
    val, tokens = _until(summary, step)
    dataset = str(data.get("dataset") or "")
    names = [dataset] if dataset else [str(name) for name in data.get("records") or ()]
    told = {name: f"{value}" for name in _TOLD if (value := train.get(name)) is not None}
    for name, keys in (("lora", ("method", "rank", "alpha")), ("dpo", ("loss", "beta"))):
        section = _section(settings, name)
        told |= {f"{name} {key}": f"{section[key]}" for key in keys if key in section}
    return StageFacts(
        method=stage.method,
        data=tuple(nameless(name) for name in names),
        dataset=dataset,
        base_model=base,
        steps=step if step is not None else (summary.step if summary is not None else None),
        tokens=tokens,
        val_loss=_number(val.get("loss")),
        bits_per_byte=_number(val.get("bits_per_byte")),
        settings=told,
    )


def _until(summary: RunSummary | None, step: int | None) -> tuple[Mapping[str, Any], int | None]:
    """The last validation up to a step, and the tokens read until there, as far as the summary has kept them."""
    if summary is None:
        return {}, None
    tokens = summary.tokens if step is None or step == summary.step else None
    for val in (summary.val or {}, summary.best_val or {}):
        at = _number(val.get("step"))
        if step is None or (at is not None and at <= step):
            return val, tokens
    return {}, tokens


def _section(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
