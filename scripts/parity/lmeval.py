"""lm-eval's own class for models of transformers against ours: what every item of the same tasks gets.

For a random model and one that was just trained, with each of our kinds of tokenizer: ours is `mlxllm eval` on the run,
theirs is lm-eval with transformers on what `mlxllm export --format hf` wrote. Both read the same YAML files, whose
questions are the benchmark files of the test data. Log-likelihoods are compared item by item, and so are the metrics.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
from common import ParityError, largest_difference
from lmeval_tasks import TASKS, write_tasks

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.evaluation.harness.tasks import Settings, TaskScores, run_lm_eval
from mlxllm.export.hf import write_hf
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.transformer import build_model
from mlxllm.parity.receipts import largest, pair
from mlxllm.runs import RunDirectory
from mlxllm.tokenizer import Tokenizer
from mlxllm.tokenizer.training import train_tokenizer
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import plan_run
from mlxllm.training.start import start

KINDS = ("char", "byte", "bpe")
MODEL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "max_position_embeddings": 512,
}
VOCABULARY = 1024
TOLERANCE = 1e-3


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "bench")
    made.add_argument("--text", type=Path, metavar="FILE", help="to train on; text/wiki_demo.txt of the test data")
    made.add_argument("--limit", type=int, metavar="N", help="only the first N items of each task")
    made.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="by default all")
    made.add_argument("--tokenizers", nargs="+", choices=KINDS, default=KINDS, help="kinds; by default all three")
    made.add_argument("--steps", type=int, default=100, metavar="N", help="updates of the trained model; 100")
    made.add_argument("--batch-size", type=int, default=16, metavar="N", help="of lm-eval's own class; 16")
    made.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        metavar="PATH",
        help="an interpreter that has lm-eval, torch and transformers; by default this one",
    )
    args = made.parse_args()
    if args.limit is not None and args.limit < 1:
        made.error(f"--limit is {args.limit}; it should be 1 or more")
    args.text = args.text or args.data.parent / "text/wiki_demo.txt"
    return args


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """Both sides of each model."""
    (folder / "tasks").mkdir()
    tasks = write_tasks(args.data, folder / "tasks", args.limit)
    tasks = {name: tasks[name] for name in args.tasks}
    models = make_models(args, folder)
    job = {
        "models": {name: str(folder / f"{name}-hf") for name in models},
        "tasks": {name: str(path) for name, path in tasks.items()},
        "limit": args.limit,
        "max_length": MODEL["max_position_embeddings"],
        "batch_size": args.batch_size,
    }
    theirs = common.peer(args.peers_python, "lmeval_hf.py", job, folder)
    rows: list[Sequence[str]] = [("", "items", "theirs", "ours", "largest difference", "s theirs", "s ours")]
    result: dict[str, Any] = {}
    for name, model in models.items():
        result[name] = compare(model, tasks, theirs["models"][name], args.limit)
        rows += [row(f"{name} {task}", one) for task, one in result[name].items()]
    return rows, {"models": result, "peers": theirs["versions"]}


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt."""
    rows = []
    for model, tasks in result["models"].items():
        for task, found in tasks.items():
            what = f"{model}, {task}, {found['items']:,} items"
            if found["difference"] is not None:
                rows.append(largest(f"{what}: log-likelihood of any item", found["difference"], TOLERANCE))
            else:
                # Tokens that are no UTF-8 are spelled otherwise by what a `bpe` export makes of the tokenizer.
                rows.append(largest(f"{what}: texts that differ", found["otherwise"]))
            for metric in ("acc", "acc_norm", "exact_match"):
                if metric in found["theirs"]:
                    rows.append(pair(f"{what}: {metric}", found["theirs"][metric], found["ours"][metric], 1e-9))
    note = "models of two layers, 64 wide; float32; lm-eval reads the same YAML files on both sides"
    inputs = [args.data, args.text]
    return common.Told("lm-eval", rows, seed=0, versions=result["peers"], inputs=inputs, note=note)


def make_models(args: argparse.Namespace, folder: Path) -> dict[str, LoadedModel]:
    """A random and a trained model of each kind, by name; beside each what export makes of it."""
    with args.text.open(encoding="utf-8") as file:
        text = file.read(400_000)
    made = {}
    for kind in args.tokenizers:
        tokenizer = train_tokenizer(kind, [text], vocab_size=VOCABULARY if kind == "bpe" else None)
        made[f"{kind}-random"] = random_model(folder / f"{kind}-random", tokenizer)
        made[f"{kind}-trained"] = trained_model(folder / f"{kind}-trained", tokenizer, text, args.steps)
    for name, model in made.items():
        write_hf(model, folder / f"{name}-hf")
    return made


def compare(
    model: LoadedModel, tasks: Mapping[str, Path], theirs: Mapping[str, Any], limit: int | None
) -> dict[str, Any]:
    """What both sides say of every task."""
    found = {}
    for name, path in tasks.items():
        begun = time.monotonic()
        ours = run_lm_eval([str(path)], model, Settings(limit=limit))[name]
        seconds = [theirs[name]["seconds"], time.monotonic() - begun]
        found[name] = {**differences(ours, theirs[name]), "seconds": seconds}
    return found


def differences(ours: TaskScores, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """How far apart the two sides are in a task: log-likelihoods in nats, greedy answers and texts by count."""
    items = [item["filtered_resps"] for item in ours.items]
    if len(items) != len(theirs["items"]):
        raise ParityError(f"ours are {len(items)} items and theirs {len(theirs['items'])}")
    a, b = [_numbers(item) for item in items], [_numbers(item) for item in theirs["items"]]
    metrics = {name.removesuffix(",none"): value for name, value in theirs["metrics"].items() if "," in name}
    return {
        "items": len(items),
        "difference": largest_difference([x for one in a for x in one[0]], [x for one in b for x in one[0]])
        if any(one[0] for one in a)
        else None,
        "otherwise": sum(one[1] != two[1] for one, two in zip(a, b, strict=True)),
        "ours": {name: ours.metrics[name] for name in metrics},
        "theirs": metrics,
    }


def _numbers(item: Any) -> tuple[list[float], list[Any]]:
    """The log-likelihoods of an item, and what else it got: whether they are greedy, and texts."""
    numbers: list[float] = []
    others: list[Any] = []
    for one in item:
        values = one if isinstance(one, list | tuple) else [one]
        numbers += [value for value in values if isinstance(value, float)]
        others += [value for value in values if not isinstance(value, float)]
    return numbers, others


def row(name: str, found: Mapping[str, Any]) -> Sequence[str]:
    """A line of the table: the first metric, and how far apart the items are."""
    metric = next(iter(found["theirs"]))
    apart = f"{found['otherwise']} differ" if found["difference"] is None else f"{found['difference']:.1e}"
    if found["difference"] is not None and found["otherwise"]:
        apart += f", {found['otherwise']} greedy"
    values = [f"{metric} {found[side][metric]:.5f}" for side in ("theirs", "ours")]
    return (name, f"{found['items']:,}", *values, apart, *(f"{seconds:.1f}" for seconds in found["seconds"]))


def random_model(path: Path, tokenizer: Tokenizer) -> LoadedModel:
    """One whose weights are so large that a mistake shows."""
    config = ModelConfig.model_validate({**MODEL, "vocab_size": tokenizer.vocab_size, "initializer_range": 0.1})
    made = LoadedModel(build_model(config, seed=0), config, tokenizer, path, path.name, path, None, ("base",), ())
    write_hf(made, path)
    return load_model(str(path))


def trained_model(path: Path, tokenizer: Tokenizer, text: str, steps: int) -> LoadedModel:
    """One of the real trainer."""
    source, data = path.with_suffix(".txt"), path.with_suffix(".data")
    source.write_text(text, encoding="utf-8")
    build_dataset(data, [(open_source(f"text:{source}"), None)], tokenizer, val_split=0.02)
    train = {
        "learning_rate": 3e-3,
        "batch_size": 8,
        "max_steps": steps,
        "warmup_steps": steps // 10,
        "eval_every": 0,
        "checkpoint_every": 0,
        "compute_dtype": "float32",
    }
    sections = {"model": MODEL, "data": {"dataset": str(data), "max_seq_len": 128}, "train": train}
    plan = plan_run(RunDirectory(path), RunConfig.model_validate(sections), model_name=None)
    start(plan, lambda event: None, Interrupts())
    return load_model(str(path))


if __name__ == "__main__":
    common.run(main, arguments(), told)
