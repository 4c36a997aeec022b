"""Several runs side by side: curves over each other, the settings in which they differ, scores, speed, and what they said."""

from collections.abc import Sequence

from mlxllm import __version__
from mlxllm.report.blocks import Block, Page, Quote, Section, Table, Text
from mlxllm.report.drawing import Plot
from mlxllm.report.learning import picture
from mlxllm.report.machine_section import machine_section
from mlxllm.report.plots import loss_plot, scores_plot
from mlxllm.report.recipe import differing_table
from mlxllm.report.scores_section import scored, scores_table
from mlxllm.report.stages import StageReport, total_parameters
from mlxllm.report.words import count, duration, moment, number, short_count
from mlxllm.runs import Sample, read_settings, same_prompts

_MOST_PROMPTS = 6
OVERVIEW = ("run", "kind", "status", "steps", "tokens", "weights", "val loss", "bits/byte", "time", "tokens/s")
"""The columns of `overview`."""


def comparison_page(
    runs: Sequence[StageReport], *, watts: float | None = None, now: float | None = None
) -> tuple[Page, list[Plot]]:
    """The page of several runs; arguments and result as of `run_page`.

    Args:
        runs: each under the name that it is to have (`stages.stage_of`).
        watts: what the machine draws.
        now: when it is written.
    """
    plots: list[Plot] = []
    names = [run.name for run in runs]
    blocks: list[Block] = [
        Table(OVERVIEW, [overview(run) for run in runs]),
        Section("Learning", _curves(runs, plots)),
        Section("Scores", _scores(runs, plots)),
        Section("Settings that differ", [_settings(runs)]),
        Section("The same prompts", _said(runs)),
        Section("Machine, time and energy", machine_section(runs, watts, plots)),
    ]
    written = f" on {moment(now)}" if now is not None else ""
    page = Page(
        title=" · ".join(names),
        lead=f"{len(runs)} runs side by side.",
        facts=(),
        blocks=[block for block in blocks if not isinstance(block, Section) or block.blocks],
        end=f"Written by mlxllm runs compare {' '.join(names)} (mlxllm {__version__}){written}.",
    )
    return page, plots


def overview(run: StageReport) -> list[str]:
    """One run under `OVERVIEW`."""
    summary = run.summary
    best = summary.best_val or {}
    steps = count(summary.step) + (f"/{summary.max_steps:,}" if summary.max_steps not in (None, summary.step) else "")
    rate = summary.tokens / summary.seconds if summary.tokens and summary.seconds > 0 else None
    return [
        run.name,
        run.method or "–",
        summary.status,
        steps,
        short_count(summary.tokens),
        short_count(total_parameters(run)),
        number(best.get("loss"), ".4f"),
        number(best.get("bits_per_byte"), ".4f"),
        duration(summary.seconds),
        count(rate),
    ]


def _curves(runs: Sequence[StageReport], plots: list[Plot]) -> list[Block]:
    """Losses of one unit over each other; those of tokens and those of pairs have nothing in common."""
    blocks: list[Block] = []
    for unit in dict.fromkeys(run.loss_unit for run in runs):
        drawn = [(run.name, run.curves) for run in runs if run.loss_unit == unit]
        name = f"loss-{unit.rpartition(' ')[2]}"
        caption = f"Loss ({unit}): of training as a line, of validation as points"
        blocks += picture(loss_plot(drawn, name, caption, unit), plots)
    return blocks


def _scores(runs: Sequence[StageReport], plots: list[Plot]) -> list[Block]:
    scores = [(run.name, run.scores) for run in runs]
    table = scores_table(scores)
    if table is None:
        return [
            Text("None are kept for the newest checkpoints of these runs; mlxllm eval measures some and keeps them.")
        ]
    return [*picture(scores_plot(scored(scores), "scores", "Scores; each bar holds 95 %"), plots), table]


def _settings(runs: Sequence[StageReport]) -> Block:
    if not all(run.config for run in runs):
        unread = ", ".join(run.name for run in runs if not run.config)
        return Text(f"The settings of {unread} cannot be read.")
    table = differing_table(read_settings([run.run for run in runs]), [run.name for run in runs])
    return table if table is not None else Text("None: the settings are the same.")


def _said(runs: Sequence[StageReport]) -> list[Block]:
    samples = [[Sample(told.step, told.prompt, told.text) for told in run.curves.samples] for run in runs]
    blocks: list[Block] = []
    for same in same_prompts(samples)[:_MOST_PROMPTS]:
        answers = [(run, said[-1]) for run, said in zip(runs, same.answers, strict=True) if said]
        quotes = [Quote(f"{run.name}, step {said.step:,}", "", said.text.lstrip()) for run, said in answers]
        blocks.append(Section(same.prompt or "(no prompt)", quotes))
    return blocks
