"""Before a run begins: its settings checked against data, model and machine, and what they left open filled in."""

from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlxllm import paths
from mlxllm.config import RunConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.errors import ConfigError, RunError
from mlxllm.evaluation.pair_rows import PairShapes
from mlxllm.model.loading import LoadedModel, load_plain, refuse_packed
from mlxllm.model.naming import lasting_name
from mlxllm.runs import RunDirectory
from mlxllm.runtime import compute_dtype, device_info
from mlxllm.settings import parse_config
from mlxllm.training.compare import already_exists, check_memory
from mlxllm.training.dpo import DpoData
from mlxllm.training.methods import Material, TokenizerFiles, open_material


@dataclass(frozen=True)
class Plan:
    """A run that has been checked and is ready to be started."""

    run: RunDirectory
    config: RunConfig
    material: Material
    base: LoadedModel | None = None
    """The model whose weights it begins with; None draws fresh ones."""
    deadline: float | None = None
    """`time.monotonic()` at which training is to be over; the number of steps is then measured."""
    milestones: int | None = None
    """With a deadline: how many validations and samples the steps are divided by."""


def plan_run(
    run: RunDirectory,
    config: RunConfig,
    *,
    model_name: str | None = None,
    adapter_name: str | None = None,
    deadline: float | None = None,
    milestones: int | None = None,
) -> Plan:
    """Check a new run against its data and the machine, and fill in what the configuration left open.

    Args:
        run: where it is to be.
        config: what is asked for.
        model_name: what it begins with, as `load_model` takes it.
        adapter_name: an adapter that is merged into that model first.
        deadline: see `Plan`.
        milestones: see `Plan`.

    Raises:
        ConfigError: settings that do not fit each other, the data or the model.
        DataError: the data are missing, damaged, or leave nothing to train on.
        ModelError: the model cannot be used, or the adapter belongs to another one.
        RunError: there is such a run already.
    """
    if run.config.exists():
        raise RunError(already_exists(run, _from_any_folder(config)))
    base = load_plain(model_name, adapter=adapter_name) if model_name is not None else None
    if base is not None:
        if config.lora is None:
            refuse_packed(base)
        _check_positions(config, base)
        raw = {
            **config.model_dump(mode="json"),
            "model": base.config.model_dump(mode="json"),
            "base_model": base.address,
            "base_adapter": lasting_name(base.adapter) if base.adapter is not None else "",
            "base_fingerprint": base.fingerprint,
        }
        config = parse_config(raw, f"--model {model_name}")
    elif config.method != "pretrain" or config.lora is not None:
        what = "adapters" if config.lora is not None else config.method
        raise ConfigError(f"{what} needs a model to begin with; name a run or a folder with --model M")
    words = TokenizerFiles(base.tokenizer, base.tokenizer_directory) if base is not None else None
    config, material = open_material(_from_any_folder(config), words)
    if isinstance(material.data, TokenDataset):
        material.words.tokenizer.encode(config.train.sample_prompt)  # refuses what cannot be spelled
    if base is None:
        _check_context(config)
    config = settle(config)
    val_tokens = material.data.val.num_tokens if isinstance(material.data, TokenDataset) else None
    check_memory(_as_long_as_the_pairs(config, material), val_tokens=val_tokens)
    return Plan(run, config, material, base, deadline, milestones)


def _as_long_as_the_pairs(config: RunConfig, material: Material) -> RunConfig:
    """The configuration with rows as long as the longest pair really is, where that is known."""
    if not isinstance(material.data, DpoData) or not material.data.train:
        return config
    shapes = PairShapes(material.data.train, config.data.max_seq_len)
    longest = max(shapes.length(pair) for pair in material.data.train)
    return config.with_values(data={"max_seq_len": max(2, -(-longest // 2))})


def _check_positions(config: RunConfig, base: LoadedModel) -> None:
    """Refuse rows that are longer than the model's table of positions, which its weights fix."""
    longest, wanted = base.config.max_position_embeddings, config.data.max_seq_len
    if base.config.positions in ("learned", "sinusoidal") and wanted > longest:
        raise ConfigError(
            f"data.max_seq_len is {wanted:,}, and the positions of {base.name} end at {longest:,}; give --max-seq-len "
            f"{longest} or less"
        )


def _check_context(config: RunConfig) -> None:
    """Refuse rows beyond what a fresh model says it is made for: it would learn them, and be used as if it had not."""
    longest, wanted = config.model.max_position_embeddings, config.data.max_seq_len
    if wanted > longest:
        raise ConfigError(
            f"data.max_seq_len is {wanted:,}, but model.max_position_embeddings is {longest:,}, and that is what chat, eval "
            f"and exports take the model to be made for; give --set model.max_position_embeddings={wanted} as well, or "
            f"--max-seq-len {longest} or less"
        )


def _from_any_folder(config: RunConfig) -> RunConfig:
    """Paths of data made absolute: a run is resumed from any folder."""
    data = config.data
    values: dict[str, object] = {
        key: tuple(str(Path(r).expanduser().absolute()) if r and paths.is_path(r) else r for r in getattr(data, key))
        for key in ("records", "val_records")
    }
    if data.dataset:
        found = paths.existing("datasets", data.dataset)
        if paths.is_path(data.dataset):
            values["dataset"] = str(found.absolute())
    return config.with_values(data=values)


def settle(config: RunConfig) -> RunConfig:
    """Fill in what depends on the machine: compute dtype and lanes."""
    dtype = str(compute_dtype(config.train.compute_dtype)).rsplit(".", 1)[-1]
    lanes = config.train.lanes or default_lanes(config.train.batch_size)
    if mx.default_device().type == mx.gpu:
        lanes = 1
    if config.train.batch_size % lanes:
        raise ConfigError(
            f"train.batch_size {config.train.batch_size} does not divide into train.lanes {lanes}; leave lanes out"
        )
    return config.with_values(train={"compute_dtype": dtype, "lanes": lanes})


def default_lanes(batch_size: int) -> int:
    """Lanes for the CPU: as many as there are cores, at most eight, that divide the batch."""
    if mx.default_device().type == mx.gpu:
        return 1
    return max(n for n in range(1, min(device_info().cores, 8) + 1) if batch_size % n == 0)
