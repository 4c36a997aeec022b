"""Direct preference optimisation: pairs a second and peak memory, beside mlx-lm-lora.

A random Llama of 27.8M parameters, float32, AdamW, the sigmoid loss on real pairs; LoRA with mlx-lm-lora's defaults, and
all weights. Both sides take the same batches in the same order. The reference counts on both: mlx-lm-lora asks a second
model in each step, ours asks once before the first one, and that time is added to the pass. "Steps alone" leaves it out,
as in every later pass, and in every later run on the same model and pairs, which find what the reference said.
"""

import argparse
from pathlib import Path
from typing import Any

from common import Side, agree, run
from tuning import Comparison, arguments, compare


def check(ours: Side, peer: Side, method: str) -> None:
    """Both sides score the same pairs alike before the first step, and after all of them.

    Raises:
        BenchError: they do not.
    """
    mine, theirs = ours.facts, peer.facts
    agree(f"the first loss ({method})", mine["losses"][0], theirs["losses"][0], 1e-4)
    for key in ("chosen", "rejected"):
        agree(f"the first log-probability of {key} ({method})", mine[key], theirs[key], 1e-4)
    # Adapters are drawn by each side itself, so only the first step is the same there, but for the digits.
    agree(f"the last loss ({method})", mine["losses"][-1], theirs["losses"][-1], 1e-2 if method == "full" else 5e-2)


COMPARISON = Comparison(
    kind="dpo",
    unit="pairs",
    peer="mlx-lm-lora",
    script="peers/mlx_lm_lora_dpo.py",
    records="dpo/instruction-data-with-preference.json",
    scale=10.0,
    asks_reference=True,
    check=check,
)


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """See `tuning.compare`."""
    return compare(COMPARISON, args, temporary)


if __name__ == "__main__":
    run(main, arguments(__doc__, COMPARISON, batches=12))
