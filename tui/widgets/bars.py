"""The lines at the edges of every screen: its tabs at the top, a hint, and the command that does the same at the bottom."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from tui import commands
from tui.words import printable


class Tabs(Widget):
    """The names of the screens with their numbers; a click goes there."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--current", "tabs--number"}
    DEFAULT_CSS = """
    Tabs { dock: top; height: 1; background: $panel; color: $foreground; }
    Tabs .tabs--current { color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold; }
    Tabs .tabs--number { color: $accent; text-style: bold; }
    """

    def __init__(self, names: Sequence[tuple[str, str]], current: str) -> None:
        """Show the screens.

        Args:
            names: mode and title of each.
            current: the mode of the screen on which this stands.
        """
        super().__init__()
        self._names, self._current = names, current

    def render(self) -> RenderResult:
        number = self.get_component_rich_style("tabs--number")
        current = self.get_component_rich_style("tabs--current")
        most = self._letters()
        parts: list[Content | str] = []
        for position, (mode, title) in enumerate(self._names, 1):
            here = mode == self._current
            name = title if here else title[:most].rstrip()
            # Brackets as well: without colour they alone say where one is.
            label = Content.styled(f"[{position} {name}]", str(current)) if here else None
            if label is None:
                label = Content.assemble(" ", (f"{position}", str(number)), f" {name} ")
            parts.append(label.stylize(f"@click=app.go('{mode}')") if not here else label)
        return Content.assemble(*parts)

    def _letters(self) -> int:
        """So many of each name fit, but for the current one's, which is written in full."""

        def width(most: int) -> int:
            return sum(cell_len(t if mode == self._current else t[:most].rstrip()) + 4 for mode, t in self._names)

        return next((most for most in (100, 4, 3) if width(most) <= self.size.width), 2)


class Hint(Static):
    """A sentence for those who see a screen for the first time; Esc puts it away for good."""

    DEFAULT_CSS = """
    Hint { height: auto; max-height: 3; padding: 0 1; color: $foreground; background: $panel; }
    """

    def __init__(self, text: str) -> None:
        """Show `text`."""
        super().__init__(Content.assemble(("Hint  ", "bold $accent"), text, ("  (esc: hide)", "$text-muted")))


class TooSmall(Static):
    """Covers a screen of which nothing could be read; what has the focus keeps it."""

    DEFAULT_CSS = """
    TooSmall { layer: cover; dock: top; width: 100%; height: 100%; display: none; background: $background; }
    """

    def __init__(self) -> None:
        """It is hidden as long as the application has no class "too-small"."""
        super().__init__("make the window larger, 60x16 at least")


class Twin(Widget):
    """The command line that does what the screen shows."""

    DEFAULT_CSS = """
    Twin { height: 1; padding: 0 1; color: $text-muted; background: $surface; }
    """

    args: reactive[commands.Args] = reactive((), layout=False)

    def render(self) -> RenderResult:
        text = f"$ {printable(commands.as_text(self.args))}"
        copy = "  y copies"
        room = self.size.width - 2 - len(copy)
        if cell_len(text) > room:
            more = "..." if self.app.has_class("ascii") else "…"
            text = set_cell_size(text, max(room - len(more), 1)) + more
        return Content.assemble(text, (copy, "$accent"))

    async def on_click(self, event: events.Click) -> None:
        """Copy, as the key does."""
        event.stop()
        await self.run_action("screen.copy_twin")
