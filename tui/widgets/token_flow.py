"""The tokens of an answer, each above its probability: the less likely, the stronger the shade; one has the cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.talking.shown import Shown, percent
from tui.themes import LEAST_CONTRAST, contrast

_LONGEST_CELL = 24
_ROW_LINES = 3
_SHADES = ((0.9, 0.0), (0.5, 0.12), (0.2, 0.24), (0.05, 0.36), (0.01, 0.48), (-1.0, 0.6))
"""Least probability -> share of the theme's warning colour in the ground."""


class TokenFlow(ScrollView, can_focus=True):
    """Tokens in reading order; arrows and clicks move the cursor."""

    HELP = "The arrows move from token to token. Below stands what the model could have said there instead, and how likely."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Token before", show=False),
        Binding("right", "move(1)", "Token after", show=False),
        Binding("up", "move_row(-1)", "Line above", show=False),
        Binding("down", "move_row(1)", "Line below", show=False),
        Binding("home", "move_to(0)", "First", show=False),
        Binding("end", "move_to(-1)", "Last", show=False),
        Binding("n", "surprise", "Next surprise", id="tokens.surprise"),
    ]
    DEFAULT_CSS = """
    TokenFlow { height: 1fr; padding: 0 1; }
    """

    @dataclass
    class Moved(Message):
        """The cursor stands on another token."""

        index: int

    def __init__(self, tokens: Sequence[Shown]) -> None:
        """Show `tokens`, with the cursor on the first."""
        super().__init__()
        self._tokens = list(tokens)
        self.cursor = 0
        self._rows: list[list[tuple[int, int, int]]] = []  # index, column and width of each cell

    def on_resize(self, event: events.Resize) -> None:
        """Lay out anew."""
        self._lay_out()

    def on_mount(self) -> None:
        """Lay out."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = max(self.scrollable_content_region.width, _LONGEST_CELL)
        self._rows, column = [], 0
        row: list[tuple[int, int, int]] = []
        for index, token in enumerate(self._tokens):
            wide = min(max(cell_len(token.label), len(percent(token.probability))) + 1, _LONGEST_CELL)
            if row and column + wide > width:
                self._rows.append(row)
                row, column = [], 0
            row.append((index, column, wide))
            column += wide
            if "\n" in token.piece:
                self._rows.append(row)
                row, column = [], 0
        if row:
            self._rows.append(row)
        self.virtual_size = Size(width, max(len(self._rows) * _ROW_LINES, 1))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """A line of pieces, a line of numbers, and an empty one."""
        width = self.scrollable_content_region.width
        number, line = divmod(y + self.scroll_offset.y, _ROW_LINES)
        base = self.rich_style
        if number >= len(self._rows) or line == 2:
            return Strip.blank(width, base)
        segments = []
        for index, _, wide in self._rows[number]:
            token = self._tokens[index]
            text = token.label if line == 0 else percent(token.probability)
            style = self._style(token, index == self.cursor) if line == 0 or index == self.cursor else self._muted()
            segments.append(Segment(set_cell_size(text, wide - 1), style))
            segments.append(Segment(" ", base))
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, token: Shown, here: bool) -> Style:
        colours = self.app.theme_variables
        if here:
            ground, text = colours["block-cursor-background"], colours["block-cursor-foreground"]
            return Style(color=text, bgcolor=ground, bold=True)
        probability = 1.0 if token.probability is None else token.probability
        share = next(share for least, share in _SHADES if probability >= least)
        ground_colour = Color.parse(colours["background"]).blend(Color.parse(colours["warning"]), share)
        written = Color.parse(colours["foreground"])
        if contrast(written, ground_colour) < LEAST_CONTRAST:
            written = max((Color.parse("black"), Color.parse("white")), key=lambda each: contrast(each, ground_colour))
        return Style(color=written.rich_color, bgcolor=ground_colour.rich_color)

    def _muted(self) -> Style:
        return Style(color=self.app.theme_variables["text-muted"], bgcolor=self.rich_style.bgcolor)

    def on_click(self, event: events.Click) -> None:
        """The token under the mouse."""
        at = event.get_content_offset(self)
        if at is None:
            return
        number = (at.y + self.scroll_offset.y) // _ROW_LINES
        for index, column, wide in self._rows[number] if number < len(self._rows) else ():
            if column <= at.x < column + wide:
                self.action_move_to(index)

    def action_move(self, by: int) -> None:
        """So many tokens on."""
        self.action_move_to(min(max(self.cursor + by, 0), len(self._tokens) - 1))

    def action_move_row(self, by: int) -> None:
        """To the line above or below, at about the same column."""
        number, column = self._place()
        if 0 <= number + by < len(self._rows):
            self.action_move_to(min(self._rows[number + by], key=lambda cell: abs(cell[1] - column))[0])

    def action_move_to(self, index: int) -> None:
        """To a token; -1 is the last."""
        if not self._tokens:
            return
        self.cursor = index % len(self._tokens)
        number, _ = self._place()
        self.scroll_to_region(Region(0, number * _ROW_LINES, 1, _ROW_LINES), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(self.cursor))

    def action_surprise(self) -> None:
        """To the next token that was not the likeliest one, from the beginning again after the last."""
        count = len(self._tokens)
        for index in [*range(self.cursor + 1, count), *range(self.cursor + 1)]:
            token = self._tokens[index]
            if (
                token.alternatives
                and token.probability is not None
                and token.probability < token.alternatives[0][1] - 1e-6
            ):
                self.action_move_to(index)
                return

    def _place(self) -> tuple[int, int]:
        """Row and column of the cursor."""
        for number, row in enumerate(self._rows):
            for index, column, _ in row:
                if index == self.cursor:
                    return number, column
        return 0, 0
