"""One of a few words that stand side by side in a line: the arrows or a click choose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static


class OneOf(Static, can_focus=True):
    """The words in a row; the chosen one stands in brackets."""

    @dataclass
    class Changed(Message):
        """Another one was chosen."""

        number: int

    HELP = "The left and right arrow keys choose another one."
    DEFAULT_CSS = """
    OneOf { width: 1fr; height: 1; padding: 0 1; background: $panel; }
    OneOf:focus { text-style: underline; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "Choose", key_display="←→"),
        Binding("right", "turn(1)", "Choose", show=False),
    ]
    chosen: reactive[int] = reactive(0, init=False)
    """The number of the chosen word."""

    def __init__(self, words: Sequence[str], chosen: int = 0, *, id: str | None = None) -> None:
        """Offer `words`.

        Args:
            words: short ones.
            chosen: which is chosen at first.
            id: of the widget.
        """
        super().__init__(markup=False, id=id)
        self._words = words
        self.set_reactive(OneOf.chosen, chosen)

    def render(self) -> Content:
        """All words, of which each can be clicked."""
        parts = []
        for number, word in enumerate(self._words):
            mine = number == self.chosen
            told = Content.styled(f"[{word}]" if mine else f" {word} ", "bold $accent" if mine else "$text-muted")
            parts.append(told.stylize(f"@click=choose({number})"))
        return Content("").join(parts)

    def watch_chosen(self, chosen: int) -> None:
        """Whoever asked may say what the other one means."""
        self.post_message(self.Changed(chosen))

    def action_turn(self, by: int) -> None:
        """The next word or the one before, around the ends."""
        self.chosen = (self.chosen + by) % len(self._words)

    def action_choose(self, number: int) -> None:
        """A word that was clicked."""
        self.chosen = number
