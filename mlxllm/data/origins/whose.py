"""The datasets that a model read, as the runs that made it tell it."""

from pathlib import Path

from mlxllm import paths
from mlxllm.data.manifest import read_manifest
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.runs import RunDirectory, ancestors, checkpoint_steps, read_json, run_of, run_settings

_TRAINER_FILE = "trainer.json"


def datasets_of(model: str) -> list[Path]:
    """The datasets of all stages of a model, in their order; conversations and preferences are no datasets.

    Raises:
        ConfigError: the model is no run, or one that read no dataset.
        DataError: a dataset is no longer there.
    """
    run = run_of(model)
    if run is None:
        raise ConfigError(
            f"what {model!r} was trained on is not known here, as it is no run; `mlxllm trace TEXT --data NAME` "
            f"looks in a dataset"
        )
    found: list[Path] = []
    for stage in ancestors(run):
        if not (name := _dataset_of(stage.run)):
            continue
        try:
            found.append(paths.existing("datasets", name))
        except UserError:
            raise DataError(
                f"run {stage.run.name!r} was trained on dataset {name!r}, which is no longer there; build it again as it was"
            ) from None
    if not found:
        raise ConfigError(
            f"no stage of {model!r} read a dataset that is known here; `mlxllm trace TEXT --data NAME` looks in one"
        )
    return list(dict.fromkeys(found))


def changed_since(model: str) -> str:
    """A sentence about a dataset that is not what it was when the model was trained on it; "" where none is known."""
    run = run_of(model)
    for stage in ancestors(run) if run is not None else ():
        name, before = _dataset_of(stage.run), _fingerprint_then(stage.run)
        try:
            now = read_manifest(paths.existing("datasets", name)).fingerprint if name else ""
        except UserError:
            continue
        if now and before and now != before:
            was = f"dataset {name!r} was changed since run {stage.run.name!r} was trained on it"
            return f"{was}; what is found is of the new one"
    return ""


def _dataset_of(run: RunDirectory) -> str:
    data = run_settings(run).get("data")
    name = data.get("dataset") if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""


def _fingerprint_then(run: RunDirectory) -> str:
    """Of the dataset, as the newest checkpoint has it."""
    for step in checkpoint_steps(run)[-1:]:
        try:
            found = read_json(run.checkpoints / f"step-{step:08d}" / _TRAINER_FILE)
        except UserError:
            return ""
        kept = found.get("data_fingerprint") if isinstance(found, dict) else None
        return kept if isinstance(kept, str) else ""
    return ""
