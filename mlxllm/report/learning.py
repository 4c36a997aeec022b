"""The parts of a report about how a run learned: its curves, and what it wrote on the way."""

from collections.abc import Sequence

from mlxllm.report.blocks import Block, Fold, Picture, Points, Quote, Section, Table
from mlxllm.report.curves import Curves, Told, spread
from mlxllm.report.drawing import Plot
from mlxllm.report.plots import loss_plot, rewards_plot, sources_plot
from mlxllm.report.stages import StageReport
from mlxllm.report.words import number

_MOST_ROWS = 12
_MOST_SAMPLES = 4
_MOST_PROMPTS = 6
_MOST_WARNINGS = 10


def picture(plot: Plot | None, plots: list[Plot]) -> list[Block]:
    """A plot as a block, and noted among `plots`; nothing where there is none."""
    if plot is None:
        return []
    plots.append(plot)
    return [Picture(plot.name, plot.caption, plot.in_page())]


def learning_sections(stages: Sequence[StageReport], plots: list[Plot]) -> list[Block]:
    """The curves of each stage."""
    blocks: list[Block] = []
    for stage in stages:
        inner = _curves(stage, plots)
        if inner:
            title = f"{stage.name}: {stage.run.name}" if len(stages) > 1 else stage.run.name
            blocks.append(Section(title, inner))
    return blocks


def _curves(stage: StageReport, plots: list[Plot]) -> list[Block]:
    curves, mark = stage.curves, stage.name.replace(" ", "-")
    caption = f"Loss of {stage.run.name}: of training (smoothed, over that of single steps) and of validation"
    blocks = picture(loss_plot([(stage.run.name, curves)], f"{mark}-loss", caption, stage.loss_unit), plots)
    caption = f"Bits per byte of each source, {stage.run.name}"
    blocks += picture(sources_plot(curves.sources, f"{mark}-sources", caption), plots)
    caption = f"Rewards of {stage.run.name}, against the model before; the dotted line is chance"
    blocks += picture(rewards_plot(curves, f"{mark}-rewards", caption), plots)
    if table := loss_table(curves):
        blocks.append(Fold("The same in numbers", [table]))
    if curves.warnings:
        more = len(curves.warnings) - _MOST_WARNINGS
        told = [*curves.warnings[:_MOST_WARNINGS], *([f"and {more:,} more"] if more > 0 else [])]
        blocks.append(Fold(f"Warnings ({len(curves.warnings):,})", [Points(told)]))
    return blocks


def loss_table(curves: Curves) -> Table | None:
    """Validation at some steps, or where there is none, training."""
    if "loss" in curves.val:
        keys = [key for key in ("loss", "bits_per_byte", "rewards/accuracies", "rewards/margins") if key in curves.val]
        columns = [dict(zip(curves.val[key].steps, curves.val[key].values, strict=True)) for key in keys]
        steps = spread(list(columns[0]), _MOST_ROWS)
        names = {"loss": "validation loss", "bits_per_byte": "bits per byte"}
    elif "loss" in curves.train:
        keys = ["loss"]
        columns = [dict(zip(curves.train["loss"].steps, curves.train["loss"].values, strict=True))]
        steps = spread(list(columns[0]), _MOST_ROWS)
        names = {"loss": "training loss"}
    else:
        return None
    rows = [[f"{step:,.0f}", *(number(column.get(step), ".4f") for column in columns)] for step in steps]
    return Table(["step", *(names.get(key, key) for key in keys)], rows)


def quotes(stage: StageReport, stages: Sequence[StageReport]) -> list[Block]:
    """What a stage wrote on the way, to each prompt at a few steps: the last in sight, the earlier ones folded."""
    by_prompt: dict[str, list[Told]] = {}
    for told in stage.curves.samples:
        by_prompt.setdefault(told.prompt, []).append(told)
    blocks: list[Block] = []
    where = f"{stage.name}, " if len(stages) > 1 else ""
    for samples in list(by_prompt.values())[:_MOST_PROMPTS]:
        *before, last = spread(samples, _MOST_SAMPLES)
        blocks.append(_quote(stage, where, last))
        if before:
            blocks.append(Fold("Earlier in training", [_quote(stage, where, told) for told in before]))
    return blocks


def _quote(stage: StageReport, where: str, told: Told) -> Quote:
    """A base model goes on with its prompt; another one answers below it."""
    gap = "\n\n" if stage.method not in ("", "pretrain") else ""
    return Quote(f"{where}step {told.step:,}", told.prompt, gap + told.text)
