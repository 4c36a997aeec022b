"""SFT against a plain loop of transformers and torch: the same small Llama, the same conversations, float32, AdamW.

Ours lays the conversations of a step side by side in rows; the loop gives each a row of its own, filled up with padding.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import largest_difference

from mlxllm.model.loading import load_model
from mlxllm.parity.receipts import largest, pair
from mlxllm.runs import RunDirectory
from mlxllm.training.methods import make_task
from mlxllm.training.sft import SftData

RECORDS, ROW = 100, 192
TOLERANCE = 1e-4


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "sft/instruction-data.json")
    return common.with_peers(made, learning_rate=1e-3).parse_args()


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """One run, with two rows in each of two forward passes of an update."""
    records, run = folder / "records.json", folder / "runs" / "sft"
    records.write_text(json.dumps(common.read_records(args.data)[:RECORDS]))
    model = common.make_llama(folder / "llama", records.read_text())
    train = {"batch_size": 2, "grad_accum_steps": 2, "lanes": 1}
    config = common.settings("sft", records, args, train=train, data={"max_seq_len": ROW})
    plan, events = common.train(run, config, model)
    data = plan.material.data
    assert isinstance(data, SftData)
    rows = make_task(plan.config, plan.material, RunDirectory(run), lambda: load_model(str(model)).model).rows
    batches = [conversations(*rows.batch(step)) for step in range(args.steps)]
    job = {
        "model": str(model),
        "batches": batches,
        "learning_rate": args.learning_rate,
        "max_grad_norm": plan.config.train.max_grad_norm,
    }
    theirs = common.peer(args.peers_python, "transformers_sft.py", job, folder)
    ours = [event["loss"] for event in events]
    difference = largest_difference(ours, theirs["losses"])
    table: list[Sequence[str]] = [("", "ours", "transformers", "difference")]
    for name, at in (("loss of the first update", 0), ("loss of the last update", -1)):
        a, b = ours[at], theirs["losses"][at]
        table.append((name, f"{a:.6f}", f"{b:.6f}", f"{abs(a - b):.1e}"))
    table += [
        ("largest difference of any update", "", "", f"{difference:.1e}"),
        ("tokens to learn", f"{events[-1]['tokens']:,}", f"{theirs['tokens']:,}", ""),
        ("padding", f"{100 * data.train.padding:.1f} %", f"{100 * theirs['padding']:.1f} %", ""),
    ]
    return table, {
        "differences": {"loss": difference},
        "losses": [ours[0], ours[-1]],
        "theirs": [theirs["losses"][0], theirs["losses"][-1]],
        "tokens": [events[-1]["tokens"], theirs["tokens"]],
        "padding": [data.train.padding, theirs["padding"]],
        "conversations_a_step": [len(batch) for batch in batches],
        "peers": theirs["versions"],
    }


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt."""
    rows = [largest(f"loss of any of {args.steps} updates", result["differences"]["loss"], TOLERANCE)]
    for name, ours, theirs in zip(("first", "last"), result["losses"], result["theirs"], strict=True):
        rows.append(pair(f"loss of the {name} update", theirs, ours, TOLERANCE))
    rows.append(pair("tokens to learn", result["tokens"][1], result["tokens"][0], 0))
    note = f"a random Llama of two layers, {RECORDS} conversations; the loop is given our conversations in our order"
    return common.Told("sft", rows, seed=0, versions=result["peers"], inputs=[args.data], note=note)


def conversations(
    inputs: np.ndarray, targets: np.ndarray, mask: np.ndarray, positions: np.ndarray
) -> list[dict[str, list[int]]]:
    """The texts of packed rows, each as its ids and the labels of their successors."""
    found = []
    for r in range(len(inputs)):
        starts = [*np.flatnonzero(positions[r] == 0).tolist(), inputs.shape[1]]
        for begin, end in itertools.pairwise(starts):
            if mask[r, begin:end].any():
                ids = [int(inputs[r, begin]), *targets[r, begin:end].tolist()]
                found.append({"ids": ids, "mask": [0, *mask[r, begin:end].tolist()]})
    return found


if __name__ == "__main__":
    common.run(main, arguments(), told)
