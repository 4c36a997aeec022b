"""Choosing a model: runs, their checkpoints and what was exported in a list, or a path that is typed."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from rich.cells import cell_len, set_cell_size
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mlxllm.errors import UserError
from tui.talking.models import ModelRow, check_model, exported_models, model_rows
from tui.widgets.keys_bar import KeysBar
from tui.words import count, printable

_MOST_LINES = 300
_TOLD = 26
"""Columns of what is told of a run's checkpoints."""


class ModelPicker(ModalScreen[str | None]):
    """One model; None where the question was put away."""

    DEFAULT_CSS = """
    ModelPicker { align: center middle; }
    ModelPicker > Vertical { width: 90; max-width: 96%; height: 85%; background: $surface; border: round $primary; }
    ModelPicker > Vertical { padding: 0 1; }
    ModelPicker OptionList { height: 1fr; border: none; background: $surface; }
    ModelPicker OptionList { text-wrap: nowrap; text-overflow: ellipsis; }
    ModelPicker #wrong { height: auto; color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Choose", priority=True),
        Binding("ctrl+o", "open_run", "Its checkpoints", key_display="^o", priority=True),
        Binding("down", "move(1)", "Next", show=False, priority=True),
        Binding("up", "move(-1)", "Before", show=False, priority=True),
        Binding("pagedown", "move(10)", "Ten on", show=False, priority=True),
        Binding("pageup", "move(-10)", "Ten back", show=False, priority=True),
        Binding("home", "move_to('first')", "First", show=False, priority=True),
        Binding("end", "move_to('last')", "Last", show=False, priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(self, title: str = "Which model?", *, current: str = "") -> None:
        """Ask for a model, with the cursor on `current`."""
        super().__init__()
        self._title, self._current = title, current
        self._rows: Sequence[ModelRow] | None = None
        self._exports: Sequence[Path] = ()
        self._opened: set[str] = set()
        self._name_width = 24

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._title)
            yield Input(placeholder="a part of a name, RUN@STEP, or the path of a folder with a model")
            yield Static("", id="wrong", markup=False)
            yield OptionList(markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Look for runs."""
        self.query_one(OptionList).can_focus = False  # the keys of the input move its cursor
        self.query_one(OptionList).add_option(Option(Content("looking for runs ..."), disabled=True))
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        rows: Sequence[ModelRow] = ()
        exports: Sequence[Path] = ()
        try:
            rows, exports = model_rows(), exported_models()
        except (UserError, OSError) as error:
            self.app.call_from_thread(self._say, str(error))
        self.app.call_from_thread(self._found, rows, exports)

    def _found(self, rows: Sequence[ModelRow], exports: Sequence[Path]) -> None:
        self._rows, self._exports = rows, exports
        base = self._current.rpartition("@")[0]
        self._opened = {row.address for row in rows if row.address == base}
        self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits."""
        self._say("")
        if self._rows is not None:
            self._show()

    def _show(self) -> None:
        listing = self.query_one(OptionList)
        before = self._marked() or self._current
        shown = [*(row.address for row in self._rows or ()), *(path.name for path in self._exports)]
        self._name_width = min(max(map(cell_len, shown), default=0) + 1, self._room())
        typed = self.query_one(Input).value.strip().lower()
        options: list[Option] = []
        name, at, step_typed = typed.partition("@")
        for row in [row for row in self._rows or () if name in row.address.lower()]:
            steps = [step for step in reversed(row.steps) if str(step).startswith(step_typed)]
            if at:
                options += [Option(Content(f"{printable(row.address)}@{step:,}"), id=row.at(step)) for step in steps]
            else:
                options.append(Option(self._line(row), id=row.address))
                if row.address in self._opened:
                    options += [Option(Content(f"      @{step:,}"), id=row.at(step)) for step in steps]
            if len(options) > _MOST_LINES:
                options.append(Option(Content("... and more: type a part of the name"), disabled=True))
                break
        for path in [path for path in self._exports if typed in path.name.lower()][:_MOST_LINES]:
            name = set_cell_size(printable(path.name), self._name_width)
            options.append(Option(Content.assemble((name, "bold"), " exported"), id=str(path)))
        if not options:
            none = (
                "no run has such a name; enter takes what you typed as a path"
                if self._rows
                else (
                    "no runs yet: t on Home makes a model in minutes; the path of a folder with a model works as well"
                )
            )
            options.append(Option(Content(none), disabled=True))
        listing.clear_options()
        listing.add_options(options)
        names = [option.id for option in options]
        listing.highlighted = names.index(before) if before in names else 0 if names[0] else None

    def _line(self, row: ModelRow) -> Content:
        if row.steps:
            many = "1 checkpoint" if len(row.steps) == 1 else f"{len(row.steps)} checkpoints"
            told = f"step {row.steps[-1]:,}, {many}"
        else:
            told = "trains; no checkpoint yet" if row.trains else "no checkpoint"
        size = count(row.run.parameters) if row.run.parameters and self.size.width >= 100 else ""
        name = set_cell_size(printable(row.address), self._name_width)
        return Content.assemble((name, "bold"), f" {row.kind:<14} {told:<{_TOLD}} {size}")

    def _room(self) -> int:
        """Columns for names, beside what is told of each."""
        return max(min(90, self.size.width * 96 // 100) - 8 - 14 - _TOLD - 8, 20)

    def _marked(self) -> str:
        listing = self.query_one(OptionList)
        if listing.highlighted is None or listing.highlighted >= listing.option_count:
            return ""
        return listing.get_option_at_index(listing.highlighted).id or ""

    def _say(self, text: str) -> None:
        self.query_one("#wrong", Static).update(Content(f"! {text}" if text else ""))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Home and end are the input's where something is typed there."""
        return action != "move_to" or not self.query_one(Input).value

    def action_move(self, by: int) -> None:
        """The cursor of the list, so many lines on; by one it goes round."""
        listing = self.query_one(OptionList)
        if abs(by) == 1:
            (listing.action_cursor_down if by > 0 else listing.action_cursor_up)()
        elif listing.highlighted is not None:
            listing.highlighted = min(max(listing.highlighted + by, 0), listing.option_count - 1)

    def action_move_to(self, end: Literal["first", "last"]) -> None:
        """The cursor of the list, to one of its ends."""
        listing = self.query_one(OptionList)
        (listing.action_first if end == "first" else listing.action_last)()

    def action_open_run(self) -> None:
        """Show the checkpoints of the run under the cursor, or hide them."""
        base = self._marked()
        run = base if any(row.address == base for row in self._rows or ()) else base.rpartition("@")[0]
        if not run:
            self._say("put the cursor on a run first")
            return
        self._opened ^= {run}
        self._show()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click."""
        self._take(event.option.id or "")

    def action_take(self) -> None:
        """What is under the cursor; where nothing fits, what was typed."""
        typed = self.query_one(Input).value.strip()
        self._take(self._marked() or typed)

    def _take(self, model: str) -> None:
        row = next((row for row in self._rows or () if row.address == model), None)
        if row is not None and not row.steps:
            self._say(
                f"{model} has no checkpoint yet; "
                + (
                    "talk to it while it trains, on the Monitor (4)"
                    if row.trains
                    else "choose another one, or train it"
                )
            )
            return
        try:
            check_model(model)
        except UserError as error:
            self._say(str(error))
            return
        self.dismiss(model)

    def action_leave(self) -> None:
        """Put it away."""
        self.dismiss(None)
