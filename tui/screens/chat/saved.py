"""Saved conversations: the newest first, found by what was said in them, opened, renamed, deleted."""

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from mlxllm.conversation.saved import Row, SavedChats
from mlxllm.errors import UserError
from tui.widgets.keys_bar import KeysBar
from tui.words import ago, printable

if TYPE_CHECKING:  # the application imports its screens
    from tui.app import MlxllmApp

_PAGE = 200
_PAUSE = 0.15
"""Seconds without typing after which a search begins."""
_AT_ONCE = 20


class SavedPicker(ModalScreen[str | None]):
    """The id of a conversation; None where none was chosen."""

    DEFAULT_CSS = """
    SavedPicker { align: center middle; }
    SavedPicker > Vertical { width: 100; max-width: 96%; height: 90%; background: $surface; border: round $primary; }
    SavedPicker > Vertical { padding: 0 1; }
    SavedPicker OptionList { height: 1fr; border: none; background: $surface; }
    SavedPicker #told { height: 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Open", priority=True),
        Binding("down", "move(1)", "Next", show=False, priority=True),
        Binding("up", "move(-1)", "Before", show=False, priority=True),
        Binding("pagedown", "move(10)", "Ten on", show=False, priority=True),
        Binding("pageup", "move(-10)", "Ten back", show=False, priority=True),
        Binding("ctrl+r", "rename", "Rename", key_display="^r", priority=True),
        Binding("ctrl+x", "delete", "Delete", key_display="^x", priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(self, chats: SavedChats) -> None:
        """Look among `chats`."""
        super().__init__()
        self._chats = chats
        self._rows: list[Row] = []

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Saved conversations"
            yield Input(placeholder="words that were said; all of them have to occur")
            yield Static("", id="told", markup=False)
            yield OptionList(markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Show the newest."""
        self.query_one(OptionList).can_focus = False
        self._find("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search when there is a pause in typing."""
        text = event.value
        self.set_timer(_PAUSE, lambda: self._find(text) if self.query_one(Input).value == text else None)

    @work(thread=True, exclusive=True, group="find")
    def _find(self, query: str) -> None:
        worker = get_current_worker()
        call = self.app.call_from_thread
        try:
            found = self._chats.search(query) if query.strip() else self._chats.rows(self._chats.entries())
            call(self._clear)
            shown = 0
            while shown < _PAGE and not worker.is_cancelled and (some := list(islice(found, _AT_ONCE))):
                shown += len(some)
                call(self._add, some)
            if not worker.is_cancelled:
                call(self._ended, shown, query)
        except UserError as error:
            call(self._say, str(error))

    def _clear(self) -> None:
        self._rows = []
        self.query_one(OptionList).clear_options()
        self._say("looking ...")

    def _add(self, rows: list[Row]) -> None:
        listing = self.query_one(OptionList)
        self._rows += rows
        listing.add_options([Option(_line(row), id=row.id) for row in rows])
        if listing.highlighted is None:
            listing.highlighted = 0

    def _ended(self, shown: int, query: str) -> None:
        if not shown:
            self._say("nothing was found" if query.strip() else "no conversations yet: each one is saved as it goes")
        elif shown >= _PAGE:
            self._say(f"the newest {shown}; type words to find older ones")
        else:
            self._say("1 conversation" if shown == 1 else f"{shown} conversations")

    def _say(self, text: str) -> None:
        self.query_one("#told", Static).update(Content(text))

    def _marked(self) -> Row | None:
        at = self.query_one(OptionList).highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    def action_move(self, by: int) -> None:
        """The cursor of the list."""
        listing = self.query_one(OptionList)
        for _ in range(abs(by)):
            (listing.action_cursor_down if by > 0 else listing.action_cursor_up)()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click."""
        self.dismiss(event.option.id)

    def action_take(self) -> None:
        """Open the one under the cursor."""
        row = self._marked()
        if row is None:
            self._say("there is none to open; esc leaves")
            return
        self.dismiss(row.id)

    @work
    async def action_rename(self) -> None:
        """Another name for the one under the cursor."""
        row, app = self._marked(), cast("MlxllmApp", self.app)
        if row is None:
            self._say("there is none to rename")
            return
        name = await app.ask("A name for this conversation; empty takes its beginning.", row.title)
        if name is not None:
            self._change(lambda: self._chats.rename(row.id, name))

    @work
    async def action_delete(self) -> None:
        """Delete the one under the cursor, after a question."""
        row, app = self._marked(), cast("MlxllmApp", self.app)
        if row is None:
            self._say("there is none to delete")
            return
        if await app.confirm(f"Delete the conversation {row.title!r}? It cannot be brought back.", "Delete"):
            self._change(lambda: self._chats.delete(row.id))

    @work(thread=True, group="change")
    def _change(self, change: Callable[[], None]) -> None:
        try:
            change()
        except UserError as error:
            self.app.call_from_thread(self._say, str(error))
            return
        self.app.call_from_thread(lambda: self._find(self.query_one(Input).value))

    def action_leave(self) -> None:
        """Put it away."""
        self.dismiss(None)


def _line(row: Row) -> Content:
    parts: list[Content | str | tuple[str, str]] = [
        (f"{printable(row.title):<44.44}", "bold"),
        f" {ago(row.updated):>11}  {printable(row.model):<24.24} ",
        f"{row.turns} turn" + ("" if row.turns == 1 else "s"),
    ]
    if row.excerpt:
        start, end = row.found_at
        excerpt = Content(printable(row.excerpt)).stylize("bold $accent", start, end) if end else Content(row.excerpt)
        parts += ["\n    ", excerpt]
    return Content.assemble(*parts)
