"""The training documents that an answer was taken from, each opened at the span that stands in it."""

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mlxllm.data.origins.tracing import Trace
from mlxllm.errors import UserError
from tui.talking.origins import Tracer, about_document, about_span, excerpt
from tui.widgets.glow import STYLES
from tui.widgets.keys_bar import KeysBar
from tui.words import printable, visible


class OriginView(ModalScreen[None]):
    """Span by span, the document in which it stands."""

    DEFAULT_CSS = """
    OriginView { align: center middle; }
    OriginView > Vertical { width: 96%; height: 94%; background: $background; border: round $primary; padding: 0 1; }
    OriginView #about { height: auto; max-height: 5; }
    OriginView VerticalScroll { height: 1fr; border-top: solid $border-blurred; }
    OriginView #text { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "span(1)", "Next span", key_display="n", id="origin.next"),
        Binding("b,left", "span(-1)", "Span before", key_display="b", id="origin.before"),
        Binding("d", "place", "Next place", id="origin.place"),
        Binding("escape,q,o", "leave", "Close", key_display="esc"),
    ]

    def __init__(self, trace: Trace, tracer: Tracer, model: str) -> None:
        """Show the documents of a trace with spans."""
        super().__init__()
        self._trace, self._tracer, self._model = trace, tracer, model
        self._span = self._place = 0

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"Where it got that: {self._trace.sentence}")
            yield Static(id="about", markup=False)
            with VerticalScroll():
                yield Static(id="text", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin with the first span."""
        self.query_one(VerticalScroll).focus()
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key that leads nowhere is not shown."""
        if action == "span":
            return len(self._trace.spans) > 1
        if action == "place":
            return len(self._trace.spans[self._span].places) > 1
        return True

    @work(exclusive=True, group="document")
    async def _show(self) -> None:
        """Open the document of a span."""
        span, number = self._trace.spans[self._span], self._place
        about = f"Span {self._span + 1} of {len(self._trace.spans)}: {about_span(span)}"
        said = self._trace.text[span.start : span.end]
        try:
            document = await asyncio.to_thread(self._tracer.document, self._model, span, number)
        except UserError as error:
            self.query_one("#about", Static).update(Content(f"{about}\n! {error}"))
            return
        if len(span.places) > 1:
            about += f" (this is {number + 1} of {len(span.places)} that can be opened)"
        parts = [Content(about), Content(printable(about_document(document)))]
        if span.kind == "near":
            parts.append(Content.assemble("It said: ", (printable(" ".join(said.split())), "$text-muted")))
        self.query_one("#about", Static).update(Content("\n").join(parts))
        before, there, behind = (visible(part) for part in excerpt(document))
        self.query_one("#text", Static).update(Content.assemble(before, (there, STYLES[span.kind]), behind))
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self.refresh_bindings()

    def action_span(self, by: int) -> None:
        """To another span, from the last to the first."""
        self._span, self._place = (self._span + by) % len(self._trace.spans), 0
        self._show()

    def action_place(self) -> None:
        """To another document that has the same span."""
        self._place = (self._place + 1) % len(self._trace.spans[self._span].places)
        self._show()

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()
