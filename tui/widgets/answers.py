"""What was said in a chat: an answer while it streams, and everything that is finished as one static widget each."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.padding import Padding
from rich.text import Text
from rich.theme import Theme
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown as MarkdownWidget
from textual.widgets import Static
from textual.widgets.markdown import MarkdownStream

from mlxllm.data.origins.tracing import Trace
from tui.widgets.cutting import cut
from tui.widgets.glow import Glowing, glow_line
from tui.words import visible


def parser() -> MarkdownIt:
    """Markdown as models write it: each line end counts, and what looks like HTML is text."""
    made = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")
    made.core.ruler.push("line_ends", _keep_line_ends)
    return made


def _keep_line_ends(state: StateCore) -> None:
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


class _PlainCode(CodeBlock):
    """Code without the colours of another theme."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(Text(str(self.text).rstrip(), style=console.get_style("markdown.code_block")), (0, 2))


class _Document(Markdown):
    """Rich's Markdown with our parser, in the colours of the theme."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }

    def __init__(self, text: str, colours: Mapping[str, str]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = parser().parse(text)
        self._theme = _theme(colours)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        with console.use_theme(self._theme):
            yield from super().__rich_console__(console, options)


def _theme(colours: Mapping[str, str]) -> Theme:
    primary, accent, muted = (colours.get(name, "default") for name in ("primary", "accent", "text-muted"))
    styles = {f"markdown.h{level}": f"bold {primary if level % 2 else accent}" for level in range(1, 8)}
    styles |= {
        "markdown.h1.border": primary,
        "markdown.code": f"bold {accent}",
        "markdown.code_block": accent,
        "markdown.block_quote": f"italic {muted}",
        "markdown.item.bullet": f"bold {accent}",
        "markdown.item.number": f"bold {accent}",
        "markdown.hr": muted,
        "markdown.link": primary,
        "markdown.link_url": f"underline {primary}",
        "markdown.table.border": muted,
        "markdown.table.header": f"bold {primary}",
    }
    return Theme(styles)


class Message(Static):
    """Something that was said, at its end: one widget, however long."""

    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    Message { height: auto; padding: 0 1; margin-bottom: 1; border-left: solid $border-blurred; }
    Message.user { border-left: solid $accent; }
    Message.note { border-left: none; color: $text-muted; }
    .ascii Message { border-left: ascii $border-blurred; }
    """

    def __init__(self, who: str, text: str, *, role: str, markdown: bool = True, note: str = "") -> None:
        """Show `text`.

        Args:
            who: said it.
            text: as it is; control characters become signs.
            role: `user`, `assistant`, or `note` for what the application itself says.
            markdown: whether it is Markdown, as the answers of a model are.
            note: a line below, such as that the answer was cut off.
        """
        super().__init__(classes=role, markup=False)
        self.role, self.source = role, text
        self._who, self._markdown, self._note = who, markdown, note
        self._trace: Trace | None = None

    def glow(self, trace: Trace) -> None:
        """Mark what of it stands in training documents."""
        self._trace = trace
        self._draw()

    def on_mount(self) -> None:
        """Draw it, and draw it anew in other colours."""
        self._draw()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw())

    def _draw(self) -> None:
        colours = self.app.theme_variables
        text = visible(self.source).strip("\n")
        parts: list[RenderableType] = []
        if self._who:
            colour = colours.get("accent" if self.role == "user" else "primary", "default")
            parts.append(Text(self._who, style=f"bold {colour}"))
        trace, muted = self._trace, colours.get("text-muted", "default")
        drawn = _Document(text, colours) if self._markdown else Text(text)
        parts.append(Glowing(drawn, trace, colours) if trace is not None and trace.spans else drawn)
        if self._note:
            parts.append(Text(self._note, style=muted))
        if trace is not None:
            parts.append(Text(glow_line(trace), style=f"italic {muted}"))
        self.update(Group(*parts))


class Streaming(Vertical):
    """An answer while it comes: Markdown that grows, or plain text that does.

    What has come is cut into pieces as it grows, of which only the last one is laid out anew: one paragraph of some
    thousand tokens would otherwise hold the event loop for a tenth of a second each time.
    """

    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    Streaming { height: auto; padding: 0 1; margin-bottom: 1; border-left: solid $primary; }
    Streaming #who { color: $primary; text-style: bold; }
    Streaming Static { height: auto; }
    Streaming Markdown { height: auto; padding: 0; margin: 0; background: transparent; }
    Streaming Markdown.on > MarkdownBlock:last-child { margin-bottom: 0; }
    Streaming MarkdownFence { background: transparent; }
    .ascii Streaming { border-left: ascii $primary; }
    """

    def __init__(self, who: str, *, markdown: bool = True, before: str = "") -> None:
        """Begin an answer of `who`; with `before`, one that goes on."""
        super().__init__()
        self._who, self._markdown, self.text = who, markdown, before
        self._live = visible(before)
        self._stream: MarkdownStream | None = None

    def compose(self) -> ComposeResult:
        yield Static(Content(self._who), id="who")
        yield self._piece(self._live)

    def _piece(self, text: str) -> MarkdownWidget | Static:
        if self._markdown:
            return MarkdownWidget(text, parser_factory=parser, open_links=False)
        return Static(Content(text))

    async def add(self, text: str) -> None:
        """Show more of it. Several pieces become one update where drawing takes longer than they come."""
        if not text:
            return
        self.text += text
        self._live += visible(text)
        settled, live = cut(self._live, self.content_size.width or 80, markdown=self._markdown)
        if settled:
            await self._settle(settled, live)
        elif not self._markdown:
            self.query(Static).last().update(Content(self._live))
        else:
            if self._stream is None:
                self._stream = MarkdownWidget.get_stream(self.query(MarkdownWidget).last())
            await self._stream.write(visible(text))

    async def _settle(self, settled: str, live: str) -> None:
        """Leave a piece as it is from here on, and go on in a new one below it."""
        await self.finish()
        self._live = live
        with self.app.batch_update():
            if self._markdown:
                last = self.query(MarkdownWidget).last()
                last.set_class(not settled.endswith("\n\n"), "on")
                await last.update(settled)
            else:
                # The piece below begins a line of its own.
                self.query(Static).last().update(Content(settled.removesuffix("\n")))
            await self.mount(self._piece(live))

    async def finish(self) -> None:
        """Let no drawing go on; what replaces it can be mounted then."""
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
