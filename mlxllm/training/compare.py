"""Whether a run may go on: the settings and the data that it was trained with, against those that are there now."""

from typing import Any

from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError, DataError, RunError
from mlxllm.estimate import memory
from mlxllm.model.checkpoint_files import list_checkpoints
from mlxllm.model.module import trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.planning.proposals import USABLE_SHARE
from mlxllm.planning.remedies import as_options, changed, first_that_fits
from mlxllm.runs import RunDirectory, read_json
from mlxllm.runtime import device_info
from mlxllm.settings import parse_config
from mlxllm.training.checkpoint import TrainerState
from mlxllm.training.step import TrainState
from mlxllm.visible import counted

UNCOMPARED = {
    "train": {"max_steps", "eval_every", "checkpoint_every", "keep_checkpoints", "sample_every", "sample_prompt"}
}
"""What may change between attempts: it does not touch the weights, or is what an extension is about."""


def comparable(config: RunConfig) -> dict[str, Any]:
    """The settings that decide the weights, as plain values."""
    raw = config.model_dump(mode="json", exclude={"sample", "preset", "base_model", "base_adapter", "base_fingerprint"})
    for section, names in UNCOMPARED.items():
        raw[section] = {k: v for k, v in raw[section].items() if k not in names}
    return raw


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """Everything that differs, each as "section.key: old -> new"."""
    found = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{key}.")
        elif isinstance(old, dict) or isinstance(new, dict):  # a section that one of them does without
            found.append(f"{prefix}{key}: {'on' if old else 'off'} -> {'on' if new else 'off'}")
        elif old != new:
            found.append(f"{prefix}{key}: {old} -> {new}")
    return found


def check_unchanged(run: RunDirectory, config: RunConfig, fingerprint: str, trainer: TrainerState) -> None:
    """Refuse to go on under settings or data that the checkpoint was not trained with."""
    trained = trainer.extra.get("config")
    if trained is not None and (changed := differences(trained, comparable(config))):
        raise RunError(
            f"the configuration of run {run.name!r} is not the one that it was trained with ({'; '.join(changed)}); put "
            f"{run.config} back as it was, or start a new run with --model {run.address}"
        )
    if trainer.data_fingerprint != fingerprint:
        records = ", ".join(config.data.records)
        what = f"records {records} are not those" if records else f"dataset {config.data.dataset!r} is not the one"
        raise RunError(
            f"{what} that run {run.name!r} was trained on (fingerprint "
            f"{trainer.data_fingerprint[:12]} -> {fingerprint[:12]}); make it as it was, or start a new run with "
            f"--model {run.address}"
        )


def check_extension(run: RunDirectory, max_steps: int, option: str) -> None:
    """Refuse to replace what a run has reached by less; `option` is what gave the number of steps."""
    reached = max((c.step for c in list_checkpoints(run.path)), default=0)
    if max_steps <= reached:
        raise ConfigError(
            f"run {run.name!r} has {counted(reached, 'step')} already, and {option} would end it at step {max_steps:,}; "
            f"that is no extension, use more"
        )


def check_memory(config: RunConfig, there: int | None = None, val_tokens: int | None = None) -> None:
    """Refuse a run that the machine has no room for, and say what would fit.

    Args:
        config: resolved.
        there: bytes of memory; by default the device's.
        val_tokens: of the validation split, where it is known.

    Raises:
        ConfigError: it needs more than there is.
    """
    there = device_info().memory_bytes if there is None else there
    needed = memory(config, val_tokens=val_tokens).peak
    if needed <= there:
        return
    fits = first_that_fits(config, int(USABLE_SHARE * there), val_tokens=val_tokens)
    remedy = "make the model or data.max_seq_len smaller"
    if fits is not None:
        less = memory(changed(config, fits), val_tokens=val_tokens).peak
        remedy = f"{as_options(fits)} would take {_gibibytes(less)}"
    raise ConfigError(
        f"this run would need about {_gibibytes(needed)}, and the machine has {_gibibytes(there)}; {remedy} (`mlxllm plan` "
        f"shows what takes how much)"
    )


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:,.0f} GiB" if size >= 10 * 2**30 else f"{size / 2**30:.2f} GiB"


def check_shapes(run: RunDirectory, model: Transformer, state: TrainState) -> None:
    """Refuse a checkpoint whose arrays are not those of the configured model."""
    expected = {name: tuple(p.shape) for name, p in trainable_parameters(model).items()}
    found = {name: tuple(p.shape) for name, p in state.parameters.items()}
    if expected != found:
        name = next(n for n in sorted({*expected, *found}) if expected.get(n) != found.get(n))
        raise RunError(
            f"the checkpoint of run {run.name!r} has {name} with shape {found.get(name)}, its configuration says "
            f"{expected.get(name)}; put {run.config} back as it was"
        )


def check_same_tokenizer(fingerprint: str, dataset_name: str, its_fingerprint: str, model_name: str) -> None:
    """Refuse a dataset whose tokens mean something else to the model."""
    if fingerprint != its_fingerprint:
        raise DataError(
            f"dataset {dataset_name!r} was made with another tokenizer ({its_fingerprint[:12]}) than model "
            f"{model_name!r} ({fingerprint[:12]}); build it again with the model's: `mlxllm data build ... --tokenizer "
            f"<the model's folder>/tokenizer`"
        )


def already_exists(run: RunDirectory, config: RunConfig) -> str:
    """The sentence about a run of that name, with what its settings differ in."""
    before = parse_config(read_json(run.config), str(run.config))
    if before.method != config.method:
        changed = [f"method: {before.method} -> {config.method}"]
    else:
        # Values that are only known once a run starts are no difference that the user made.
        unknown = ["model.vocab_size", "train.lanes", "train.compute_dtype", "train.epochs"]
        unknown += ["model."] if before.base_model else []
        changed = [c for c in differences(comparable(before), comparable(config)) if not c.startswith(tuple(unknown))]
    what = f" with other settings ({'; '.join(changed)})" if changed else ""
    if not changed and not before.base_model:
        what = " with the same settings"
    return (
        f"run {run.name!r} exists already{what}; continue it with `mlxllm resume {run.address}` or choose another "
        f"--run name"
    )
