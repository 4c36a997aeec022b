"""Trained tokens a second and peak memory: ours, mlx-lm's own trainer, PyTorch eager; the same model and batch.

A random Llama of 27.8M parameters, float32, AdamW on all weights, 4 documents of 512 targets each, the same ones in
every step. Each side runs in a process of its own, in turns; the first two steps of each, which compile, do not count.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import llama
import numpy as np
from common import BenchError, Side, agree, machine, mebibytes, parser, ratio_text, run, worker

PEERS = {"mlx-lm": "peers/mlx_lm_train.py", "pytorch": "peers/transformers_train.py"}


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    llama.add_shape(made)
    made.add_argument("--batch-size", type=int, default=4, metavar="N", help="documents of a batch")
    made.add_argument("--length", type=int, default=512, metavar="N", help="targets of a document")
    made.add_argument("--steps", type=int, default=4, metavar="N", help="timed steps of a process")
    made.add_argument("--rounds", type=int, default=2, metavar="N", help="processes of each side, in turns")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Ours, mlx-lm, PyTorch, ours, ..."""
    if args.steps < 1 or args.rounds < 1:
        raise BenchError(f"--steps {args.steps} and --rounds {args.rounds} must be 1 or more")
    model, batch = temporary / "model", temporary / "batch.npy"
    parameters = llama.make(args, model, std=0.02)
    np.save(batch, documents(args.batch_size, args.length + 1, args.vocabulary))
    options = ("--model", model, "--batch", batch, "--steps", args.steps, "--learning-rate", 1e-4)

    ours = Side("ours")
    peers = {} if args.ours_only else {name: Side(name) for name in PEERS}
    for number in range(args.rounds):
        what = f"round {number + 1} of {args.rounds}"
        result = worker(Path(sys.executable), "ours/train_steps.py", *options, what=f"{what}: ours")
        ours.add(result, "tok_per_sec", "peak_memory", "footprint")
        for name, side in peers.items():
            result = worker(args.peers_python, PEERS[name], *options, what=f"{what}: {name}")
            side.add(result, "tok_per_sec", "footprint", *(["peak_memory"] if "peak_memory" in result else []))
            check(ours, side, parameters, args.batch_size * args.length)
    return outcome(ours, peers)


def documents(count: int, length: int, vocabulary: int) -> np.ndarray:
    """Random ids, (count, length): few frequent ones and many rare ones, as in a text."""
    ranks = np.arange(1, vocabulary + 1, dtype=np.float64)
    return np.random.default_rng(0).choice(vocabulary, size=(count, length), p=1 / ranks / np.sum(1 / ranks))


def check(ours: Side, peer: Side, parameters: int, tokens: int) -> None:
    """Both sides do the same work: equal parameters, equal tokens, the same loss before and after the updates.

    Raises:
        BenchError: they do not.
    """
    mine, theirs = ours.facts, peer.facts
    for facts in (mine, theirs):
        agree("the number of trained parameters", facts["parameters"], parameters, 0)
        agree("the number of tokens of a step", facts["tokens_per_step"], tokens, 0)
    agree(f"the first loss ({peer.name})", mine["losses"][0], theirs["losses"][0], 1e-4)
    # Weight decay of norms differs, and rounding; an update that is another one shows in the first digits.
    agree(f"the last loss ({peer.name})", mine["losses"][-1], theirs["losses"][-1], 1e-2)


def outcome(ours: Side, peers: dict[str, Side]) -> dict[str, Any]:
    """The table and the numbers."""
    ratios = {name: ours.median("tok_per_sec") / side.median("tok_per_sec") for name, side in peers.items()}
    memory = {
        name: side.median("peak_memory") / ours.median("peak_memory")
        for name, side in peers.items()
        if "peak_memory" in side.samples
    }
    table = [
        ("", "tokens a second", "ours / it", "MLX peak", "process peak"),
        *(
            (
                side.name,
                side.shown("tok_per_sec"),
                ratio_text(ratios.get(side.name)),
                mebibytes(side.median("peak_memory")) if "peak_memory" in side.samples else "",
                mebibytes(side.median("footprint")),
            )
            for side in (ours, *peers.values())
        ),
    ]
    o = ours.facts
    about = machine() | {
        "mlx": o["mlx"],
        "blas": o["blas"],
        "device": o["device"],
        "lanes": o["lanes"],
        "compiled": o["compiled"],
        "peak_gflops": round(o["peak_gflops"], 1),
        "share_of_peak": round(o["share_of_peak"], 3),
    }
    if peers:
        check_same_mlx(o, peers["mlx-lm"].facts)
        about |= {"mlx_lm": peers["mlx-lm"].facts["version"]}
        about |= {key: peers["pytorch"].facts[key] for key in ("torch", "threads")}
    return {
        "title": "train_throughput: a random Llama, full training step in float32",
        "table": table,
        "ratio": ratios.get("mlx-lm"),
        "ratio_pytorch": ratios.get("pytorch"),
        "ratio_memory": memory.get("mlx-lm"),
        "tok_per_sec": {side.name: side.samples["tok_per_sec"] for side in (ours, *peers.values())},
        "peak_memory": {side.name: side.samples.get("peak_memory") for side in (ours, *peers.values())},
        "footprint": {side.name: side.samples["footprint"] for side in (ours, *peers.values())},
        "parameters": o["parameters"],
        "tokens_per_step": o["tokens_per_step"],
        "first_step_seconds": o["first_step_seconds"],
        "machine": about,
    }


def check_same_mlx(ours: dict[str, Any], peer: dict[str, Any]) -> None:
    """Raises BenchError where the sides run on different MLX versions or BLAS libraries."""
    for key in ("mlx", "blas"):
        mine, theirs = (str(facts[key]) for facts in (ours, peer))
        if mine.replace("the platform's own", "reference") != theirs.replace("the platform's own", "reference"):
            raise BenchError(f"the sides differ in {key}: {mine} in ours, {theirs} in mlx-lm; install the same one")


if __name__ == "__main__":
    run(main, arguments())
