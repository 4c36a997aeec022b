"""The files of a model folder that others wrote: which hold the weights, and reading them with care."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.errors import ModelError, UserError
from mlxllm.model.checkpoint_files import MODEL_FILE
from mlxllm.model.safetensors_header import Tensor, read_header
from mlxllm.runs.files import read_json
from mlxllm.runtime import device_info
from mlxllm.visible import called

INDEX_FILE = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""What files end in that run code of who wrote them when they are opened."""
_MOST_JSON_BYTES = 256 << 20
_MOST_FILES = 10_000
_NOT_IN_MLX = ("F64", "F8_E5M2")
_FLOATING = ("F16", "BF16", "F32", "F64")


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files of the folder `path` that hold the weights: one, or those that its index names.

    Raises:
        ModelError: there are none, or only pickles, or one that the index names is missing or lies elsewhere.
    """
    if (path / MODEL_FILE).is_file():
        return (inside(path, MODEL_FILE),)
    if (path / INDEX_FILE).is_file():
        names = sorted(set(index_of(path).values()))
        if missing := [name for name in names if not (path / name).is_file()]:
            raise ModelError(
                f"{path} lacks {missing[0]}, one of the {len(names)} files that {INDEX_FILE} names; download it again"
            )
        return tuple(inside(path, name) for name in names)
    found = sorted(path.glob("*.safetensors"))
    if len(found) == 1:
        return (inside(path, found[0].name),)
    if found:
        raise ModelError(f"{path} holds {len(found)} .safetensors files but no {INDEX_FILE} that says what they are")
    if pickles := sorted(file.name for file in path.iterdir() if file.suffix in PICKLES):
        raise ModelError(pickle_refusal(f"{path} holds its weights as a pickle ({called(pickles[0])})"))
    raise ModelError(f"{path} holds no .safetensors file with the model's weights")


def pickle_refusal(found: str) -> str:
    """What is said of weights that are a pickle; `found` says where."""
    return (
        f"{found}: weights as a pickle, which can run any code when it is opened, are never read; take a version of the "
        f'model with .safetensors files, or convert it where you trust it: python -c "from transformers import '
        f"AutoModelForCausalLM as A; A.from_pretrained('FOLDER').save_pretrained('NEW', safe_serialization=True)\""
    )


def index_of(path: Path) -> dict[str, str]:
    """Tensor -> file, as the index of the folder `path` has it; no file of it lies elsewhere.

    Raises:
        ModelError: it is damaged, or names files outside of the folder.
    """
    weight_map = read_object(inside(path, INDEX_FILE)).get("weight_map")
    usable = isinstance(weight_map, dict) and all(isinstance(name, str) for name in weight_map.values())
    names = set(weight_map.values()) if isinstance(weight_map, dict) and usable else set()
    # A name is one of this folder: no way up or down, no other kind of file, nothing that a system call refuses.
    if not 0 < len(names) <= _MOST_FILES or not all(map(_is_shard_name, names)):
        raise ModelError(f"{path / INDEX_FILE} names no usable files in its weight_map; download it again")
    assert isinstance(weight_map, dict)
    return weight_map


def _is_shard_name(name: str) -> bool:
    return Path(name).name == name and name.endswith(".safetensors") and name.isprintable() and len(name) <= 200


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, which really lies there: a link in a folder that others made may lead anywhere.

    In a cache of huggingface_hub the files of a model are links to `blobs`, beside the folder of the snapshots.

    Raises:
        ModelError: it lies elsewhere.
    """
    path, home = folder / name, folder.resolve()
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a link to itself
        raise ModelError(f"{path} is missing, or a link to nothing; download the model again") from None
    allowed = [home]
    if home.parent.name == "snapshots":
        allowed.append(home.parent.parent / "blobs")
    if not any(real.is_relative_to(each) for each in allowed):
        raise ModelError(
            f"{path} is a link to {real}, outside of the model's folder; put the file itself there if you mean it"
        )
    return path


def read_headers(path: Path, files: tuple[Path, ...]) -> dict[str, Tensor]:
    """Name -> dtype and shape of all tensors of a model; no numbers are read.

    Args:
        path: the folder.
        files: its `weight_files`.

    Raises:
        ModelError: a file is damaged, a tensor is there twice, or not where the index says.
    """
    found: dict[str, Tensor] = {}
    where: dict[str, str] = {}
    for file in files:
        for name, tensor in read_header(file).items():
            if name in found:
                raise ModelError(f"{path} holds {called(name)} twice, in {where[name]} and {file.name}; remove one")
            found[name], where[name] = tensor, file.name
    if len(files) > 1:
        for name, file_name in index_of(path).items():
            if where.get(name) != file_name:
                raise ModelError(
                    f"{path / file_name} lacks {called(name)}, which {INDEX_FILE} says is there; download both again"
                )
    return found


def check_memory(path: Path, tensors: Mapping[str, Tensor], item_bytes: int = 0) -> None:
    """Refuse weights that this machine cannot hold.

    Args:
        path: the folder, for the message.
        tensors: all of them.
        item_bytes: of a number, where those of floating-point are going to be cast.

    Raises:
        ModelError: they are larger than its memory.
    """
    needed, there = sum(_held_bytes(tensor, item_bytes) for tensor in tensors.values()), device_info().memory_bytes
    if needed > there:
        raise ModelError(
            f"the weights in {path} take {_gib(needed)}, and this machine has {_gib(there)} of memory; take a smaller model, "
            f"or one that is quantised to fewer bits"
        )


def _held_bytes(tensor: Tensor, item_bytes: int) -> int:
    return math.prod(tensor.shape) * item_bytes if item_bytes and tensor.dtype in _FLOATING else tensor.nbytes


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def read_safetensors(file: Path) -> dict[str, mx.array]:
    """Name -> array of a safetensors file; the arrays are read when they are first used.

    Raises:
        ModelError: the file cannot be read, or its header does not fit its content.
    """
    for name, tensor in read_header(file).items():  # MLX trusts it
        if tensor.dtype in _NOT_IN_MLX:
            raise ModelError(
                f"{file} holds {called(name)} as {tensor.dtype}, which MLX does not have; take the model in "
                f"bfloat16, float16 or float32"
            )
    try:
        loaded = mx.load(str(file), format="safetensors")
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{file} is not a usable safetensors file: {error}; download or copy it again") from None
    assert isinstance(loaded, dict)
    return loaded


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`.

    Raises:
        ModelError: it is missing, absurdly large, or not a JSON object.
    """
    try:
        if path.is_file() and (size := path.stat().st_size) > _MOST_JSON_BYTES:
            raise ModelError(f"{path} has {size:,} bytes, far more than such a file needs; download it again")
        value = read_json(path)
    except UserError as error:
        raise ModelError(str(error)) from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return value
