"""A question with several fields, which shows the command that the answers come to; Enter takes it."""

from typing import Generic, TypeVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mlxllm.errors import UserError
from tui import commands
from tui.words import printable, visible

Answer = TypeVar("Answer")


def form_keys(does: str) -> list[BindingType]:
    """The keys of a form, whose Enter `does` something."""
    return [
        Binding("enter", "take", does, priority=True),  # else a field or a list hides it from the footer
        Binding("tab", "app.focus_next", "Next field"),
        Binding("escape", "leave", "Not now"),
    ]


class CommandForm(ModalScreen[Answer | None], Generic[Answer]):
    """Rows of a `.name` and a field in a box, with `#command` and `#wrong` at its end; None where it was put away."""

    SCOPED_CSS = False  # the rules name this class, and a form adds its own to them
    # Not DEFAULT_CSS: the application's own rules for inputs would go before it.
    CSS = """
    CommandForm { align: center middle; }
    CommandForm > Vertical { width: 86; max-width: 98%; height: auto; max-height: 98%; padding: 0 2; overflow-y: auto; }
    CommandForm > Vertical { background: $surface; border: round $primary; }
    CommandForm Static { height: auto; }
    CommandForm Horizontal { margin-top: 1; }
    CommandForm .name { color: $accent; }
    CommandForm Input, CommandForm Input:focus { width: 1fr; border: none; height: 1; padding: 0 1; background: $panel; }
    CommandForm Input:focus { text-style: underline; }
    CommandForm .more, CommandForm #command { color: $text-muted; }
    CommandForm #command { margin-top: 1; }
    CommandForm #wrong { color: $error; }
    """

    def on_input_changed(self) -> None:
        """Another command."""
        self.query_one("#wrong", Static).update("")
        self._show()

    def on_input_submitted(self) -> None:
        """Enter in a field."""
        self.action_take()

    def action_take(self) -> object:
        """Take what was typed, or say why not."""
        raise NotImplementedError

    def action_leave(self) -> None:
        """Not now."""
        self.dismiss(None)

    def _args(self) -> commands.Args:
        """The command."""
        raise NotImplementedError

    def _typed(self, field: str) -> str:
        return self.query_one(f"#{field}", Input).value.strip()

    def _show(self) -> None:
        self.query_one("#command", Static).update(Content(f"$ {printable(commands.as_text(self._args()))}"))

    def _refuse(self, error: UserError) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.update(Content(f"! {visible(str(error))}"))
        self.call_after_refresh(wrong.scroll_visible, animate=False)
