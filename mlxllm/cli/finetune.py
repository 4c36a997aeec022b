"""`mlxllm sft` and `mlxllm dpo`: fine-tuning, headless."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlxllm import paths
from mlxllm.cli.help import setting
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.train import Device, Json, Minutes, check_length, end
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # heavy modules are imported by the commands
    from mlxllm.conversation.report import Report

ADAPTERS = "Adapters (one of these switches them on; without, all weights are trained)"

Model = Annotated[str, typer.Option(metavar="M", help="What to begin with: a run (RUN, RUN@STEP) or a folder.")]
Records = Annotated[
    list[str],
    typer.Option("--data", metavar="FILES", help="A file, a folder or owner/name on the Hub; may be repeated."),
]
ValRecords = Annotated[
    list[str] | None, typer.Option("--val-data", metavar="FILES", help="The same, held out for validation.")
]
Run = Annotated[str | None, typer.Option(metavar="RUN", help="Name of the new run; by default made from the model's.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file of settings.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any one setting; may be repeated. --dry-run shows all."),
]
Dry = Annotated[
    bool, typer.Option("--dry-run", help="Check everything that training would, and show settings and costs.")
]
ValSplit = Annotated[float | None, setting("data.val_split", "X")]
Epochs = Annotated[float | None, setting("train.epochs", "X")]
MaxSteps = Annotated[int | None, setting("train.max_steps", "N")]
BatchSize = Annotated[int | None, setting("train.batch_size", "N")]
Accumulation = Annotated[int | None, setting("train.grad_accum_steps", "N")]
MaxSeqLen = Annotated[int | None, setting("data.max_seq_len", "N")]
LearningRate = Annotated[float | None, setting("train.learning_rate", "X")]
Optimizer = Annotated[str | None, setting("train.optimizer", "NAME")]
Schedule = Annotated[str | None, setting("train.schedule", "NAME")]
Seed = Annotated[int | None, setting("train.seed", "N")]
LoraRank = Annotated[int | None, setting("lora.rank", "N", panel=ADAPTERS)]
LoraAlpha = Annotated[float | None, setting("lora.alpha", "X", panel=ADAPTERS)]
LoraLayers = Annotated[int | None, setting("lora.layers", "N", panel=ADAPTERS)]
LoraTargets = Annotated[str | None, setting("lora.targets", "NAMES", panel=ADAPTERS)]
LoraMethod = Annotated[str | None, setting("lora.method", "NAME", panel=ADAPTERS)]
Quantize = Annotated[str | None, setting("lora.quantize", "NAME", panel=ADAPTERS)]


def sft(
    model: Model,
    data: Records,
    run: Run = None,
    val_data: ValRecords = None,
    val_split: ValSplit = None,
    train_on: Annotated[str | None, setting("data.train_on", "NAME")] = None,
    config: ConfigFile = None,
    set_: Settings = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    grad_accum_steps: Accumulation = None,
    max_seq_len: MaxSeqLen = None,
    learning_rate: LearningRate = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    seed: Seed = None,
    lora_rank: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_layers: LoraLayers = None,
    lora_targets: LoraTargets = None,
    lora_method: LoraMethod = None,
    quantize: Quantize = None,
    device: Device = None,
    dry_run: Dry = False,
    json_: Json = False,
) -> None:
    """Teach a model to answer, from conversations."""
    flags = {
        "data.val_split": val_split,
        "data.train_on": train_on,
        "data.max_seq_len": max_seq_len,
        "train.epochs": epochs,
        "train.max_steps": max_steps,
        "train.batch_size": batch_size,
        "train.grad_accum_steps": grad_accum_steps,
        "train.learning_rate": learning_rate,
        "train.optimizer": optimizer,
        "train.schedule": schedule,
        "train.seed": seed,
        "lora.rank": lora_rank,
        "lora.alpha": lora_alpha,
        "lora.layers": lora_layers,
        "lora.targets": lora_targets,
        "lora.method": lora_method,
        "lora.quantize": quantize,
    }
    _tune("sft", model, data, val_data, run, config, set_, minutes, flags, device, dry_run, json_)


def dpo(
    model: Model,
    data: Records,
    run: Run = None,
    val_data: ValRecords = None,
    val_split: ValSplit = None,
    loss: Annotated[str | None, setting("dpo.loss", "NAME")] = None,
    beta: Annotated[float | None, setting("dpo.beta", "X")] = None,
    label_smoothing: Annotated[float | None, setting("dpo.label_smoothing", "X")] = None,
    gamma: Annotated[float | None, setting("dpo.gamma", "X")] = None,
    sft_weight: Annotated[float | None, setting("dpo.sft_weight", "X")] = None,
    config: ConfigFile = None,
    set_: Settings = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    grad_accum_steps: Accumulation = None,
    max_seq_len: MaxSeqLen = None,
    learning_rate: LearningRate = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    seed: Seed = None,
    lora_rank: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_layers: LoraLayers = None,
    lora_targets: LoraTargets = None,
    lora_method: LoraMethod = None,
    quantize: Quantize = None,
    device: Device = None,
    dry_run: Dry = False,
    json_: Json = False,
) -> None:
    """Teach a model which of two answers is the better one, without a reward model."""
    flags = {
        "data.val_split": val_split,
        "data.max_seq_len": max_seq_len,
        "train.epochs": epochs,
        "train.max_steps": max_steps,
        "train.batch_size": batch_size,
        "train.grad_accum_steps": grad_accum_steps,
        "train.learning_rate": learning_rate,
        "train.optimizer": optimizer,
        "train.schedule": schedule,
        "train.seed": seed,
        "dpo.loss": loss,
        "dpo.beta": beta,
        "dpo.label_smoothing": label_smoothing,
        "dpo.gamma": gamma,
        "dpo.sft_weight": sft_weight,
        "lora.rank": lora_rank,
        "lora.alpha": lora_alpha,
        "lora.layers": lora_layers,
        "lora.targets": lora_targets,
        "lora.method": lora_method,
        "lora.quantize": quantize,
    }
    _tune("dpo", model, data, val_data, run, config, set_, minutes, flags, device, dry_run, json_)


def _tune(
    method: Literal["sft", "dpo"],
    model: str,
    data: list[str],
    val_data: list[str] | None,
    run: str | None,
    config: Path | None,
    settings: list[str] | None,
    minutes: float | None,
    flags: dict[str, Any],
    device: str | None,
    dry_run: bool,
    json_: bool,
) -> None:
    from mlxllm.runs import RunDirectory
    from mlxllm.settings import build_config

    begun = time.monotonic()
    max_steps, epochs = flags["train.max_steps"], flags["train.epochs"]
    check_length(minutes, max_steps, 0.01)
    if epochs is not None and (max_steps is not None or minutes is not None):
        raise ConfigError("--epochs says how long to train, and so do --max-steps and --minutes; give one of them")
    adapters = any(v is not None for k, v in flags.items() if k.startswith("lora.")) or any(
        s.startswith("lora.") for s in settings or ()
    )
    preset = None if config is not None else f"{method}-lora" if adapters else method
    resolved = build_config(preset=preset, config_file=config, settings=settings or (), flags=flags)
    train: dict[str, Any] = {"epochs": None} if max_steps is not None or minutes is not None else {}
    resolved = resolved.with_values(
        data={"records": tuple(data), "val_records": tuple(val_data or ())}, train=train
    ).model_copy(update={"method": method})
    directory = RunDirectory(paths.new("runs", run) if run is not None else _new_run_path(model, method))
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.plan import plan_run

    select_device(device)
    view = TrainingView(json_lines=json_)
    deadline = begun + 60 * minutes if minutes is not None else None
    plan = plan_run(directory, resolved, model_name=model, deadline=deadline)
    _tell(plan.material.report, plan.material.summary, view)
    if dry_run:
        from mlxllm.cli.dry_run import show

        show(plan.config, plan.material.num_tokens, minutes, json_)
        return
    from mlxllm.training.start import start
    from mlxllm.training.trainer import Interrupts

    end(directory, view, start(plan, view, Interrupts()))


def _tell(report: "Report | None", summary: str, view: TrainingView) -> None:
    """What became of the records."""
    view.say(summary)
    for sentence in report.sentences() if report is not None else ():
        view.say(f"  {sentence}")


def _new_run_path(model: str, method: str) -> Path:
    base = Path(model.partition("@")[0]).name or "model"
    number = 1
    while (path := paths.folder("runs") / f"{base}-{method}-{number}").exists():
        number += 1
    return path
