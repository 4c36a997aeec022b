"""`mlxllm eval --preferences --moved`: the pair that training has moved most, with both answers and its loss in numbers."""

import sys
from typing import TYPE_CHECKING, Any

from mlxllm.cli.table import field_lines
from mlxllm.visible import readable

if TYPE_CHECKING:  # MLX is imported by the command that uses it
    from mlxllm.conversation.preferences import Pair
    from mlxllm.evaluation.preferences import Moved
    from mlxllm.tokenizer import Tokenizer

_LONGEST = 1200
"""Characters of a prompt or an answer that are shown."""


def moved_pair(moved: "Moved", pair: "Pair", tokenizer: "Tokenizer") -> dict[str, Any]:
    """The pair as plain values: its texts without special tokens, and their log-probabilities before and after."""
    special = set(tokenizer.special_ids.values())

    def text(ids: Any) -> str:
        return tokenizer.decode([int(i) for i in ids if int(i) not in special]).strip()

    sides = {}
    for number, (name, ids) in enumerate((("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids))):
        sides[name] = {"text": text(ids), "before": moved.before[number], "after": moved.after[number]}
    about = {"pair": moved.index + 1, "where": pair.where, "prompt": text(pair.prompt_ids)}
    return {**about, **sides, "beta": moved.beta, "margin": moved.margin, "loss": moved.loss}


def print_moved(found: dict[str, Any]) -> None:
    """Show what `moved_pair` says."""
    beta, margin = found["beta"], found["margin"]
    gains = []
    print(f"\nthe pair that training has moved most, number {found['pair']}:")
    rows = [("prompt", _shown(found["prompt"]))]
    for name in ("chosen", "rejected"):
        side = found[name]
        gain = side["after"] - side["before"]
        gains.append(gain)
        rows.append((name, _shown(side["text"])))
        rows.append(("", f"log-probability {side['before']:.2f} before, {side['after']:.2f} after: {gain:+.2f}"))
    product = f"{beta:g} x ({gains[0]:+.2f} - ({gains[1]:+.2f}))"
    rows.append(("margin", f"beta h = {product} = {margin:.3f}; 0 before training"))
    rows.append(("loss", f"-log sigmoid({margin:.3f}) = {found['loss']:.4f}; 0.6931 before training"))
    for line in field_lines(rows, sys.stdout):
        print(line)


def _shown(text: str) -> str:
    """A text of model or data in one paragraph, nothing in it that steers a terminal, cut where it is long."""
    text = " ".join(text.split())
    return readable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...")
