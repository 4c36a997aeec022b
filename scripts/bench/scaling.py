"""Time and memory of our training step at four sizes and four contexts, beside the operations and bytes it must cost.

Random Llamas, the largest the one of 27.8M parameters, AdamW on all weights, equally many tokens a step, each run in a
process of its own. No peer: the ratio is the share of the machine's own speed in a large matrix product that the largest
model reaches at a context of 512, against the 55 % that it should.
"""

import argparse
import math
import statistics
import sys
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import llama
import numpy as np
from common import BenchError, agree, machine, mebibytes, parser, run, worker
from train_throughput import documents

SIZES = ("4x128x352x4x2", "6x256x704x4x2", "6x384x1056x6x3", "8x512x1408x8x4")
"""Layers, hidden, inner, heads, key-value heads: 1.8M, 6.5M, 13.1M and 27.8M parameters with 8,192 tokens."""
CONTEXTS = (128, 256, 512, 1024)
RATED_CONTEXT = 512
"""The ratio is that of this context, or where it is not measured of the longest."""
TARGET = 0.55
"""Share of the machine's measured speed."""


@dataclass(frozen=True)
class Fit:
    """y = intercept + slope * x by least squares."""

    intercept: float
    slope: float
    off: float
    """The largest |fitted / measured - 1|."""


def fit(x: list[float], y: list[float]) -> Fit | None:
    """None where there are not two different x."""
    if len(set(x)) < 2:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    off = np.max(np.abs((intercept + slope * np.array(x)) / np.array(y) - 1))
    return Fit(float(intercept), float(slope), float(off))


def shape(text: str) -> dict[str, int]:
    """What `--sizes` names, for `llama.make`."""
    names = ("layers", "hidden", "inner", "heads", "kv_heads")
    numbers = text.split("x")
    if len(numbers) != len(names) or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYERSxHIDDENxINNERxHEADSxKV_HEADS, as {SIZES[-1]} is")
    return dict(zip(names, map(int, numbers), strict=True))


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    sizes = [shape(size) for size in SIZES]
    made.add_argument("--sizes", nargs="+", type=shape, default=sizes, metavar="SIZE", help=f"by default {SIZES}")
    made.add_argument("--contexts", nargs="+", type=int, default=list(CONTEXTS), metavar="N", help="tokens of a row")
    made.add_argument("--vocabulary", type=int, default=llama.SHAPE["vocabulary"], metavar="N")
    made.add_argument("--tokens", type=int, default=2048, metavar="N", help="of a step; rows are as many as that takes")
    made.add_argument("--steps", type=int, default=3, metavar="N", help="timed steps of a process, after two others")
    made.add_argument("--compute-dtype", default="auto", help="as the trainer takes it; auto")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Size by size, context by context."""
    check_options(args)
    runs: list[dict[str, Any]] = []
    for number, size in enumerate(args.sizes):
        folder = temporary / f"model{number}"
        parameters = llama.make(argparse.Namespace(**size, vocabulary=args.vocabulary), folder, std=0.02)
        for T in args.contexts:
            batch = temporary / f"batch{T}.npy"
            np.save(batch, documents(args.tokens // T, T + 1, args.vocabulary))
            result = worker(
                Path(sys.executable),
                "ours/train_steps.py",
                *("--model", folder, "--batch", batch, "--steps", args.steps, "--learning-rate", 1e-4),
                *("--compute-dtype", args.compute_dtype),
                what=f"{millions(parameters)} parameters, context {T:,}",
            )
            check(result, parameters, args.tokens)
            runs.append({**result, "context": T, "hidden": size["hidden"]})
    return outcome(runs)


def check_options(args: argparse.Namespace) -> None:
    """Raises BenchError where steps would not have equally many tokens."""
    if args.steps < 1:
        raise BenchError(f"--steps {args.steps} must be 1 or more")
    for T in args.contexts:
        if T < 2 or args.tokens % T or args.tokens < T:
            raise BenchError(
                f"--tokens {args.tokens} are not a number of whole rows of {T}; change --contexts or --tokens"
            )


def check(result: dict[str, Any], parameters: int, tokens: int) -> None:
    """The step did what is counted: all weights, all tokens, and numbers came out.

    Raises:
        BenchError: it did not.
    """
    agree("the number of trained parameters", result["parameters"], parameters, 0)
    agree("the number of tokens of a step", result["tokens_per_step"], tokens, 0)
    if not all(map(math.isfinite, result["losses"])):
        raise BenchError(f"the loss is not finite: {result['losses']}")


def outcome(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The table and the numbers; every share is of the best speed that any of the processes measured."""
    peak = max(one["peak_gflops"] for one in runs)
    for one in runs:
        one["seconds"] = statistics.median(one["step_seconds"])
        one["gflops"] = one["flops"] / one["seconds"] / 1e9
        one["share_of_peak"] = one["gflops"] / peak
    sizes = list(dict.fromkeys(one["parameters"] for one in runs))
    largest = max(sizes)
    rated = rated_context(runs)
    at_rated = {one["parameters"]: one["share_of_peak"] for one in runs if one["context"] == rated}
    shares = [at_rated[size] for size in sorted(sizes)]
    fits = {f"{size:,}": time_fit([one for one in runs if one["parameters"] == size]) for size in sizes}
    fits["all"] = time_fit(runs)
    told = fit([one["told_memory"] for one in runs], [one["peak_memory"] for one in runs])
    table = [("parameters", "context", "GFLOP", "seconds a step", "GFLOP/s", "of peak", "MLX peak", "told / it")]
    table += [row(one) for one in runs]
    table += [(f"fit, {name}", "", "", *fit_cells(found), "", "") for name, found in fits.items() if found]
    if told:
        table.append(("fit of memory", *[""] * 5, mebibytes(told.intercept), f"+ {told.slope:.2f} told"))
    first = runs[0]
    about = machine() | {
        key: first[key] for key in ("mlx", "blas", "device", "chip", "lanes", "compute_dtype", "compiled")
    }
    return {
        "title": f"scaling: a training step of {first['tokens_per_step']:,} tokens against what it must cost",
        "table": table,
        "ratio": at_rated[largest] / TARGET,
        "share_of_peak": at_rated[largest],
        "rising_with_size": all(a < b for a, b in pairwise(shares)),
        "peak_gflops": peak,
        "time_fits": {name: found and asdict(found) for name, found in fits.items()},
        "memory_fit": told and asdict(told),
        "runs": runs,
        "machine": about | {"peak_gflops": round(peak, 1)},
    }


def rated_context(runs: list[dict[str, Any]]) -> int:
    """The context that the ratio is of."""
    contexts = [int(one["context"]) for one in runs]
    return RATED_CONTEXT if RATED_CONTEXT in contexts else max(contexts)


def time_fit(runs: list[dict[str, Any]]) -> Fit | None:
    """Seconds against 10^9 operations."""
    return fit([one["flops"] / 1e9 for one in runs], [one["seconds"] for one in runs])


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """A run in the table."""
    return (
        millions(one["parameters"]),
        f"{one['context']:,}",
        f"{one['flops'] / 1e9:,.1f}",
        f"{one['seconds']:.3f}",
        f"{one['gflops']:,.1f}",
        f"{100 * one['share_of_peak']:.1f} %",
        mebibytes(one["peak_memory"]),
        f"{one['told_memory'] / one['peak_memory']:.2f}",
    )


def fit_cells(found: Fit) -> tuple[str, str, str]:
    """Below seconds, speed and share: what a step costs at least, what 10^9 operations add, how far off runs are."""
    return f"{found.intercept:.3f}", f"+ {1000 * found.slope:.2f} ms/GFLOP", f"within {100 * found.off:.0f} %"


def millions(parameters: int) -> str:
    """A size for the table."""
    return f"{parameters / 1e6:.1f}M"


if __name__ == "__main__":
    run(main, arguments())
