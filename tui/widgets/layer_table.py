"""The layers of a model, the embedding first: heads as cells with a cursor, sizes, and what each layer would say."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui.talking.xray import ASCII_SHADES, SHADES, View, shade

_NAME = 11
_SIZE = 8
_CELL = 3
_ROOM_FOR_SIZES = 76
_SAID = 20
"""Columns that are kept for what a layer would say."""


class LayerTable(Widget, can_focus=True):
    """A row for each layer; the arrows move from layer to layer and from head to head."""

    HELP = (
        "Each row is a layer, the embedding first. The cells are its heads: the darker, the fewer pieces a head looks at; "
        "x is switched off. Behind them stand the size of the residual stream, of what attention and feed-forward added "
        "to it, and what the model would say next if it stopped there. The arrows move the cursor, space switches the "
        "head off."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1, 0)", "Layer before", show=False),
        Binding("down", "move(1, 0)", "Layer behind", show=False),
        Binding("left", "move(0, -1)", "Head before", show=False),
        Binding("right", "move(0, 1)", "Next head", show=False),
        Binding("home", "move(-1000000, 0)", "First layer", show=False),
        Binding("end", "move(1000000, 0)", "Last layer", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"layers--cursor"}
    DEFAULT_CSS = """
    LayerTable { height: auto; max-height: 38%; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    .ascii LayerTable { text-overflow: clip; }
    LayerTable .layers--cursor { color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold; }
    """

    @dataclass
    class Moved(Message):
        """The cursor stands on another head."""

        layer: int
        head: int

    def __init__(self) -> None:
        """Without a model."""
        super().__init__()
        self._view: View | None = None
        self._off: Collection[str] = ()
        self.at_layer = 0
        self.at_head = 0

    def show(self, view: View, off: Collection[str]) -> None:
        """Show a walk.

        Args:
            view: of it.
            off: what is switched off, as `head:L.H`.
        """
        self._view, self._off = view, off
        self.at_layer = min(self.at_layer, view.layers - 1)
        self.at_head = min(self.at_head, view.heads - 1)
        self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """A line for each layer, for the embedding and for the head of the table."""
        return self._view.layers + 2 if self._view is not None else 1

    def render(self) -> RenderResult:
        view = self._view
        if view is None:
            return Content("")
        first, heads = self._heads_in_sight(view)
        names = "".join(f"{n:>{_CELL}}" for n in range(first, first + heads))
        more = ("<" if first else " ") + names + (" >" if first + heads < view.heads else "  ")
        sizes = f"{'stream':>{_SIZE}}{'+ attn':>{_SIZE}}{'+ ffn':>{_SIZE}}" if self._tells_sizes else ""
        title = f"{'':<{_NAME}}{more}{sizes}  if it stopped here"
        rows = [self._row(view, None, first, heads)]
        rows += [self._row(view, layer, first, heads) for layer in range(view.layers)]
        room = max(self.content_size.height - 1, 1)
        start = min(max(self.at_layer + 1 - room + 1, 0), max(len(rows) - room, 0))
        return Content("\n").join([Content.styled(title, "$text-muted"), *rows[start : start + room]])

    @property
    def _tells_sizes(self) -> bool:
        """Whether there is room for them."""
        return self.content_size.width >= _ROOM_FOR_SIZES

    def _heads_in_sight(self, view: View) -> tuple[int, int]:
        """The first head that is shown, and how many."""
        sizes = 3 * _SIZE if self._tells_sizes else 0
        fit = max(1, (self.content_size.width - _NAME - 5 - sizes - _SAID) // _CELL)
        count = min(view.heads, fit)
        return max(0, min(self.at_head - count + 1, view.heads - count)) if self.at_head >= count else 0, count

    def _row(self, view: View, layer: int | None, first: int, heads: int) -> Content:
        ascii_only = self.app.has_class("ascii")
        marks = ASCII_SHADES if ascii_only else SHADES
        here = layer is not None and layer == self.at_layer
        gone = f"layer:{layer}" in self._off
        name = "embedding" if layer is None else f"layer {layer}" + (" off" if gone else "")
        parts: list[Content | str | tuple[str, str]] = [
            (f"{'>' if here else ' '}{name:<{_NAME - 1}} ", "bold $accent" if here else "")
        ]
        cursor = str(self.get_component_rich_style("layers--cursor"))
        for head in range(first, first + heads):
            if layer is None:
                parts.append(" " * _CELL)
                continue
            off = gone or f"attention:{layer}" in self._off or f"head:{layer}.{head}" in self._off
            sign = "x" if off else shade(view.decided(layer, head), marks)
            style = cursor if here and head == self.at_head else "$error" if off else "$primary"
            parts += [" ", (sign * (_CELL - 1), style)]
        stream, attention, mlp = view.sizes(layer)
        attention = "off" if layer is not None and (gone or f"attention:{layer}" in self._off) else attention
        mlp = "off" if layer is not None and (gone or f"mlp:{layer}" in self._off) else mlp
        sizes = f"{stream:>{_SIZE}}{attention:>{_SIZE}}{mlp:>{_SIZE}}" if self._tells_sizes else ""
        parts.append(f"  {sizes}  ")
        row = Content.assemble(*parts)
        said = view.would_say(layer)
        room = max(self.content_size.width - row.cell_length, 0)
        return row + Content(said if cell_len(said) <= room else set_cell_size(said, room))

    def action_move(self, layers: int, heads: int) -> None:
        """The cursor, so many layers and heads on."""
        if self._view is not None:
            self._go(self.at_layer + layers, self.at_head + heads)

    def _go(self, layer: int, head: int) -> None:
        view = self._view
        assert view is not None
        place = min(max(layer, 0), view.layers - 1), min(max(head, 0), view.heads - 1)
        if place != (self.at_layer, self.at_head):
            self.at_layer, self.at_head = place
            self.refresh()
            self.post_message(self.Moved(*place))

    def on_click(self, event: events.Click) -> None:
        """The head under the mouse."""
        at, view = event.get_content_offset(self), self._view
        if at is None or view is None:
            return
        first, heads = self._heads_in_sight(view)
        room = max(self.content_size.height - 1, 1)
        start = min(max(self.at_layer + 1 - room + 1, 0), max(view.layers + 1 - room, 0))
        layer, head = start + at.y - 2, (at.x - _NAME - 1) // _CELL
        if 0 <= layer < view.layers:
            self._go(layer, first + head if 0 <= head < heads else self.at_head)
