"""Receipts as text: the cells of a row, and the table of the README."""

from collections.abc import Iterable

from mlxllm.parity.known import BY_NAME
from mlxllm.parity.receipts import Receipt, Row

_VERDICT = {None: "", True: "agrees", False: "differs"}
_ALLOWED = {"equal": "±", "at most": "+", "at least": "-"}


def row_cells(row: Row) -> tuple[str, str, str, str, str, str]:
    """Quantity, theirs, ours, difference, what is allowed, verdict."""
    numbers = (_value(row.theirs), _value(row.ours), _largest(row) if row.theirs is None else _change(row))
    allowed = "" if row.tolerance is None else f"{_ALLOWED[row.rule]}{row.tolerance:g}"
    return row.quantity, *numbers, allowed, _VERDICT[row.passed]


def _value(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 10 else f"{value:.4f}"


def _largest(row: Row) -> str:
    """What is judged is a distance; what is only told may be a count."""
    if row.tolerance is None and row.difference == round(row.difference):
        return f"{row.difference:,.0f}"
    return f"{row.difference:.1e}"


def _change(row: Row) -> str:
    """Four digits behind the point where they show anything."""
    if row.difference == 0:
        return "0"
    return f"{row.difference:+.4f}" if abs(row.difference) >= 1e-3 else f"{row.difference:+.1e}"


def markdown_table(receipts: Iterable[Receipt]) -> list[str]:
    """One line a receipt: what its first row says; where many rows are judged like it, the one that is furthest off."""
    lines = ["| comparison | quantity | theirs | ours | difference | allowed | run |", "|---|---|---|---|---|---|---|"]
    for receipt in receipts:
        script = BY_NAME[receipt.name].files[0]
        *cells, verdict = row_cells(_telling(receipt))
        result = "" if receipt.passed else f" **{verdict or 'differs'}**"
        run = f"{receipt.date[:10]}, {receipt.minutes:.1f} min, {receipt.machine.os.split()[0]}{result}"
        lines.append(f"| [{receipt.name}]({script}) | {' | '.join(cells)} | {run} |")
    return lines


def _telling(receipt: Receipt) -> Row:
    first = receipt.rows[0]
    if first.theirs is not None:
        return first
    alike = [row for row in receipt.rows if row.theirs is None and row.tolerance == first.tolerance]
    return max(alike, key=lambda row: row.difference)
