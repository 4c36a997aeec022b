"""One of a list, chosen in front of a screen."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.widgets.option_list import Option

from tui.widgets.choices import Choices
from tui.widgets.keys_bar import KeysBar


class Pick(ModalScreen[int | None]):
    """The number of a line, or None where the question was put away."""

    DEFAULT_CSS = """
    Pick { align: center middle; }
    Pick > Vertical { width: 72; max-width: 96%; height: auto; max-height: 90%; padding: 0 2; }
    Pick > Vertical { background: $surface; border: round $primary; }
    Pick Static { height: auto; margin-bottom: 1; }
    Pick Choices { height: auto; max-height: 14; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Choose"),
        Binding("escape", "leave", "Never mind"),
    ]

    def __init__(self, title: str, about: str, lines: Sequence[str], current: int = 0) -> None:
        """Offer `lines`, the cursor on number `current`."""
        super().__init__()
        self._title, self._about, self._lines, self._current = title, about, lines, current

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._about))
            yield Choices(*(Option(Content(line)) for line in self._lines), markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """The cursor is on what holds now."""
        self.query_one(Choices).highlighted = self._current
        self.query_one(Choices).focus()

    def on_option_list_option_selected(self) -> None:
        """A click on a line."""
        self.action_choose()

    def action_choose(self) -> None:
        """Take the line under the cursor."""
        self.dismiss(self.query_one(Choices).highlighted)

    def action_leave(self) -> None:
        """Put it away."""
        self.dismiss(None)
