"""Writing the answers of a stored pair anew."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from mlxllm.conversation.stored_preference import StoredPreference
from tui.screens.preferences import rows
from tui.widgets.keys_bar import KeysBar

Sides = tuple[str, str]
"""What is chosen, and what is rejected."""


class EditPair(ModalScreen[Sides | None]):
    """Both answers, to be changed; None where they stay as they are."""

    DEFAULT_CSS = """
    EditPair { align: center middle; }
    EditPair > Vertical { width: 100; max-width: 96%; height: 90%; background: $surface; border: round $primary; }
    EditPair > Vertical { padding: 0 1; }
    EditPair #question { height: auto; max-height: 3; color: $text-muted; }
    EditPair TextArea { height: 1fr; min-height: 3; }
    EditPair #wrong { height: auto; color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "Keep both", key_display="^s", priority=True),
        Binding("tab", "app.focus_next", "The other one", priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(self, pair: StoredPreference, draft: Sides | None) -> None:
        """Show the answers of `pair`, or what was written of them before."""
        super().__init__()
        self._pair, self._sides = pair, draft or (pair.chosen, pair.rejected)
        self.draft: Sides | None = draft
        """What was written and not taken."""

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "The answers of this pair"
            yield Static(rows.prompt(self._pair), id="question")
            for name, title, text in zip(("chosen", "rejected"), ("+ chosen", "- rejected"), self._sides, strict=True):
                area = TextArea(text, id=name)
                area.border_title = title
                yield area
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Write at the end of the better one."""
        for area in self.query(TextArea):
            area.move_cursor(area.document.end)
        self.query_one("#chosen").focus()

    @property
    def _written(self) -> Sides:
        chosen, rejected = (self.query_one(f"#{name}", TextArea).text for name in ("chosen", "rejected"))
        return chosen, rejected

    @on(TextArea.Changed)
    def _changed(self) -> None:
        self.query_one("#wrong", Static).update("")

    def action_take(self) -> None:
        """Keep both, unless nothing can be learned from them."""
        chosen, rejected = self._written
        if not (chosen.strip() and rejected.strip()):
            wrong = "an empty answer teaches nothing: write something, or esc and D drops the pair"
        elif chosen == rejected:
            wrong = "both answers are the same: there is nothing to prefer"
        else:
            self.draft = None
            self.dismiss(None if (chosen, rejected) == (self._pair.chosen, self._pair.rejected) else (chosen, rejected))
            return
        self.query_one("#wrong", Static).update(Content(f"! {wrong}"))

    def action_leave(self) -> None:
        """Leave them; what was written waits for the next time."""
        self.draft = self._written if self._written != (self._pair.chosen, self._pair.rejected) else None
        self.dismiss(None)
