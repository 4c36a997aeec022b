"""Choosing a run to watch, or several to lay beside it."""

from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mlxllm.runs import RunSummary, list_runs
from tui.screens.home import status_mark
from tui.widgets.keys_bar import KeysBar
from tui.words import number, printable

_MOST_LINES = 300


class RunPicker(ModalScreen[Sequence[str] | None]):
    """Runs by their paths; None where the question was put away."""

    DEFAULT_CSS = """
    RunPicker { align: center middle; }
    RunPicker > Vertical { width: 84; max-width: 96%; height: 80%; background: $surface; border: round $primary; }
    RunPicker > Vertical { padding: 0 1; }
    RunPicker OptionList { height: 1fr; border: none; background: $surface; }
    RunPicker #told { height: auto; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Choose", priority=True),
        Binding("tab", "mark", "Mark", key_display="tab", priority=True),
        Binding("down", "move(1)", "Next", show=False, priority=True),
        Binding("up", "move(-1)", "Before", show=False, priority=True),
        Binding("pagedown", "move(10)", "Ten on", show=False, priority=True),
        Binding("pageup", "move(-10)", "Ten back", show=False, priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(
        self, title: str, *, several: bool = False, without: str = "", marked: Sequence[str] = (), most: int = 10
    ) -> None:
        """Ask for a run.

        Args:
            title: the question.
            several: more than one may be marked.
            without: the path of a run that is not offered.
            marked: paths of those that are marked already.
            most: so many can be marked.
        """
        super().__init__()
        self._title, self._several, self._without, self._most = title, several, without, most
        self._marked = list(marked)
        self._runs: Sequence[RunSummary] | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._title)
            yield Input(placeholder="a part of a name")
            yield OptionList(markup=False)
            yield Static(
                "tab marks, enter shows what is marked; without a mark, none" if self._several else "", id="told"
            )
        yield KeysBar()

    def on_mount(self) -> None:
        """Look for runs."""
        listing = self.query_one(OptionList)
        listing.can_focus = False  # the keys of the input move its cursor
        listing.add_option(Option(Content("looking for runs ..."), disabled=True))
        self._look()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Marks only where several may be chosen."""
        return action != "mark" or self._several

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        runs = [run for run in list_runs() if run.path != self._without]
        self.app.call_from_thread(self._found, runs)

    def _found(self, runs: Sequence[RunSummary]) -> None:
        self._runs = runs
        if self.query(OptionList):  # else it was put away meanwhile
            self._show()

    def on_input_changed(self) -> None:
        """Show what fits."""
        if self._runs is not None:
            self._show()

    def _show(self) -> None:
        listing = self.query_one(OptionList)
        before = self._under_cursor()
        typed = self.query_one(Input).value.strip().lower()
        fitting = [run for run in self._runs or () if typed in run.name.lower()]
        listing.clear_options()
        listing.add_options([Option(self._line(run), id=run.path) for run in fitting[:_MOST_LINES]])
        if len(fitting) > _MOST_LINES:
            listing.add_option(Option(Content("... and more: type a part of the name"), disabled=True))
        if not fitting:
            none = "no run has such a name" if self._runs else "there is no other run; 3 makes one"
            listing.add_option(Option(Content(none), disabled=True))
        ids = [run.path for run in fitting[:_MOST_LINES]]
        listing.highlighted = ids.index(before) if before in ids else 0 if ids else None

    def _line(self, run: RunSummary) -> Content:
        plain = self.app.has_class("ascii")
        mark, colour = status_mark(run.status, plain)
        box = ("[x] " if run.path in self._marked else "[ ] ") if self._several else ""
        loss = f"loss {number(run.train_loss)}" if run.train_loss is not None else ""
        return Content.assemble(
            box,
            (f"{mark} ", colour),
            (f"{printable(run.name):<28.28}", "bold"),
            f" {run.status:<13} step {run.step:>8,}  {loss}",
        )

    def _under_cursor(self) -> str | None:
        listing = self.query_one(OptionList)
        if listing.highlighted is None:
            return None
        return listing.get_option_at_index(listing.highlighted).id

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click."""
        if self._several:
            self.action_mark()
        else:
            self.action_take()

    def action_move(self, by: int) -> None:
        """The cursor goes up or down."""
        listing = self.query_one(OptionList)
        if listing.highlighted is not None:
            listing.highlighted = min(max(listing.highlighted + by, 0), listing.option_count - 1)

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark away."""
        path = self._under_cursor()
        if path is None:
            return
        if path in self._marked:
            self._marked.remove(path)
        elif len(self._marked) < self._most:
            self._marked.append(path)
        else:
            self.query_one("#told", Static).update(
                f"! {self._most} runs beside another are as many as can be told apart"
            )
        self._show()

    def action_take(self) -> None:
        """That is it."""
        path = self._under_cursor()
        if self._several:
            self.dismiss(tuple(self._marked))
        elif path is not None:
            self.dismiss((path,))

    def action_leave(self) -> None:
        """Put the question away."""
        self.dismiss(None)
