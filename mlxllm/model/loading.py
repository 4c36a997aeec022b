"""A model by name: a run's checkpoint, or a folder in Hugging Face's form, with its tokenizer and perhaps an adapter."""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import mlx.core as mx

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.errors import ConfigError, ModelError, RunError, UserError
from mlxllm.model.adapter_files import (
    ADAPTER_CONFIG_FILE,
    load_adapter,
    read_adapter,
)
from mlxllm.model.adapters import adapt, fused, has_adapters
from mlxllm.model.checkpoint_files import (
    MODEL_FILE,
    TRAINABLE_FILE,
    TRAINER_FILE,
    WEIGHT_FILES,
    find_checkpoint,
)
from mlxllm.model.hf_folder import (
    folder_tokenizer,
    history_in,
    load_hf_folder,
    model_with,
    read_hf_config,
    read_history,
)
from mlxllm.model.hf_weights import check_weights
from mlxllm.model.module import set_parameters
from mlxllm.model.naming import Which, choice_of, find_adapter, find_model, is_run, lasting_name, read_run_config
from mlxllm.model.quantized_models import is_quantized
from mlxllm.model.transformer import Transformer
from mlxllm.model.weight_files import read_object, read_safetensors
from mlxllm.runs.files import sha256_of_file
from mlxllm.tokenizer import Tokenizer, load_tokenizer
from mlxllm.tokenizer.storage import TOKENIZER_DIRECTORY, tokenizer_directory

_PADDED_TO, _PADDED_SHARE = 256, 8
"""Models have rows that no token has: up to a multiple of 256 ids, or an eighth more, is taken for padding."""


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
    note: str = ""
    """What is to be said about the choice of a checkpoint, in a sentence; usually nothing."""
    run_config: RunConfig | None = None
    """The whole config of its run; None for a folder."""
    adapter: Path | None = None
    """The adapter that was stacked on it, if any."""

    @property
    def kind(self) -> str:
        """The last stage: `base` continues a text, the others answer."""
        return self.history[-1]

    @property
    def address(self) -> str:
        """A name that still finds these weights, but for a stacked adapter, when their run has gone on, from any folder."""
        return lasting_name(self.path)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weight files; equal for equal weights in equal files. Reads them all, once."""
        hashes = [sha256_of_file(path) for path in self.weight_files]
        if len(hashes) == 1:
            return hashes[0]
        return sha256("".join(hashes).encode()).hexdigest()


def load_model(name: str, *, adapter: str | None = None, dtype: mx.Dtype | None = None) -> LoadedModel:
    """Load the model that a command line calls `name`.

    Args:
        name: `RUN` (its newest valid checkpoint), `RUN@STEP`, `RUN@best`, or a path: of a run, of one of its
            checkpoints, or of a folder with config.json and *.safetensors.
        adapter: what is stacked on it: a folder with an adapter of ours, mlx-lm's or PEFT's, or a run that trained one.
        dtype: what the weights are cast to; by default they stay as they are stored.

    Raises:
        ConfigError: there is no such thing; the message lists near names.
        RunError: the run has no such checkpoint, or it is damaged.
        ModelError: the folder's config.json or weights cannot be used, or the adapter belongs to another model.
        DataError: the tokenizer is missing or damaged.
    """
    path, which = find_model(name)
    if is_run(path):
        loaded = _load_run(name, path, "last" if which is None else which, dtype)
    else:
        read_hf_config(path)  # what is no model at all shall not be told that its tokenizer is missing
        tokenizer = folder_tokenizer(path)
        model, config, files = load_hf_folder(path, dtype=dtype)
        _check_vocabulary(name, config, tokenizer)
        _check_padding(name, config, tokenizer)
        words = tokenizer_directory(path)
        loaded = LoadedModel(model, config, tokenizer, words, name, path, None, read_history(path), files)
    return _with_adapter(loaded, adapter) if adapter is not None else loaded


def load_model_tokenizer(name: str) -> tuple[Tokenizer, Path]:
    """The tokenizer of the model that a command line calls `name`, and where it lies; no weights are read.

    Raises:
        ConfigError: there is no such model.
        ModelError, DataError: its tokenizer is missing or damaged.
    """
    path, _ = find_model(name)
    if is_run(path):
        return load_tokenizer(path / TOKENIZER_DIRECTORY), path / TOKENIZER_DIRECTORY
    read_hf_config(path)
    return folder_tokenizer(path), tokenizer_directory(path)


def load_plain(name: str, *, adapter: str | None = None, dtype: mx.Dtype | None = None) -> LoadedModel:
    """As `load_model`; adapters are merged, so that training can begin with it."""
    loaded = load_model(name, adapter=adapter, dtype=dtype)
    return replace(loaded, model=fused(loaded.model)) if has_adapters(loaded.model) else loaded


def refuse_packed(loaded: LoadedModel) -> None:
    """Full training needs plain weights.

    Raises:
        ConfigError: those of the model are quantised.
    """
    if is_quantized(loaded.model):
        raise ConfigError(
            f"the weights of {loaded.name} are quantised, and a few bits cannot be trained; train an adapter on them "
            f"(--lora-rank 8), or begin with the model as it was before"
        )


def load_base(config: RunConfig, who: str, *, dtype: mx.Dtype | None = None) -> LoadedModel:
    """The model that a run began with, unchanged.

    Args:
        config: of the run.
        who: the run, for messages.
        dtype: see `load_model`.

    Raises:
        RunError: it is gone, or its weights are others by now.
    """
    name = config.base_model + (f" with the adapter {config.base_adapter}" if config.base_adapter else "")
    try:
        base = load_plain(config.base_model, adapter=config.base_adapter or None, dtype=dtype)
    except UserError as error:
        raise RunError(f"{who} began with {name}, which is needed again and cannot be loaded: {error}") from None
    if config.base_fingerprint and base.fingerprint != config.base_fingerprint:
        raise RunError(
            f"the weights of {name} are not those that {who} began with (SHA-256 "
            f"{config.base_fingerprint[:12]} -> {base.fingerprint[:12]}); put them back, or train again"
        )
    return base


def _load_run(name: str, path: Path, which: Which, dtype: mx.Dtype | None) -> LoadedModel:
    run_config = read_run_config(path)
    # The optimizer's file is as large as the model twice over and not needed here.
    checkpoint = find_checkpoint(path, which, hashed=(*WEIGHT_FILES, TRAINER_FILE))
    tokenizer = load_tokenizer(path / TOKENIZER_DIRECTORY)
    file = checkpoint.path / MODEL_FILE
    files: tuple[Path, ...] = (file,)
    if run_config.lora is None:
        weights = read_safetensors(file)
        check_weights(run_config.model, weights, str(file))
        model = model_with(run_config.model, weights, dtype)
    else:
        base = load_base(run_config, f"run {path.name!r}", dtype=dtype)
        model, file = base.model, checkpoint.path / TRAINABLE_FILE
        adapt(model, run_config.lora, run_config.train.seed)
        set_parameters(model, read_safetensors(file))
        model.eval()
        files = (file, *base.weight_files)
    _check_vocabulary(name, run_config.model, tokenizer)
    history = history_in(read_object(checkpoint.path / TRAINER_FILE))
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
        note=choice_of(checkpoint, "the checkpoint of step"),
        run_config=run_config,
    )


def _check_vocabulary(name: str, config: ModelConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            f"the tokenizer of {name!r} has {tokenizer.vocab_size:,} ids, its model {config.vocab_size:,}: "
            f"they do not belong together"
        )


def _check_padding(name: str, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Refuse a folder with a tokenizer far smaller than its model: not padding, but another model's tokenizer."""
    ids = tokenizer.vocab_size
    if config.vocab_size > max(ids + ids // _PADDED_SHARE, -(-ids // _PADDED_TO) * _PADDED_TO):
        raise ModelError(
            f"the tokenizer of {name!r} has {ids:,} ids, its model {config.vocab_size:,}, more than padding explains: "
            f"they do not belong together"
        )


def _with_adapter(loaded: LoadedModel, name: str) -> LoadedModel:
    """The model with an adapter stacked on it; adapters that it has already are merged."""
    folder, note = find_adapter(name)
    model = fused(loaded.model) if has_adapters(loaded.model) else loaded.model
    stored = read_adapter(folder, loaded.config)
    # The fingerprint reads all weights: only where there is one to compare with.
    load_adapter(model, folder, base_fingerprint=loaded.fingerprint if stored.base_fingerprint is not None else None)
    model.eval()
    notes = [note] if note else []
    if stored.base_adapter and stored.base_fingerprint is None:
        notes.append(
            f"the adapter {name} belongs on {stored.base_name or 'its base'} with the adapter {stored.base_adapter} merged "
            f"into it, and nothing here shows whether it was"
        )
    if stored.base_quantize and not is_quantized(model):
        notes.append(
            f"the adapter {name} was trained on a base held in {stored.base_quantize}, and here it is on plain weights, so "
            f"it fits but for their rounding; the run that trained it has both, as --model"
        )
    # A checkpoint of ours says what it was trained for; what others train adapters for is to answer.
    noted = folder / TRAINER_FILE
    history = history_in(read_object(noted)) if noted.is_file() else (*loaded.history, "sft")
    files = (stored.file, stored.file.with_name(ADAPTER_CONFIG_FILE), *loaded.weight_files)
    return replace(
        loaded, model=model, history=history, weight_files=files, adapter=folder, note="; ".join(notes) or loaded.note
    )
