"""What a command line calls a model or an adapter: the folders behind RUN, RUN@STEP, RUN@best, paths, OWNER/NAME."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from mlxllm import paths
from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError, ModelError, RunError, UserError
from mlxllm.model.adapter_files import ADAPTER_CONFIG_FILE, ADAPTER_FILE
from mlxllm.model.checkpoint_files import (
    CHECKPOINTS_DIRECTORY,
    MANIFEST_FILE,
    TRAINER_FILE,
    Checkpoint,
    find_checkpoint,
    verify_checkpoint,
)
from mlxllm.model.hf_folder import CONFIG_FILE, GGUF_SUFFIX, NOT_GGUF
from mlxllm.runs.files import read_json

Which = Literal["last", "best"] | int
"""A checkpoint of a run."""


def find_model(name: str) -> tuple[Path, Which | None]:
    """The folder of a run or of a model that a command line calls `name`, and the checkpoint that it asks for.

    A model of the Hub is fetched if it is not here; who listens is told (`data.transfers`).

    Raises:
        ConfigError: there is no such thing; the message lists near names.
        ModelError: it is a file.
        DataError: it is a model of the Hub that cannot be had.
    """
    if (found := _of_the_hub(name)) is not None:
        return found, None
    base, which = _parse(name)
    if not base.strip():
        raise ConfigError(
            f"{name!r} names no model; give a run (`mlxllm runs ls` lists them), RUN@STEP, RUN@best, a folder with a model, "
            f"or OWNER/NAME of the Hub"
        )
    path = paths.existing("runs", base)
    if which is None:
        path, which = _split(path)
    if not path.is_dir():
        if path.suffix.lower() == GGUF_SUFFIX:
            raise ModelError(f"{path} is a GGUF file, {NOT_GGUF}")
        raise ModelError(
            f"{path} is a file; a model is a run, or a folder with {CONFIG_FILE} and .safetensors files: "
            f"give that folder"
        )
    if which is not None and not is_run(path):
        raise ConfigError(f"{path} is not a run, so it has no checkpoint @{which}; leave @{which} out")
    return path, which


def find_adapter(name: str) -> tuple[Path, str]:
    """The folder with the files of the adapter that a command line calls `name`, and what is to be said of the choice.

    Raises:
        ConfigError: there is no such thing, or it is a run that trained all weights.
        ModelError: it is a file.
        RunError: the run has no such checkpoint, or it is damaged.
    """
    base, which = _parse(name)
    try:
        path = paths.existing("runs", base)
    except ConfigError:
        raise ConfigError(
            f"there is no adapter {name!r}; give a folder with {ADAPTER_FILE} (or PEFT's files), or a run that trained one"
        ) from None
    if not path.is_dir():
        raise ModelError(
            f"{path} is a file; an adapter is a folder with {ADAPTER_FILE} and {ADAPTER_CONFIG_FILE}: give that"
        )
    if is_run(path):
        checkpoint = find_checkpoint(path, "last" if which is None else which, hashed=(ADAPTER_FILE, TRAINER_FILE))
        if not (checkpoint.path / ADAPTER_FILE).is_file():
            raise ConfigError(f"run {base!r} trained all weights, not an adapter; use it as --model {name}")
        return checkpoint.path, choice_of(checkpoint, "the adapter of step")
    elif which is not None:
        raise ConfigError(f"{path} is not a run, so it has no checkpoint @{which}; leave @{which} out")
    elif (path / MANIFEST_FILE).is_file() and (reason := verify_checkpoint(path, (ADAPTER_FILE, TRAINER_FILE))):
        raise RunError(f"the adapter {path} cannot be used: {reason}; take another checkpoint")
    return path, ""


def choice_of(checkpoint: Checkpoint, what: str) -> str:
    """What is to be said where a newer checkpoint was passed over, in a sentence; else nothing."""
    return f"{what} {checkpoint.step:,} is used: {checkpoint.passed_over}" if checkpoint.passed_over else ""


def lasting_name(path: Path) -> str:
    """A name that still finds a checkpoint, a folder or a model of the Hub when its run or branch has gone on, from any
    folder.
    """
    if path.parent.name == "snapshots":
        from mlxllm.data.hub.models import name_of_snapshot  # it loads much that only models of the Hub need

        if (name := name_of_snapshot(path)) is not None:
            return name
    path, step = _split(path.absolute())
    if step is None:
        return str(path)
    return f"{path.name if path.parent == paths.folder('runs').absolute() else path}@{step}"


def _split(path: Path) -> tuple[Path, int | None]:
    """The run and the step of a checkpoint's folder; any other folder as it is."""
    digits = path.name.removeprefix("step-")
    if path.parent.name == CHECKPOINTS_DIRECTORY and digits != path.name and digits.isdecimal():
        return path.parent.parent, int(digits)
    return path, None


def is_run(path: Path) -> bool:
    """Whether the folder is a run, begun at least, rather than a model in Hugging Face's form."""
    if (path / CHECKPOINTS_DIRECTORY).is_dir():
        return True
    config = path / CONFIG_FILE
    try:
        raw = read_json(config) if config.is_file() else None
    except UserError:
        return False
    return isinstance(raw, dict) and {"model", "train"} <= raw.keys()


def read_run_config(run_path: Path) -> RunConfig:
    """The config.json of a run.

    Raises:
        RunError: it is missing, damaged, or has settings that this version does not know.
    """
    path = run_path / CONFIG_FILE
    try:
        raw = read_json(path)
        if not isinstance(raw, dict):
            raise UserError(f"{path} does not hold a JSON object, which the settings of a run are")
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        wrong = (
            first["msg"]
            .removeprefix("Value error, ")
            .replace("Input should", f"{place} is {first['input']!r}, but it should", 1)
        )
        if first["type"] == "extra_forbidden":
            wrong = f"the setting {place} is not known"
        raise RunError(
            f"{path} is not a config that this mlxllm can use: {wrong}; was the run made with another version?"
        ) from None
    except UserError as error:
        raise RunError(f"run {run_path.name!r} cannot be used: {error}") from None


def _parse(name: str) -> tuple[str, Which | None]:
    base, at, which = name.rpartition("@")
    if not at or Path(name).expanduser().exists():
        return name, None
    if which in ("last", "best"):
        return base, "last" if which == "last" else "best"
    if which.isascii() and which.isdecimal():
        return base, int(which)
    raise ConfigError(f"{name!r} asks for the checkpoint {which!r}; write {base}@STEP, a number, or {base}@best")


def _of_the_hub(name: str) -> Path | None:
    """The folder of a model of the Hub; None where `name` is a path, or none of the Hub's."""
    if "/" not in name or paths.is_path(name) or paths.is_path(name.rpartition("@")[0] or name):
        return None
    from mlxllm.data.hub.models import fetch_model, parse_hub_name  # it loads much that only models of the Hub need

    wanted = parse_hub_name(name)
    return fetch_model(wanted) if wanted is not None else None
