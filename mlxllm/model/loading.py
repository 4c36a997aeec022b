"""A model by name: a run's checkpoint, or a folder in Hugging Face's form, with its tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
from pydantic import ValidationError

from mlxllm import paths
from mlxllm.config import ModelConfig, RunConfig
from mlxllm.errors import ConfigError, DataError, ModelError, RunError, UserError
from mlxllm.model.adapters import adapt, fused, has_adapters
from mlxllm.model.checkpoint_files import (
    CHECKPOINTS_DIRECTORY,
    MODEL_FILE,
    TRAINABLE_FILE,
    TRAINER_FILE,
    WEIGHT_FILES,
    find_checkpoint,
)
from mlxllm.model.hf_config import config_from_hf
from mlxllm.model.hf_weights import check_weights, weights_from_hf
from mlxllm.model.module import named_parameters, set_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.model.weight_files import read_object, read_safetensors, weight_files
from mlxllm.runs.files import read_json, sha256_of_file
from mlxllm.tokenizer import Tokenizer, load_tokenizer

CONFIG_FILE = "config.json"
TOKENIZER_DIRECTORY = "tokenizer"
BASE = "base"


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode (no dropout), with all that is needed to use it."""

    model: Transformer
    config: ModelConfig
    tokenizer: Tokenizer
    tokenizer_directory: Path
    name: str
    """As it was asked for."""
    path: Path
    """The checkpoint, or the folder."""
    step: int | None
    """The checkpoint's step; None for a folder."""
    history: tuple[str, ...]
    """The stages that made it, the last one last: `base`, then `sft`, `dpo`."""
    weight_files: tuple[Path, ...]
    run_config: RunConfig | None = None
    """The whole config of its run; None for a folder."""

    @property
    def kind(self) -> str:
        """The last stage: `base` continues a text, the others answer."""
        return self.history[-1]

    @property
    def address(self) -> str:
        """A name that still finds these weights when their run has gone on, from any folder."""
        if self.step is None:
            return str(self.path.absolute())
        run = self.path.parent.parent.absolute()
        name = run.name if run.parent == paths.folder("runs").absolute() else str(run)
        return f"{name}@{self.step}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weight files; equal for equal weights in equal files. Reads them all, once."""
        hashes = [sha256_of_file(path) for path in self.weight_files]
        if len(hashes) == 1:
            return hashes[0]
        return sha256("".join(hashes).encode()).hexdigest()


def load_model(name: str, *, dtype: mx.Dtype | None = None) -> LoadedModel:
    """Load the model that a command line calls `name`.

    Args:
        name: `RUN` (its newest valid checkpoint), `RUN@STEP`, `RUN@best`, or a path: of a run, of one of its
            checkpoints, or of a folder with config.json and *.safetensors.
        dtype: what the weights are cast to; by default they stay as they are stored.

    Raises:
        ConfigError: there is no such thing; the message lists near names.
        RunError: the run has no such checkpoint, or it is damaged.
        ModelError: the folder's config.json or weights cannot be used.
        DataError: the tokenizer is missing or damaged.
    """
    base, which = _parse(name)
    if not base.strip():
        raise ConfigError(
            f"{name!r} names no model; give a run (`mlxllm runs ls` lists them), RUN@STEP, RUN@best, or a folder with a model"
        )
    path = _existing(base)
    if path.parent.name == CHECKPOINTS_DIRECTORY and path.name.startswith("step-") and which is None:
        digits = path.name.removeprefix("step-")
        path, which = path.parent.parent, int(digits) if digits.isdecimal() else None
    if not path.is_dir():
        raise ModelError(
            f"{path} is a file; a model is a run, or a folder with {CONFIG_FILE} and .safetensors files: "
            f"give that folder"
        )
    if is_run(path):
        return _load_run(name, path, "last" if which is None else which, dtype)
    if which is not None:
        raise ConfigError(f"{path} is not a run, so it has no checkpoint @{which}; leave @{which} out")
    read_hf_config(path)  # what is no model at all shall not be told that its tokenizer is missing
    tokenizer = _tokenizer_of_folder(path)
    model, config, files = load_hf_folder(path, dtype=dtype)
    _check_vocabulary(name, config, tokenizer)
    return LoadedModel(model, config, tokenizer, _tokenizer_directory(path), name, path, None, (BASE,), files)


def load_plain(name: str, *, dtype: mx.Dtype | None = None) -> LoadedModel:
    """As `load_model`; adapters are merged, so that training can begin with it."""
    loaded = load_model(name, dtype=dtype)
    return replace(loaded, model=fused(loaded.model)) if has_adapters(loaded.model) else loaded


def load_base(config: RunConfig, who: str, *, dtype: mx.Dtype | None = None) -> LoadedModel:
    """The model that a run began with, unchanged.

    Args:
        config: of the run.
        who: the run, for messages.
        dtype: see `load_model`.

    Raises:
        RunError: it is gone, or its weights are others by now.
    """
    try:
        base = load_plain(config.base_model, dtype=dtype)
    except UserError as error:
        raise RunError(f"{who} is an adapter on {config.base_model}, which cannot be loaded: {error}") from None
    if config.base_fingerprint and base.fingerprint != config.base_fingerprint:
        raise RunError(
            f"the weights of {config.base_model} are not those that {who} began with (SHA-256 "
            f"{config.base_fingerprint[:12]} -> {base.fingerprint[:12]}); put them back, or train again"
        )
    return base


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


def read_hf_config(path: Path) -> ModelConfig:
    """The config.json of a folder as `save_pretrained` writes it, as ours.

    Raises:
        ModelError: it is missing, damaged or not supported; the message names the key.
    """
    if not (path / CONFIG_FILE).is_file():
        raise ModelError(f"{path} is neither a run nor a model: it holds no {CONFIG_FILE}")
    try:
        raw = read_object(path / CONFIG_FILE)
    except ModelError as error:
        raise ModelError(f"{error}; copy the {CONFIG_FILE} of the model there again") from None
    try:
        return config_from_hf(raw)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def load_hf_folder(path: Path, *, dtype: mx.Dtype | None = None) -> tuple[Transformer, ModelConfig, tuple[Path, ...]]:
    """Model, config and weight files of a folder as `save_pretrained` writes it; its tokenizer is left aside.

    Raises:
        ModelError: something is missing, damaged, or not supported; the message names the file and the key.
    """
    config = read_hf_config(path)
    files = weight_files(path)
    theirs: dict[str, mx.array] = {}
    for file in files:
        theirs.update(read_safetensors(file))
    where = str(files[0] if len(files) == 1 else path)
    return _model_with(config, weights_from_hf(config, theirs, where), dtype), config, files


def _parse(name: str) -> tuple[str, Literal["last", "best"] | int | None]:
    base, at, which = name.rpartition("@")
    if not at or Path(name).expanduser().exists():
        return name, None
    if which in ("last", "best"):
        return base, "last" if which == "last" else "best"
    if which.isascii() and which.isdecimal():
        return base, int(which)
    raise ConfigError(f"{name!r} asks for the checkpoint {which!r}; write {base}@STEP, a number, or {base}@best")


def _existing(name: str) -> Path:
    try:
        return paths.existing("runs", name)
    except ConfigError:
        if name.count("/") == 1 and not paths.is_path(name):
            raise ConfigError(
                f"there is no run or folder {name!r}; a model of the Hub is first downloaded, e.g. with "
                f"`hf download {name} --local-dir ./{name.split('/')[1]}`, and its folder given"
            ) from None
        raise


def _load_run(name: str, path: Path, which: Literal["last", "best"] | int, dtype: mx.Dtype | None) -> LoadedModel:
    run_config = read_run_config(path)
    # The optimizer's file is as large as the model twice over and not needed here.
    checkpoint = find_checkpoint(path, which, hashed=(*WEIGHT_FILES, TRAINER_FILE))
    tokenizer = load_tokenizer(path / TOKENIZER_DIRECTORY)
    file = checkpoint.path / MODEL_FILE
    files: tuple[Path, ...] = (file,)
    if run_config.lora is None:
        weights = read_safetensors(file)
        check_weights(run_config.model, weights, str(file))
        model = _model_with(run_config.model, weights, dtype)
    else:
        base = load_base(run_config, f"run {path.name!r}", dtype=dtype)
        model, file = base.model, checkpoint.path / TRAINABLE_FILE
        adapt(model, run_config.lora, run_config.train.seed)
        set_parameters(model, read_safetensors(file))
        model.eval()
        files = (file, *base.weight_files)
    _check_vocabulary(name, run_config.model, tokenizer)
    history = _history(read_object(checkpoint.path / TRAINER_FILE))
    return LoadedModel(
        model,
        run_config.model,
        tokenizer,
        path / TOKENIZER_DIRECTORY,
        name,
        checkpoint.path,
        checkpoint.step,
        history,
        files,
        run_config,
    )


def _history(trainer: Mapping[str, Any]) -> tuple[str, ...]:
    stages = trainer.get("history")
    return tuple(str(stage) for stage in stages) if isinstance(stages, list) and stages else (BASE,)


def _model_with(config: ModelConfig, weights: Mapping[str, mx.array], dtype: mx.Dtype | None) -> Transformer:
    model = Transformer(config)
    if dtype is not None:
        weights = {name: weight.astype(dtype) for name, weight in weights.items()}
    model.load_weights(list(weights.items()))
    model.eval()
    # Loads are lazy: read now, so that a disk that fails does so here and the first token does not wait for it.
    mx.eval(named_parameters(model))
    return model


def _check_vocabulary(name: str, config: ModelConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            f"the tokenizer of {name!r} has {tokenizer.vocab_size:,} ids, its model {config.vocab_size:,}: "
            f"they do not belong together"
        )


def _tokenizer_of_folder(path: Path) -> Tokenizer:
    """Ours, from the folder or from tokenizer/ in it."""
    try:
        return load_tokenizer(_tokenizer_directory(path))
    except DataError as error:
        raise ModelError(f"the tokenizer of the model {path} cannot be used: {error}") from None


def _tokenizer_directory(folder: Path) -> Path:
    """Where a model's folder keeps its tokenizer."""
    own = folder / TOKENIZER_DIRECTORY
    return own if own.is_dir() else folder
