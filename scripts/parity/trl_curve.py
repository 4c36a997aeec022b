"""TRL's DPO curve: its trainer as its command line runs it, and ours on the pairs that it read, in its order.

By default a small random Qwen2 and the pairs of a local file. With `--published` the run that TRL keeps as its own
invariant: Qwen2.5-0.5B-Instruct, 50 steps on ultrafeedback_binarized, both from the Hub; it takes a machine with 16 GB
for each side. TRL chooses batches, truncation and schedule; what it has read is given to ours as ids.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import mlx.core as mx
import numpy as np
from common import largest_difference

from mlxllm.config import DataConfig, DpoConfig, RunConfig, TrainConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.evaluation.pair_rows import PairShapes, stacked
from mlxllm.evaluation.pair_scoring import reference_logprobs
from mlxllm.model.loading import load_model
from mlxllm.parity.receipts import Row, largest, pair
from mlxllm.training.dpo import dpo_objective
from mlxllm.training.step import TrainStep, initial_state

MODEL, REVISION = "Qwen/Qwen2.5-0.5B-Instruct", "7ae557604adf67be50417f59c2c2f167def9a775"
DATA = "trl-lib/ultrafeedback_binarized"
MAX_LENGTH = 512
PUBLISHED_RATE = 1e-6
PUBLISHED = {"loss of step 1": 0.6931, "loss of step 2": 0.6879, "loss of step 3": 0.6594}
PUBLISHED_END = 0.642
"""Mean of the last ten losses. TRL holds itself to 0.05 a step; its versions differ by 0.01 in this mean."""
STEP_TOLERANCE, END_TOLERANCE = 0.05, 0.02
SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 112,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
    "tie_word_embeddings": True,
}
RECORDS = 200
TOLERANCE = 1e-4
"""Float32 on both sides; log-probabilities of a few hundred have four digits behind the point."""


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "dpo/instruction-data-with-preference.json")
    made.add_argument(
        "--model", metavar="M", help="a folder or Hub name that both sides read; by default a random Qwen2"
    )
    made.add_argument("--published", action="store_true", help=f"{MODEL} on {DATA}, against the published curve")
    made.add_argument("--steps", type=int, default=50, metavar="N", help="updates; 50 by default")
    made.add_argument("--learning-rate", type=float, metavar="X", help="1e-6 as published; 1e-4 for a random model")
    made.add_argument("--seed", type=int, default=42, metavar="N", help="of TRL's order; 42 by default")
    made.add_argument(
        "--rows", type=int, metavar="N", help="pairs of one of our forward passes; by default all of a step"
    )
    made.add_argument(
        "--peers-python", type=Path, default=Path(sys.executable), metavar="PATH", help="an interpreter that has trl"
    )
    args = made.parse_args()
    if args.published and args.model is not None:
        made.error("--published is about its own model; leave out --model")
    return args


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """TRL first: it says what there is to read."""
    random = args.model is None and not args.published
    model = MODEL if args.published else args.model or str(folder / "qwen2")
    records = None if args.published else folder / "records.json"
    if records is not None:
        records.write_text(json.dumps([as_messages(one) for one in common.read_records(args.data)[:RECORDS]]))
    rate = args.learning_rate or (1e-4 if random else PUBLISHED_RATE)
    job = {
        "model": model,
        "revision": REVISION if args.published else None,
        "make": SHAPE if random else None,
        "records": None if records is None else str(records),
        "data": DATA,
        "steps": args.steps,
        "max_length": MAX_LENGTH,
        "learning_rate": rate,
        "seed": args.seed,
    }
    online = args.published or (args.model is not None and not Path(args.model).exists())
    theirs = common.peer(args.peers_python, "trl_curve.py", job, folder, online=online)
    ours = our_curve(f"{model}@{REVISION}" if args.published else model, theirs, args)
    difference = largest_difference(ours, theirs["losses"])
    table: list[Sequence[str]] = [("loss", "ours", "TRL", "difference")]
    for name, a, b in told_losses(ours, theirs["losses"]):
        table.append((name, f"{a:.6f}", f"{b:.6f}", f"{a - b:+.1e}"))
    table.append(("largest difference of any step", "", "", f"{difference:.1e}"))
    if args.published:
        table += [(f"published, {name}", "", f"{loss:.4f}", "") for name, loss in PUBLISHED.items()]
        table.append(("published, mean of the last ten", "", f"{PUBLISHED_END:.3f}", ""))
    return table, {
        "ours": ours,
        "theirs": theirs["losses"],
        "difference": difference,
        "learning_rate": rate,
        "random": random,
        "peers": theirs["versions"],
    }


def told_losses(ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[str, float, float]]:
    """The first three steps, and the mean of the last ten."""
    found = [(f"step {i + 1}", ours[i], theirs[i]) for i in range(min(3, len(ours)))]
    return [*found, ("mean of the last ten steps", statistics.fmean(ours[-10:]), statistics.fmean(theirs[-10:]))]


def as_messages(record: dict[str, Any]) -> dict[str, Any]:
    """A record as TRL's data set has them: both answers as conversations that begin alike."""
    if isinstance(record["chosen"], list):
        return {side: record[side] for side in ("chosen", "rejected")}
    asked = "\n".join(filter(None, (record.get("prompt") or record.get("instruction"), record.get("input"))))
    turns = {side: [("user", asked), ("assistant", record[side])] for side in ("chosen", "rejected")}
    return {side: [{"role": role, "content": text} for role, text in said] for side, said in turns.items()}


def our_curve(model: str, theirs: dict[str, Any], args: argparse.Namespace) -> list[float]:
    """Our training step on TRL's batches; the loss of each."""
    loaded = load_model(model, dtype=mx.float32)
    if theirs["schedule"] != "linear" or theirs["warmup"]:
        raise common.ParityError(
            f"this TRL has the schedule {theirs['schedule']}, warm-up {theirs['warmup']}; not linear"
        )
    size, steps = theirs["rows"], len(theirs["batches"])
    rows = args.rows or size
    if size % rows:
        raise common.ParityError(f"--rows {rows} does not divide the {size} pairs of a step")
    # Ours ends a step later at zero: (steps + 1) / steps of the rate gives TRL's rate at every step.
    train = TrainConfig(
        optimizer="adamw",
        learning_rate=theirs["rate"] * (steps + 1) / steps,
        schedule="linear",
        warmup_steps=0,
        betas=theirs["betas"],
        eps=theirs["eps"],
        weight_decay=theirs["weight_decay"],
        max_grad_norm=theirs["max_grad_norm"],
        max_steps=steps,
        batch_size=rows,
        grad_accum_steps=size // rows,
        lanes=1,
        compute_dtype="float32",
    )
    data = DataConfig(max_seq_len=MAX_LENGTH)
    config = RunConfig(method="dpo", model=loaded.config, data=data, train=train, dpo=DpoConfig(beta=theirs["beta"]))
    batches = [[as_pair(one) for one in batch] for batch in theirs["batches"]]
    every = [one for batch in batches for one in batch]
    shapes = PairShapes(every, MAX_LENGTH)
    known = iter(reference_logprobs(loaded.model, every, shapes, train))
    step = TrainStep(loaded.model, train, dpo_objective(config))
    state, losses = initial_state(loaded.model, train), []
    for batch in batches:
        arrays = stacked([shapes.row(one, next(known)) for one in batch], size)
        state, metrics = step(state, tuple(arrays))
        mx.eval(state.arrays(), metrics.loss)
        losses.append(float(metrics.loss.item()))
    return losses


def as_pair(ids: dict[str, list[int]]) -> Pair:
    """TRL's pair. Where the prompt alone fills the length, both answers are empty, and the pair worth ln 2 whatever
    the model says: the same token on both sides is worth that, too.
    """
    prompt, chosen, rejected = (ids[side] for side in ("prompt", "chosen", "rejected"))
    if not chosen and not rejected:
        chosen = rejected = prompt[-1:]
    return Pair(*(np.array(side, dtype=np.uint32) for side in (prompt, chosen, rejected)))


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt."""
    ours, theirs = result["ours"], result["theirs"]
    rows: list[Row] = []
    if args.published:
        ends = statistics.fmean(ours[-10:])
        rows.append(pair("mean loss of the last ten steps, published", PUBLISHED_END, ends, END_TOLERANCE))
        values = zip(PUBLISHED.items(), ours, strict=False)
        rows += [pair(f"{name}, published", loss, found, STEP_TOLERANCE) for (name, loss), found in values]
    rows.append(largest(f"loss of any of {len(ours)} steps", result["difference"], TOLERANCE))
    rows += [pair(f"loss, {name}", b, a, TOLERANCE) for name, a, b in told_losses(ours, theirs)]
    rows.append(
        pair(
            "how far the loss went from ln 2, at most", *(max(abs(x - math.log(2)) for x in s) for s in (theirs, ours))
        )
    )
    if args.published:
        note = f"{MODEL} at {REVISION} on {DATA}; TRL chooses the order"
    else:
        what = "a small random Qwen2" if result["random"] else "a model given by --model"
        note = f"{what}, {RECORDS} pairs of a file, rate {result['learning_rate']:g}; TRL runs as its command line does"
    inputs = [] if args.published else [args.data]
    name = "trl-curve-published" if args.published else "trl-curve"
    return common.Told(name, rows, seed=args.seed, versions=result["peers"], inputs=inputs, note=note)


if __name__ == "__main__":
    common.run(main, arguments(), told)
