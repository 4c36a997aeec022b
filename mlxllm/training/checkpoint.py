"""Writing checkpoints so that a kill, a power cut or a full disk never costs more than the steps since the last one.

A checkpoint is written into a temporary folder, flushed to the disk, given its manifest of hashes last, and renamed.
What is read back is verified by `model.checkpoint_files` first.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.errors import RunError, UserError
from mlxllm.model.checkpoint_files import (
    CHECKPOINTS_DIRECTORY,
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    TRAINABLE_FILE,
    TRAINER_FILE,
    best_path,
    checkpoint_path,
    list_checkpoints,
    verify_checkpoint,
)
from mlxllm.runs import RunDirectory, fsync_directory, fsync_file, read_json, sha256_of_file, write_json_atomic
from mlxllm.training.step import TrainState, by_name


@dataclass(frozen=True)
class TrainerState:
    """What a trainer must know to go on, besides arrays. The data cursor and all randomness follow from `step`."""

    step: int
    """Updates made."""
    tokens: int
    """Tokens trained on."""
    data_fingerprint: str
    """Of the dataset that they came from."""
    history: tuple[str, ...] = ("base",)
    """The stages that made the model, the last one last."""
    best_val_loss: float | None = None
    """Lowest validation loss so far, nats a token."""
    best_step: int | None = None
    """Step of the checkpoint that has it."""
    evals_without_gain: int = 0
    """Validations since then."""
    nonfinite_in_a_row: int = 0
    """Skipped updates up to here."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What a particular kind of training adds."""


def save_checkpoint(
    run_path: Path, state: TrainState, trainer: TrainerState, write_adapter: Callable[[Path], None] | None = None
) -> Path:
    """Write the checkpoint of `trainer.step`; one of this attempt that is there already and whole is left alone.

    Args:
        run_path: the run's folder.
        state: weights and moments.
        trainer: what else a resume needs.
        write_adapter: where the weights are an adapter's: writes it into a folder in the layout that others load.

    Returns:
        Its folder.

    Raises:
        RunError: the disk is full or cannot be written; nothing half-made stays.
    """
    final = checkpoint_path(run_path, trainer.step)
    if final.exists():
        if verify_checkpoint(final) is None and _extra(final) == trainer.extra:
            return final
        shutil.rmtree(final)
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        # The metadata is fixed: equal weights give equal files.
        weights = MODEL_FILE if write_adapter is None else TRAINABLE_FILE
        mx.save_safetensors(str(partial / weights), state.parameters, {"format": "mlx"})
        mx.save_safetensors(str(partial / OPTIMIZER_FILE), state.optimizer, {"format": "mlx"})
        write_json_atomic(partial / TRAINER_FILE, asdict(trainer))
        if write_adapter is not None:
            write_adapter(partial)
        names = sorted(path.name for path in partial.iterdir())
        for name in names:
            with open(partial / name, "rb") as file:
                fsync_file(file.fileno())
        files = {n: {"sha256": sha256_of_file(partial / n), "bytes": (partial / n).stat().st_size} for n in names}
        write_json_atomic(partial / MANIFEST_FILE, {"files": files})
        fsync_directory(partial)
        partial.rename(final)
        fsync_directory(final.parent)
    except (OSError, RuntimeError) as error:  # MLX reports a failed write as RuntimeError
        shutil.rmtree(partial, ignore_errors=True)
        run, why = RunDirectory(run_path), str(error).rstrip(".")
        # Before there are settings the run has not begun, and nothing of it stays.
        remedy = f"then `mlxllm resume {run.address}` goes on from the checkpoint before"
        raise RunError(
            f"cannot write the checkpoint of step {trainer.step:,} to {final}: {why}; make room on the disk, "
            f"{remedy if run.config.exists() else 'then start again'}"
        ) from error
    return final


def is_of_another_attempt(path: Path, trainer: TrainerState) -> bool:
    """Whether a checkpoint is there that is whole, and on the way to another end or under other settings."""
    return path.is_dir() and verify_checkpoint(path) is None and _extra(path) != trainer.extra


def _extra(path: Path) -> Any:
    return read_json(path / TRAINER_FILE).get("extra")


def load_checkpoint(path: Path) -> tuple[TrainState, TrainerState]:
    """Read a checkpoint that `find_checkpoint` has verified."""
    trainer = TrainerState(**read_json(path / TRAINER_FILE))
    weights = path / MODEL_FILE
    parameters = mx.load(str(weights if weights.exists() else path / TRAINABLE_FILE))
    optimizer = mx.load(str(path / OPTIMIZER_FILE))
    assert isinstance(parameters, dict)
    assert isinstance(optimizer, dict)
    # Loads are lazy: read now, so that pruning the files later cannot matter.
    mx.eval(parameters, optimizer)
    return TrainState(by_name(parameters), by_name(optimizer), trainer.step), trainer


def mark_best(run_path: Path, trainer: TrainerState) -> None:
    """Note which checkpoint has the lowest validation loss, if that is known and it is there.

    Called after it was saved, and on resume: a kill may have come in between. A better one from before an extension
    stays.
    """
    noted = noted_best(run_path)
    if noted is not None and trainer.best_val_loss is not None and noted[1] <= trainer.best_val_loss:
        return
    if trainer.best_step is not None and checkpoint_path(run_path, trainer.best_step).is_dir():
        write_json_atomic(best_path(run_path), {"step": trainer.best_step, "val_loss": trainer.best_val_loss})


def noted_best(run_path: Path) -> tuple[int, float] | None:
    """(step, validation loss) of the best checkpoint, if one is noted and there."""
    try:
        raw = read_json(best_path(run_path))
        step, loss = int(raw["step"]), float(raw["val_loss"])
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None
    return (step, loss) if checkpoint_path(run_path, step).is_dir() else None


def prune_checkpoints(run_path: Path, step: int, keep_last: int, keep_steps: set[int]) -> None:
    """Delete all but the newest `keep_last` checkpoints up to `step` and those of `keep_steps`, and half-written ones.

    Checkpoints of later steps are damaged ones that a resume passed over, or from before an extension: they must not
    count as the newest.
    """
    folder = run_path / CHECKPOINTS_DIRECTORY
    for left_over in folder.glob(".step-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    present = [checkpoint for checkpoint in list_checkpoints(run_path) if checkpoint.step <= step]
    for checkpoint in present[:-keep_last]:
        if checkpoint.step not in keep_steps:
            delete_checkpoint(checkpoint.path)


def delete_checkpoint(path: Path) -> None:
    """Delete a checkpoint: first its name, then its files, so that a kill in between leaves no half of one."""
    doomed = path.with_name(f".{path.name}.deleted")
    with suppress(OSError):  # what cannot be deleted costs space, not the run
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
