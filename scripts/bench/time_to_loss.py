"""Seconds of training until tiny Shakespeare by character is known as well as the reference recipe ends at.

The reference is 2000 steps of a plain PyTorch script (peers/reference_torch.py); ours is the shipped preset
`shakespeare-char-cpu` with the real trainer. Both read the same ids and are scored on the whole validation split, in
the same windows. Compilation counts, of compiler and kernels, from empty folders; validation does not.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import BenchError, Side, agree, machine, mlxllm, parser, ratio_text, run, worker

from mlxllm.cpu_kernels import FOLDER_VARIABLE
from mlxllm.data.shards import TokenDataset

TEXT = "text/tinyshakespeare.txt"


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    made.add_argument("--text", type=Path, metavar="FILE", help=f"by default {TEXT} in $MLXLLM_TEST_DATA")
    made.add_argument("--preset", default="shakespeare-char-cpu", help="ours; a row of the README is for the default")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change ours")
    made.add_argument("--eval-every", type=int, default=10, metavar="N", help="how closely ours is watched, in steps")
    made.add_argument("--reference-steps", type=int, default=2000, metavar="N")
    made.add_argument("--trial-steps", type=int, default=40, metavar="N", help="to choose the reference's threads by")
    made.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each side, with other seeds")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Reference, ours, reference, ours, ..."""
    text = text_path(args.text)
    ids = prepare(text, temporary)
    ours, reference = Side("ours"), Side("reference")
    runs: list[dict[str, Any]] = []
    for number in range(args.repeats):
        target = None
        if not args.ours_only:
            result = worker(
                args.peers_python,
                "peers/reference_torch.py",
                *("--tokens", ids, "--steps", args.reference_steps, "--seed", 1337 + number),
                *("--trial-steps", args.trial_steps),
                what=f"reference {number + 1}: {args.reference_steps:,} steps",
            )
            reference.add(result, "seconds", "loss")
            target = result["loss"]
        mine = train_ours(args, temporary, number)
        first = reached(mine["curve"], target)
        if first is not None:
            mine |= {"seconds": first["seconds"], "step": first["step"]}
            ours.add(mine, "seconds", "step")
        ours.facts = mine
        if target is not None:
            check(mine, reference.facts)
        runs.append({"target": target, "reached": first, "curve": mine["curve"]})
    return outcome(ours, reference, runs) | {
        "title": f"time_to_loss: training seconds on {text.name} by character, {' '.join((args.preset, *args.set))}",
        "text": text.name,
        "preset": args.preset,
        "set": args.set,
        "reference_steps": None if args.ours_only else args.reference_steps,
    }


def text_path(given: Path | None) -> Path:
    """The text to learn.

    Raises:
        BenchError: there is none.
    """
    folder = os.environ.get("MLXLLM_TEST_DATA")
    path = given or (Path(folder) / TEXT if folder else None)
    if path is None:
        raise BenchError("there is no text: give tiny Shakespeare with --text FILE, or set MLXLLM_TEST_DATA")
    if not path.is_file():
        raise BenchError(f"there is no file {path}; give tiny Shakespeare with --text FILE")
    return path.resolve()


def prepare(text: Path, temporary: Path) -> Path:
    """Build the dataset in a home of its own; returns the same ids for the reference, numbered without gaps."""
    home = temporary / "home"
    mlxllm(
        *("data", "build", "text", "--source", f"text:{text}", "--tokenizer", "char", "--val-split", "0.1"),
        environment={"MLXLLM_HOME": str(home)},
    )
    dataset = TokenDataset.open(home / "datasets" / "text")
    train, val = (split.read(0, split.num_tokens) for split in (dataset.train, dataset.val))
    _, dense = np.unique(np.concatenate([train, val]), return_inverse=True)
    np.savez(temporary / "ids.npz", train=dense[: len(train)], val=dense[len(train) :])
    return temporary / "ids.npz"


def train_ours(args: argparse.Namespace, temporary: Path, number: int) -> dict[str, Any]:
    """One run of the preset, its kernels compiled anew."""
    empty = temporary / f"tmp{number}"
    empty.mkdir()
    settings = [part for setting in args.set for part in ("--set", setting)]
    return worker(
        Path(sys.executable),
        "ours/train_preset.py",
        *("--preset", args.preset, "--dataset", "text", "--run", f"run{number}"),
        *("--eval-every", args.eval_every, "--seed", 42 + number, *settings),
        environment={"MLXLLM_HOME": str(temporary / "home"), FOLDER_VARIABLE: str(empty), "TMPDIR": str(empty)},
        what=f"ours {number + 1}: preset {args.preset}",
    )


def reached(curve: list[dict[str, float]], target: float | None) -> dict[str, float] | None:
    """The first validation with a loss of `target` or less; without a target the best one."""
    if target is None:
        return min(curve, key=lambda point: point["loss"])
    return next((point for point in curve if point["loss"] <= target), None)


def check(ours: dict[str, Any], reference: dict[str, Any]) -> None:
    """What makes the comparison one.

    Raises:
        BenchError: ours has more parameters or a longer context, cannot be exported, or is scored on other tokens.
    """
    agree("the number of scored tokens", ours["scored"], reference["scored"], 0)
    if ours["used_parameters"] > reference["parameters"]:
        raise BenchError(
            f"ours has {ours['used_parameters']:,} parameters, the reference {reference['parameters']:,}; "
            f"the preset must not be larger"
        )
    if ours["context"] > 64:
        raise BenchError(f"ours reads {ours['context']} tokens of context, the reference 64; use data.max_seq_len=64")
    if ours["architecture"] is None:
        raise BenchError("ours cannot be exported: no Hugging Face architecture has its settings")


def outcome(ours: Side, reference: Side, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The table and the numbers. A loss that was not reached is a ratio of 0."""
    alone = not reference.samples
    arrived = all(one["reached"] is not None for one in runs)
    best = [min(point["loss"] for point in one["curve"]) for one in runs]
    ratio = None if alone else reference.median("seconds") / ours.median("seconds") if arrived else 0.0
    r, o = reference.facts, ours.facts
    last = o["curve"][-1]
    table = [
        ("", "ours", "reference", "ratio"),
        (
            "seconds to the reference's loss" if not alone else "seconds to the best loss",
            ours.shown("seconds") if arrived else "not reached",
            "" if alone else reference.shown("seconds"),
            ratio_text(ratio),
        ),
        ("steps", ours.shown("step", "{:,.0f}") if arrived else "", f"{r['steps']:,}" if r else "", ""),
        (
            "validation loss, nats a character",
            f"best {min(best):.4f}",
            reference.shown("loss", "{:.4f}") if r else "",
            "",
        ),
        ("of that the first step, which compiles", f"{o['first_step_seconds']:.1f}", "", ""),
        (
            "milliseconds a step after it",
            f"{1000 * (last['seconds'] - o['first_step_seconds']) / max(1, last['step'] - 1):.1f}",
            f"{1000 * r['seconds'] / r['steps']:.1f}" if r else "",
            "",
        ),
        (
            "parameters that are used",
            f"{o['used_parameters']:,}",
            f"{r['parameters']:,}" if r else "",
            "",
        ),
    ]
    about = machine() | {
        "mlx": o["mlx"],
        "blas": o["blas"],
        "device": o["device"],
        "lanes": o["lanes"],
        "compiled": o["compiled"],
    }
    if r:
        about |= {"torch": r["torch"], "torch_device": r["device"], "torch_threads": r["threads"]}
    return {
        "table": table,
        "ratio": ratio,
        "reached": arrived,
        "first_step_seconds": o["first_step_seconds"],
        "ours": {"seconds": ours.samples.get("seconds"), "steps": ours.samples.get("step"), "best_loss": best},
        "reference": {**reference.samples, "trials": r["trials"]} if r else None,
        "runs": runs,
        "machine": about,
    }


if __name__ == "__main__":
    run(main, arguments())
