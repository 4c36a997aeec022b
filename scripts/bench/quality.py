"""Quality for compute: bits per byte of unseen text, ours against the small reference recipe in plain PyTorch.

Equally many parameters (ours at most as many), the same tokens, context and batches, at three sizes on two texts. Ours
is the shipped preset's block and optimizer with the real trainer, the other one peers/reference_torch.py; each is one
recipe for all sizes, and only the shape differs. Both are scored on the whole validation split in the same windows.
"""

import argparse
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import BenchError, Side, agree, machine, mlxllm, parser, ratio_text, run, worker

from mlxllm.data.shards import TokenDataset

TEXT = "text/wiki_demo.txt"
SIZES = ("3x96x3", "4x128x4", "6x192x6")
"""Layers, width and heads: 0.4M, 0.9M and 2.9M parameters with 1,024 tokens."""
TARGET = 0.95
"""What ours should be of the reference's bits per byte, or less."""


@dataclass(frozen=True)
class Shape:
    """What both sides have in common."""

    layers: int
    width: int
    heads: int

    @property
    def inner(self) -> int:
        """Of our gated feed-forward: at most as many weights in three matrices as the reference has in its two."""
        return 8 * max(1, self.width // 3)

    def __str__(self) -> str:
        return f"{self.layers}x{self.width}x{self.heads}"


@dataclass(frozen=True)
class Data:
    """A dataset as both sides read it."""

    source: str
    name: str
    ids: Path
    vocabulary: int
    train_tokens: int
    scored: int
    scored_bytes: int
    """UTF-8 bytes of the tokens that are scored: all of the validation split but the first."""

    def bits_per_byte(self, loss: float) -> float:
        """Of a mean loss a token, nats."""
        return loss * self.scored / math.log(2) / self.scored_bytes


def shape(text: str) -> Shape:
    """What `--sizes` names."""
    numbers = text.split("x")
    if len(numbers) != 3 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYERSxWIDTHxHEADS, as {SIZES[0]} is")
    return Shape(*map(int, numbers))


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    made.add_argument(
        "--data",
        nargs="+",
        metavar="SOURCE",
        help=f"as `mlxllm data build` takes it; by default pydocs and {TEXT} in $MLXLLM_TEST_DATA",
    )
    made.add_argument("--tokenizer", default="bpe:1024", help="of `mlxllm data build`; bpe:1024")
    made.add_argument("--val-split", type=float, default=0.05, metavar="F", help="share of the text that is held out")
    sizes = [shape(size) for size in SIZES]
    made.add_argument("--sizes", nargs="+", type=shape, default=sizes, metavar="SIZE", help=f"by default {SIZES}")
    made.add_argument("--steps", type=int, default=600, metavar="N", help="of each run")
    made.add_argument("--batch-size", type=int, default=12, metavar="N", help="rows of a step")
    made.add_argument("--context", type=int, default=64, metavar="N", help="tokens of a row")
    made.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each side, with other seeds")
    made.add_argument("--preset", default="shakespeare-char-cpu", help="ours, but for its shape")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change ours")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Text by text, size by size: reference, ours, reference, ours, ..."""
    if args.steps < 1 or args.repeats < 1:
        raise BenchError(f"--steps {args.steps} and --repeats {args.repeats} must be 1 or more")
    every = [
        prepare(source, f"data{number}", args, temporary)
        for number, source in enumerate(args.data or default_sources())
    ]
    compared: list[dict[str, Any]] = []
    for data in every:
        for size in args.sizes:
            ours, reference = Side("ours"), Side("reference")
            for number in range(args.repeats):
                what = f"{data.source}, {size}, {number + 1} of {args.repeats}"
                if not args.ours_only:
                    reference.add(train_reference(args, data, size, number, what), "bits_per_byte", "seconds")
                ours.add(train_ours(args, data, size, number, temporary, what), "bits_per_byte", "seconds")
                if not args.ours_only:
                    check(ours.facts, reference.facts)
                agree("the number of scored tokens", ours.facts["scored"], data.scored, 0)
            compared.append({"data": data, "size": size, "ours": ours, "reference": reference})
    return outcome(compared, args)


def default_sources() -> list[str]:
    """Texts for who names none.

    Raises:
        BenchError: there is no second one.
    """
    folder = os.environ.get("MLXLLM_TEST_DATA")
    path = Path(folder) / TEXT if folder else None
    if path is None or not path.is_file():
        raise BenchError(f"{TEXT} is not there: set MLXLLM_TEST_DATA, or name texts with --data pydocs text:FILE")
    return ["pydocs", f"text:{path}"]


def prepare(source: str, name: str, args: argparse.Namespace, temporary: Path) -> Data:
    """Build the dataset; the reference reads the same ids and has as many rows in its table."""
    home = temporary / "home"
    options = ("--tokenizer", args.tokenizer, "--val-split", args.val_split)
    mlxllm("data", "build", name, "--source", source, *options, environment={"MLXLLM_HOME": str(home)})
    dataset = TokenDataset.open(home / "datasets" / name)
    train, val = (split.read(0, split.num_tokens) for split in (dataset.train, dataset.val))
    if min(len(train), len(val)) <= args.context:
        raise BenchError(f"{source}: {len(train):,} and {len(val):,} tokens are too few for rows of {args.context}")
    np.savez(temporary / f"{name}.npz", train=train, val=val)
    return Data(
        source=source,
        name=name,
        ids=temporary / f"{name}.npz",
        vocabulary=dataset.vocab_size,
        train_tokens=len(train),
        scored=len(val) - 1,
        scored_bytes=int(dataset.tokenizer.byte_lengths()[val[1:]].sum()),
    )


def train_reference(args: argparse.Namespace, data: Data, size: Shape, number: int, what: str) -> dict[str, Any]:
    """One run of the reference, and what it comes to."""
    result = worker(
        args.peers_python,
        "peers/reference_torch.py",
        *("--tokens", data.ids, "--vocabulary", data.vocabulary, "--steps", args.steps, "--seed", 1337 + number),
        *("--layers", size.layers, "--width", size.width, "--heads", size.heads),
        *("--batch-size", args.batch_size, "--context", args.context, "--trial-steps", 4),
        what=f"{what}: reference",
    )
    return result | {"bits_per_byte": data.bits_per_byte(result["loss"])}


def train_ours(
    args: argparse.Namespace, data: Data, size: Shape, number: int, temporary: Path, what: str
) -> dict[str, Any]:
    """One run of the preset in that shape; its last validation counts, were another one the best."""
    values = {
        "model.hidden_size": size.width,
        "model.num_hidden_layers": size.layers,
        "model.num_attention_heads": size.heads,
        "model.num_key_value_heads": size.heads,
        "model.head_dim": size.width // size.heads,
        "model.intermediate_size": size.inner,
        "model.max_position_embeddings": args.context,
        "data.max_seq_len": args.context,
        "train.batch_size": args.batch_size,
        "train.max_steps": args.steps,
        "train.grad_accum_steps": 1,
        "train.early_stop_evals": 0,
    }
    settings = [f"{key}={value}" for key, value in values.items()] + args.set
    result = worker(
        Path(sys.executable),
        "ours/train_preset.py",
        *("--preset", args.preset, "--dataset", data.name, "--run", f"{data.name}-{size}-{number}"),
        *("--eval-every", args.steps, "--seed", 42 + number),
        *(part for setting in settings for part in ("--set", setting)),
        environment={"MLXLLM_HOME": str(temporary / "home")},
        what=f"{what}: ours",
    )
    last = result["curve"][-1]
    return result | {"bits_per_byte": data.bits_per_byte(last["loss"]), "seconds": last["seconds"]}


def check(ours: dict[str, Any], reference: dict[str, Any]) -> None:
    """What makes the comparison one.

    Raises:
        BenchError: ours has more parameters, another context, other tokens, or cannot be exported.
    """
    for key in ("steps", "tokens", "context", "scored"):
        agree(f"the number of {key}", ours[key], reference[key], 0)
    if ours["parameters"] > reference["parameters"]:
        raise BenchError(
            f"ours has {ours['parameters']:,} parameters, the reference {reference['parameters']:,}; ours must not be larger"
        )
    if ours["architecture"] is None:
        raise BenchError("ours cannot be exported: no Hugging Face architecture has its settings")


def outcome(compared: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """The table and the numbers; the ratio is that of the text and size where ours is the least ahead."""
    table = [("text", "size", "parameters", "of the reference", "bits per byte", "reference", "ours / it", "seconds")]
    results: list[dict[str, Any]] = []
    for one in compared:
        data, ours, reference = one["data"], one["ours"], one["reference"]
        there = bool(reference.samples)
        share = ours.median("bits_per_byte") / reference.median("bits_per_byte") if there else None
        table.append(
            (
                data.source.rpartition("/")[2],
                str(one["size"]),
                f"{ours.facts['parameters']:,}",
                f"{reference.facts['parameters']:,}" if there else "",
                ours.shown("bits_per_byte", "{:.4f}"),
                reference.shown("bits_per_byte", "{:.4f}") if there else "",
                ratio_text(share),
                f"{ours.median('seconds'):,.0f}" + (f" and {reference.median('seconds'):,.0f}" if there else ""),
            )
        )
        results.append(
            {
                "source": data.source,
                "size": str(one["size"]),
                "share": share,
                "parameters": ours.facts["parameters"],
                "ours": ours.samples,
                "reference": reference.samples | {"parameters": reference.facts["parameters"]} if there else None,
                "train_tokens": data.train_tokens,
                "scored": data.scored,
                "scored_bytes": data.scored_bytes,
            }
        )
    shares = [result["share"] for result in results]
    o, r = compared[-1]["ours"].facts, compared[-1]["reference"].facts
    about = machine() | {key: o[key] for key in ("mlx", "blas", "device", "lanes", "compiled")}
    if r:
        about |= {"torch": r["torch"], "torch_device": r["device"]}
    return {
        "title": f"quality: bits per byte of unseen text, {args.steps:,} steps of {args.batch_size} x {args.context} tokens",
        "table": table,
        "ratio": None if None in shares else TARGET / max(shares),
        "worst_share": None if None in shares else max(shares),
        "tokens": o["tokens"],
        "results": results,
        "machine": about,
    }


if __name__ == "__main__":
    run(main, arguments())
