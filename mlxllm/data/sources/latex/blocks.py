"""The text that is being made: paragraphs, headings, items and formulas, one behind another."""

import re
from dataclasses import dataclass, field

from mlxllm.data.sources.latex.errors import LatexError

MOST_CHARS = 16 << 20
"""Of the text of one paper."""
_SPACES = re.compile(r"[ \t\u00a0]+")
_AROUND_BREAK = re.compile(r" *\n[ \n]*")


@dataclass(slots=True)
class Blocks:
    """Finished paragraphs, and the one that grows."""

    parts: list[str] = field(default_factory=list)
    """Of the paragraph that grows."""
    muted: int = 0
    """Above 0 nothing is written: the inside of a table, the preamble."""
    waiting: list[str] = field(default_factory=list)
    """Footnotes and captions, which come behind the paragraph in which they stand."""
    indent: str = ""
    """In front of each line: inside a list."""
    _opening: str = ""
    _is_item: bool = False
    _done: list[str] = field(default_factory=list)
    _chars: int = 0
    _last_was_item: bool = False

    def end_paragraph(self) -> None:
        """What has been collected is a paragraph; nothing happens if that is nothing."""
        if not self.muted and (self._write_parts() or not self._opening):
            for waiting in self.waiting:
                self._write(waiting)
            self.waiting.clear()
        self.parts.clear()

    def display(self, formula: str) -> None:
        """A formula of its own, behind which the paragraph goes on: what waits for its end keeps waiting."""
        if not self.muted:
            self._write_parts()
            if formula:
                self._write(formula)
        self.parts.clear()

    def take_back(self, pattern: re.Pattern[str]) -> None:
        """The last block is gone if that is what it is."""
        self.end_paragraph()
        if not self.muted and self._done and pattern.fullmatch(self._done[-1].strip()):
            self._done.pop()

    def block(self, text: str) -> None:
        """A block that is no paragraph, as it stands."""
        self.end_paragraph()
        if text and not self.muted:
            self._write(text)

    def open(self, opening: str, *, item_in: str | None = None) -> None:
        """The next paragraph begins with these words: the name of a theorem, or the marker of an item.

        Args:
            opening: with the blank behind it.
            item_in: of an item, the indent of its list.
        """
        self.end_paragraph()
        if self.muted:
            return
        if self._opening and not self._is_item:
            self._write("")
        self._opening, self._is_item = opening, item_in is not None
        if item_in is not None:
            self.indent = item_in + " " * (2 if opening[0] == "-" else len(opening))

    def close(self, indent: str) -> None:
        """A theorem or list is over; its indent was that."""
        self.end_paragraph()
        if self._opening and not self._is_item:
            self._write("")
        self._opening, self._is_item, self.indent = "", False, indent

    def text(self) -> str:
        """All of it."""
        return "".join(self._done).strip("\n")

    def _write_parts(self) -> bool:
        text = tidy("".join(self.parts)) if self.parts else ""
        self.parts.clear()
        if text:
            self._write(text)
        return bool(text)

    def _write(self, text: str) -> None:
        opening, is_item = self._opening, self._is_item
        self._opening, self._is_item = "", False
        first = self.indent[: -2 if opening[0] == "-" else -len(opening)] if is_item else self.indent
        gap = "\n" if is_item and self._last_was_item else "\n\n"
        self._last_was_item = is_item
        head, *lines = (opening + text).rstrip().split("\n")
        written = "\n".join([gap + first + head, *(self.indent + line if line else "" for line in lines)])
        self._chars += len(written)
        if self._chars > MOST_CHARS:
            raise LatexError("text too long", f"more than {MOST_CHARS >> 20} million characters")
        self._done.append(written)


def tidy(text: str) -> str:
    """Single blanks, none around line breaks or at the ends."""
    return _AROUND_BREAK.sub("\n", _SPACES.sub(" ", text)).strip()
