"""Names for new runs, where none is given, and what a model is called in short."""

from pathlib import Path

from mlxllm import paths


def name_for_training(dataset: str, preset: str) -> str:
    """Of a run that is trained on a dataset: both names and the first free number."""
    return free_name(f"{Path(dataset).name or 'run'}-{preset or 'custom'}")


def name_for_tuning(model: str, method: str) -> str:
    """Of a run that begins with a model (RUN, RUN@STEP or a folder): its name, the method and the first free number."""
    return free_name(f"{Path(model.partition('@')[0]).name or 'model'}-{method}")


def short_name(model: str) -> str:
    """What a model is called where there is little room: without the folders above it."""
    return model.rstrip("/").rpartition("/")[2] or model


def free_name(base: str) -> str:
    """`base` with the first number that no run has: "letters-1"."""
    number = 1
    while (paths.folder("runs") / f"{base}-{number}").exists():
        number += 1
    return f"{base}-{number}"
