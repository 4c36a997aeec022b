"""The table of a verification, on a terminal or in a pipe."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from mlxllm.cli import sampling
from mlxllm.cli.table import print_table

if TYPE_CHECKING:  # it imports MLX
    from mlxllm.export.verified import Verification

_COLOURS = {"passed": "32", "failed": "31"}


def show(verification: "Verification") -> None:
    """Print one row a reader, and what was compared."""
    rows = [
        (
            row.reader,
            row.version or "-",
            row.status,
            _word(row.ids_equal),
            _number(row.max_logit_difference),
            _number(row.kl),
            _word(row.greedy_equal),
            row.note,
        )
        for row in verification.rows
    ]
    header = ("reader", "version", "result", "ids", "logits", "KL", "greedy", "")
    print_table(header, rows, expendable=("version", "KL"), style=_coloured)
    bound = f" (at most {verification.max_logit_bound:.1g} apart)" if isfinite(verification.max_logit_bound) else ""
    sampling.say(
        f"compared: the ids of {verification.texts} texts, the logits at {verification.positions} positions{bound} and "
        f"their KL divergence in nats, {verification.greedy_tokens} greedy tokens; weights {verification.weights}, "
        f"computed in {verification.computed_in}"
    )
    if verification.only_ourselves:
        sampling.say(
            "only mlxllm itself has read it back; install transformers with torch, or mlx-lm, to have others look"
        )


def say_notes(notes: Sequence[str]) -> None:
    """Print what is to be known about a file, a line each."""
    for note in notes:
        sampling.say(f"note: {note}")


def _coloured(column: str, cell: str) -> str:
    colour = _COLOURS.get(cell) if column == "result" else None
    return f"\x1b[{colour}m{cell}\x1b[0m" if colour else cell


def _word(equal: bool | None) -> str:
    return "-" if equal is None else "equal" if equal else "differ"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}" if value else "0"
