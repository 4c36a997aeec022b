"""Ablations, in front of the table of runs: what each change bought, and the way to its curves."""

import asyncio
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mlxllm import paths
from tui import commands
from tui.following.ablations import BAR_WIDTH, Entry, about, changes, read_entries, variant_cells
from tui.jobs import Job
from tui.screens.runs.new_ablation import NewAblation
from tui.widgets.keys_bar import KeysBar
from tui.widgets.rows import Cells, Column, Rows
from tui.words import printable

if TYPE_CHECKING:  # the application has this screen
    from tui.app import MlxllmApp

_LOOK_SECONDS = 2.0
_EMPTY = (
    "No ablation yet.\n\nOne trains variants of a recipe with the same steps, data and seeds, and tells what each change "
    "bought. n begins one, as do\n\n$ mlxllm ablate transformer-2017\n$ mlxllm ablate --preset char-tiny --change "
    "norm=post --change positions=none"
)
_KEPT = [
    Column("ablation", 22, grows=True),
    Column("runs", 7, right=True),
    Column("preset", 20, rank=2),
    Column("data", 16, rank=1),
    Column("", 18, grows=True),
]
_VARIANTS = [
    Column("variant", 16, grows=True),
    Column("loss", 7, right=True),
    Column("difference to the base", BAR_WIDTH, rank=1),
    Column("", 8, right=True),
    Column("verdict", 22),
    Column("weights", 8, right=True, rank=3),
    Column("s/step", 7, right=True, rank=4),
    Column("at equal time", 13, right=True, rank=2),
]


class Ablations(ModalScreen[list[str] | None]):
    """All ablations and the lines of one; it ends with the runs whose curves are to be laid over each other."""

    DEFAULT_CSS = """
    Ablations { align: center middle; }
    Ablations > Vertical { width: 98%; height: 94%; background: $background; border: round $primary; padding: 0 1; }
    Ablations #kept { height: auto; min-height: 3; max-height: 30%; }
    Ablations #variants { height: 1fr; margin-top: 1; }
    Ablations #about { height: auto; max-height: 6; border-top: solid $border-blurred; color: $text-muted; }
    Ablations #changes { height: auto; max-height: 3; }
    Ablations #command { height: auto; max-height: 2; color: $text-muted; }
    Ablations #doing { height: auto; max-height: 2; color: $accent; }
    Ablations #none { display: none; height: 1fr; padding: 1 2; }
    Ablations .empty #none { display: block; }
    Ablations .empty Rows, Ablations .empty #about { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,o", "overlay", "Overlay curves", key_display="o"),
        Binding("n", "new", "New"),
        Binding("r", "go_on", "Go on"),
        Binding("tab", "app.focus_next", "Variants"),
        Binding("escape,q,a", "leave", "Close", key_display="esc"),
    ]

    def __init__(self, *, ascii_only: bool) -> None:
        """Nothing has been read yet; `ascii_only` draws intervals without lines."""
        super().__init__()
        self._ascii = ascii_only
        self._entries: dict[str, Entry] = {}
        self._looking = False

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content("Ablations: what each change bought")
            yield Rows(_KEPT, lambda name: self._entries[name].cells(), id="kept")
            yield Rows(_VARIANTS, self._line, id="variants")
            yield Static(id="changes", markup=False)
            yield Static(id="about", markup=False)
            yield Static(_EMPTY, id="none", markup=False)
            yield Static(id="command", markup=False)
            yield Static(id="doing", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Read them, and go on looking: one may be training."""
        self.query_one("#kept", Rows).focus()
        self.set_interval(_LOOK_SECONDS, self._look)
        self._look()

    def _look(self) -> None:
        if not self._looking:
            self._looking = True
            self._read()

    @work(thread=True, group="ablations")
    def _read(self) -> None:
        found = read_entries()
        self.app.call_from_thread(self._take, found)

    def _take(self, found: list[Entry]) -> None:
        self._looking = False
        self._entries = {entry.name: entry for entry in found}
        self.query_one(Vertical).set_class(not found, "empty")
        self.query_one("#kept", Rows).set_rows([entry.name for entry in found])
        self._show()

    @on(Rows.Moved, "#kept")
    def _show(self) -> None:
        """The lines of the ablation under the cursor."""
        entry = self._current()
        lines = entry.lines if entry is not None else ()
        self.query_one("#variants", Rows).set_rows([line.name for line in lines])
        self.query_one("#about", Static).update(Content(about(entry) if entry is not None else ""))
        self._show_changes()
        shown = commands.ablate_show(entry.name) if entry is not None else commands.ablate_list()
        self.query_one("#command", Static).update(Content(f"$ {printable(commands.as_text(shown))}"))

    @on(Rows.Moved, "#variants")
    def _show_changes(self) -> None:
        """What the variant under the cursor changes."""
        entry, name = self._current(), self.query_one("#variants", Rows).key or ""
        told = changes(entry, name) if entry is not None else ""
        shown = Content.assemble((f"{printable(name)}  ", "bold $accent"), told) if told else Content("")
        self.query_one("#changes", Static).update(shown)

    def _current(self) -> Entry | None:
        return self._entries.get(self.query_one("#kept", Rows).key or "")

    def _line(self, name: str) -> Cells:
        entry = self._current()
        return variant_cells(entry, name, self._ascii) if entry is not None else []

    def action_overlay(self) -> None:
        """The curves of all variants, or of the one under the cursor beside the base's."""
        entry = self._current()
        variants = self.query_one("#variants", Rows)
        if entry is not None and (runs := entry.side_by_side((variants.key or "") if variants.has_focus else "")):
            self.dismiss(runs)

    @on(Rows.Opened)
    def _opened(self) -> None:
        self.action_overlay()

    @work(exclusive=True, group="new")
    async def action_new(self) -> None:
        """Choose what is to be compared, and have it trained in the background."""
        known = await asyncio.to_thread(
            lambda: sorted(path.parent.name for path in paths.folder("datasets").glob("*/manifest.json"))
        )
        args = await self.app.push_screen_wait(NewAblation(known))
        if args is not None:
            self._start(args, "the new ablation")

    def action_go_on(self) -> None:
        """Train what is left of the ablation under the cursor."""
        entry = self._current()
        if entry is None or entry.ablation is None:
            return
        if entry.ablation.is_finished or entry.training:
            self._say(f"{entry.name} is {'finished' if entry.ablation.is_finished else 'being trained'} already")
        else:
            self._start(commands.ablate(name=entry.name), entry.name)

    def _start(self, args: commands.Args, what: str) -> None:
        self._say(f"checking {what}; it takes some seconds, and up to half a minute if the machine is measured")
        cast("MlxllmApp", self.app).run_job((*args, "--json"), lambda line: None, self._started)

    def _started(self, job: Job) -> None:
        app = cast("MlxllmApp", self.app)
        if job.returncode and not job.cancelled:
            app.fail(f"the ablation was not begun: {job.error}")
        elif not job.cancelled:
            app.tell("the ablation trains in the background; closing the application leaves it training")
        if self.is_mounted:
            self._say("")
            self._look()

    def _say(self, text: str) -> None:
        self.query_one("#doing", Static).update(Content(text))

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss(None)
