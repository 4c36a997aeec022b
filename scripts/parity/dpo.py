"""DPO against TRL's `DPOTrainer`: the same small Llama, the same pairs in the same batches, float32, AdamW.

Compared are the loss and the log-probabilities of every update, and the log-probabilities of every pair under the
reference and under the model at the end. Each loss is a run of the real trainer; TRL gets the pairs as a text whose
words are our tokens, so that it finds prompt and completion by itself.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import largest_difference

from mlxllm.conversation.preferences import Pair
from mlxllm.evaluation.pair_rows import KEYS, PairShapes
from mlxllm.evaluation.pair_scoring import reference_logprobs
from mlxllm.model.loading import load_model
from mlxllm.parity.receipts import Row, largest, pair
from mlxllm.runs import RunDirectory
from mlxllm.training.dpo import DpoData
from mlxllm.training.methods import make_task

LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {"beta": 0.1},
    "ipo": {"beta": 0.1},
    "hinge": {"beta": 0.05},
    "robust": {"beta": 0.1, "label_smoothing": 0.2},
}
PAIRS, BATCH, LONGEST = 16, 4, 256
SHORT = 60
"""Characters of an answer, at most. At 100 one answer's log-probability is -342, where the five last units of float32
are 1.5e-4: that much was seen between the two sides, and 1e-4 is what is asked of them here."""
TOLERANCE = 1e-4
METRICS = ("loss", "logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected", "rewards/margins")


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "dpo/instruction-data-with-preference.json")
    return common.with_peers(made, learning_rate=5e-5).parse_args()


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """All losses."""
    records, found = folder / "pairs.json", first_pairs(args.data)
    records.write_text(json.dumps(found))
    model = common.make_llama(folder / "llama", records.read_text())
    jobs, ours = [], {}
    for loss, dpo in LOSSES.items():
        ours[loss], job = our_side(loss, dpo, records, model, args, folder)
        jobs.append(job)
    theirs = common.peer(args.peers_python, "trl_dpo.py", {"model": str(model), "jobs": jobs}, folder)
    differences = {loss: compared(ours[loss], theirs["losses"][loss]) for loss in LOSSES}
    names = list(next(iter(differences.values())))
    rows: list[Sequence[str]] = [("largest difference over all updates or pairs", *LOSSES)]
    rows += [(name, *(f"{differences[loss][name]:.1e}" for loss in LOSSES)) for name in names]
    for when, at in (("first", 0), ("last", -1)):
        rows += [
            (f"{when} loss, {who}", *(f"{side[loss]['loss'][at]:.5f}" for loss in LOSSES))
            for who, side in (("ours", ours), ("TRL", theirs["losses"]))
        ]
    first_and_last, theirs_too = (
        {loss: [side[loss]["loss"][0], side[loss]["loss"][-1]] for loss in LOSSES} for side in (ours, theirs["losses"])
    )
    about = {"pairs": PAIRS, "steps": args.steps, "peers": theirs["versions"]}
    about |= {"losses": first_and_last, "theirs": theirs_too}
    return rows, {"differences": differences, **about}


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt: each loss and log-probability within what float32 has left at its size."""
    worst = max(max(found.values()) for found in result["differences"].values())
    rows: list[Row] = [largest(f"any loss, log-probability or reward of {args.steps} updates", worst, TOLERANCE)]
    for loss, found in result["differences"].items():
        rows += [pair(f"{loss}: last loss", result["theirs"][loss][-1], result["losses"][loss][-1], TOLERANCE)]
        rows += [largest(f"{loss}: {quantity}", difference, TOLERANCE) for quantity, difference in found.items()]
    note = f"a random Llama of two layers, {PAIRS} pairs; TRL is given our batches in our order"
    return common.Told("dpo", rows, seed=0, versions=result["peers"], inputs=[args.data], note=note)


def first_pairs(path: Path) -> list[dict[str, Any]]:
    """The first records whose answers differ and are short: of -300, float32 has four digits behind the point."""
    found = [
        record
        for record in common.read_records(path)
        if record["chosen"] != record["rejected"] and max(len(record["chosen"]), len(record["rejected"])) <= SHORT
    ]
    if len(found) < PAIRS:
        raise common.ParityError(f"{path} has only {len(found)} such pairs; {PAIRS} are needed")
    return found[:PAIRS]


def our_side(
    loss: str, dpo: dict[str, Any], records: Path, model: Path, args: argparse.Namespace, folder: Path
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Train; returns the numbers, and what TRL needs to do the same."""
    run, train, data = folder / "runs" / loss, {"batch_size": BATCH, "lanes": 1}, {"max_seq_len": LONGEST}
    config = common.settings("dpo", records, args, dpo={"loss": loss, **dpo}, train=train, data=data)
    plan, events = common.train(run, config, model)
    assert isinstance(plan.material.data, DpoData)
    pairs = plan.material.data.train
    if len(pairs) != PAIRS:
        raise common.ParityError(f"{len(pairs)} of {PAIRS} pairs can be used: {plan.material.data.report.reasons()}")
    shapes = PairShapes(pairs, LONGEST)
    with np.load(run / "references.npz") as file:
        reference = file["logprobs"]
    policy = reference_logprobs(load_model(str(run)).model, pairs, shapes, plan.config.train)
    # The rows of the run, as its trainer read them.
    rows = make_task(plan.config, plan.material, RunDirectory(run), _nobody).rows
    batches = [
        [as_ids(dict(zip(KEYS, row, strict=True))) for row in zip(*rows.batch(step), strict=True)]
        for step in range(args.steps)
    ]
    numbers = {name: [event[name] for event in events] for name in METRICS}
    numbers |= {
        "reference log-probabilities of each pair": reference.reshape(-1).tolist(),
        "log-probabilities of each pair at the end": policy.reshape(-1).tolist(),
    }
    job = {
        "loss": loss,
        "label_smoothing": dpo.get("label_smoothing", 0.0),
        "beta": dpo["beta"],
        "learning_rate": args.learning_rate,
        "max_grad_norm": plan.config.train.max_grad_norm,
        "batches": batches,
        "pairs": [of_pair(pair) for pair in pairs],
    }
    return numbers, job


def _nobody() -> Any:
    raise common.ParityError("the run has lost the reference's log-probabilities")


def as_ids(row: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """A row of a batch as the ids of its prompt and its answers."""
    answers, of = row["answers"], row["answer_of"]
    prompt = row["inputs"][: row["answer_at"][0] + 1]  # its last token predicts an answer's first
    return {"prompt": prompt.tolist(), "chosen": answers[of == 1].tolist(), "rejected": answers[of == 2].tolist()}


def of_pair(pair: Pair) -> dict[str, list[int]]:
    """The same of a pair."""
    sides = {"prompt": pair.prompt_ids, "chosen": pair.chosen_ids, "rejected": pair.rejected_ids}
    return {name: ids.tolist() for name, ids in sides.items()}


def compared(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, float]:
    """The largest difference of each series."""
    return {name: largest_difference(values, theirs[name]) for name, values in ours.items()}


if __name__ == "__main__":
    common.run(main, arguments(), told)
