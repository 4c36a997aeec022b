"""Home: the machine, what trains, the newest models, and one suggested next step."""

import time
from typing import ClassVar

from rich.cells import set_cell_size
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual.widgets.option_list import Option

from mlxllm import paths
from mlxllm.runs import ACTIVE, RunSummary
from tui import commands, machine
from tui.glance import Glance, next_step, take_glance
from tui.jobs import Job, Line
from tui.screens.base import TITLES, ModeScreen
from tui.screens.quick_start import Choice, QuickStart
from tui.widgets.choices import Choices
from tui.widgets.dialogs import Reading
from tui.widgets.sparks import sparkline
from tui.words import count, duration, file_size, memory_size, printable, size_of

_REFRESH_SECONDS = 2.0
_SHOWN_MODELS = 30
_FIRST_LINES = (
    "No runs yet. A run is one training of one model; each is listed here.",
    "",
    "t   quick start: a small model of your own, in minutes, without network",
    "n   choose data, size and time yourself",
    "2   the texts that models learn from, yours as well",
    "9   how a model comes to be, in ten short chapters with experiments",
    "?   what each word and key means",
)

STATUS_MARKS = {
    "running": ("▶", ">", "$success"),
    "starting": ("…", "~", "$accent"),
    "paused": ("‖", "=", "$warning"),
    "stopping": ("…", "~", "$warning"),
    "finished": ("✓", "v", "$success"),
    "stopped": ("■", "#", "$text-muted"),
    "crashed": ("✗", "x", "$error"),
    "diverged": ("✗", "x", "$error"),
    "out_of_memory": ("✗", "x", "$error"),
    "damaged": ("?", "?", "$error"),
}
"""Status -> mark, mark in ASCII, colour."""

KINDS = {"pretrain": "base model", "sft": "answers (SFT)", "dpo": "aligned (DPO)"}


def status_mark(status: str, ascii_only: bool) -> tuple[str, str]:
    """The mark of a status and its colour."""
    mark, plain, colour = STATUS_MARKS.get(status, ("?", "?", "$text-muted"))
    return (plain if ascii_only else mark), colour


class HomeScreen(ModeScreen):
    """Where the application opens."""

    MODE = "home"
    ABOUT = (
        "Home shows this machine, the runs that train now, and your newest models; the last line says what to do next."
    )
    HINT = (
        f"t makes a model of your own in minutes, 9 tells how one comes to be. The numbers 1 to {len(TITLES)} "
        "change the screen, ? explains everything on it."
    )
    WORDS = ("run", "loss", "ETA", "model", "base model", "SFT", "DPO", "tok/s", "parameters", "preset", "memory")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Watch / talk", id="home.open"),
        Binding("t", "quick_start", "Quick start", id="home.quick_start"),
        Binding("n", "new_run", "New run", id="home.new_run"),
        Binding("c", "chat", "Chat", id="home.chat"),
        Binding("d", "doctor", "Doctor", id="home.doctor"),
    ]
    DEFAULT_CSS = """
    HomeScreen #machine { height: auto; padding: 1 2 0 2; }
    HomeScreen #list { height: 1fr; margin: 1 1 0 1; }
    HomeScreen #next { height: auto; padding: 0 2; margin-bottom: 1; color: $foreground; }
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        super().__init__()
        self._glance: Glance | None = None
        self._shown: list[RunSummary] = []
        self._doctor: Job | None = None
        self._looking = False
        self._look_next = 0.0

    def compose_body(self) -> ComposeResult:
        with Vertical():
            yield Static(id="machine", markup=False)
            yield Choices(id="list", markup=False)
            yield Static(id="next", markup=False)

    def on_mount(self) -> None:
        """Look, and look again now and then."""
        self.twin = commands.application()
        self._show_machine()
        self._look()
        self.set_interval(_REFRESH_SECONDS, self._look_again)
        self.query_one(Choices).focus()

    def on_screen_resume(self) -> None:
        """What changed while another screen was open."""
        self._look()

    def _look_again(self) -> None:
        if self.is_current and not self._looking and time.monotonic() >= self._look_next:
            self._look()

    @work(thread=True, exclusive=True, group="machine")
    def _show_machine(self) -> None:
        """Chip, memory, disk, and what fits."""
        found = machine.this_machine()
        fits = machine.largest_preset(found.memory_bytes)
        disk = machine.free_disk_bytes()
        lines = [
            Content.assemble(
                (found.chip, "bold"),
                f"   {found.cores} cores   {memory_size(found.memory_bytes)} memory"
                + (f"   {file_size(disk)} disk free" if disk is not None else ""),
            )
        ]
        if fits is not None:
            lines.append(Content(f"Fits up to preset {fits[0]} ({count(fits[1])} parameters); d examines the machine."))
        self.app.call_from_thread(self.query_one("#machine", Static).update, Content("\n").join(lines))

    @work(thread=True, exclusive=True, group="look")
    def _look(self) -> None:
        self._looking = True
        begun = time.monotonic()
        try:
            glance = take_glance()
        finally:
            # A home with thousands of runs is looked at less often: at most a tenth of the time goes into it.
            self._look_next = time.monotonic() + 9 * (time.monotonic() - begun)
            self._looking = False
        self.app.call_from_thread(self._show, glance)

    def _show(self, glance: Glance) -> None:
        self._glance = glance
        self.query_one("#next", Static).update(
            Content.assemble(("Next  ", "bold $accent"), printable(next_step(glance)[1]))
        )
        shown = [*glance.active, *glance.models[:_SHOWN_MODELS]]
        if not shown:
            shown = list(glance.runs[:_SHOWN_MODELS])
        listing = self.query_one(Choices)
        marked = self._selected() if listing.highlighted else None  # who stays at the top sees the newest there
        listing.clear_options()
        if not shown:
            listing.add_options(Option(Content(line), disabled=True) for line in _FIRST_LINES)
        listing.add_options([Option(self._line(run), id=run.path) for run in shown])
        self._shown = shown
        names = [run.path for run in shown]
        if marked is not None and marked.path in names:
            listing.highlighted = names.index(marked.path)
        elif shown:
            listing.highlighted = 0
        self.refresh_bindings()

    def _line(self, run: RunSummary) -> Content:
        mark, colour = status_mark(run.status, self.mlx.marks == "ascii")
        name = set_cell_size(printable(run.name), max(24, min(48, self.size.width - 86)))
        if run.status in ACTIVE:
            done = f"{100 * run.step / run.max_steps:3.0f} %" if run.max_steps else f"step {run.step:,}"
            losses = self._glance.losses.get(run.path, []) if self._glance else []
            width = max(10, min(30, self.size.width - 62))
            loss = "" if run.train_loss is None else f"loss {run.train_loss:.3f}  "
            left = f"{duration(run.eta_seconds)} left" if run.eta_seconds is not None else run.status
            return Content.assemble(
                (f"{mark} ", colour),
                (name, "bold"),
                f" {done}  ",
                (sparkline(losses, width, self.mlx.marks), "$primary"),
                f"  {loss}{left}",
            )
        kind = KINDS.get(run.method or "", "run")
        size = size_of(run.parameters, run.trained_parameters) if run.parameters else ""
        return Content.assemble((f"{mark} ", colour), (name, "bold"), f" {run.status:<10.13} {kind:<15} {size}")

    def _selected(self) -> RunSummary | None:
        position = self.query_one(Choices).highlighted
        return self._shown[position] if position is not None and position < len(self._shown) else None

    def on_option_list_option_highlighted(self) -> None:
        """The twin is that of the run under the cursor."""
        self.refresh_bindings()
        run = self._selected()
        if run is None:
            self.twin = commands.application()
        elif run.status in ACTIVE or not run.step:
            self.twin = commands.monitor(run.name)
        else:
            self.twin = commands.chat(run.name)

    def on_option_list_option_selected(self) -> None:
        """Enter on a line, or a click."""
        self.action_open()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a run there is nothing to watch or to talk to."""
        return self._selected() is not None if action == "open" else True

    def action_open(self) -> None:
        """Watch a run that trains or has failed, talk to one that is finished."""
        run = self._selected()
        if run is None:
            self.action_quick_start()
        elif run.status in ("finished", "stopped") and run.step:
            self.mlx.open_chat(run.name)
        else:
            self.mlx.open_monitor(run.name)

    def action_chat(self) -> None:
        """Talk to the model under the cursor, else to the newest."""
        run = self._selected()
        models = self._glance.models if self._glance else []
        if run is not None and run.status not in ACTIVE and run.step:
            self.mlx.open_chat(run.name)
        elif models:
            self.mlx.open_chat(models[0].name)
        else:
            self.mlx.action_go("chat")

    def action_new_run(self) -> None:
        """Choose everything."""
        self.mlx.action_go("new")

    @work
    async def action_quick_start(self) -> None:
        """A whole life in minutes, started as a process of its own."""
        choice: Choice | None = await self.app.push_screen_wait(QuickStart())
        if choice is None:
            return
        args = commands.quickstart(choice.run, choice.minutes)
        if await self.mlx.launch(choice.run, args):
            self.mlx.open_monitor(choice.run)

    def action_doctor(self) -> None:
        """Examine the machine, as `mlxllm doctor` does."""
        if self._doctor is not None:
            self.mlx.tell("the machine is being examined already")
            return
        lines: list[str] = []

        def add(line: Line) -> None:
            lines.append(str(line))

        def end(job: Job) -> None:
            self._doctor = None
            text = "\n".join(lines) or job.error
            self.app.push_screen(Reading(f"mlxllm doctor   ({paths.home()})", text))

        self.twin = commands.doctor()
        self.mlx.tell("examining the machine, which takes a few seconds")
        self._doctor = self.mlx.run_job(commands.doctor(), add, end)
