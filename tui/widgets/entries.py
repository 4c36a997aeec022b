"""Words with what they mean, side by side: keys in two columns where there is room, a glossary in one."""

from collections.abc import Sequence
from textwrap import wrap

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

_GAP = 2
_COLUMN = 22
"""Cells that a column needs to be read."""


class Entries(Widget):
    """Lines of a word and its text; the text is wrapped beside the word."""

    DEFAULT_CSS = """
    Entries { height: auto; }
    """

    def __init__(self, entries: Sequence[tuple[str, str]], *, columns: int = 1) -> None:
        """Show `entries`.

        Args:
            entries: word and text of each.
            columns: how many at most, where it is wide enough.
        """
        super().__init__()
        self._entries, self._columns = entries, columns
        self._term = max((cell_len(word) for word, _ in entries), default=0) + _GAP

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the longest column has."""
        return max(map(len, self._laid_out(width)), default=0)

    def render(self) -> RenderResult:
        width = self.size.width
        columns = self._laid_out(width)
        lines: list[Content] = []
        for number in range(max(map(len, columns), default=0)):
            parts: list[Content | str | tuple[str, str]] = []
            for column in columns:
                word, text = column[number] if number < len(column) else ("", "")
                parts.append((word, "bold $accent"))
                room = width // len(columns) - cell_len(word) - (self._term - cell_len(word)) - cell_len(text)
                parts += [" " * (self._term - cell_len(word)), text, " " * max(0, room)]
            lines.append(Content.assemble(*parts).rstrip())
        return Content("\n").join(lines)

    def _laid_out(self, width: int) -> list[list[tuple[str, str]]]:
        """The lines of each column: a word, or blanks below it, and text."""
        count = max(1, min(self._columns, width // (self._term + _COLUMN), len(self._entries)))
        room = max(8, width // count - self._term - (_GAP if count > 1 else 0))
        blocks = []
        for word, text in self._entries:
            texts = wrap(text, room) or [""]
            blocks.append([(word, texts[0]), *(("", more) for more in texts[1:])])
        total = sum(map(len, blocks))
        columns: list[list[tuple[str, str]]] = [[]]
        for block in blocks:
            if len(columns) < count and len(columns[-1]) >= total / count:
                columns.append([])
            columns[-1] += block
        return columns
