"""What a page is made of, before it is Markdown or HTML. Every text in it is plain: whoever writes a page escapes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells; a column of numbers is set to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell, to be copied."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Quote:
    """What a model wrote, white space kept, below what it was given."""

    label: str
    prompt: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A plot."""

    name: str
    """Of its file, without suffix."""
    caption: str
    svg: str
    """For a page: its colours are the page's."""


@dataclass(frozen=True)
class Fold:
    """What is shown on demand."""

    title: str
    blocks: Sequence["Block"]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence["Block"]


Block = Text | Points | Table | Commands | Quote | Picture | Fold | Section


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    lead: str
    """What it is, in a sentence or two."""
    facts: Sequence[tuple[str, str]]
    """The few numbers that matter most: value and what it is."""
    blocks: Sequence[Block]
    end: str
    """What is said at the bottom."""


_NUMBER = re.compile(r"[-+−]?[\d,]*\.?\d+(e[-+]?\d+)?( [%\w±. ]{1,24})?")


def is_number(cell: str) -> bool:
    """Whether a cell is set to the right: it is a number, perhaps with a unit, or nothing."""
    return cell in ("", "–") or _NUMBER.fullmatch(cell) is not None


def number_columns(table: Table) -> list[bool]:
    """For each column of a table whether it holds numbers only, and one at least."""
    columns = [[row[n] for row in table.rows if n < len(row)] for n in range(len(table.header))]
    return [bool(any(c not in ("", "–") for c in cells)) and all(map(is_number, cells)) for cells in columns]
