"""A small model's whole way on real files: pre-trained on a text, tuned on instructions, aligned on preferences.

Says by how much held-out pairs come to be judged as people judged them: the reward accuracy, in which a tie counts
half. Before the first step all pairs are ties, since the model is its own reference. Pairs are held out by
their instruction, and what is held out takes no part in tuning either.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common

from mlxllm.config import RunConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.parity.receipts import pair
from mlxllm.runs import Event, RunDirectory
from mlxllm.tokenizer.training import train_tokenizer
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import plan_run
from mlxllm.training.rows import held_out
from mlxllm.training.start import start

MODEL: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 512,
    "qk_norm": True,
    "zero_init_outputs": True,
}
VOCABULARY = 2048
PRETRAIN: dict[str, Any] = {"optimizer": "muon", "learning_rate": 3e-3, "batch_size": 16}
SFT: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 3, "warmup_steps": 10}
DPO: dict[str, Any] = {"learning_rate": 1e-4, "batch_size": 8, "epochs": 1, "warmup_steps": 10}
TUNING: dict[str, Any] = {"schedule": "linear", "betas": (0.9, 0.999), "weight_decay": 0.0}


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "dpo/instruction-data-with-preference.json")
    made.add_argument("--text", type=Path, metavar="FILE", help="to pre-train on; text/wiki_demo.txt of the test data")
    made.add_argument(
        "--instructions", type=Path, metavar="FILE", help="to tune on; sft/instruction-data.json of the test data"
    )
    made.add_argument("--pretrain-steps", type=int, default=150, metavar="N", help="updates; 150 by default")
    made.add_argument("--beta", type=float, default=0.1, metavar="X", help="of DPO; 0.1 by default")
    made.add_argument("--learning-rate", type=float, default=DPO["learning_rate"], metavar="X", help="of DPO")
    made.add_argument("--epochs", type=float, default=DPO["epochs"], metavar="X", help="of DPO")
    made.add_argument("--held-out", type=float, default=0.2, metavar="X", help="share of the instructions; 0.2")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of all three runs")
    args = made.parse_args()
    args.text = args.text or args.data.parent.parent / "text/wiki_demo.txt"
    args.instructions = args.instructions or args.data.parent.parent / "sft/instruction-data.json"
    return args


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """Three runs."""
    files = split(args, folder)
    tokenizer = train_tokenizer("bpe", [args.text.read_text(), files["sft"].read_text()], vocab_size=VOCABULARY)
    build_dataset(folder / "dataset", [(open_source(f"text:{args.text}"), None)], tokenizer, val_split=0.02)
    begun, stages = time.monotonic(), {}
    base = run(
        folder / "base",
        {"model": MODEL, "data": {"dataset": str(folder / "dataset"), "max_seq_len": 128}},
        {**PRETRAIN, "max_steps": args.pretrain_steps, "seed": args.seed},
    )
    stages["base"] = (base, time.monotonic() - begun)
    for name, before, more, train in (
        ("sft", "base", {}, SFT),
        (
            "dpo",
            "sft",
            {"dpo": {"beta": args.beta}},
            {**DPO, "learning_rate": args.learning_rate, "epochs": args.epochs},
        ),
    ):
        begun = time.monotonic()
        data = {"records": [str(files[name])], "val_records": [str(files[f"{name}-held-out"])], "max_seq_len": 256}
        found = run(
            folder / name,
            {"method": name, "data": data, **more},
            {**TUNING, **train, "seed": args.seed},
            model=str(folder / before),
        )
        stages[name] = (found, time.monotonic() - begun)
    return table(stages, files)


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt: a number before training stands for theirs, and the 95 % interval has to lie above chance."""
    before, after = result["before"], result["after"]
    rows = [
        pair("reward accuracy, held out: chance, and after DPO", 0.5, after["rewards/accuracies"]),
        pair("its 95 % interval: chance, and the lower end", 0.5, after["interval"][0], 0, "at least"),
        pair("reward margin, before and after", before["rewards/margins"], after["rewards/margins"], 0, "at least"),
        pair("loss of DPO, before and after", before["loss"], after["loss"], 0, "at most"),
    ]
    note = (
        f"{result['pairs']} held-out pairs; a model of 4 layers, 192 wide, after {args.pretrain_steps} steps of reading"
    )
    inputs = [args.data, args.text, args.instructions]
    return common.Told("alignment", rows, seed=args.seed, inputs=inputs, note=note)


def split(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Records to learn from and held-out ones, which have no instruction in common."""
    pairs, instructions = common.read_records(args.data), common.read_records(args.instructions)
    _, apart = held_out(sorted({key(record) for record in (*pairs, *instructions)}), args.held_out)
    out = set(apart)
    files = {}
    for name, records in (("sft", instructions), ("dpo", pairs)):
        for label, chosen in ((name, False), (f"{name}-held-out", True)):
            files[label] = folder / f"{label}.json"
            files[label].write_text(json.dumps([r for r in records if (key(r) in out) == chosen]))
    return files


def key(record: dict[str, Any]) -> str:
    """What is asked."""
    return f"{record['instruction']}\n{record.get('input', '')}"


def run(path: Path, sections: dict[str, Any], train: dict[str, Any], model: str | None = None) -> list[Event]:
    """A run of the real trainer; its validations."""
    events: list[Event] = []
    common_values = {"eval_every": 0, "checkpoint_every": 0, "compute_dtype": "float32"}
    config = RunConfig.model_validate({**sections, "train": {**common_values, **train}})
    start(plan_run(RunDirectory(path), config, model_name=model), events.append, Interrupts())
    return [event for event in events if event["kind"] == "val"]


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    middle = share + z * z / (2 * count)
    width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - width) / scale, (middle + width) / scale


def table(
    stages: dict[str, tuple[list[Event], float]], files: dict[str, Path]
) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """Held-out numbers before and after each stage."""
    rows: list[Sequence[str]] = [("held out", "before", "after")]
    for name, what in (("base", "nats a token of the text"), ("sft", "nats a token of the answers")):
        vals, seconds = stages[name]
        rows.append((f"{name}: {what}", f"{vals[0]['loss']:.3f}", f"{vals[-1]['loss']:.3f}"))
    vals, _ = stages["dpo"]
    first, last = vals[0], vals[-1]
    result: dict[str, Any] = {"pairs": last["pairs"], "seconds": {n: round(s) for n, (_, s) in stages.items()}}
    shown = []
    for label, val in (("before", first), ("after", last)):
        low, high = wilson(val["rewards/accuracies"], val["pairs"])
        shown.append(f"{val['rewards/accuracies']:.3f} ({low:.3f} to {high:.3f})")
        result[label] = {k: v for k, v in val.items() if "/" in k or k in ("loss", "kl")} | {"interval": [low, high]}
    rows.append((f"dpo: reward accuracy of {last['pairs']} pairs, 95 %", *shown))
    for metric, what in (
        ("loss", "loss"),
        ("logps/chosen", "log-probability of the chosen answer"),
        ("logps/rejected", "log-probability of the rejected answer"),
        ("rewards/margins", "reward margin"),
        ("kl", "log-probability gained, nats a token"),
    ):
        rows.append((f"dpo: {what}", f"{first[metric]:.3f}", f"{last[metric]:.3f}"))
    trained = len(json.loads(files["dpo"].read_text()))
    seconds = ", ".join(f"{name} {round(taken)}" for name, (_, taken) in stages.items())
    rows += [("pairs to learn from", "", f"{trained:,}"), ("seconds", "", seconds)]
    return rows, result


if __name__ == "__main__":
    common.run(main, arguments(), told)
