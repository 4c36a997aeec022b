"""`mlxllm train` and `mlxllm resume`: pre-training, headless."""

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli.progress import TrainingView
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # heavy modules are imported by the commands
    from mlxllm.config import RunConfig
    from mlxllm.runs import RunDirectory
    from mlxllm.training.trainer import Outcome

Json = Annotated[bool, typer.Option("--json", help="Print every event as one JSON object a line on stdout.")]
Device = Annotated[
    str | None, typer.Option(metavar="cpu|gpu", help="Where to compute; by default a GPU if there is one.")
]
Minutes = Annotated[
    float | None, typer.Option(min=0.01, max=1e6, help="Train for about so long; the steps are measured first.")
]


def train(
    data: Annotated[str | None, typer.Option(metavar="NAME", help="Dataset to train on.")] = None,
    preset: Annotated[str | None, typer.Option(metavar="P", help="Recipe to begin with; --dry-run shows it.")] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Name of the new run; by default made up.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Continue the pre-training of this model instead of a fresh one.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Updates in all.")] = None,
    minutes: Minutes = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of one forward pass.")] = None,
    grad_accum_steps: Annotated[int | None, typer.Option(help="Forward passes of one update.")] = None,
    max_seq_len: Annotated[int | None, typer.Option(help="Tokens of one row.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="adamw|muon|lion", help="Update rule.")] = None,
    schedule: Annotated[
        str | None, typer.Option(metavar="constant|cosine|linear|wsd", help="Shape of the learning rate.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, data order and dropout.")] = None,
    device: Device = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the resolved settings, parameters, memory and tokens; train nothing."),
    ] = False,
    json_: Json = False,
) -> None:
    """Train a model on a dataset, from scratch or from --model."""
    from mlxllm.runs import RunDirectory
    from mlxllm.settings import build_config

    if minutes is not None and max_steps is not None:
        raise ConfigError("--minutes and --max-steps both say how long to train; give one of them")
    flags = {
        "data.dataset": data,
        "data.max_seq_len": max_seq_len,
        "train.max_steps": max_steps,
        "train.batch_size": batch_size,
        "train.grad_accum_steps": grad_accum_steps,
        "train.learning_rate": learning_rate,
        "train.optimizer": optimizer,
        "train.schedule": schedule,
        "train.seed": seed,
    }
    resolved = build_config(preset=preset, config_file=config, settings=set_ or (), flags=flags)
    if model is not None and (fixed := [s for s in set_ or () if s.startswith("model.")]):
        raise ConfigError(
            f"--set {fixed[0]} cannot change the model that --model {model} brings; leave one of them out"
        )
    if dry_run:
        if model is not None:
            from mlxllm.model.loading import load_model  # MLX begins to load here

            resolved = resolved.with_values(model=load_model(model).config.model_dump())
        _print_dry_run(resolved, json_)
        return
    begun = time.monotonic()
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.start import plan_run, start
    from mlxllm.training.trainer import Interrupts

    select_device(device)
    directory = RunDirectory(paths.new("runs", run) if run else _new_run_path(resolved))
    plan = plan_run(
        directory, resolved, model_name=model, deadline=begun + 60 * minutes if minutes is not None else None
    )
    view = TrainingView(json_lines=json_)
    end(directory, view, start(plan, view, Interrupts()))


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")],
    max_steps: Annotated[int | None, typer.Option(help="Extend the run to so many updates in all.")] = None,
    minutes: Minutes = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Go on with a stopped or crashed run, or extend a finished one with --minutes or --max-steps."""
    from mlxllm.runs import find_run

    if minutes is not None and max_steps is not None:
        raise ConfigError("--minutes and --max-steps both say how long to train; give one of them")
    directory = find_run(run)
    begun = time.monotonic()
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.start import resume as go_on
    from mlxllm.training.trainer import Interrupts

    select_device(device)
    view = TrainingView(json_lines=json_)
    deadline = begun + 60 * minutes if minutes is not None else None
    end(directory, view, go_on(directory, view, Interrupts(), max_steps=max_steps, deadline=deadline))


def end(run: "RunDirectory", view: TrainingView, outcome: "Outcome") -> None:
    """Say what to type next, and leave."""
    in_home = run.path == paths.folder("runs") / run.name
    name = run.name if in_home else shlex.quote(str(run.path))
    if outcome.status == "stopped":
        view.say(f"saved; go on with: {program()} resume {name}")
    else:
        view.say(f"try it: {program()} sample --model {name} --prompt ...")
    exit_for(outcome)


def exit_for(outcome: "Outcome") -> None:
    """Leave with the code of the signal that stopped the run, if one did."""
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)


def program() -> str:
    """How the user calls this program: as it was called this time."""
    called = Path(sys.argv[0])
    if called.name != "mlxllm":
        return f"{_from_here(Path(sys.executable))} -m mlxllm"
    from shutil import which

    on_path = which("mlxllm")
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return "mlxllm"
    return _from_here(called)


def _from_here(path: Path) -> str:
    """`path` as it is typed in the working folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _new_run_path(config: "RunConfig") -> Path:
    base = f"{Path(config.data.dataset).name or 'run'}-{config.preset or 'custom'}"
    number = 1
    while (path := paths.folder("runs") / f"{base}-{number}").exists():
        number += 1
    return path


def _print_dry_run(config: "RunConfig", json_: bool) -> None:
    from mlxllm.estimate import estimate

    vocab_size, train_tokens = config.model.vocab_size, None
    if config.data.dataset:
        from mlxllm.data.manifest import read_manifest

        manifest = read_manifest(paths.existing("datasets", config.data.dataset))
        vocab_size, train_tokens = vocab_size or manifest.tokenizer.vocab_size, manifest.train.tokens
    config = config.with_values(model={"vocab_size": vocab_size})
    costs = estimate(config)
    shown: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        **costs.as_dict(),
        "dataset_tokens": train_tokens,
    }
    if json_:
        print(json.dumps(shown))
        return
    for section, values in shown["config"].items():
        if not isinstance(values, dict):
            print(f"{section} = {json.dumps(values)}")
            continue
        print(f"\n[{section}]")
        for key, value in values.items():
            print(f"{key} = {json.dumps(value)}")
    print("\n# costs")
    if not vocab_size:
        print("# the vocabulary's size is not known without --data; embeddings are left out")
    print(f"# parameters          {costs.parameters:,} ({costs.active_parameters:,} used by each token)")
    print(f"# tokens a step       {costs.tokens_per_step:,}")
    of = f", {costs.tokens / train_tokens:.1f} times through the dataset's {train_tokens:,}" if train_tokens else ""
    print(f"# tokens in all       {costs.tokens:,}{of}")
    print(f"# training memory     {costs.training_bytes / 2**30:.2f} GiB estimated")
    print(f"# a checkpoint        {costs.checkpoint_bytes / 2**30:.2f} GiB")
