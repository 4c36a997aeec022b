"""Sentences for people: folded between words where a terminal ends, one line each for everybody else."""

import os
import textwrap
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from typing import TextIO

_WIDEST = 110
"""Longer lines are hard to read, however wide the terminal is."""


def columns(stream: TextIO) -> int:
    """Width of the terminal that `stream` writes to; $COLUMNS goes before what it says itself."""
    with suppress(KeyError, ValueError):
        if (told := int(os.environ["COLUMNS"])) > 0:
            return told
    with suppress(OSError, ValueError):  # not a terminal, or no file at all
        if (measured := os.get_terminal_size(stream.fileno()).columns) > 0:
            return measured
    return 80


def fold(text: str, stream: TextIO, *, margin: str = "", whole_words: bool = True) -> str:
    """`text` behind a margin, folded between words if `stream` is a terminal.

    Args:
        text: one or several lines; a line that begins with blanks goes on below them.
        stream: where it is going to be printed.
        margin: stands before each line.
        whole_words: leave what is longer than a line in one piece, so that a path can still be copied.
    """
    lines = text.split("\n")
    if not stream.isatty():
        return "\n".join(margin + line for line in lines)
    width = min(_WIDEST, columns(stream) - 1)
    folded: list[str] = []
    for line in lines:
        words = line.lstrip()
        indent = margin + line[: len(line) - len(words)]
        folded += textwrap.wrap(
            words,
            max(width, len(indent) + 10),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=not whole_words,
            break_on_hyphens=False,
        ) or [margin]
    return "\n".join(folded)


def tell(text: str, stream: TextIO, *, end: str = "\n") -> None:
    """Narrate on `stream`. Where nobody can read it any more, on a closed pipe or a full disk, nothing else ends by it."""
    try:
        print(text, end=end, file=stream, flush=True)
    except (OSError, ValueError):  # the latter where it was closed
        silence(stream)


def silence(stream: TextIO) -> None:
    """Lead what is written to `stream` nowhere, from what still waits in its buffer on."""
    with suppress(OSError, ValueError):  # it may be no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The end of a sentence about an unknown name; None where no known one is like it."""
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else None
