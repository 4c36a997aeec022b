"""Answers to the same prompt side by side: columns where there is room, rows where there is not."""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.engine_replies import AnswerToken
from tui.widgets.answers import Message
from tui.words import visible

LEAST_WIDTH = 38
"""Of a column; narrower ones become rows."""


class Column(Vertical):
    """One answer under its title."""

    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    Column { width: 1fr; height: 1fr; min-height: 5; border: round $border-blurred; padding: 0 1; }
    Column:focus-within { border: round $border; }
    .ascii Column { border: ascii $border-blurred; }
    .ascii Column:focus-within { border: ascii $border; }
    Column VerticalScroll { height: 1fr; }
    Column #text { height: auto; }
    Column #foot { height: auto; max-height: 3; color: $text-muted; }
    Column Message { border-left: none; padding: 0; margin: 0; }
    .ascii Column Message { border-left: none; }
    """

    def __init__(self, title: str) -> None:
        """Begin empty."""
        super().__init__()
        self.border_title = Content(title)
        self.text = ""

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(id="text", markup=False)
        yield Static(id="foot", markup=False)

    def title(self, text: str) -> None:
        """Another title."""
        self.border_title = Content(text)

    @property
    def needed(self) -> int:
        """Rows that its answer takes, with the frame."""
        shown = [child for child in self.query_one(VerticalScroll).children if child.display]
        return sum(child.outer_size.height for child in shown) + self.query_one("#foot").outer_size.height + 2

    async def begin(self, foot: str = "") -> None:
        """Empty it for an answer that is to come."""
        self.text = ""
        await self.query(Message).remove()
        self._show("")
        self.foot(foot)

    async def add(self, tokens: Sequence[AnswerToken]) -> None:
        """More of the answer."""
        self.text += "".join(token.text for token in tokens)
        self._show(self.text)
        self.query_one(VerticalScroll).scroll_end(animate=False)

    async def finish(self, text: str, *, markdown: bool, foot: str = "") -> None:
        """The answer as it is at its end."""
        self.text = text
        self._show("")
        await self.query(Message).remove()
        scroll = self.query_one(VerticalScroll)
        note = "" if text.strip() else "(an empty answer)"
        await scroll.mount(Message("", text, role="assistant", markdown=markdown, note=note))
        scroll.scroll_home(animate=False)
        self.foot(foot)

    def _show(self, text: str) -> None:
        comes = self.query_one("#text", Static)
        comes.update(Content(visible(text)))
        comes.display = bool(text)

    def foot(self, text: str) -> None:
        """The line below."""
        foot = self.query_one("#foot", Static)
        foot.update(Content(text))
        foot.display = bool(text)


class Columns(Container):
    """Any number of them."""

    DEFAULT_CSS = """
    Columns { layout: horizontal; height: 1fr; }
    Columns.rows { layout: vertical; overflow-y: auto; }
    """

    @property
    def all(self) -> list[Column]:
        """From left to right, or from top to bottom."""
        return list(self.query(Column))

    def on_resize(self, event: events.Resize) -> None:
        """Columns or rows."""
        self.lay_out()

    def lay_out(self) -> None:
        """Columns if each has room."""
        count = max(len(self.all), 1)
        self.set_class(self.size.width // count < LEAST_WIDTH, "rows")
