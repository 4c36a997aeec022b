"""The report of one model: what it was made of and how, what it learned, how good it is, and the way there."""

from collections.abc import Sequence

from mlxllm import __version__
from mlxllm.report.blocks import Block, Commands, Fold, Page, Points, Section, Text
from mlxllm.report.commands import Commands as Way
from mlxllm.report.commands import dataset_commands, evaluation_command, index_command, training_command
from mlxllm.report.data_section import data_sections
from mlxllm.report.drawing import Plot
from mlxllm.report.learning import learning_sections, picture
from mlxllm.report.machine_section import machine_section, seconds_of
from mlxllm.report.plots import scores_plot
from mlxllm.report.recipe import model_section, recipe_sections
from mlxllm.report.scores_section import scored, scores_table
from mlxllm.report.stages import StageReport, total_parameters
from mlxllm.report.words import count, duration, energy, moment, number, short_count
from mlxllm.runs import ACTIVE


def run_page(
    stages: Sequence[StageReport], *, watts: float | None = None, now: float | None = None
) -> tuple[Page, list[Plot]]:
    """The page of a run.

    Args:
        stages: those that made its model, the last one is the run (`stages.stages_of`).
        watts: what the machine draws while it trains, for an estimate of energy.
        now: when it is written, unix seconds; None leaves that out.

    Returns:
        The page, and its plots.
    """
    plots: list[Plot] = []
    blocks: list[Block] = [
        *_scores(stages, plots),
        Section("What it said", _said(stages)),
        Section("Learning", learning_sections(stages, plots)),
        Section("Data", data_sections(stages)),
        Section("Model", model_section(stages[-1])),
        Section("Recipe", recipe_sections(stages)),
        Section("Machine, time and energy", machine_section(stages, watts, plots)),
        Section("How to get there again", way_there(stages)),
    ]
    shown = [block for block in blocks if not isinstance(block, Section) or block.blocks]
    written = f" on {moment(now)}" if now is not None else ""
    page = Page(
        title=stages[-1].run.name,
        lead=_lead(stages),
        facts=_facts(stages, watts),
        blocks=shown,
        end=f"Written by mlxllm report {stages[-1].run.address} (mlxllm {__version__}){written}.",
    )
    return page, plots


def _lead(stages: Sequence[StageReport]) -> str:
    last = stages[-1]
    size = total_parameters(last)
    what = f"A language model of {short_count(size)} weights" if size is not None else "A language model"
    began = f", begun with {stages[0].base}" if stages[0].base else ", trained from nothing"
    road = f" in {len(stages)} stages: {', '.join(stage.name for stage in stages)}" if len(stages) > 1 else ""
    status = last.summary.status
    which = "Its last stage" if len(stages) > 1 else "Its training"
    state = f" {which} is {status.replace('_', ' ')}, at step {last.summary.step:,}" if status != "finished" else ""
    if state:
        state += f" of {last.summary.max_steps:,}." if last.summary.max_steps is not None else "."
    ended = f" {_sentence(last.ending)}" if last.ending and status not in (*ACTIVE, "finished") else ""
    return f"{what}{began}{road}.{state}{ended}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _facts(stages: Sequence[StageReport], watts: float | None) -> list[tuple[str, str]]:
    seconds = sum(seconds_of(stage) for stage in stages)
    tokens = sum(stage.summary.tokens or 0 for stage in stages)
    first = stages[0].summary.best_val or {}
    facts = [
        (short_count(total_parameters(stages[-1])), "weights"),
        (short_count(tokens), "tokens read in training"),
        (count(sum(stage.summary.step for stage in stages)), "updates"),
        (duration(seconds), "training time"),
    ]
    if watts is not None:
        facts.append((energy(seconds, watts), f"energy, estimated at {watts:g} W"))
    if first.get("bits_per_byte") is not None and stages[0].method == "pretrain":
        facts.append((number(first["bits_per_byte"], ".3f"), f"bits per byte of unseen text, {stages[0].name}"))
    return facts


def _scores(stages: Sequence[StageReport], plots: list[Plot]) -> list[Block]:
    table = scores_table([(stage.name, stage.scores) for stage in stages])
    if table is None:
        evaluate = f"mlxllm eval --model {stages[-1].run.address} --data NAME"
        return [
            Section("Scores", [Text("None are kept yet. This measures some and keeps them:"), Commands([evaluate])])
        ]
    blocks: list[Block] = []
    caption = "Scores after every stage; each bar holds 95 %"
    blocks += picture(scores_plot(scored([(s.name, s.scores) for s in stages]), "scores", caption), plots)
    blocks += [table, Text("Behind ± stands the standard error. Results belong to the weights they were measured on.")]
    meanings = {metric: words for s in stages for f in s.scores for metric, words in f.result.meanings.items()}
    if meanings:
        blocks.append(Points([f"{metric}: {words}" for metric, words in meanings.items()]))
    others = scores_table([(f"{s.name}, step {f.step:,}", (f,)) for s in stages for f in s.other_scores])
    return [Section("Scores", [*blocks, *([Fold("Scores of other checkpoints", [others])] if others else [])])]


def _said(stages: Sequence[StageReport]) -> list[Block]:
    from mlxllm.report.learning import quotes

    return [block for stage in stages for block in quotes(stage, stages)]


def way_there(stages: Sequence[StageReport]) -> list[Block]:
    """The commands, and what they leave open."""
    way, datasets = Way(), list[str]()
    for stage in stages:
        data = stage.config.get("data")
        dataset = str(data.get("dataset") or "") if isinstance(data, dict) else ""
        if dataset:
            dataset_commands(dataset, way)
            datasets.append(dataset)
        if stage.config:
            training_command(stage.run, stage.config, stage.summary, way)
        for found in stage.scores:
            model = f"{stage.run.address}@{found.step}"
            argv = evaluation_command(model, found.result.task, found.result.settings)
            if argv is not None:
                if found.result.task == "copied":
                    for name in datasets:
                        way.add(index_command(name))
                way.add(argv)
            elif found.result.task.startswith("versus:"):
                other = found.result.task.removeprefix("versus:")
                way.notes.append(f"How it does against {other} is asked again by mlxllm versus, with the same judge.")
            elif not found.result.task.startswith("data:"):
                way.notes.append(
                    f"{found.result.task} was scored on questions that this page does not know the place of."
                )
    if not way.argvs:
        return [Text("The settings of this run cannot be read, so there are no commands.")]
    way.notes += [f"{stage.base} is not made by these commands." for stage in stages[:1] if stage.base]
    if any(stage.config.get("data", {}).get("records") for stage in stages):
        way.notes.append(
            "Files of conversations and preferences are taken from where they lie; their hashes are above."
        )
    said: list[Block] = [Points(list(dict.fromkeys(way.notes)))] if way.notes else []
    return [Commands(way.lines()), *said]
