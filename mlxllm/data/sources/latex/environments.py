r"""`\begin` and `\end`: what each environment does to the text in it."""

import re
from collections.abc import Callable

from mlxllm.data.sources.latex import commands
from mlxllm.data.sources.latex.page import Frame, Page
from mlxllm.data.sources.latex.tokens import words

_KNOWN = "abstract proof quote quotation verse center acknowledgments acknowledgements acks".split()
_BIBLIOGRAPHY_HEADING = re.compile(r"#+ (?:[\w.]+ )?(?:references|bibliography|literature(?: cited)?)", re.IGNORECASE)
_ARGUMENTS = {"minipage": "ooom", "multicols": "m", "adjustbox": "m", "adjustwidth": "mm"}
"""Of environments whose text is read on; of all others one in brackets is passed over."""


class Environments:
    """What they do to a page."""

    def __init__(self, page: Page) -> None:
        """Nothing is done yet."""
        self._page = page

    def commands(self) -> dict[str, Callable[[], None]]:
        r"""`\begin` and `\end`."""
        return {"\\begin": self._begin, "\\end": self._end}

    def _begin(self) -> None:
        name = words(self._page.gullet.argument())
        plain = name.rstrip("*")
        definitions = self._page.definitions
        if name == "document":
            self._page.begun, self._page.blocks.muted = True, 0
            self._page.blocks.parts.clear()
            self._page.blocks.waiting.clear()
            self._page.frames.clear()
        elif plain in commands.DISPLAYS:
            if plain == "empheq":
                self._page.pass_over("om")
            self._page.display(self._page.math.environment(name))
        elif name == "math":
            self._page.blocks.parts.append(self._page.math.environment(name))
        elif name == "thebibliography":
            self._page.blocks.take_back(_BIBLIOGRAPHY_HEADING)
            self._mute(name)
        elif plain in {*commands.FLOATS, *commands.DROPPED} or name in definitions.dropped_environments:
            self._mute(name)
        elif name in definitions.theorems:
            self._begin_theorem(name)
        elif plain in commands.ITEMIZE:
            self._page.blocks.end_paragraph()
            indent = self._page.blocks.indent
            self._page.open_frame(Frame(name, lambda: self._page.blocks.close(indent), 0, indent))
            self._page.pass_over("mm" if name == "list" else "o")
        elif plain in _KNOWN:
            self._begin_known(plain, name)
        elif name in definitions.environments:
            self._page.open_frame(Frame(name, lambda: None))
            self._page.gullet.push_macro(definitions.environments[name].begin)
        elif plain in commands.THEOREMS:
            self._begin_theorem(plain)
        else:
            self._page.open_frame(Frame(name, self._page.end_paragraph))
            self._page.end_paragraph()
            self._page.pass_over(_ARGUMENTS.get(plain, "o"))

    def _begin_known(self, plain: str, name: str) -> None:
        self._page.end_paragraph()
        close = self._page.end_paragraph
        if plain == "abstract":
            self._page.gullet.optional()
            self._page.blocks.block("## Abstract")
        elif plain == "proof":
            head = self._page.gullet.optional()
            title = self._page.inline(head).rstrip(".:") if head else "Proof"
            self._page.blocks.open(f"{title}. ")
            close = self._end_proof
        elif plain.startswith("ack"):
            self._page.blocks.block("## Acknowledgements")
        self._page.open_frame(Frame(name, close))

    def _begin_theorem(self, name: str) -> None:
        kind = self._page.definitions.theorems.get(name)
        head = self._page.gullet.optional()
        self._page.end_paragraph()
        title, number = kind.title if kind else commands.THEOREMS[name], ""
        counter = kind.counter if kind else name
        if counter:
            if kind and kind.within:
                self._page.numbers.count_within(counter, kind.within)
            number = f" {self._page.numbers.step(counter, title)}"
        called = self._page.inline(head) if head else ""
        indent = self._page.blocks.indent
        self._page.open_frame(Frame(name, lambda: self._page.blocks.close(indent)))
        self._page.blocks.open(f"{title}{number}{f' ({called})' if called else ''}. ")

    def _end_proof(self) -> None:
        if not self._page.blocks.muted and "□" not in "".join(self._page.blocks.parts[-3:]):
            self._page.blocks.parts.append(" □")
        self._page.blocks.close(self._page.blocks.indent)

    def _mute(self, name: str) -> None:
        """Nothing of this environment is written, except for the captions in it."""
        blocks = self._page.blocks
        outer, blocks.parts = blocks.parts, []
        blocks.muted += 1

        def close() -> None:
            blocks.parts = outer
            blocks.muted -= 1

        self._page.open_frame(Frame(name, close))

    def _end(self) -> None:
        name = words(self._page.gullet.argument())
        if name == "document":
            self._page.gullet.stop()
            return
        if not any(frame.name == name for frame in self._page.frames):
            return
        while self._page.frames:
            frame = self._page.frames.pop()
            frame.close()
            if frame.name == name:
                break
        if known := self._page.definitions.environments.get(name):
            self._page.gullet.push(known.end)
