"""The state of a paper that is being read, and the loop that reads it: what the commands of LaTeX work on."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlxllm.data.sources.latex import commands
from mlxllm.data.sources.latex.blocks import Blocks, tidy
from mlxllm.data.sources.latex.conditions import Conditions
from mlxllm.data.sources.latex.definitions import Definitions
from mlxllm.data.sources.latex.errors import LatexError
from mlxllm.data.sources.latex.gullet import Gullet
from mlxllm.data.sources.latex.inputs import Inputs
from mlxllm.data.sources.latex.lengths import skip_code, skip_length
from mlxllm.data.sources.latex.mathematics import Mathematics
from mlxllm.data.sources.latex.references import Numbers
from mlxllm.data.sources.latex.symbols import text_symbols
from mlxllm.data.sources.latex.tokens import BLANK

MATH_STARTS = ("\\(", "\\[")
_MOST_FRAMES = 200
_LIGATURES = {"-": "-", "--": "–", "---": "—", "`": "‘", "``": "“", "'": "’", "''": "”"}
_LIGATURES |= {"~": " ", "&": " ", "#": "", "{": "", "}": ""}
_LISTING_OPTIONS = re.compile(r"\A(?:\s*\[[^\]]*\])?(?:\s*\{[^}\n]*\})?[ \t]*\n?")


@dataclass(slots=True)
class Frame:
    """An environment that is open."""

    name: str
    close: Callable[[], None]
    items: int = -1
    """Items so far of a list; -1: no list."""
    indent: str = ""
    """Of what stands around a list."""


class Page:
    """One paper: what is to be read, what has been written, and what the commands need to know of both."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Nothing is read yet.

        Args:
            files: the text of the paper's files by path.
        """
        self.title = ""
        self.abstract = ""
        """Of a command; that of an environment is in the text."""
        self.begun = False
        """Behind `\\begin{document}`."""
        self.in_line = 0
        """Above 0 an argument is read, in which nothing begins a paragraph."""
        self.frames: list[Frame] = []
        self.commands: dict[str, Callable[[], None]] = {}
        """What each control sequence does to the text."""
        self.gullet = Gullet()
        self.blocks = Blocks()
        self.numbers = Numbers()
        self.definitions = Definitions(self.gullet)
        self.inputs = Inputs(self.gullet, self.definitions, self.numbers, files)
        self.math = Mathematics(self.gullet, self.definitions, self.numbers, self.pass_over)
        self._symbols = text_symbols()
        Conditions(self.gullet, self.definitions)

    def open_frame(self, frame: Frame) -> None:
        """An environment is open from here on.

        Raises:
            LatexError: so many are that they do not seem to be closed.
        """
        if len(self.frames) >= _MOST_FRAMES:
            raise LatexError("nested too deeply", f"more than {_MOST_FRAMES} environments inside each other")
        self.frames.append(frame)

    def inline(self, tokens: Sequence[str]) -> str:
        """Tokens as text in a line."""
        blocks = self.blocks
        outer, muted, blocks.parts, blocks.muted = blocks.parts, blocks.muted, [], 0
        self.in_line += 1
        self.gullet.open(tokens)
        self.run()
        self.gullet.close()
        self.in_line -= 1
        text = tidy("".join(blocks.parts))
        blocks.parts, blocks.muted = outer, muted
        return text

    def run(self) -> None:
        gullet, known, symbols, math = self.gullet, self.commands, self._symbols, MATH_STARTS
        parts = self.blocks
        while (token := gullet.next()) is not None:
            first = token[0]
            if first == "\\":
                if command := known.get(token):
                    command()
                elif (symbol := symbols.get(token)) is not None:
                    parts.parts.append(symbol)
                elif token in math:
                    self.formula(token)
                else:
                    self._unknown(token)
            elif token in _LIGATURES:
                parts.parts.append(_LIGATURES[token])
            elif first == "$":
                self.formula(token)
            elif first == "\0":
                self._verbatim(token)
            else:
                parts.parts.append(token)

    def formula(self, token: str) -> None:
        close = {"\\(": "\\)", "\\[": "\\]"}.get(token, token)
        if close in ("$", "\\)"):
            self.blocks.parts.append(self.math.inline(close))
        else:
            self.display(self.math.display(close))

    def display(self, formula: str) -> None:
        if self.in_line:
            self.blocks.parts.append(f" {' '.join(formula.split())} ")
        else:
            self.blocks.display(formula)

    def _verbatim(self, token: str) -> None:
        _, name, content = token.split("\0", 2)
        if name == "verb":
            self.blocks.parts.append(f"`{content}`" if content.strip() else content)
        elif name not in ("comment", "filecontents") and not self.in_line:
            if name in ("lstlisting", "minted", "Verbatim"):
                content = _LISTING_OPTIONS.sub("", content, count=1)
            code = "\n".join(line.rstrip() for line in content.strip("\n").split("\n")).rstrip()
            self.blocks.block(f"```\n{code}\n```" if code else "")

    def _unknown(self, token: str) -> None:
        """A command in no table: itself nothing, what is in its braces is read on."""
        if token[1:] in commands.SWITCHES or not token[1:2].isalpha():
            return
        self.gullet.starred()
        if self.gullet.peek() == "[":
            self.gullet.optional()

    def pass_over(self, kinds: str) -> None:
        """Take arguments that are no text: see `commands.ARGUMENTS`."""
        gullet = self.gullet
        for kind in kinds:
            if kind == "*":
                gullet.starred()
            elif kind == "o":
                gullet.optional()
            elif kind == "d":
                skip_length(gullet)
            elif kind == "c":
                skip_code(gullet)
            else:
                gullet.argument()

    def end_paragraph(self) -> None:
        if self.in_line:
            self.blocks.parts.append(BLANK)
        else:
            self.blocks.end_paragraph()
