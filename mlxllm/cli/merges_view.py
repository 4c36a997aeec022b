"""`mlxllm tokenizer show --merges`: the merges of BPE on a text, one line a step."""

import sys
from collections.abc import Iterable
from typing import Any

from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_fields, print_table
from mlxllm.tokenizer.merging import MergeWalk
from mlxllm.visible import visible

_STEPS_SHOWN = 60
_WHOLE = "whole"
"""In place of a rank where the vocabulary has a word, and no merge makes it."""


def as_json(walk: MergeWalk) -> dict[str, Any]:
    """Every step of the walk. Symbols are as they are read; `at` counts them from 0 in the state before the step."""
    shown = walk.shown
    return {
        "symbols": [shown(symbol) for symbol in walk.first],
        "merges": [
            {
                "at": merge.at,
                "parts": [shown(part) for part in merge.parts],
                "piece": shown(merge.piece),
                "rank": merge.rank,
            }
            for merge in walk.merges
        ],
        "rules": walk.rules,
    }


def print_walk(walk: MergeWalk) -> None:
    """The symbols at the beginning, each step, and the tokens at the end."""
    count = len(walk.first)
    rows = []
    left = count
    for number, merge in enumerate(walk.merges, start=1):
        left -= len(merge.parts) - 1
        joined = " + ".join(visible(walk.shown(part)) for part in merge.parts)
        rank = _WHOLE if merge.rank is None else f"{merge.rank:,}"
        rows.append((f"{number:,}", rank, joined, visible(walk.shown(merge.piece)), f"{left:,}"))
    print()
    print_fields([("begins as", f"{_joined(map(walk.shown, walk.first))}  ({count:,})")])
    print()
    print_table(("step", "rank", "pair", "becomes", "symbols left"), rows[:_STEPS_SHOWN])
    if len(rows) > _STEPS_SHOWN:
        say(f"... and {len(rows) - _STEPS_SHOWN:,} steps more (--json has all of them)")
    print()
    spelled = f", {len(walk.last) - left:,} more for characters in bytes" if len(walk.last) > left else ""
    print_fields([("ends as", f"{_joined(map(walk.shown, walk.last))}  ({len(walk.last):,}{spelled})")])
    if sys.stderr.isatty():
        say(f"rank: which of the {walk.rules:,} merges of this tokenizer it is, the first learned is 0")


def _joined(symbols: Iterable[str]) -> str:
    return "|".join(visible(symbol) for symbol in symbols)
