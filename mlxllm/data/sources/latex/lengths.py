r"""Lengths and numbers as TeX's own commands take them, without braces: `\vskip 2pt plus 1fil`, `\catcode`."""

import re

from mlxllm.data.sources.latex.gullet import Gullet
from mlxllm.data.sources.latex.tokens import BLANK, is_word

_MOST_TOKENS = 24
_UNIT = r"(?:true)?\s*(?:pt|pc|in|bp|cm|mm|dd|cc|sp|em|ex|mu|fil+)"
_NUMBER = r"[-+\s]*(?:\d+\.?\d*|\.\d+)?"
_SIZE = rf"{_NUMBER}(?:\\[a-zA-Z]+|\s*{_UNIT})?"
_LENGTH = re.compile(rf"\s*(?:=\s*)?(?:by\s*)?{_SIZE}(?:\s*plus\s*{_SIZE})?(?:\s*minus\s*{_SIZE})?")
_CODE = re.compile(r"\s*(?:`\\?.|\d+)?\s*(?:=\s*)?(?:\\[a-zA-Z]+|\d+)?", re.DOTALL)


def skip_length(gullet: Gullet) -> None:
    """Take a length; what is no length stays."""
    _skip(gullet, _LENGTH)


def skip_code(gullet: Gullet) -> None:
    r"""Take what follows `\catcode` and its kin: a character and a number."""
    _skip(gullet, _CODE)


def _skip(gullet: Gullet, pattern: re.Pattern[str]) -> None:
    tokens: list[str] = []
    while len(tokens) < _MOST_TOKENS and (token := gullet.peek()) is not None:
        if token[0] in "{}[]$&\0" or token == "\\par":
            break
        tokens.append(token)
        gullet.pop()
    match = pattern.match("".join(tokens))
    taken = match.end() if match else 0
    rest: list[str] = []
    for token in tokens:
        kept = token[taken:] if taken < len(token) else ""
        if kept:
            rest.append(token if taken <= 0 or is_word(token) else kept)
        taken = max(0, taken - len(token))
    if rest and rest[0] == BLANK and len(rest) < len(tokens):
        rest.pop(0)
    gullet.push(rest)
