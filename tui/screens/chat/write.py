"""Writing the answer that one would have liked."""

from collections.abc import MutableMapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tui.widgets.keys_bar import KeysBar
from tui.words import visible

Drafts = MutableMapping[tuple[str, str], str]
"""The question and the answer that one began with -> what was written so far, and not kept as a pair."""


class WriteAnswer(ModalScreen[str | None]):
    """An answer of one's own; None where none was written."""

    DEFAULT_CSS = """
    WriteAnswer { align: center middle; }
    WriteAnswer > Vertical { width: 84; max-width: 96%; height: 70%; background: $surface; border: round $primary; }
    WriteAnswer > Vertical { padding: 0 1; }
    WriteAnswer TextArea { height: 1fr; }
    WriteAnswer #question { height: auto; max-height: 4; color: $text-muted; }
    WriteAnswer #wrong { height: 1; color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "Keep it as the better one", key_display="^s", priority=True),
        Binding("escape", "leave", "Later", priority=True),
    ]

    def __init__(self, question: str, begin: str, drafts: Drafts) -> None:
        """Write.

        Args:
            question: what is answered.
            begin: an answer to begin with, which can be changed.
            drafts: keeps what is written here when one leaves with Esc, and gives it back the next time.
        """
        super().__init__()
        self._question, self._begin, self._drafts = question, begin, drafts

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "The answer that you would have liked"
            yield Static(Content(visible(self._question).strip("\n")), id="question")
            yield TextArea(self._drafts.get((self._question, self._begin), self._begin))
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
        self._drafts.pop((self._question, self._begin), None)
        self.dismiss(text)

    def action_leave(self) -> None:
        """Not now: what was written waits here."""
        text = self.query_one(TextArea).text
        if text.strip() and text != self._begin:
            self._drafts[self._question, self._begin] = text
        self.dismiss(None)
