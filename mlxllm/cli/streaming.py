"""A text as it comes from a model, usually on stdout: on a terminal folded between words, elsewhere as it is."""

import sys
from typing import TextIO

from mlxllm.cli.sampling import shown, use_colour
from mlxllm.cli.terminal import columns
from mlxllm.cli.token_view import display_width

_LONGEST_WORD = 20
"""While a word of this length still fits on the line, letters are shown at once; from there on a word waits until it
has ended, so that it need not be moved to the next line."""
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class Stream:
    """One text, shown piece by piece; `end` shows what still waits, and ends the line."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Begin at the beginning of a line of `out`, by default stdout."""
        self._out = sys.stdout if out is None else out
        self._terminal = self._out.isatty()
        self._width = columns(self._out) - 1
        self._column = 0
        self._gap = self._word = ""  # what waits: white space, and letters behind it
        self._line_open = True

    def given(self, text: str, mark: str = "") -> None:
        """Show what the model continues: in a fainter colour, or where there are none with `mark` behind it."""
        if not use_colour(self._out):
            self.add(text + mark if text else "")
        elif text:
            self._print(_DIM)
            self.add(text)
            self._release()
            self._print(_RESET)

    def add(self, text: str) -> None:
        """Show the next piece."""
        if text:
            self._line_open = not text.endswith("\n")
        if not self._terminal:
            self._print(text)
            return
        for char in shown(text, self._out):
            if char == "\n":
                self._release()
                self._print("\n")
                self._column, self._gap = 0, ""
            elif char.isspace():
                self._release()
                self._gap += char
            else:
                self._word += char
                if display_width(self._word) >= self._width:
                    self._release()
        if self._column + _LONGEST_WORD < self._width:
            self._release()

    def end(self) -> None:
        """Show what still waits; end the line if the text has not done so."""
        self._release()
        if self._line_open:
            self._print("\n")
        self._line_open = False

    def _release(self) -> None:
        """Print the word, on the next line if it does not fit on this one."""
        if not self._word:
            return
        gap, word = self._gap, self._word
        self._gap = self._word = ""
        if self._column and self._column + display_width((gap + word).expandtabs()) > self._width:
            self._print("\n")
            self._column, gap = 0, ""
        self._print(gap + word)
        self._column += display_width((gap + word).expandtabs())

    def _print(self, text: str) -> None:
        print(text, end="", file=self._out, flush=True)
