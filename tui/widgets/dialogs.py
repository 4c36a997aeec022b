"""Questions that stand in front of a screen: yes or no, a line of text, a text to read."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from mlxllm.errors import UserError
from tui.widgets.keys_bar import KeysBar
from tui.words import visible


class Confirm(ModalScreen[bool | None]):
    """A question with two answers; Enter takes the one that has the focus, which is the harmless one."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm > Vertical { width: 64; max-width: 90%; height: auto; padding: 1 2; }
    Confirm > Vertical { background: $surface; border: round $primary; }
    Confirm Horizontal { height: auto; margin-top: 1; align-horizontal: right; }
    Confirm Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No", key_display="n"),
    ]

    def __init__(self, question: str, yes: str) -> None:
        """Ask `question`; `yes` is what the button that agrees says."""
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(visible(self._question)))
            with Horizontal():
                yield Button("No  (n)", id="no", compact=True)
                yield Button(f"{self._yes}  (y)", id="yes", variant="primary", compact=True)
        yield KeysBar()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button is an answer."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """A key is an answer."""
        self.dismiss(yes)


class Line(Input):
    """A line whose Enter stands at the bottom with the other keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "OK", key_display="⏎")]


class Ask(ModalScreen[str | None]):
    """A line of text; None where the question was put away with Esc."""

    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 72; max-width: 95%; height: auto; padding: 1 2; background: $surface; border: round $primary; }
    Ask Input { margin-top: 1; }
    Ask #wrong { color: $error; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Never mind")]

    def __init__(
        self, question: str, value: str = "", placeholder: str = "", check: Callable[[str], object] | None = None
    ) -> None:
        """Ask `question`.

        Args:
            question: one or two sentences.
            value: what the line holds at first.
            placeholder: what an empty line shows.
            check: raises a UserError with the sentence to show where a text cannot be taken.
        """
        super().__init__()
        self._question, self._value, self._placeholder, self._check = question, value, placeholder, check

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(visible(self._question)))
            yield Line(self._value, placeholder=self._placeholder)
            yield Static("", id="wrong", markup=False)
        yield KeysBar()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the line, or say why not."""
        try:
            if self._check is not None:
                self._check(event.value)
        except UserError as error:
            self.query_one("#wrong", Static).update(Content(f"! {visible(str(error))}"))
            return
        self.dismiss(event.value)

    def action_leave(self) -> None:
        """Put the question away."""
        self.dismiss(None)


class Reading(ModalScreen[None]):
    """A text to read, with a title."""

    DEFAULT_CSS = """
    Reading { align: center middle; }
    Reading > Vertical { width: 92; max-width: 95%; height: 85%; background: $surface; border: round $primary; padding: 0 1; }
    Reading VerticalScroll { height: 1fr; }
    Reading #body { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "leave", "Close", key_display="esc")]

    def __init__(self, title: str, body: Content | str) -> None:
        """Show `body` under `title`."""
        super().__init__()
        self._title, self._body = title, body

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._title)
            with VerticalScroll():
                yield Static(Content(self._body) if isinstance(self._body, str) else self._body, id="body")
        yield KeysBar()

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()
