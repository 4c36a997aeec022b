"""`mlxllm sft` and `mlxllm dpo`: fine-tuning, headless."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlxllm import paths
from mlxllm.cli.finetune_options import (
    Accumulation,
    Adapter,
    ConfigFile,
    Dora,
    Dry,
    Epochs,
    LearningRate,
    LoraAlpha,
    LoraDropout,
    LoraLayers,
    LoraRank,
    LoraTargets,
    MaxSteps,
    Model,
    Optimizer,
    Quantize,
    Records,
    RsLora,
    Run,
    Schedule,
    Seed,
    Settings,
    TrainOn,
    ValRecords,
    ValSplit,
    given,
)
from mlxllm.cli.help import setting
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.report import Reporting, ReportTo
from mlxllm.cli.train import Device, Json, Minutes, check_length, end, warn_of_choice
from mlxllm.errors import ConfigError, DataError

if TYPE_CHECKING:  # heavy modules are imported by the commands
    from mlxllm.training.methods import Material
    from mlxllm.training.plan import Plan


def sft(
    model: Model,
    data: Records,
    adapter: Adapter = None,
    run: Run = None,
    val_data: ValRecords = None,
    val_split: ValSplit = None,
    train_on: TrainOn = None,
    config: ConfigFile = None,
    set_: Settings = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: Annotated[int | None, setting("train.batch_size", "N")] = None,
    grad_accum_steps: Accumulation = None,
    max_seq_len: Annotated[
        int | None, setting("data.max_seq_len", "N", "Tokens of a row; a longer conversation loses its end.")
    ] = None,
    learning_rate: LearningRate = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    seed: Seed = None,
    lora_rank: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_layers: LoraLayers = None,
    lora_targets: LoraTargets = None,
    lora_dropout: LoraDropout = None,
    dora: Dora = False,
    rslora: RsLora = False,
    quantize: Quantize = None,
    device: Device = None,
    report_to: ReportTo = None,
    dry_run: Dry = False,
    json_: Json = False,
) -> None:
    """Teach a model to answer, from conversations."""
    flags = given(locals())
    _tune("sft", model, adapter, data, val_data, run, config, set_, minutes, flags, device, report_to, dry_run, json_)


def dpo(
    model: Model,
    data: Records,
    adapter: Adapter = None,
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
    batch_size: Annotated[int | None, setting("train.batch_size", "N", "Pairs of one forward pass.")] = None,
    grad_accum_steps: Accumulation = None,
    max_seq_len: Annotated[
        int | None, setting("data.max_seq_len", "N", "Tokens of a prompt and its answer; longer pairs are left out.")
    ] = None,
    learning_rate: LearningRate = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    seed: Seed = None,
    lora_rank: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_layers: LoraLayers = None,
    lora_targets: LoraTargets = None,
    lora_dropout: LoraDropout = None,
    dora: Dora = False,
    rslora: RsLora = False,
    quantize: Quantize = None,
    device: Device = None,
    report_to: ReportTo = None,
    dry_run: Dry = False,
    json_: Json = False,
) -> None:
    """Teach a model which of two answers is the better one, without a reward model."""
    flags = given(locals())
    _tune("dpo", model, adapter, data, val_data, run, config, set_, minutes, flags, device, report_to, dry_run, json_)


def _tune(
    method: Literal["sft", "dpo"],
    model: str,
    adapter: str | None,
    data: list[str],
    val_data: list[str] | None,
    run: str | None,
    config: Path | None,
    settings: list[str] | None,
    minutes: float | None,
    flags: dict[str, Any],
    device: str | None,
    report_to: str | None,
    dry_run: bool,
    json_: bool,
) -> None:
    from mlxllm.runs import RunDirectory, name_for_tuning
    from mlxllm.settings import build_config, check_model_settings, check_tuning_settings

    begun = time.monotonic()
    view = TrainingView(json_lines=json_)
    reporting = Reporting(report_to, view)
    max_steps = flags.get("train.max_steps")
    check_length(minutes, max_steps, 0.01)
    if "train.epochs" in flags and (max_steps is not None or minutes is not None):
        raise ConfigError("--epochs says how long to train, and so do --max-steps and --minutes; give one of them")
    check_model_settings(settings or (), model)
    check_tuning_settings(settings or (), method)
    if val_data and any(s.startswith("data.val_split") for s in (*flags, *(settings or ()))):
        raise ConfigError("--val-split and --val-data both say what is held out; give one of them")
    adapters = any(key.startswith("lora.") for key in (*flags, *(settings or ())))
    preset = None if config is not None else f"{method}-lora" if adapters else method
    resolved = build_config(preset=preset, config_file=config, settings=settings or (), flags=flags)
    train: dict[str, Any] = {"epochs": None} if max_steps is not None or minutes is not None else {}
    resolved = resolved.with_values(
        data={"records": tuple(data), "val_records": tuple(val_data or ())}, train=train
    ).model_copy(update={"method": method})
    directory = RunDirectory(paths.new("runs", run if run is not None else name_for_tuning(model, method)))
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.plan import plan_run

    select_device(device)
    deadline = begun + 60 * minutes if minutes is not None else None
    plan = plan_run(directory, resolved, model_name=model, adapter_name=adapter, deadline=deadline)
    _check(plan)
    _warn_of_rank(plan, view)
    _tell_of_merging(plan, view)
    warn_of_choice(plan, view)
    _tell(plan.material, view)
    if max_steps is None and minutes is None:
        _warn_of_few_steps(plan, view)
    if dry_run:
        from mlxllm.cli.dry_run import show

        show(plan.config, plan.material.num_tokens, minutes, json_)
        return
    from mlxllm.training.interrupts import Interrupts
    from mlxllm.training.start import start

    end(directory, view, start(plan, reporting.begin(directory), Interrupts(view.interrupted)))


def _check(plan: "Plan") -> None:
    """What only model and records together can show, before anything is written.

    Raises:
        ConfigError: adapters that do not fit the model.
        DataError: nothing is held out where something was to be.
    """
    from mlxllm.data.shards import TokenDataset
    from mlxllm.model.adapters import adaptable, target_paths
    from mlxllm.model.loading import refuse_packed
    from mlxllm.model.quantization import format_for

    config, data, base = plan.config, plan.material.data, plan.base
    assert base is not None
    if config.lora is None:
        refuse_packed(base)
    else:
        target_paths(config.model, config.lora)
        for path, shape in adaptable(base.model).items() if config.lora.quantize is not None else ():
            format_for(str(config.lora.quantize), shape[-1], path)
    if config.data.val_split and plan.material.val_report is not None:
        raise DataError(
            f"--val-split {config.data.val_split:g} is for records that come without validation, and a folder in --data "
            f"brings its own; leave --val-split out"
        )
    if config.data.val_split and not isinstance(data, TokenDataset) and not data.val:
        used = data.report.used
        raise DataError(
            f"a share of {config.data.val_split:g} of {used:,} {'record' if used == 1 else 'records'} holds none out; give "
            f"more records, name some with --val-data, or leave --val-split out"
        )


def _warn_of_rank(plan: "Plan", view: TrainingView) -> None:
    """Say so where adapters are larger than they could ever need to be."""
    from mlxllm.model.adapters import adaptable, target_paths

    config, base = plan.config, plan.base
    if base is None or config.lora is None:
        return
    shapes = adaptable(base.model)
    narrow = min(target_paths(config.model, config.lora), key=lambda path: min(shapes[path][-2:]))
    if config.lora.rank > (most := min(shapes[narrow][-2:])):
        out, width = shapes[narrow][-2:]
        view.say(
            f"warning: lora.rank is {config.lora.rank:,}, and {narrow} is {out:,} x {width:,}, whose changes have a rank of "
            f"{most:,} at most; more costs memory and time, and brings nothing"
        )


def _tell_of_merging(plan: "Plan", view: TrainingView) -> None:
    """Say so where adapters were trained before and now all weights are."""
    from mlxllm.estimate import count_parameters

    config, base = plan.config, plan.base
    if config.lora is None and base is not None and base.run_config is not None and base.run_config.lora is not None:
        view.say(
            f"the adapters of {base.name} are merged and all {count_parameters(config.model):,} weights are trained; "
            f"--lora-rank {base.run_config.lora.rank} trains an adapter instead"
        )


def _warn_of_few_steps(plan: "Plan", view: TrainingView) -> None:
    """Say so where the records are so few that their epochs are over before anything has changed."""
    from mlxllm.presets import few_steps_hint
    from mlxllm.training.dpo import DpoData
    from mlxllm.training.sft import SftData

    data, train = plan.material.data, plan.config.train
    rows = len(data.train.inputs) if isinstance(data, SftData) else len(data.train) if isinstance(data, DpoData) else 0
    passes = train.max_steps * train.batch_size * train.grad_accum_steps / max(1, rows)
    if hint := few_steps_hint(plan.config.method, train.max_steps, passes):
        view.say(f"warning: {hint}")


def _tell(material: "Material", view: TrainingView) -> None:
    """What became of the records."""
    view.say(material.summary)
    for report, which in ((material.report, ""), (material.val_report, "held out: ")):
        for sentence in report.sentences() if report is not None else ():
            view.say(f"  {which}{sentence}")
