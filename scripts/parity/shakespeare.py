"""Shakespeare by character, the published small and full set-ups of nanoGPT: its recipe by our trainer, and our presets.

The text is split 90 to 10 by position, as published. Published losses are means over drawn windows of the validation
split; ours is the mean over all of it, in windows of the same length.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

from mlxllm.config import RunConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.parity.receipts import pair
from mlxllm.presets import PRESETS
from mlxllm.runs import Event, RunDirectory
from mlxllm.tokenizer.training import train_tokenizer
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import plan_run
from mlxllm.training.start import start

GPT2: dict[str, Any] = {
    "positions": "learned",
    "norm": "layernorm",
    "norm_eps": 1e-5,
    "hidden_act": "gelu",
    "mlp_gated": False,
    "tie_word_embeddings": True,
}
"""The block, without the biases of the linear layers, which the recipe leaves out."""
TRAIN: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "min_lr_ratio": 0.1,
    "schedule": "cosine",
    "warmup_steps": 100,
    "betas": (0.9, 0.99),
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
    "compute_dtype": "auto",
}


@dataclass(frozen=True)
class Size:
    """One of the two set-ups."""

    published: float
    best: bool
    """Whether the published loss is the best one of the run rather than the last."""
    preset: str
    """Ours of the same size."""
    width: int
    layers: int
    heads: int
    context: int
    batch: int
    dropout: float
    steps: int
    tolerance: float
    """What the published loss may differ by: it is told with few digits, and is a mean over few windows."""

    def recipe(self) -> dict[str, Any]:
        """Model and training as published."""
        model = GPT2 | {
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "intermediate_size": 4 * self.width,
            "max_position_embeddings": self.context,
            "dropout": self.dropout,
        }
        train = TRAIN | {"batch_size": self.batch, "max_steps": self.steps}
        return {"model": model, "data": {"max_seq_len": self.context}, "train": train}


SIZES = {
    "small": Size(1.88, False, "shakespeare-char-cpu", 128, 4, 4, 64, 12, 0.0, 2000, 0.05),
    "large": Size(1.4697, True, "shakespeare-char", 384, 6, 6, 256, 64, 0.2, 5000, 0.03),
}


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "text/tinyshakespeare.txt")
    made.add_argument("--size", choices=list(SIZES), default="small", help="the full one takes hours on a CPU")
    made.add_argument("--seed", type=int, default=1337, metavar="N", help="of both runs; 1337 by default")
    made.add_argument(
        "--max-steps", type=int, metavar="N", help="end after N steps, to see it start; leaves no receipt"
    )
    made.add_argument("--recipe-only", action="store_true", help="leave out our preset")
    args = made.parse_args()
    if args.receipt and args.max_steps is not None:
        made.error("--max-steps ends before the published number of steps, of which there is no receipt")
    return args


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """The recipe, then the preset."""
    size = SIZES[args.size]
    tokenizer = train_tokenizer("char", [args.data.read_text("utf-8")])
    build_dataset(folder / "dataset", [(open_source(f"text:{args.data}"), None)], tokenizer, val_split=0.1)
    sides = {"recipe": size.recipe()}
    if not args.recipe_only:
        sides["preset"] = PRESETS[size.preset]().model_dump(exclude={"method"}, exclude_none=True)
    result: dict[str, Any] = {"size": args.size, "published": size.published, "seed": args.seed}
    for name, sections in sides.items():
        result[name] = trained(sections, args, folder / name)
    rows: list[Sequence[str]] = [
        ("validation loss, nats a character", "published", "ours", "difference", "step", "minutes")
    ]
    for name, what in (("recipe", "the published recipe"), ("preset", f"preset {size.preset}")):
        if name in result:
            found = result[name]
            loss = value(size, found)
            cells = (f"{size.published:.4f}", f"{loss:.4f}", f"{loss - size.published:+.4f}")
            rows.append((what, *cells, f"{found['step']:,}", f"{found['minutes']:.1f}"))
    return rows, result


def value(size: Size, found: dict[str, Any]) -> float:
    """What is comparable with the published number."""
    return float(found["best" if size.best else "last"])


def trained(sections: dict[str, Any], args: argparse.Namespace, run: Path) -> dict[str, Any]:
    """A run of the real trainer on the dataset beside it."""
    steps = sections["train"]["max_steps"]
    # Where only the last loss counts, no time goes into others.
    every = 250 if SIZES[args.size].best else 0
    changes = {"seed": args.seed, "eval_every": every, "checkpoint_every": 0, "sample_every": 0}
    changes |= {} if args.max_steps is None else {"max_steps": min(args.max_steps, steps)}
    config = RunConfig.model_validate(
        {
            **sections,
            "data": {**sections["data"], "dataset": str(run.parent / "dataset")},
            "train": {**sections["train"], **changes},
        }
    )
    curve: list[Event] = []

    def hear(event: Event) -> None:
        if event["kind"] == "val":
            curve.append(event)
            print(f"  {run.name}: step {event['step']:,}, validation {event['loss']:.4f}", file=sys.stderr, flush=True)

    begun = time.monotonic()
    outcome = start(plan_run(RunDirectory(run), config), hear, Interrupts())
    if outcome.status != "finished":
        raise common.ParityError(f"the run of the {run.name} was stopped before its end")
    return {
        "last": curve[-1]["loss"],
        "best": min(event["loss"] for event in curve),
        "step": curve[-1]["step"],
        "curve": [[event["step"], event["loss"]] for event in curve],
        "characters": curve[-1]["tokens"],
        "minutes": (time.monotonic() - begun) / 60,
    }


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt: the recipe has to end where it was published to end, the preset not above that."""
    size, recipe = SIZES[args.size], result["recipe"]
    kind = "best" if size.best else "last"
    what = f"{kind} validation loss"
    rows = [pair(f"{what}, the published recipe", size.published, value(size, recipe), size.tolerance)]
    if "preset" in result:
        name = f"{what}, preset {size.preset}, {result['preset']['step']:,} steps"
        rows.append(pair(name, size.published, value(size, result["preset"]), 0.0, "at most"))
    note = (
        f"{recipe['step']:,} steps in {recipe['minutes']:.1f} minutes; all {recipe['characters']:,} validation characters "
        f"are scored. Other than published: windows are visited once an epoch rather than drawn, and "
        f"LayerNorm has biases; the vocabulary also has 256 bytes that never occur"
        + ("; attention's probabilities have no dropout" if size.dropout else "")
    )
    return common.Told(f"shakespeare-{args.size}", rows, seed=args.seed, inputs=[args.data], note=note)


if __name__ == "__main__":
    common.run(main, arguments(), told)
