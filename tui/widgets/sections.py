"""A line of tabs within a screen; brackets say which one is open, also without colour."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget


class Sections(Widget):
    """Titles in a row; a click opens one through the screen's `section(number)` action."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"sections--current"}
    DEFAULT_CSS = """
    Sections { height: 1; color: $foreground; }
    Sections .sections--current { color: $primary; text-style: bold underline; }
    """

    current: reactive[int] = reactive(0)

    def __init__(self, titles: Sequence[tuple[str, str]]) -> None:
        """Show tabs.

        Args:
            titles: of each the title, and a shorter one for narrow terminals.
        """
        super().__init__()
        self._titles = titles

    def render(self) -> RenderResult:
        wide = self.size.width >= sum(len(title) + 3 for title, _ in self._titles)
        style = str(self.get_component_rich_style("sections--current"))
        parts: list[Content] = []
        for number, (title, short) in enumerate(self._titles):
            name = title if wide else short
            if number == self.current:
                parts.append(Content.styled(f"[{name}]", style))
            else:
                parts.append(Content(f" {name} ").stylize(f"@click=screen.section({number})"))
            parts.append(Content(" " if wide else ""))
        return Content.assemble(*parts)
