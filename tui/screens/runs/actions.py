"""What can be done to runs: evaluate, report, export, rename, delete, go on. Each is one of our commands."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from textual import work

from mlxllm import paths
from mlxllm.errors import RunError, UserError
from mlxllm.runs import ACTIVE, RunSummary, dependents, read_config
from tui import commands
from tui.jobs import Job, Line
from tui.planning.extend import QUESTION, how_far
from tui.screens.runs.evaluating import EvaluateDialog, Evaluating, scores_of
from tui.screens.runs.exporting import ExportDialog, Leaving, outcome
from tui.screens.runs.looking import RunLooking, directory, has_checkpoint, names_of
from tui.screens.runs.rows import address
from tui.widgets.rows import Rows
from tui.words import file_size


class RunActions(RunLooking):
    """The actions of the table of runs that start something, or change the runs."""

    # Evaluating, reporting, exporting.

    @work(exclusive=True, group="runs")
    async def action_evaluate(self) -> None:
        """Score the run under the cursor on text that it has not seen."""
        if (run := self.usable()) is None:
            return
        if (going_on := self.evaluations.get(run.name)) is not None:
            if await self.mlx.confirm(f"{run.name} is being evaluated. Stop that?", "Stop"):
                going_on.cancel()
            return
        if not await asyncio.to_thread(has_checkpoint, run):
            self.mlx.warn(f"{run.name} has no checkpoint yet, so there is nothing to evaluate")
            return
        known = await asyncio.to_thread(_datasets)
        wanted = await self.mlx.push_screen_wait(
            EvaluateDialog(run.name, address(run), known, _its_dataset(run, self.runs, known))
        )
        if wanted is None:
            return
        self.twin = wanted.args
        self.evaluations[run.name] = self.mlx.run_job(
            self.twin, lambda line: self._scored(run, wanted, line), lambda job: self._evaluated(run, wanted, job)
        )
        self.query_one(Rows).refresh()

    def _scored(self, run: RunSummary, on: Evaluating, line: Line) -> None:
        if isinstance(line, dict) and isinstance(found := line.get("results"), dict):
            scores = {n: {**score, "step": line.get("step")} for n, score in scores_of(found, on.data).items()}
            self.scores[run.name] = {
                **scores,
                **{n: s for n, s in self.scores.get(run.name, {}).items() if n not in scores},
            }

    def _evaluated(self, run: RunSummary, on: Evaluating, job: Job) -> None:
        self.evaluations.pop(run.name, None)
        if job.returncode and not job.cancelled:
            self.mlx.fail(f"{run.name} could not be evaluated: {job.error}")
        elif not job.cancelled:
            self.mlx.tell(f"{run.name} is evaluated on {on.about}")
        self.changed()

    @work(exclusive=True, group="runs")
    async def action_report(self) -> None:
        """Write a page about the run under the cursor, and tell where it lies."""
        if (run := self.usable()) is None:
            return
        if (going_on := self.reports.get(run.name)) is not None:
            if await self.mlx.confirm(f"The report of {run.name} is being written. Stop that?", "Stop"):
                going_on.cancel()
            return
        self.twin = commands.report(address(run))
        said: list[Line] = []
        self.reports[run.name] = self.mlx.run_job(
            (*self.twin, "--json"), said.append, lambda job: self._reported(run, said, job)
        )
        self.query_one(Rows).refresh()

    def _reported(self, run: RunSummary, said: Sequence[Line], job: Job) -> None:
        self.reports.pop(run.name, None)
        files = [file for line in said if isinstance(line, dict) for file in line.get("files") or ()]
        pages = [str(file) for file in files if str(file).endswith(".html")] or [str(file) for file in files]
        if job.returncode and not job.cancelled:
            self.mlx.fail(f"no report of {run.name} could be written: {job.error}")
        elif not job.cancelled and pages:
            self.pages[run.name] = pages[0]
            self.mlx.tell(f"the report of {run.name} is written: open {pages[0]} in a browser")
        self.changed()

    @work(exclusive=True, group="runs")
    async def action_export(self) -> None:
        """Write the run under the cursor for others: weights, a GGUF file, or its adapters alone."""
        if (run := self.usable()) is None:
            return
        try:
            config = await asyncio.to_thread(read_config, directory(run))
        except RunError as error:
            self.mlx.fail(error)
            return
        if not await asyncio.to_thread(has_checkpoint, run):
            self.mlx.warn(f"{run.name} has no checkpoint yet, so there is nothing to export")
            return
        if (going_on := self.exports.get(run.name)) is not None:
            if await self.mlx.confirm(f"{run.name} is being exported. Stop that?", "Stop"):
                going_on.cancel()
            return
        wanted = await self.mlx.push_screen_wait(ExportDialog(run.name, address(run), bool(config.get("lora"))))
        if wanted is None:
            return
        self.twin = wanted.args
        said: list[Line] = []
        self.exports[run.name] = self.mlx.run_job(
            (*wanted.args, "--json"), said.append, lambda job: self._exported(run, wanted, said, job)
        )
        self.query_one(Rows).refresh()

    def _exported(self, run: RunSummary, as_: Leaving, said: Sequence[Line], job: Job) -> None:
        self.exports.pop(run.name, None)
        if job.returncode and not job.cancelled:
            self.mlx.fail(f"{run.name} could not be exported: {job.error}")
        elif not job.cancelled:
            told = next((line for line in reversed(said) if isinstance(line, dict)), None)
            self.left_as[run.name] = outcome(as_.folder, told, run.name if as_.modelfile else "")
            self.mlx.tell(f"{run.name} is exported: {self.left_as[run.name]}")
        self.changed()

    # Renaming, deleting, going on.

    @work(exclusive=True, group="runs")
    async def action_rename(self) -> None:
        """Give the run under the cursor another name."""
        run = self.current()
        if run is None:
            return
        if run.status in ACTIVE:
            self.mlx.warn(
                f"{run.name} is {run.status}, so it cannot be renamed; stop it in the Monitor first (enter, x)"
            )
            return
        new = await self.mlx.ask(f"What should {run.name} be called?", value=run.name, check=_new_name(run.name))
        if new is None or new.strip() == run.name:
            return
        new = new.strip()
        self.twin = commands.rename_run(address(run), new)
        self._rename(run, new, self.twin)

    @work(group="jobs")
    async def _rename(self, run: RunSummary, new: str, args: commands.Args) -> None:
        job = await self.finished(args)
        if job.returncode:
            self.mlx.fail(f"{run.name} could not be renamed: {job.error}")
            return
        self.mlx.tell(f"{run.name} is now {new}")
        self.baseline = new if self.baseline == run.name else self.baseline
        self.marked = [new if name == run.name else name for name in self.marked]
        if run.name in self.scores:
            self.scores[new] = self.scores.pop(run.name)
        self.pages.pop(run.name, None)  # it lies in the run's folder, which is called otherwise now
        if run.name in self.left_as:
            self.left_as[new] = self.left_as.pop(run.name)
        self.changed(select=new)

    @work(exclusive=True, group="runs")
    async def action_delete(self) -> None:
        """Delete the marked runs, or the one under the cursor."""
        runs = self.chosen()
        if active := [run for run in runs if run.status in ACTIVE]:
            verb = "is" if len(active) == 1 else "are"
            self.mlx.warn(
                f"{names_of(active)} {verb} training; stop {'it' if len(active) == 1 else 'them'} in the Monitor first"
            )
            return
        if not runs:
            return
        self.twin = commands.remove_run(address(runs[0]))
        size, needed_by = await asyncio.to_thread(_what_goes, runs)
        what = runs[0].name if len(runs) == 1 else f"{len(runs)} runs ({names_of(runs)})"
        lost = (
            f" The adapters of {', '.join(needed_by)} sit on it and would be of no use any more." if needed_by else ""
        )
        if not await self.mlx.confirm(f"Delete {what} with all checkpoints, {file_size(size)}?{lost}", "Delete"):
            return
        self._delete(runs)

    @work(group="jobs")
    async def _delete(self, runs: Sequence[RunSummary]) -> None:
        for run in runs:
            job = await self.finished(commands.remove_run(address(run)))
            if job.returncode:
                self.mlx.fail(f"{run.name} was not deleted: {job.error}")
            else:
                self.mlx.tell(f"deleted {run.name}")
                self.marked = [name for name in self.marked if name != run.name]
                self.scores.pop(run.name, None)
                self.left_as.pop(run.name, None)
                self.pages.pop(run.name, None)
        self.changed()

    @work(exclusive=True, group="runs")
    async def action_resume(self) -> None:
        """Lift the pause of the run under the cursor, go on with it where it ended, or extend it."""
        if (run := self.usable()) is None:
            return
        name = address(run)
        if run.status == "paused":
            self.twin = commands.steer("resume", name)
            job = await self.finished(self.twin)
            self.mlx.fail(job.error) if job.returncode else self.mlx.tell(f"{run.name} goes on")
        elif run.status in ACTIVE:
            self.mlx.tell(f"{run.name} is {run.status} already; enter watches it")
        elif run.status == "finished":
            text = await self.mlx.ask(
                f"{run.name} finished at step {run.step:,}. {QUESTION.format('it')}",
                placeholder="10 min, or 500 steps",
                check=lambda text: how_far(text, run.step),
            )
            if text is not None:
                await self._go_on(run, commands.resume(name, **how_far(text, run.step)))
        else:
            at = f"step {run.step:,}" + (f" of {run.max_steps:,}" if run.max_steps else "")
            words = run.status.replace("_", " ")
            if await self.mlx.confirm(f"{run.name}: {words} at {at}. Go on from its last checkpoint?", "Go on"):
                await self._go_on(run, commands.resume(name))

    async def _go_on(self, run: RunSummary, args: commands.Args) -> None:
        self.twin = args
        if await self.mlx.launch(address(run), args):
            self.mlx.open_monitor(address(run))


def _what_goes(runs: Sequence[RunSummary]) -> tuple[int, list[str]]:
    """Bytes of all files of the runs, and the other runs that need one of them."""
    size = 0
    for run in runs:
        for file in Path(run.path).rglob("*"):
            with suppress(OSError):
                size += file.stat().st_size if file.is_file() else 0
    users = {user for run in runs for names in dependents(directory(run)).values() for user in names}
    return size, sorted(users - {run.name for run in runs})


def _datasets() -> list[str]:
    folder = paths.folder("datasets")
    return sorted(path.parent.name for path in folder.glob("*/manifest.json"))


def _its_dataset(run: RunSummary, runs: dict[str, RunSummary], known: Sequence[str]) -> str:
    """The dataset of a run or of the run that it came from; else the only one."""
    seen: set[str] = set()
    while run.name not in seen:
        seen.add(run.name)
        if (run.dataset or "") in known:
            return run.dataset or ""
        run = runs.get((run.model or "").rpartition("@")[0] or run.model or "", run)
    return known[0] if len(known) == 1 else ""


def _new_name(old: str) -> Any:
    def check(text: str) -> None:
        name = text.strip()
        if name != old and (path := paths.new("runs", name)).exists():
            raise UserError(f"there is a {path} already; choose another name")

    return check
