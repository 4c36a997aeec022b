"""The part of a report about speed, memory, time and energy, and what it was computed on."""

from collections.abc import Sequence
from typing import Any

from mlxllm.report.blocks import Block, Fold, Table, Text
from mlxllm.report.drawing import Plot
from mlxllm.report.learning import picture
from mlxllm.report.plots import machine_plot
from mlxllm.report.stages import StageReport
from mlxllm.report.words import count, duration, energy, moment, short_count, size


def seconds_of(stage: StageReport) -> float:
    """Training time of all attempts, pauses left out."""
    return stage.summary.seconds


def machine_section(stages: Sequence[StageReport], watts: float | None, plots: list[Plot]) -> list[Block]:
    """A row for each stage; its plots folded; the machine."""
    head = ["stage", "run", "begun", "updates", "tokens", "time", "tokens a second", "most memory"]
    rows = []
    for stage in stages:
        summary, seconds = stage.summary, seconds_of(stage)
        train = stage.curves.train
        peak = (
            max((v for key in ("footprint", "peak_memory") for v in train[key].values if v == v), default=None)
            if all(key in train for key in ("footprint", "peak_memory"))
            else None
        )
        rate = summary.tokens / seconds if summary.tokens and seconds > 0 else None
        rows.append(
            [
                stage.name,
                stage.run.name,
                moment(summary.created),
                count(summary.step),
                short_count(summary.tokens),
                duration(seconds),
                count(rate),
                size(peak),
                *([energy(seconds, watts)] if watts is not None else []),
            ]
        )
    blocks: list[Block] = [Table([*head, *(["energy, estimated"] if watts is not None else [])], rows)]
    if watts is not None:
        blocks.append(
            Text(
                f"Energy is an estimate: time, times the {watts:g} W that were named with --watts. Nothing was measured, and "
                f"time on pause, on evaluations and on what was tried before is not in it."
            )
        )
    else:
        blocks.append(Text("With --watts W the page tells what energy that may have been."))
    blocks.append(
        Text(
            "Time is that of all attempts with validation, samples and checkpoints; tokens a second are over all of it."
        )
    )
    told = list(dict.fromkeys(_machine(stage) for stage in stages))
    blocks += [Text(sentence) for sentence in told if sentence]
    for stage in stages:
        caption = f"Speed, memory, learning rate and gradient of {stage.run.name}"
        inner = picture(machine_plot(stage.curves, f"{stage.name.replace(' ', '-')}-machine", caption), plots)
        blocks += [Fold(f"Over the steps of {stage.run.name}", inner)] if inner else []
    return blocks


def _machine(stage: StageReport) -> str:
    started = stage.curves.started or {}
    raw = started.get("machine")
    found: dict[str, Any] = raw if isinstance(raw, dict) else {}
    device = str(started.get("device") or "")
    if not found:
        host = f" ({device.upper()})" if device else ""
        return f"What the machine was is not known: the run was made by an older version{host}." if started else ""
    memory = found.get("memory")
    return (
        f"Computed on the {device.upper() or 'machine'} of {found.get('chip')} ({found.get('architecture')}, "
        f"{found.get('cores')} cores, {size(memory)} of memory), {found.get('os')}; Python {found.get('python')}, "
        f"MLX {found.get('mlx')} ({found.get('backend')}), mlxllm {found.get('mlxllm')}."
    )
