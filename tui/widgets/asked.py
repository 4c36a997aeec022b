"""What is asked, above its answers: in the room that they leave, at its end, with a sign of what is out of sight."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.widgets.columns import Columns
from tui.words import visible

_LEAST, _LEAST_COLUMN = 3, 5
"""Rows that the prompt and a column always have."""


class Asked(Vertical):
    """A prompt. The question itself stands at the end of a long one, so that is what is in sight."""

    DEFAULT_CSS = """
    Asked { height: auto; padding: 0 1; }
    Asked VerticalScroll { height: auto; scrollbar-gutter: stable; }
    Asked VerticalScroll:focus { background: $surface; }
    Asked #prompt { height: auto; }
    Asked #hidden { height: 1; color: $text-muted; display: none; }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(id="prompt", markup=False)
        yield Static(id="hidden", markup=False)

    def on_mount(self) -> None:
        """The sign follows what is in sight."""
        self.watch(self._scroll, "scroll_y", self._tell, init=False)

    @property
    def _scroll(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)

    @property
    def _lines(self) -> int:
        return self.query_one("#prompt").size.height

    def show(self, prompt: str) -> None:
        """Another prompt."""
        text = Content.assemble(("Asked  ", "bold $accent"), visible(prompt).strip("\n"))
        self.query_one("#prompt", Static).update(text)

    def fit(self, columns: Columns, rows: int, *, complete: bool) -> None:
        """Take the rows that the answers do not need.

        Args:
            columns: the answers.
            rows: that it and they have together.
            complete: the answers are there; otherwise they are left a good half.
        """
        heights = [max(_LEAST_COLUMN, column.needed) for column in columns.all]
        needed = sum(heights) if columns.has_class("rows") else max(heights)
        left = rows - (needed if complete else rows - rows * 2 // 5)
        most = max(_LEAST, rows - _LEAST_COLUMN * (len(heights) if columns.has_class("rows") else 1))
        room = min(most, max(_LEAST, rows * 2 // 5, left))
        cut_off = self._lines > room
        self.query_one("#hidden").display = cut_off
        self._scroll.can_focus = cut_off
        self._scroll.styles.max_height = room - cut_off
        self.call_after_refresh(self._to_the_end)

    def on_resize(self, event: events.Resize) -> None:
        """Its end stays in sight."""
        self.call_after_refresh(self._to_the_end)

    def _to_the_end(self) -> None:
        self._scroll.scroll_end(animate=False, immediate=True)
        self._tell()

    def _tell(self) -> None:
        above = round(self._scroll.scroll_y)
        below = max(0, self._lines - above - self._scroll.size.height)
        lines = [
            f"{count} more {'line' if count == 1 else 'lines'} {where}"
            for count, where in ((above, "above"), (below, "below"))
            if count
        ]
        hidden = self.query_one("#hidden", Static)
        hidden.update(Content(f"... {', '.join(lines)}: tab, then the arrow keys" if lines else ""))
