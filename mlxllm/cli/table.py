"""Tables and lists of fields on stdout: as wide as they are in a pipe, made to fit on a terminal, and never cut."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from mlxllm.cli.sampling import use_colour
from mlxllm.cli.terminal import columns, fold
from mlxllm.cli.token_view import display_width

_GAP = 2


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    expendable: Sequence[str] = (),
    style: Callable[[str, str], str] | None = None,
) -> None:
    """Print aligned columns: with colours on a terminal, as plain text elsewhere and under NO_COLOR.

    Args:
        header: names of the columns.
        rows: their cells.
        expendable: columns that a narrow terminal does without, the least important first.
        style: (column, cell) -> the cell with its colour.
    """
    coloured = use_colour(sys.stdout)
    lines = table_lines(header, rows, sys.stdout, expendable, style if coloured else None)
    for number, line in enumerate(lines):
        print(f"\x1b[1m{line}\x1b[0m" if coloured and not number else line)


def table_lines(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    stream: TextIO,
    expendable: Sequence[str] = (),
    style: Callable[[str, str], str] | None = None,
) -> Iterator[str]:
    """The lines of a table, made for `stream`.

    Where that is a terminal with too little room, the expendable columns go first, then the last column that is left
    is folded between words.
    """
    table = [list(header), *(list(cells) for cells in rows)]
    widths = {name: max(display_width(cells[i]) for cells in table) for i, name in enumerate(header)}
    for name in expendable:
        if not stream.isatty() or _total(widths) < columns(stream):
            break
        del widths[name]
    *before, (last, last_name) = [(i, name) for i, name in enumerate(header) if name in widths]
    margin = " " * sum(widths[name] + _GAP for _, name in before)
    fits = _total(widths) < columns(stream)
    for number, cells in enumerate(table):
        end, *below = [cells[last]] if fits else fold(cells[last], stream, margin=margin).split("\n")
        shown = [(name, cells[i]) for i, name in before] + [(last_name, end.removeprefix(margin))]
        line = ""
        for name, cell in shown:
            coloured = style(name, cell) if style is not None and number else cell
            line += coloured + " " * (widths[name] - display_width(cell) + _GAP)
        yield line.rstrip()
        yield from below


def fits(header: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO, expendable: Sequence[str] = ()) -> bool:
    """Whether `stream` has room for a table without its expendable columns, each row in a line."""
    table = [header, *rows]
    widths = {name: max(display_width(cells[i]) for cells in table) for i, name in enumerate(header)}
    return not stream.isatty() or _total({n: w for n, w in widths.items() if n not in expendable}) < columns(stream)


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print lines of a name and its value on stdout."""
    for line in field_lines(fields, sys.stdout):
        print(line)


def field_lines(fields: Iterable[tuple[str, str]], stream: TextIO) -> Iterator[str]:
    """Lines of a name and its value, made for `stream`; on a terminal a long value goes on below itself."""
    listed = list(fields)
    indent = max((display_width(name) for name, _ in listed), default=0) + _GAP
    for name, value in listed:
        folded = fold(value, stream, margin=" " * indent)
        yield (name + folded[display_width(name) :]).rstrip()
