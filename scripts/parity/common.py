"""What the comparisons share: options, a small random Llama that both sides read, runs of ours, the peer's process."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlxllm.runtime  # noqa: F401  (before MLX: it prepares BLAS)

import mlx.core as mx  # isort: skip

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.errors import EXIT_FAILED, EXIT_SIGINT, ConfigError, UserError
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import build_model
from mlxllm.runs import Event, RunDirectory
from mlxllm.runtime import select_device
from mlxllm.tokenizer.training import train_tokenizer
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import Plan, plan_run
from mlxllm.training.start import start

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # what all comparisons share lies there

from receipt import Told, keep, with_receipt  # noqa: E402
from workers import run_worker  # noqa: E402


class ParityError(UserError):
    """A comparison that cannot be made."""


def parser(description: str | None, data: str) -> argparse.ArgumentParser:
    """The options that every comparison has; `data` is the file of the test data that it reads."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("MLXLLM_TEST_DATA")
    made.add_argument(
        "--data",
        type=Path,
        default=Path(folder) / data if folder else None,
        required=not folder,
        metavar="FILE",
        help=f"by default {data} in the folder that MLXLLM_TEST_DATA names",
    )
    made.add_argument("--json", action="store_true", help="print the numbers as one JSON object on stdout")
    made.add_argument(
        "--device",
        choices=["cpu", "gpu"],
        default="cpu",
        help="what ours computes on; the CPU by default, in float32 as the peers, but a GPU for the large runs",
    )
    with_receipt(made)
    return made


def with_peers(made: argparse.ArgumentParser, learning_rate: float) -> argparse.ArgumentParser:
    """The options of a comparison with another library, update by update."""
    made.add_argument("--steps", type=int, default=20, metavar="N", help="AdamW updates")
    made.add_argument(
        "--learning-rate",
        type=float,
        default=learning_rate,
        metavar="X",
        help=f"constant; {learning_rate:g} by default",
    )
    made.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        metavar="PATH",
        help="an interpreter that has torch, transformers and trl; by default this one",
    )
    return made


def run(
    main: Callable[[argparse.Namespace, Path], tuple[list[Sequence[str]], dict[str, Any]]],
    args: Any,
    told: Callable[[argparse.Namespace, dict[str, Any]], Told] | None = None,
) -> None:
    """Compare in a temporary folder, print the table; an expected failure ends in one sentence and its code.

    `told` makes of the numbers what a receipt keeps; without it, there is no `--receipt`.
    """
    begun = time.monotonic()
    try:
        select_device(args.device)
        if args.receipt and told is None:
            raise ParityError(f"{Path(sys.argv[0]).name} writes no receipt; run it without --receipt")
        with tempfile.TemporaryDirectory(prefix="mlxllm-parity-") as temporary:
            os.environ["MLXLLM_HOME"] = temporary
            rows, result = main(args, Path(temporary))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_SIGINT)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: cannot read {error.filename}: {error.strerror}; is --data right?", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip(), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result), flush=True)
    if args.receipt and told is not None:
        try:
            keep(told(args, result), begun)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)


def make_llama(folder: Path, text: str) -> Path:
    """A random Llama of two layers, with weights large enough for a mistake to show, and a tokenizer made from `text`.

    Word pieces rather than bytes: a sum over hundreds of tokens has no four digits behind the point in float32.
    """
    tokenizer = train_tokenizer("bpe", [text], vocab_size=800)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=112,
        max_position_embeddings=1024,
        initializer_range=0.1,
        tie_word_embeddings=False,
    )
    folder.mkdir()
    weights = weights_to_hf(config, named_parameters(build_model(config, seed=0)))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config_to_hf(config), "dtype": "float32"}))
    tokenizer.save(folder / "tokenizer")
    return folder


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON list."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(found, list):
        raise ConfigError(f"{path} holds no JSON list of records")
    return found


def settings(method: str, records: Path, args: argparse.Namespace, **sections: Mapping[str, Any]) -> RunConfig:
    """AdamW on all weights in float32, without decay, warm-up or schedule."""
    train = {
        "optimizer": "adamw",
        "learning_rate": args.learning_rate,
        "schedule": "constant",
        "warmup_steps": 0,
        "betas": (0.9, 0.999),
        "weight_decay": 0.0,
        "max_steps": args.steps,
        "eval_every": 0,
        "checkpoint_every": 0,
        "compute_dtype": "float32",
    }
    return RunConfig.model_validate(
        {
            "method": method,
            "dpo": {} if method == "dpo" else None,
            **sections,
            "data": {"records": [str(records)], **sections.get("data", {})},
            "train": train | dict(sections.get("train", {})),
        }
    )


def train(run: Path, config: RunConfig, model: Path) -> tuple[Plan, list[Event]]:
    """A run of the real trainer: what it was planned as, and its events of training."""
    events: list[Event] = []
    plan = plan_run(RunDirectory(run), config, model_name=str(model))
    start(plan, events.append, Interrupts())
    return plan, [event for event in events if event["kind"] == "train"]


def peer(python: Path, script: str, job: Mapping[str, Any], folder: Path, *, online: bool = False) -> dict[str, Any]:
    """Run `peers/<script>` on a job and return the object that it prints last.

    It computes on the CPU and fetches nothing, unless it is `online`, for models that are fetched and need a GPU.

    Raises:
        WorkerError: it failed; the message has its last words.
    """
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    alone = {"HF_HOME": str(folder / "hf"), "CUDA_VISIBLE_DEVICES": ""}
    environment = {"HF_HUB_OFFLINE": "0"} if online else alone
    return run_worker(python, HERE / "peers" / script, [path], environment, peer=True)


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of two series of equal length."""
    if len(ours) != len(theirs):
        raise ParityError(f"ours are {len(ours)} numbers and theirs {len(theirs)}")
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
