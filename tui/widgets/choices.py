"""A list to choose from, whose Enter belongs to the screen: so the footer says what it does."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList


class Choices(OptionList, inherit_bindings=False):
    """Textual's list without its own Enter; a click still chooses (`OptionList.OptionSelected`)."""

    HELP = "The arrows, page up and down, home and end move the cursor; enter takes the line."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "cursor_down", "Down", show=False),
        Binding("up", "cursor_up", "Up", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
    ]
