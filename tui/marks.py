"""Which marks a terminal can draw: braille dots, half blocks, or nothing but ASCII; and which colours it has."""

import locale
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Marks = Literal["braille", "block", "ascii"]
"""`braille`: 2 x 4 dots a cell. `block`: 2 x 2. `ascii`: one character a cell, where nothing else is safe."""


@dataclass(frozen=True)
class Terminal:
    """What is known of a terminal from its environment alone: nothing is asked of it."""

    marks: Marks
    true_colour: bool
    """Shows any colour; the others have the 256 of xterm, or fewer."""


def this_terminal(environ: Mapping[str, str] | None = None, encoding: str | None = None) -> Terminal:
    """What the terminal of this process can show.

    macOS's Terminal leaves gaps between block elements and has 256 colours; braille dots need not touch. The Linux
    console has no braille. Where text is not UTF-8 only ASCII arrives.

    Args:
        environ: environment variables, by default the process's. MLXLLM_MARKS (braille, block or ascii) decides alone.
        encoding: of the terminal's text, by default the locale's.
    """
    env = os.environ if environ is None else environ
    encoding = (encoding or locale.getpreferredencoding(False)).lower().replace("-", "")
    colours = (
        "truecolor" in (env.get("COLORTERM", "").lower(), env.get("TEXTUAL_COLOR_SYSTEM"))
        or env.get("COLORTERM") == "24bit"
    )
    asked = env.get("MLXLLM_MARKS", "")
    if asked in ("braille", "block", "ascii"):
        marks: Marks = asked  # type: ignore[assignment]  # narrowed by the line above
    elif not encoding.startswith("utf8") or env.get("TERM", "") in ("dumb", "vt100", "vt220", "vt102"):
        marks = "ascii"
    elif env.get("TERM") == "linux":
        marks = "block"
    else:
        marks = "braille"
    return Terminal(marks, colours and env.get("TERM_PROGRAM") != "Apple_Terminal")
