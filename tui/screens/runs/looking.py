"""Looking at runs: which are marked, and how they are watched, talked to and compared."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual import work

from mlxllm.errors import RunError
from mlxllm.runs import (
    ACTIVE,
    RunDirectory,
    RunSummary,
    checkpoint_steps,
    differences,
    read_probe,
    read_samples,
    read_settings,
    same_prompts,
)
from tui import commands
from tui.jobs import Job
from tui.screens.base import ModeScreen
from tui.screens.monitor.passage import PassageView
from tui.screens.runs.ablations import Ablations
from tui.screens.runs.compare import Differences, SideBySide
from tui.screens.runs.rows import address
from tui.widgets.rows import Rows

_MOST_SIDE_BY_SIDE = 6
"""Columns of text, of which each should still hold a word or two."""
_NAMED = 3


class RunLooking(ModeScreen):
    """What the table of runs has marked, and the actions that change nothing."""

    def __init__(self) -> None:
        """Without runs yet."""
        super().__init__()
        self.runs: dict[str, RunSummary] = {}
        self.marked: list[str] = []
        """Names of the marked runs, in the order in which they were marked; one may have gone meanwhile."""
        self.baseline = ""
        """Name of the run that others are compared with; it may have gone meanwhile."""
        self.evaluations: dict[str, Job] = {}
        self.exports: dict[str, Job] = {}
        self.reports: dict[str, Job] = {}
        """Those that go on now, by the run's name."""
        self.left_as: dict[str, str] = {}
        """Name of a run -> the folder of its last export, and who read it back."""
        self.pages: dict[str, str] = {}
        """Name of a run -> the page that its last report is."""
        self.scores: dict[str, dict[str, dict[str, Any]]] = {}
        """Name of a run -> dataset or task -> its score there, the newest first."""

    def changed(self, select: str = "") -> None:
        """Something was done to the runs; the cursor is to go to `select`."""
        raise NotImplementedError

    def current(self) -> RunSummary | None:
        """The run under the cursor."""
        return self.runs.get(self.query_one(Rows).key or "")

    def chosen(self) -> list[RunSummary]:
        """The marked runs; without marks, the run under the cursor."""
        current = self.current()
        return [self.runs[name] for name in self.marked if name in self.runs] or (
            [current] if current is not None else []
        )

    def together(self) -> list[RunSummary]:
        """The runs to look at side by side: two marked ones or more, else what is marked, pinned and under the cursor."""
        current = self.current()
        names = [name for name in self.marked if name in self.runs]
        if len(names) < 2:
            names = [current.name if current is not None else "", *names, self.baseline]
        return [self.runs[name] for name in dict.fromkeys(names) if name in self.runs]

    # Watching, talking, comparing.

    def action_open(self) -> None:
        """Watch the run under the cursor."""
        if (run := self.usable()) is not None:
            self.mlx.open_monitor(address(run))

    def action_overlay(self) -> None:
        """The curves of several runs in one chart."""
        first, *others = [address(run) for run in self.together() if run.status != "damaged"] or [""]
        if first and others:
            self.mlx.open_monitor(first, overlay=others)
        else:
            self.mlx.tell(
                "mark two runs or more with space, or pin a baseline with b; o lays their curves over each other"
            )

    @work(exclusive=True, group="runs")
    async def action_ablations(self) -> None:
        """What each change of a recipe bought; then, if wanted, the curves of its runs."""
        runs = await self.app.push_screen_wait(Ablations(ascii_only=self.mlx.marks == "ascii"))
        there = [name for name in runs or () if name in self.runs]
        if there:
            self.mlx.open_monitor(there[0], overlay=there[1:])
        elif runs:
            self.mlx.tell("the runs of this ablation are gone, and only its table is left")

    @work(exclusive=True, group="runs")
    async def action_chat(self) -> None:
        """Talk to the run under the cursor; with several marked, ask all of them at once."""
        runs = self.chosen()
        for run in runs:
            if run.status in ACTIVE:
                self.mlx.tell(f"{run.name} is training: watch it with enter, and talk to it there")
                return
            if not await asyncio.to_thread(has_checkpoint, run):
                self.mlx.warn(f"{run.name} has no checkpoint, so there is no model to talk to yet; r goes on with it")
                return
        if runs:
            first, *others = [address(run) for run in runs]
            self.mlx.open_chat(first, compare=others)

    @work(exclusive=True, group="runs")
    async def action_differences(self) -> None:
        """The settings in which runs differ."""
        runs = self.together()
        if len(runs) < 2:
            self.mlx.tell(
                "mark two runs with space, or pin a baseline with b; d shows the settings in which they differ"
            )
            return
        self.twin = commands.runs_diff(*map(address, runs))
        try:
            configs = await asyncio.to_thread(lambda: read_settings([directory(run) for run in runs]))
        except RunError as error:
            self.mlx.fail(error)
            return
        if found := differences(configs):
            await self.app.push_screen_wait(Differences([run.name for run in runs], found))
        else:
            self.mlx.tell(f"{names_of(runs)} have the same settings")

    @work(exclusive=True, group="runs")
    async def action_samples(self) -> None:
        """What runs said in training to the same prompts."""
        runs = self.together()
        if len(runs) > _MOST_SIDE_BY_SIDE:
            self.mlx.warn(f"{len(runs)} runs do not fit side by side; mark {_MOST_SIDE_BY_SIDE} at most")
            return
        self.twin = commands.runs_samples(*map(address, runs))
        try:
            said = await asyncio.to_thread(lambda: same_prompts([read_samples(directory(run)) for run in runs]))
        except RunError as error:
            self.mlx.fail(error)
            return
        if said:
            await self.app.push_screen_wait(SideBySide([run.name for run in runs], said))
        else:
            self.mlx.tell(f"{names_of(runs)}: nothing was asked in training; train.sample_every says how often it is")

    @work(exclusive=True, group="runs")
    async def action_passage(self) -> None:
        """The held-out passage of the run under the cursor, each token coloured by its loss."""
        run = self.usable()
        if run is None:
            return
        self.twin = commands.runs_probe(address(run))
        try:
            probe = await asyncio.to_thread(read_probe, directory(run))
        except RunError as error:
            self.mlx.warn(str(error))
            return
        self.app.push_screen(PassageView(lambda: probe, run.name, address(run), self.mlx.marks))

    # Helpers.

    def usable(self) -> RunSummary | None:
        """The run under the cursor; of a damaged one it is said what is wrong with it."""
        run = self.current()
        if run is not None and run.status == "damaged":
            self.mlx.fail(run.exit_reason or f"{run.name} is damaged")
            return None
        return run

    async def finished(self, args: Sequence[str]) -> Job:
        """A command, seen through to its end."""
        ended: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self.mlx.run_job(args, lambda line: None, lambda job: None if ended.done() else ended.set_result(job))
        return await ended


def directory(run: RunSummary) -> RunDirectory:
    """The folder of a run."""
    return RunDirectory(Path(run.path))


def names_of(runs: Sequence[RunSummary]) -> str:
    """As "a, b and c", with the first few of many."""
    names = [run.name for run in runs]
    if len(names) <= _NAMED:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED:,} more"


def has_checkpoint(run: RunSummary) -> bool:
    """Whether the run has a checkpoint that was written to its end."""
    return bool(checkpoint_steps(directory(run)))
