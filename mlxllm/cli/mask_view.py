"""Trained and masked tokens for the eye: in two colours, or the trained ones in brackets.

Runs of tokens are shown as the text that they spell, so that a character of several tokens can be read. Line ends are
kept and made visible; what could steer a terminal is written out.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mlxllm.cli.token_view import MASKED, RESET, TRAINED
from mlxllm.visible import readable

if TYPE_CHECKING:
    from mlxllm.tokenizer import Tokenizer

_BOLD = "\x1b[1m"
_BRACKETS = str.maketrans({"[": "\\[", "]": "\\]"})


def legend(colour: bool) -> str:
    """What the colours or the brackets mean."""
    if colour:
        return f"{TRAINED}trained{RESET} {MASKED}masked{RESET} {MASKED}{_BOLD}<|header|>{RESET}"
    return "[trained] masked; \\[ and \\] are brackets of the text itself"


def marked_lines(
    token_ids: Sequence[int], trained: Sequence[bool], tokenizer: "Tokenizer", colour: bool
) -> Iterator[str]:
    """The lines of a sequence.

    Args:
        token_ids: the sequence.
        trained: for each token, whether it is a target.
        tokenizer: spells them; its special tokens are the headers and ends of turns.
        colour: two colours, with special tokens in bold; otherwise trained runs stand in brackets.
    """
    from mlxllm.tokenizer.showing import runs_of  # numpy is loaded by the command

    shown = ""
    for is_trained, runs in groupby(runs_of(token_ids, trained, tokenizer), key=lambda run: run.trained):
        style = TRAINED if is_trained else MASKED
        inside = ""
        for run in runs:
            text = readable(run.text)
            if colour:
                begin = style + _BOLD * run.special
                # A background that is still on at the end of a line would colour the rest of it.
                inside += "\n".join(f"{begin}{line}{RESET}" if line else "" for line in text.split("\n"))
            else:
                inside += text.translate(_BRACKETS)
        shown += f"[{inside}]" if is_trained and not colour else inside
    yield from shown.split("\n")
