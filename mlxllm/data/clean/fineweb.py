"""The rules that FineWeb adds to Gopher's and C4's (Penedo et al. 2024, "The FineWeb Datasets", section 3.6).

Thresholds are those of its published program, which for characters in duplicate lines is stricter than the paper's text.
"""

from collections.abc import Iterator

from pydantic import Field

from mlxllm.config import Section
from mlxllm.data.clean.gopher import Share, duplicates
from mlxllm.data.clean.prepared import SENTENCE_ENDS, Finding, Prepared, above, below, share


class FineWeb(Section):
    """Lists, menus and repeated lines."""

    min_lines_with_end: Share = 0.12
    """Share of lines that end in a mark of the end of a sentence."""
    short_line_chars: int = Field(30, ge=0)
    """A line of so many characters or fewer is short."""
    max_short_lines: Share = 0.67
    """Share of lines that are short."""
    max_duplicate_line_chars: Share = 0.01
    """Share of characters in lines that stood there before."""


def fineweb(prepared: Prepared, settings: FineWeb) -> Finding | None:
    """Keep, or the first of the rules that says no."""
    return next((finding for finding in _findings(prepared, settings) if finding), None)


def _findings(prepared: Prepared, settings: FineWeb) -> Iterator[Finding | None]:
    rule, lines = "fineweb", prepared.lines
    ended = sum(line.endswith(SENTENCE_ENDS) for line in lines)
    yield below(rule, "too few lines end a sentence", share(ended, len(lines)), settings.min_lines_with_end)
    short = sum(len(line) <= settings.short_line_chars for line in lines)
    yield above(rule, "too many short lines", share(short, len(lines)), settings.max_short_lines)
    chars = duplicates(lines)[1]
    repeated = share(chars, sum(map(len, lines)))
    yield above(rule, "characters in duplicate lines", repeated, settings.max_duplicate_line_chars)
