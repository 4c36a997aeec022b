"""What the benchmarks of fine-tuning share: the same ids for both sides, turns, and the verdict."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama
from common import BenchError, Side, agree, machine, mebibytes, parser, ratio_text, worker

from mlxllm.cpu_kernels import FOLDER_VARIABLE

METHODS = ("lora", "full")


@dataclass(frozen=True)
class Comparison:
    """One kind of fine-tuning beside one peer."""

    kind: str
    """sft or dpo."""
    unit: str
    """What is counted."""
    peer: str
    script: str
    """The peer's worker."""
    records: str
    """The file by default, in $MLXLLM_TEST_DATA."""
    scale: float
    """What the peer multiplies the low-rank product with by default."""
    asks_reference: bool
    """Whether ours asks a reference before its first step, and says how fast its steps alone are."""
    check: Callable[[Side, Side, str], None]
    """(ours, peer, method): raises BenchError where the sides do not do the same work."""


def arguments(description: str | None, comparison: Comparison, batches: int) -> argparse.Namespace:
    """The command line."""
    made = parser(description)
    llama.add_shape(made)
    made.add_argument(
        "--records", type=Path, metavar="FILE", help=f"by default {comparison.records} in $MLXLLM_TEST_DATA"
    )
    made.add_argument("--method", choices=[*METHODS, "both"], default="both", help="what is trained")
    made.add_argument("--batch-size", type=int, default=4, metavar="N", help="rows or pairs of a step")
    made.add_argument("--max-seq-len", type=int, default=512, metavar="N", help="longer ones are cut or left out")
    made.add_argument("--batches", type=int, default=batches, metavar="N", help="of the peer, over all lengths")
    made.add_argument("--rounds", type=int, default=2, metavar="N", help="processes of each side, in turns")
    return made.parse_args()


def compare(comparison: Comparison, args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Ours, the peer, ours, ... for each method; the table and the numbers.

    Raises:
        BenchError: a number of rounds or batches that is none, no records, or sides that do other work.
    """
    if args.batches < 1 or args.rounds < 1 or args.batch_size < 1:
        raise BenchError(
            f"--batches {args.batches}, --rounds {args.rounds} and --batch-size {args.batch_size} must be 1 or more"
        )
    records = records_path(args.records, comparison)
    model, ids = temporary / "model", temporary / "ids.json"
    llama.make(args, model, std=0.02)
    made = worker(
        Path(sys.executable),
        "ours/tune_data.py",
        *("--kind", comparison.kind, "--records", records, "--out", ids),
        *("--vocabulary", args.vocabulary, "--max-seq-len", args.max_seq_len),
        *("--batch-size", args.batch_size, "--batches", args.batches),
        what="the ids that both sides read",
    )
    folders = [temporary / "compiled-by-ours", temporary / "compiled-by-peer"]
    for folder in folders:
        folder.mkdir()  # each side compiles by itself, in its first process
    mine, theirs = {FOLDER_VARIABLE: str(folders[0])}, {"TMPDIR": str(folders[1])}
    sides: dict[str, tuple[Side, Side | None]] = {}
    for method in METHODS if args.method == "both" else (args.method,):
        ours, peer = Side("ours"), None if args.ours_only else Side(comparison.peer)
        sides[method] = ours, peer
        options = ("--model", model, "--data", ids, "--method", method, "--scale", comparison.scale)
        for number in range(args.rounds):
            what = f"{method}, round {number + 1} of {args.rounds}"
            labels = ("rate", "peak_memory", "footprint", "first_pass_seconds")
            ours.add(
                worker(
                    Path(sys.executable),
                    "ours/tune_steps.py",
                    *("--kind", comparison.kind, *options),
                    environment=mine,
                    what=f"{what}: ours",
                ),
                *labels,
                *(["steps_rate"] if comparison.asks_reference else []),
            )
            if peer is not None:
                result = worker(
                    args.peers_python, comparison.script, *options, environment=theirs, what=f"{what}: {peer.name}"
                )
                peer.add(result, *labels)
                check_same_mlx(ours, peer)
                agree("the number of trained parameters", ours.facts["parameters"], result["parameters"], 0)
                comparison.check(ours, peer, method)
    return outcome(comparison, sides, made, args)


def records_path(given: Path | None, comparison: Comparison) -> Path:
    """The file of records.

    Raises:
        BenchError: there is none.
    """
    folder = os.environ.get("MLXLLM_TEST_DATA")
    path = given or (Path(folder) / comparison.records if folder else None)
    if path is None:
        raise BenchError(
            f"there are no records: give --records FILE, or set MLXLLM_TEST_DATA to a folder with {comparison.records}"
        )
    if not path.is_file():
        raise BenchError(f"{path} is not a file; give --records FILE")
    return path


def check_same_mlx(ours: Side, peer: Side) -> None:
    """Raises BenchError where the sides run on different MLX versions or BLAS libraries."""
    for key in ("mlx", "blas"):
        mine, theirs = ours.facts[key], peer.facts[key]
        if mine != theirs:
            raise BenchError(
                f"the sides differ in {key}: {mine} in ours, {theirs} in {peer.name}; install the same one"
            )


def outcome(
    comparison: Comparison,
    sides: dict[str, tuple[Side, Side | None]],
    data: dict[str, Any],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """The table, and for each method the numbers; the ratio is that of the method where ours is the least ahead."""
    rows = [("", "", f"{comparison.unit} a second", "ours / it", "MLX peak", "it / ours", "process peak", "first pass")]
    methods: dict[str, dict[str, Any]] = {}
    for method, (ours, peer) in sides.items():
        faster = ours.median("rate") / peer.median("rate") if peer else None
        smaller = peer.median("peak_memory") / ours.median("peak_memory") if peer else None
        steps = ours.median("steps_rate") / peer.median("rate") if peer and comparison.asks_reference else None
        methods[method] = {
            "ratio": faster,
            "ratio_memory": smaller,
            "ratio_steps": steps,
            "parameters": ours.facts["parameters"],
            "ours": {**ours.samples, **ours.facts["details"]},
            "peer": {**peer.samples, **peer.facts["details"]} if peer else None,
        }
        for side in (ours, peer):
            if side is not None:
                rows.append(
                    (
                        method,
                        side.name,
                        side.shown("rate"),
                        ratio_text(faster) if side is peer else "",
                        mebibytes(side.median("peak_memory")),
                        ratio_text(smaller) if side is peer else "",
                        mebibytes(side.median("footprint")),
                        side.shown("first_pass_seconds", "{:.1f} s"),
                    )
                )
        if comparison.asks_reference:
            rows.append((method, "ours, steps alone", ours.shown("steps_rate"), ratio_text(steps), *[""] * 4))
    ours, peer = next(iter(sides.values()))
    about = machine() | {key: ours.facts[key] for key in ("mlx", "blas", "device", "lanes", "compiled")}
    if peer is not None:
        about |= {comparison.peer.replace("-", "_"): peer.facts["version"]}

    def least(key: str) -> float | None:
        return None if peer is None else min(numbers[key] for numbers in methods.values())

    return {
        "title": f"{comparison.kind}: a random Llama, {data['text']}, float32, {args.batch_size} to a step",
        "table": rows,
        "ratio": least("ratio"),
        "ratio_memory": least("ratio_memory"),
        "methods": methods,
        "data": data,
        "machine": about,
    }
