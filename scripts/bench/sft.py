"""Supervised fine-tuning: trained tokens a second and peak memory, beside mlx-lm.

A random Llama of 27.8M parameters, float32, AdamW, real conversations; LoRA with mlx-lm's defaults, and all weights. Both
sides learn the same tokens of the same texts: ours packs them into rows of --max-seq-len tokens, mlx-lm pads each to the
longest of its batch.
"""

import argparse
from pathlib import Path
from typing import Any

from common import BenchError, Side, agree, run
from tuning import Comparison, arguments, compare


def check(ours: Side, peer: Side, method: str) -> None:
    """Both sides learn the same tokens, from the same model, and both learn.

    Raises:
        BenchError: they do not.
    """
    agree("the number of tokens to learn", ours.facts["tokens"], peer.facts["tokens"], 0)
    agree(f"the loss before the first step ({method})", ours.facts["first_loss"], peer.facts["first_loss"], 1e-4)
    for side in (ours, peer):
        if not side.facts["last_loss"] < side.facts["first_loss"]:
            raise BenchError(
                f"{side.name} does not learn: its loss goes from {side.facts['first_loss']} to {side.facts['last_loss']}"
            )


COMPARISON = Comparison(
    kind="sft",
    unit="trained tokens",
    peer="mlx-lm",
    script="peers/mlx_lm_sft.py",
    records="sft/alpaca_en_demo.json",
    scale=20.0,
    asks_reference=False,
    check=check,
)


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """See `tuning.compare`."""
    return compare(COMPARISON, args, temporary)


if __name__ == "__main__":
    run(main, arguments(__doc__, COMPARISON, batches=8))
