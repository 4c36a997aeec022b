"""Commands that give a paper its shape: headings, title, abstract, captions, items."""

from collections.abc import Callable
from functools import partial

from mlxllm.data.sources.latex import commands
from mlxllm.data.sources.latex.page import Page
from mlxllm.data.sources.latex.tokens import words

_NUMBERED_LISTS = ("enumerate", "compactenum", "tightenumerate", "inparaenum", "asparaenum")


class ShapeCommands:
    """What they do to a page."""

    def __init__(self, page: Page) -> None:
        """Nothing is done yet."""
        self._page = page

    def commands(self) -> dict[str, Callable[[], None]]:
        """Each by its control sequence."""
        known: dict[str, Callable[[], None]] = {
            "\\par": self._page.end_paragraph,
            "\\item": self._item,
            "\\title": self._title,
            "\\icmltitle": self._title,
            "\\abstract": self._abstract,
            "\\abstracts": self._abstract,
            "\\keywords": self._keywords,
            "\\caption": self._caption,
            "\\captionof": self._caption_of,
            "\\bibitem": self._bibliography_item,
            "\\twocolumn": self._two_columns,
            "\\numberwithin": self._number_within,
            "\\appendix": self._page.numbers.begin_appendix,
            "\\bye": self._page.gullet.stop,
            "\\enddocument": self._page.gullet.stop,
        }
        known |= {f"\\{name}": partial(self._heading, name) for name in commands.HEADINGS}
        known |= {f"\\new{name}": partial(self._heading, "section") for name in ("sec", "section")}
        known["\\subsec"] = partial(self._heading, "subsection")
        return known

    def _heading(self, name: str) -> None:
        starred = self._page.gullet.starred()
        self._page.gullet.optional()
        text = self._page.inline(self._page.gullet.argument()).replace("\n", " ")
        if name == "chapter" and not self._page.begun:
            return
        depth = commands.HEADINGS[name] + (self._page.inputs.has_chapters and name not in ("chapter", "part"))
        counted = not starred and name not in ("part", "paragraph", "subparagraph")
        number = f"{self._page.numbers.step_section(name)} " if counted and not self._page.blocks.muted else ""
        if text:
            self._page.blocks.block(f"{'#' * (depth + 1)} {number}{text}")

    def _title(self) -> None:
        self._page.gullet.optional()
        self._page.blocks.muted += 1
        notes = self._page.blocks.waiting[:]
        self._page.title = self._page.inline(self._page.gullet.argument()).replace("\n", " ") or self._page.title
        self._page.blocks.waiting[:] = notes
        self._page.blocks.muted -= 1

    def _abstract(self) -> None:
        r"""`\abstract{...}`, in the preamble or not."""
        self._page.gullet.skip_blanks()
        if self._page.gullet.peek() != "{":
            self._page.blocks.block("## Abstract")
        elif text := self._page.inline(self._page.gullet.argument()):
            self._page.abstract = text

    def _keywords(self) -> None:
        self._page.gullet.optional()
        if text := self._page.inline(self._page.gullet.argument()):
            self._page.blocks.block(f"Keywords: {text}")

    def _caption(self) -> None:
        starred = self._page.gullet.starred()
        self._page.gullet.optional()
        tokens = self._page.gullet.argument()
        kind = next(
            (
                commands.FLOATS[f.name.rstrip("*")]
                for f in reversed(self._page.frames)
                if f.name.rstrip("*") in commands.FLOATS
            ),
            "",
        )
        self._add_caption(kind, tokens, numbered=not starred)

    def _caption_of(self) -> None:
        kind = commands.FLOATS.get(words(self._page.gullet.argument()), "")
        self._page.gullet.optional()
        self._add_caption(kind, self._page.gullet.argument(), numbered=True)

    def _add_caption(self, kind: str, tokens: list[str], *, numbered: bool) -> None:
        if not kind or any(frame.name in commands.DROPPED for frame in self._page.frames):
            return
        number = f" {self._page.numbers.step(kind.lower(), kind)}" if numbered else ""
        before = len(self._page.blocks.waiting)  # its footnotes come behind it
        text = self._page.inline(tokens).replace("\n", " ")
        if text and self._page.begun:
            self._page.blocks.waiting.insert(before, f"{kind}{number}: {text}")

    def _item(self) -> None:
        label = self._page.gullet.optional()
        frame = next((frame for frame in reversed(self._page.frames) if frame.items >= 0), None)
        if frame is None or self._page.in_line:
            self._page.blocks.parts.append(" " + self._page.inline(label or ()) + " ")
            return
        frame.items += 1
        term = self._page.inline(label) if label else ""
        if label is not None:
            marker = f"- {term}{'' if not term or term[-1] in '.:)]•-–' else ':'} " if term else "- "
        elif frame.name.rstrip("*") in ("enumerate", "compactenum", "tightenumerate", "inparaenum", "asparaenum"):
            marker = f"{frame.items}. "
            self._page.numbers.step_item(frame.items)
        else:
            marker = "- "
        self._page.blocks.open(marker, item_in=frame.indent)

    def _two_columns(self) -> None:
        if spread := self._page.gullet.optional():
            self._page.gullet.push(spread)

    def _number_within(self) -> None:
        self._page.numbers.count_within(words(self._page.gullet.argument()), words(self._page.gullet.argument()))

    def _bibliography_item(self) -> None:
        label = self._page.inline(self._page.gullet.optional() or ())
        self._page.numbers.bibliography.add(words(self._page.gullet.argument()), label)
