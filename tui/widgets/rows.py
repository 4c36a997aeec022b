"""A table of any number of rows: only those in sight are made, so ten thousand cost what ten do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

_GAP = 2
_GUTTER = 2
"""Of the sign that marks the row under the cursor, so that it can be told without colours."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    width: int
    """In cells of the terminal; what is longer is cut off with an ellipsis."""
    right: bool = False
    """Whether its cells stand at its right end, as numbers do."""
    rank: int = 0
    """Which column goes where there is no room for all: the one with the largest rank first, those with 0 never."""
    grows: bool = False
    """Whether it takes a share of the room that is left."""


Cells = Sequence[Content | str]


class Rows(ScrollView, can_focus=True):
    """Rows by their keys, with a cursor that stays on its row whatever happens around it."""

    HELP = "The arrow keys, page up and down, home and end move the cursor; enter opens the row."
    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--header", "rows--line", "rows--cursor", "rows--resting"}
    DEFAULT_CSS = """
    Rows { background: $background; overflow-x: hidden; text-wrap: nowrap; }
    Rows .rows--header { color: $primary; background: $panel; text-style: bold; }
    Rows .rows--line { color: $foreground; background: $background; }
    Rows .rows--cursor { color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold; }
    Rows .rows--resting { color: $foreground; background: $panel; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000000)", "First", show=False),
        Binding("end", "move(1000000000)", "Last", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row, or the first row has come, or the last has gone."""

        def __init__(self, rows: "Rows") -> None:
            """Of `rows`, whose `key` is the new one."""
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> "Rows":
            """Whose cursor moved."""
            return self.rows

    class Opened(Message):
        """A row was clicked twice."""

    def __init__(self, columns: Sequence[Column], cells: Callable[[str], Cells], *, id: str | None = None) -> None:
        """A table without rows.

        Args:
            columns: from left to right.
            cells: key of a row -> one cell a column; called when the row is drawn.
            id: of the widget.
        """
        super().__init__(id=id)
        self._columns, self._cells = tuple(columns), cells
        self._keys: Sequence[str] = ()
        self._at = 0

    @property
    def key(self) -> str | None:
        """The row under the cursor."""
        return self._keys[self._at] if self._keys else None

    @property
    def keys(self) -> Sequence[str]:
        """All rows, in order."""
        return self._keys

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show other columns."""
        self._columns = tuple(columns)
        self.refresh()

    def set_rows(self, keys: Sequence[str]) -> None:
        """Show these rows. The cursor stays on its row, and that at its height; where it is gone, at its height."""
        before = self.key
        shift = 0
        if before is not None and (self._at >= len(keys) or keys[self._at] != before):
            place = _place(keys, before)
            shift = 0 if place is None else place - self._at
        self._keys = tuple(keys)
        self._at = max(0, min(self._at + shift, len(keys) - 1))
        self.virtual_size = Size(self.scrollable_content_region.width, len(keys) + 1)
        if shift:
            self.scroll_to(y=self.scroll_offset.y + shift, animate=False, force=True)
        self._into_sight()
        self.refresh()
        if self.key != before:
            self.post_message(self.Moved(self))

    def move_to(self, key: str) -> bool:
        """Put the cursor on a row; whether there is one of that key."""
        place = _place(self._keys, key)
        if place is None:
            return False
        self.action_move(place - self._at)
        return True

    def action_move(self, by: int) -> None:
        """Move the cursor down by so many rows."""
        at = max(0, min(self._at + by, len(self._keys) - 1))
        if at != self._at:
            self._at = at
            self._into_sight()
            self.refresh()
            self.post_message(self.Moved(self))

    def action_page(self, by: int) -> None:
        """Move the cursor down by so many screens."""
        self.action_move(by * max(1, self.size.height - 2))

    def _into_sight(self) -> None:
        height = max(1, self.size.height - 1)  # the header stays
        top = self.scroll_offset.y
        if self._at < top or self._at >= top + height:
            self.scroll_to(y=self._at if self._at < top else self._at - height + 1, animate=False, force=True)

    def on_resize(self) -> None:
        """What is under the cursor stays in sight."""
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._keys) + 1)
        self._into_sight()

    def on_click(self, event: events.Click) -> None:
        """Go to the row; a second click opens it."""
        place = event.y + self.scroll_offset.y - 1
        if event.y > 0 and place < len(self._keys):
            self.action_move(place - self._at)
            if event.chain == 2:
                self.post_message(self.Opened())

    def render_line(self, y: int) -> Strip:
        """One line of the terminal: the header, or a row."""
        if y == 0:
            return self._line([column.title for column in self._columns], "rows--header")
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._keys):
            return self._line([""] * len(self._columns), "rows--line")
        resting = "rows--cursor" if self.has_focus else "rows--resting"
        return self._line(self._cells(self._keys[place]), resting if place == self._at else "rows--line")

    def _line(self, cells: Cells, style: str) -> Strip:
        width = self.scrollable_content_region.width
        parts: list[Content | str] = ["> " if style in ("rows--cursor", "rows--resting") else " " * _GUTTER]
        for column, cell, room in zip(self._columns, cells, fitted(self._columns, width - _GUTTER), strict=True):
            if room:
                content = Content(cell) if isinstance(cell, str) else cell
                content = content.truncate(room, ellipsis=True)
                space = room - content.cell_length
                parts += [content.pad_left(space) if column.right else content.pad_right(space), " " * _GAP]
        [strip] = Visual.to_strips(self, Content.assemble(*parts), width, 1, self.get_visual_style(style), pad=True)
        return strip.adjust_cell_length(width, self.get_visual_style(style).rich_style)


def fitted(columns: Sequence[Column], width: int) -> list[int]:
    """How wide each column is where a line has so many cells; 0 for those that there is no room for."""
    shown = dict(enumerate(columns))
    while sum(column.width + _GAP for column in shown.values()) - _GAP > width:
        most = max(shown, key=lambda n: columns[n].rank, default=-1)
        if most < 0 or not columns[most].rank:
            break
        del shown[most]
    left = max(0, width - sum(column.width + _GAP for column in shown.values()) + _GAP)
    growing = sum(column.grows for column in shown.values())
    return [
        column.width + (left // growing if column.grows else 0) if n in shown else 0 for n, column in enumerate(columns)
    ]


def _place(keys: Sequence[str], key: str) -> int | None:
    try:
        return keys.index(key)
    except ValueError:
        return None
