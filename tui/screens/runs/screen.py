"""Runs: all that was ever trained here, to find, compare, evaluate, report, rename, export and delete."""

import time
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mlxllm.runs import ACTIVE, RunCatalogue, RunDirectory, RunSummary, explain
from tui import commands
from tui.screens.runs import rows
from tui.screens.runs.actions import RunActions
from tui.screens.runs.evaluating import in_words
from tui.widgets.find import Find
from tui.widgets.rows import Cells, Rows
from tui.words import printable

_ACTIVE_SECONDS = 1.0
_ALL_SECONDS = 3.0
_NEEDS_A_RUN = frozenset(
    "open chat mark overlay baseline differences samples evaluate report export rename delete resume".split()
)
_COMPARE = Binding.Group("Beside")
_MOST_SCORES = 3
_EMPTY = (
    "No runs yet.\n\nA run is one training with all that it leaves: press 1 and then t to make a first model in minutes, "
    "or 3 to choose everything yourself."
)


class RunsScreen(RunActions):
    """The table of all runs."""

    MODE = "runs"
    ABOUT = (
        "Every run of this machine, the newest first; lower losses are better. With a baseline (b) the losses show how far "
        "they are from its own, where method and data are the same. Space marks runs: o lays their curves over each other, "
        "d shows where their settings differ, s what they said to the same prompts. a shows ablations: what each change of a "
        "recipe bought."
    )
    HINT = (
        "Space marks runs, o compares the curves of those that are marked, b makes one the baseline; / finds by words."
    )
    WORDS = (
        "run",
        "loss",
        "validation",
        "bits per byte",
        "nats",
        "perplexity",
        "baseline",
        "overlay",
        "token",
        "sample",
        "checkpoint",
        "adapter",
        "ablation",
        "pretrain",
        "SFT",
        "DPO",
        "dataset",
        "preset",
        "fingerprint",
        "step",
        "parameters",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="runs.open", tooltip="Watch it, or look back at it"),
        Binding("c", "chat", "Chat", id="runs.chat"),
        Binding("slash", "filter", "Find", key_display="/", id="runs.filter"),
        Binding("space", "mark", "Mark", id="runs.mark"),
        Binding("o", "overlay", "Overlay curves", id="runs.overlay", group=_COMPARE),
        Binding("d", "differences", "Differing settings", id="runs.differences", group=_COMPARE),
        Binding("s", "samples", "Samples side by side", id="runs.samples", group=_COMPARE),
        Binding("b", "baseline", "Pin as baseline", id="runs.baseline", group=_COMPARE),
        Binding(
            "h",
            "passage",
            "Held out",
            show=False,
            id="runs.passage",
            tooltip="A held-out passage, coloured as it was learnt",
        ),
        Binding("e", "evaluate", "Eval", id="runs.evaluate", tooltip="Evaluate it on unseen text or on questions"),
        Binding("r", "resume", "Go on", id="runs.resume", tooltip="Resume or extend"),
        Binding("E", "export", "Export", id="runs.export"),
        Binding("w", "report", "Report", id="runs.report", tooltip="Write a page about it"),
        Binding("R", "rename", "Rename", id="runs.rename"),
        Binding("D", "delete", "Delete", id="runs.delete"),
        Binding("a", "ablations", "Ablations", id="runs.ablations", tooltip="What each change of a recipe bought"),
    ]
    DEFAULT_CSS = """
    RunsScreen #bar { height: 1; padding: 0 1; }
    RunsScreen Rows { height: 1fr; }
    RunsScreen #empty { padding: 1 2; height: 1fr; display: none; }
    RunsScreen .empty #empty { display: block; }
    RunsScreen .empty Rows { display: none; }
    RunsScreen #details { height: auto; min-height: 2; max-height: 8; padding: 0 1; background: $surface; }
    """

    def __init__(self) -> None:
        """Nothing has been read yet."""
        super().__init__()
        self._catalogue = RunCatalogue()
        self._looking = False
        self._read_all = False
        self._read_at = 0.0
        self._has_runs = False
        self._wanted = ""
        """The run that the cursor is to go to as soon as it is there."""

    def compose_body(self) -> ComposeResult:
        with Vertical(id="list"):
            yield Static(id="bar", markup=False)
            yield Find("words of name, status, method, data, preset or model")
            yield Rows(rows.columns(False), self._cells)
            yield Static(_EMPTY, id="empty", markup=False)
            yield Static(id="details", markup=False)

    def on_mount(self) -> None:
        """Read all runs, and go on looking."""
        self.twin = commands.runs_ls()
        self.query_one(Rows).focus()
        self.set_interval(_ACTIVE_SECONDS, self._look_again)
        self._show()

    def on_screen_resume(self) -> None:
        """What changed while another screen was open."""
        self._look(True)

    def home_focus(self) -> Widget | None:
        """The table."""
        return self.query_one(Rows)

    def select_run(self, select: str) -> None:
        """Put the cursor on a run, now or when it has been read.

        Args:
            select: its name or path; "" leaves the cursor where it is.
        """
        self._wanted = select
        self._show()
        self._look(True)

    # Reading.

    def _look_again(self) -> None:
        self._look(time.monotonic() - self._read_at > _ALL_SECONDS)

    def _look(self, everything: bool) -> None:
        if self.is_current and not self._looking:
            self._looking = True
            self._read(everything or not self._read_all)

    @work(thread=True, group="look")
    def _read(self, everything: bool) -> None:
        """One look at the runs; `_looking` keeps it to one at a time."""
        catalogue = self._catalogue
        if everything:
            for _page in catalogue.refresh():
                self.app.call_from_thread(self._take, dict(catalogue.runs))
        else:
            catalogue.refresh_active()
        self.app.call_from_thread(self._taken, dict(catalogue.runs), everything)

    def _take(self, runs: dict[str, RunSummary]) -> None:
        if runs != self.runs:
            self.runs = runs
            self._show()

    def _taken(self, runs: dict[str, RunSummary], everything: bool) -> None:
        self._looking = False
        if everything:
            self._read_at = time.monotonic()
        if everything and not self._read_all:
            self._read_all = True
            self.runs = runs
            self._show()
        else:
            self._take(runs)

    def changed(self, select: str = "") -> None:
        """Something was done to the runs: look again soon."""
        self._wanted = select or self._wanted
        self._read_at = 0.0
        self._show()
        self._look(True)

    # Showing.

    def _show(self) -> None:
        """The rows, in order; the baseline stands at the top."""
        words = rows.split_words(self.query_one(Find).value)
        found = [run for run in self.runs.values() if rows.matches(run, words)] if words else list(self.runs.values())
        found.sort(key=lambda run: (run.name != self.baseline, -(run.created or 0.0), run.name))
        table = self.query_one(Rows)
        table.set_columns(rows.columns(self.baseline in self.runs))
        table.set_rows([run.name for run in found])
        if self._wanted:
            wanted = next((r.name for r in self.runs.values() if self._wanted in (r.name, r.path)), "")
            if wanted and words and not table.move_to(wanted):
                self.query_one(Find).value = ""  # it is shown again when this has changed
            elif wanted and table.move_to(wanted):
                self._wanted = ""
        self.query_one("#list").set_class(self._read_all and not self.runs, "empty")
        self._show_bar(len(found), bool(words))
        self._show_details()
        if self._has_runs != bool(found):
            self._has_runs = bool(found)
            self.refresh_bindings()

    def _show_bar(self, found: int, filtered: bool) -> None:
        training = sum(run.status in ACTIVE for run in self.runs.values())
        told = f"{len(self.runs):,} run" + ("" if len(self.runs) == 1 else "s")
        parts: list[Content | str] = [told if self._read_all else f"{told} so far, reading on"]
        if training:
            parts.append(f"{training:,} training")
        if filtered:
            parts.append(f"{found:,} found")
        if marked := sum(name in self.runs for name in self.marked):
            parts.append(Content.styled(f"{marked:,} marked", "bold $accent"))
        if self.baseline in self.runs:
            others = [run for run in self.runs.values() if rows.comparable(run, self.runs[self.baseline])]
            alone = "" if len(others) > 1 else " (no other run has its method and data)"
            parts.append(Content.assemble("baseline ", (printable(self.baseline), "bold $accent"), alone))
        self.query_one("#bar", Static).update(Content("   ").join(parts))

    def _cells(self, name: str) -> Cells:
        return rows.cells(
            self.runs[name],
            baseline=self.runs.get(self.baseline),
            marked=name in self.marked,
            doing=self._doing(name),
            ascii_only=self.mlx.marks == "ascii",
        )

    def _doing(self, name: str) -> str:
        jobs = {"evaluating": self.evaluations, "exporting": self.exports, "reporting": self.reports}
        return next((word for word, going_on in jobs.items() if name in going_on), "")

    @on(Rows.Moved)
    def _show_details(self) -> None:
        run = self.current()
        if len(marked := self.chosen()) > 1:
            self.twin = commands.runs_diff(*(rows.address(run) for run in marked))
        else:
            self.twin = commands.monitor(rows.address(run)) if run is not None else commands.runs_ls()
        lines = self._lines(run)
        self.query_one("#details", Static).update(Content("\n").join(lines))
        if run is not None and run.status not in (*ACTIVE, "finished", "damaged"):
            self._explain(run)

    def _lines(self, run: RunSummary | None, why: str = "") -> list[Content]:
        if run is None:
            return [Content("")]
        found = [Content.assemble((printable(run.name), "bold $accent"), f"  {rows.about(run)}")]
        if why or run.exit_reason:
            found.append(Content(printable(why or run.exit_reason or "")))
        if (left := self.left_as.get(run.name)) is not None:
            found.append(Content.assemble(("exported ", "bold"), printable(left)))
        if (page := self.pages.get(run.name)) is not None:
            found.append(Content.assemble(("report ", "bold"), printable(page)))
        scores = self.scores.get(run.name, {})
        for name, score in [*scores.items()][:_MOST_SCORES]:
            step = f" at step {score['step']:,.0f}" if score.get("step") is not None else ""
            told = f"on {printable(name)}{step}: {printable(in_words(score))}"
            found.append(Content.assemble(("evaluated ", "bold"), told))
        if len(scores) > _MOST_SCORES:
            found.append(Content(f"and on {len(scores) - _MOST_SCORES:,} more; the report (w) tells of all"))
        return found

    @work(thread=True, exclusive=True, group="explain")
    def _explain(self, run: RunSummary) -> None:
        report = explain(RunDirectory(Path(run.path)))
        self.app.call_from_thread(self._explained, run, report.sentence)

    def _explained(self, run: RunSummary, why: str) -> None:
        if self.current() == run:
            self.query_one("#details", Static).update(Content("\n").join(self._lines(run, why)))

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a run under the cursor there is nothing to do to it."""
        return self.current() is not None if action in _NEEDS_A_RUN else True

    def action_filter(self) -> None:
        """Write words that must all be found."""
        self.query_one(Find).open()

    @on(Find.Changed)
    def _filter(self) -> None:
        self._show()

    @on(Find.Submitted)
    def _found(self) -> None:
        self.set_focus(self.home_focus())

    def action_leave(self) -> None:
        """Leave the filter; in the table, take back the filter, then the marks, then the hint."""
        find = self.query_one(Find)
        if find.put_away():
            return
        if not find.has_focus and self.marked:
            self.marked.clear()
            self._show()
        else:
            super().action_leave()

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take the mark away."""
        run = self.current()
        if run is not None:
            if run.name in self.marked:
                self.marked.remove(run.name)
            else:
                self.marked.append(run.name)
            self._show()

    def action_baseline(self) -> None:
        """Compare all with the run under the cursor, or with none if it is the baseline already."""
        run = self.current()
        if run is not None:
            self.baseline = "" if run.name == self.baseline else run.name
            self._show()

    @on(Rows.Opened)
    def _opened(self) -> None:
        self.action_open()
