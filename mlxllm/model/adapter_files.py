"""Adapters as files: written as mlx-lm loads them, read as mlx-lm or PEFT wrote them.

- mlx-lm: `adapters.safetensors` with `<layer>.lora_a` (in, r), `.lora_b` (r, out) and, of DoRA, `.m` (out,)
- PEFT: `adapter_model.safetensors` with `base_model.model.<layer>.lora_A.weight` (r, in), `.lora_B.weight` (out, r) and
  `.lora_magnitude_vector` (out,)

Both have an `adapter_config.json` beside it, with different keys.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError, UserError
from mlxllm.model.adapters import AdapterSpec, adaptable, adapters, attach, spec_of
from mlxllm.model.hf_weights import name_in_mlx_lm, name_of_mlx_lm
from mlxllm.model.lora import DoraLinear
from mlxllm.model.module import trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.model.weight_files import read_object, read_safetensors
from mlxllm.runs.files import write_json_atomic
from mlxllm.visible import brief, called

ADAPTER_FILE = "adapters.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"
PEFT_FILE = "adapter_model.safetensors"

_PEFT_NAME = re.compile(r"base_model\.model\.(.+)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?")
_BLOCK = re.compile(r"model\.layers\.(\d+)\.")
_LARGEST_SETTING = 2**20
"""Of ranks and scales."""
_PEFT_LEAVES = {"lora_A": "lora_a", "lora_B": "lora_b", "lora_magnitude_vector": "m"}


@dataclass(frozen=True)
class StoredAdapter:
    """What the files of an adapter say."""

    file: Path
    """Where the arrays lie."""
    spec: AdapterSpec
    arrays: Mapping[str, Mapping[str, mx.array]]
    """Our name of a matrix -> lora_a, lora_b and, of DoRA, m, shaped as mlx-lm has them."""
    base_name: str | None
    """The model that it was trained on, as it was called then."""
    base_fingerprint: str | None
    """SHA-256 of that model's weights, where mlxllm wrote the files."""
    base_adapter: str = ""
    """An adapter that had been merged into that model before, if any."""
    expected: tuple[str, ...] = ()
    """The matrices that must be among the arrays, where the files name them."""
    blocks: range | None = None
    """The blocks that must have adapters, and no others, where the files say it."""
    base_quantize: str = ""
    """How the base was packed for training (`affine4` ...), where mlxllm wrote the files."""


def save_adapter(
    model: Transformer,
    folder: Path,
    *,
    base_name: str | None = None,
    base_adapter: str = "",
    base_fingerprint: str | None = None,
    base_quantize: str | None = None,
) -> None:
    """Write the adapters of `model` so that mlx-lm loads them, and `load_adapter`.

    A GPT-2 in mlx-lm has one matrix for queries, keys and values, which takes no adapter of ours: merge it instead.

    Args:
        model: adapted.
        folder: made if need be; files there are replaced.
        base_name: what the base is called.
        base_adapter: what the adapter is called that was merged into it before.
        base_fingerprint: of the base's weights, so that the adapter is not put on another model by mistake.
        base_quantize: in what format the base was packed, where it was not as its files are.

    Raises:
        UserError: the folder cannot be written.
    """
    spec = spec_of(model)
    arrays: dict[str, mx.array] = {}
    keys: set[str] = set()
    layers: set[int] = set()
    for path, adapter in adapters(model).items():
        name = name_in_mlx_lm(path, model.config)
        _, _, layer, key = name.split(".", maxsplit=3)
        keys.add(key)
        layers.add(int(layer))
        arrays[f"{name}.lora_a"], arrays[f"{name}.lora_b"] = adapter.lora_a, adapter.lora_b
        if isinstance(adapter, DoraLinear):
            arrays[f"{name}.m"] = adapter.lengths
    config: dict[str, Any] = {
        "fine_tune_type": spec.method,
        "num_layers": model.config.num_hidden_layers - min(layers),
        "lora_parameters": {
            "rank": spec.rank,
            "scale": spec.scale,
            "dropout": spec.dropout,
            "keys": sorted(keys),
        },
        "model": base_name,
        **({"base_adapter": base_adapter} if base_adapter else {}),
        "base_fingerprint": base_fingerprint,
        **({"base_quantize": base_quantize} if base_quantize else {}),
    }
    temporary = folder / f".{os.getpid()}.{ADAPTER_FILE}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the adapter to {folder}: {error.strerror or error}") from None
    try:
        mx.save_safetensors(str(temporary), dict(sorted(arrays.items())), {"format": "mlx"})
        temporary.replace(folder / ADAPTER_FILE)
    except (OSError, RuntimeError) as error:  # MLX reports a failed write as RuntimeError
        raise UserError(f"cannot write the adapter to {folder}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)
    write_json_atomic(folder / ADAPTER_CONFIG_FILE, config)


def load_adapter(model: Transformer, folder: Path, *, base_fingerprint: str | None = None) -> StoredAdapter:
    """Put the adapter in `folder` on `model`, which is frozen below it.

    Args:
        model: the base that the adapter was trained on; packed or not.
        folder: in the form of mlx-lm or of PEFT.
        base_fingerprint: of the model's weights, where that is known.

    Raises:
        ModelError: the files are missing or damaged, or they do not belong to this model.
    """
    stored = read_adapter(folder, model.config)
    if None not in (base_fingerprint, stored.base_fingerprint) and base_fingerprint != stored.base_fingerprint:
        base, remedy = stored.base_name or "a model", "give the model that it was trained on"
        if stored.base_adapter:
            base += f" and the adapter {stored.base_adapter}"
            remedy = "adapters do not stack on each other: take the run that trained it as --model"
        raise ModelError(
            f"the adapter {folder} was trained on {base} with weights {str(stored.base_fingerprint)[:12]}, and these are "
            f"{str(base_fingerprint)[:12]}; {remedy}"
        )
    _check_shapes(model, stored)
    attach(model, stored.arrays, stored.spec)
    for path, adapter in adapters(model).items():
        arrays = stored.arrays[path]
        adapter.lora_a, adapter.lora_b = arrays["lora_a"].astype(mx.float32), arrays["lora_b"].astype(mx.float32)
        if isinstance(adapter, DoraLinear):
            adapter.take_lengths(arrays["m"])
    # Loads are lazy: read now, so that the files may go.
    mx.eval(trainable_parameters(model))
    return stored


def read_adapter(folder: Path, config: ModelConfig) -> StoredAdapter:
    """The files in `folder`, before they are held against the weights of a model of `config`.

    Raises:
        ModelError: they are missing, damaged, or hold something else than LoRA or DoRA adapters.
    """
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder}; an adapter is a folder with {ADAPTER_FILE}")
    files = [folder / name for name in (ADAPTER_FILE, PEFT_FILE) if (folder / name).is_file()]
    if not files:
        raise ModelError(
            f"{folder} holds no adapter: neither {ADAPTER_FILE}, as mlxllm and mlx-lm write it, nor PEFT's {PEFT_FILE}"
        )
    settings = read_object(folder / ADAPTER_CONFIG_FILE)
    tensors = read_safetensors(files[0])
    if files[0].name == ADAPTER_FILE:
        return _from_mlx_lm(files[0], settings, tensors, config)
    return _from_peft(files[0], settings, tensors, config)


def _from_mlx_lm(
    file: Path, settings: Mapping[str, Any], tensors: Mapping[str, mx.array], config: ModelConfig
) -> StoredAdapter:
    where = file.with_name(ADAPTER_CONFIG_FILE)
    method, parameters = settings.get("fine_tune_type", "lora"), settings.get("lora_parameters")
    if method not in ("lora", "dora"):
        raise ModelError(
            f"{where} has fine_tune_type {brief(method)}; mlxllm reads lora and dora (all weights are no adapter: save the "
            f"model itself)"
        )
    if not isinstance(parameters, dict):
        raise ModelError(f"{where} lacks lora_parameters; take the file that was saved with {file.name}")
    rank, scale = _number(where, parameters, "rank"), _number(where, parameters, "scale")
    spec = AdapterSpec(method, int(rank), scale, _dropout(where, parameters.get("dropout", 0.0)))
    arrays: dict[str, dict[str, mx.array]] = {}
    for name, array in tensors.items():
        layer, _, leaf = name.rpartition(".")
        if leaf not in ("lora_a", "lora_b", "m"):
            raise ModelError(f"{file} holds {called(name)}, which is no array of an adapter (lora_a, lora_b or m)")
        arrays.setdefault(name_of_mlx_lm(layer), {})[leaf] = array
    keys, last = parameters.get("keys"), settings.get("num_layers", -1)
    if isinstance(last, bool) or not isinstance(last, int):
        raise ModelError(
            f"{where} has num_layers = {brief(last)}; it says how many of the last blocks have adapters, -1 all"
        )
    if last > (all_ := config.num_hidden_layers):
        raise ModelError(
            f"{where} says that the last {last:,} blocks have adapters, and this model has {all_:,}; it was made for "
            f"another model"
        )
    blocks = range(all_ - last if last > 0 else 0, all_)
    expected = [
        name_of_mlx_lm(f"model.layers.{i}.{k}") for i in blocks for k in (keys if isinstance(keys, list) else ())
    ]
    base, merged, fingerprint, quantize = (
        value if isinstance(value := settings.get(key), str) else None
        for key in ("model", "base_adapter", "base_fingerprint", "base_quantize")
    )
    return StoredAdapter(
        file, spec, arrays, base, fingerprint, merged or "", tuple(expected), blocks, base_quantize=quantize or ""
    )


def _from_peft(
    file: Path, settings: Mapping[str, Any], tensors: Mapping[str, mx.array], config: ModelConfig
) -> StoredAdapter:
    where = file.with_name(ADAPTER_CONFIG_FILE)
    if settings.get("peft_type") != "LORA":
        raise ModelError(
            f"{where} has peft_type {brief(settings.get('peft_type'))}; of PEFT's adapters mlxllm reads LORA only"
        )
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out"):
        if settings.get(key):
            raise ModelError(
                f"{where} has {key} = {brief(settings[key])}, which mlxllm cannot use; merge the adapter with PEFT"
            )
    rank, alpha = _number(where, settings, "r"), _number(where, settings, "lora_alpha")
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    dropout = _dropout(where, settings.get("lora_dropout", 0.0))
    spec = AdapterSpec("dora" if settings.get("use_dora") else "lora", int(rank), scale, dropout)
    arrays: dict[str, dict[str, mx.array]] = {}
    for name, array in tensors.items():
        match = _PEFT_NAME.fullmatch(name)
        if match is None:
            raise ModelError(
                f"{file} holds {called(name)}, which is no array of a LoRA adapter; merge the adapter with PEFT"
            )
        # PEFT has matrices as (out, in).
        arrays.setdefault(match[1], {})[_PEFT_LEAVES[match[2]]] = array.T if array.ndim == 2 else array
    base = settings.get("base_model_name_or_path")
    chosen, targets = ("layers_to_transform", "exclude_modules"), settings.get("target_modules")
    # Names of single matrices may be of some blocks only; plain ones mean all blocks.
    plain = isinstance(targets, list) and all(isinstance(name, str) and "." not in name for name in targets)
    everywhere = plain and not any(settings.get(key) for key in chosen)
    blocks = range(config.num_hidden_layers) if everywhere else None
    return StoredAdapter(file, spec, arrays, base if isinstance(base, str) else None, None, blocks=blocks)


def _number(where: Path, settings: Mapping[str, Any], key: str) -> float:
    value = settings.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST_SETTING:
        raise ModelError(
            f"{where} has {key} = {brief(value)} where a number above 0 belongs, and no absurd one; take the "
            f"adapter's own file"
        )
    return value


def _dropout(where: Path, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ModelError(f"{where} has a dropout of {brief(value)}; it is a share, 0 or more and less than 1")
    return value


def _check_shapes(model: Transformer, stored: StoredAdapter) -> None:
    """Hold what the files have against the matrices of a model."""
    matrices, file, rank = adaptable(model), stored.file, stored.spec.rank
    leaves = ("lora_a", "lora_b", "m") if stored.spec.method == "dora" else ("lora_a", "lora_b")
    if not stored.arrays:
        raise ModelError(f"{file} holds no arrays; save the adapter again")
    for path, arrays in sorted(stored.arrays.items()):
        if path not in matrices:
            raise ModelError(
                f"{file} has an adapter on {called(path)}, which mlxllm cannot adapt in this model; was it made for "
                f"another one?"
            )
        *experts, out, width = matrices[path]
        if experts:
            shapes = {"lora_a": (*experts, rank, width), "lora_b": (*experts, out, rank)}
        else:
            shapes = {"lora_a": (width, rank), "lora_b": (rank, out), "m": (out,)}
        for leaf in leaves:
            if leaf not in arrays:
                raise ModelError(f"{file} lacks {called(path)}.{leaf}; the file is not whole, copy or save it again")
            if leaf not in shapes or tuple(arrays[leaf].shape) != shapes[leaf]:
                raise ModelError(
                    f"{file} holds {called(path)}.{leaf} of shape {tuple(arrays[leaf].shape)} where this model and rank "
                    f"{rank} need {shapes.get(leaf)}; it was made for another model"
                )
        if extra := sorted(set(arrays) - set(leaves)):
            raise ModelError(
                f"{file} holds {called(path)}.{called(extra[0])}, which belongs to dora, but its config says "
                f"{stored.spec.method}"
            )
    if missing := [path for path in stored.expected if path not in stored.arrays]:
        raise ModelError(
            f"{file} lacks the adapter of {called(missing[0])}, which {ADAPTER_CONFIG_FILE} beside it names"
        )
    if stored.blocks is not None:
        found = {int(match[1]) for path in stored.arrays if (match := _BLOCK.match(path))}
        if odd := sorted(found ^ set(stored.blocks)):
            raise ModelError(
                f"{file} has {'an' if odd[0] in found else 'no'} adapter on block {odd[0]}, and by {ADAPTER_CONFIG_FILE} "
                f"beside it those of a model with {model.config.num_hidden_layers:,} blocks are on {stored.blocks[0]} to "
                f"{stored.blocks[-1]}; it was made for another model"
            )
