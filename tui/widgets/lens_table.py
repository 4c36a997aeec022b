"""The logit lens as a table: what each layer would say next, behind each piece of the prompt."""

from rich.cells import set_cell_size
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from tui.talking.shown import percent
from tui.talking.xray import View

_NAME = 11
_PIECE, _PERCENT = 9, 4
_SURE, _LIKELY = 0.5, 0.1


class LensTable(Widget):
    """A row for each layer, the embedding first; a column for each position, as many as there is room for."""

    DEFAULT_CSS = """
    LensTable { height: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: clip; }
    """

    def __init__(self) -> None:
        """With nothing to show."""
        super().__init__()
        self._view: View | None = None
        self._layer = 0

    def show(self, view: View, layer: int) -> None:
        """Show the lens of a walk, with one layer marked."""
        self._view, self._layer = view, layer
        self.refresh()

    def render(self) -> RenderResult:
        view = self._view
        if view is None:
            return Content("")
        wide = _PIECE + _PERCENT + 2
        positions = view.lens_positions(max((self.content_size.width - _NAME) // wide, 1))
        heads = [
            (f"{set_cell_size(view.pieces[n], wide - 2)}  ", "bold $accent" if n == view.at else "") for n in positions
        ]
        lines = [Content.assemble((f"{'behind':<{_NAME}}", "$text-muted"), *heads)]
        for layer in (None, *range(view.layers)):
            name = "embedding" if layer is None else f"layer {layer}"
            here = layer == self._layer
            cells: list[tuple[str, str]] = []
            for piece, share in view.lens_row(layer, positions):
                style = "bold $primary" if share >= _SURE else "$primary" if share >= _LIKELY else "$text-muted"
                cells.append((f"{set_cell_size(piece, _PIECE)}{percent(share):>{_PERCENT}}  ", style))
            label = f"{'>' if here else ' '}{name:<{_NAME - 1}}"
            lines.append(Content.assemble((label, "bold $accent" if here else ""), *cells))
        room = max(self.content_size.height - 1, 1)
        start = min(max(self._layer + 2 - room, 0), max(view.layers + 1 - room, 0))
        return Content("\n").join([lines[0], *lines[1 + start : 1 + start + room]])
