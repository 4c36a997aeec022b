"""The random Llama that throughput and decoding are measured on: its shape as options, and its folder."""

import argparse
import sys
from pathlib import Path

from common import worker

SHAPE = {"layers": 8, "hidden": 512, "heads": 8, "kv-heads": 4, "inner": 1408, "vocabulary": 8192}
"""27.8M parameters with a tied head: the last row of the reference numbers."""


def add_shape(parser: argparse.ArgumentParser) -> None:
    """One option for each side of the shape."""
    for name, value in SHAPE.items():
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"of the model; {value:,}")


def shape_of(args: argparse.Namespace) -> dict[str, int]:
    """What `add_shape` parsed."""
    return {name: getattr(args, name.replace("-", "_")) for name in SHAPE}


def make(args: argparse.Namespace, folder: Path, std: float) -> int:
    """Write the model's folder; returns its number of parameters."""
    shape = [str(part) for name, value in shape_of(args).items() for part in (f"--{name}", value)]
    made = worker(
        Path(sys.executable), "ours/make_llama.py", "--out", folder, "--std", std, *shape, what="a random Llama"
    )
    return int(made["parameters"])
