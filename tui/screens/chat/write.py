"""Writing the answer that one would have liked."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tui.widgets.keys_bar import KeysBar


class WriteAnswer(ModalScreen[str | None]):
    """An answer of one's own; None where none was written."""

    DEFAULT_CSS = """
    WriteAnswer { align: center middle; }
    WriteAnswer > Vertical { width: 84; max-width: 96%; height: 70%; background: $surface; border: round $primary; }
    WriteAnswer > Vertical { padding: 0 1; }
    WriteAnswer TextArea { height: 1fr; }
    WriteAnswer #wrong { height: 1; color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "Keep it as the better one", key_display="^s", priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(self, begin: str) -> None:
        """Begin with an answer that can be changed."""
        super().__init__()
        self._begin = begin

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "The answer that you would have liked"
            yield TextArea(self._begin)
            yield Static("", id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Write at the end."""
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor(area.document.end)

    def action_take(self) -> None:
        """Keep it."""
        text = self.query_one(TextArea).text.strip()
        if not text:
            self.query_one("#wrong", Static).update(Content("! write something first, or esc"))
            return
        self.dismiss(text)

    def action_leave(self) -> None:
        """Never mind."""
        self.dismiss(None)
