"""The files of a model folder that others wrote: which hold the weights, and reading them with care."""

from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.errors import ModelError, UserError
from mlxllm.model.checkpoint_files import MODEL_FILE
from mlxllm.runs.files import read_json

INDEX_FILE = "model.safetensors.index.json"


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files of the folder `path` that hold the weights: one, or those that its index names.

    Raises:
        ModelError: there are none, or only pickles, or one that the index names is missing.
    """
    if (path / MODEL_FILE).is_file():
        return (path / MODEL_FILE,)
    if (path / INDEX_FILE).is_file():
        weight_map = read_object(path / INDEX_FILE).get("weight_map")
        names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise ModelError(f"{path / INDEX_FILE} names no usable files in its weight_map; download it again")
        if missing := [name for name in names if not (path / name).is_file()]:
            raise ModelError(
                f"{path} lacks {missing[0]}, one of the {len(names)} files that {INDEX_FILE} names; download it again"
            )
        return tuple(path / name for name in names)
    found = sorted(path.glob("*.safetensors"))
    if len(found) == 1:
        return (found[0],)
    if found:
        raise ModelError(f"{path} holds {len(found)} .safetensors files but no {INDEX_FILE} that says what they are")
    if any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth")):
        raise ModelError(
            f"{path} holds its weights as a pickle, which can run any code when it is opened; mlxllm reads "
            f".safetensors only: take a version of the model that has them"
        )
    raise ModelError(f"{path} holds no .safetensors file with the model's weights")


def read_safetensors(file: Path) -> dict[str, mx.array]:
    """Name -> array of a safetensors file; the arrays are read when they are first used.

    Raises:
        ModelError: the file cannot be read, or its header does not fit its content.
    """
    from safetensors import SafetensorError, safe_open  # only when weights are read

    try:
        # MLX trusts the header; this reads and checks it, and no tensors.
        with safe_open(file, framework="numpy") as checked:
            checked.keys()
        loaded = mx.load(str(file))
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{file} is not a usable safetensors file: {error}; download or copy it again") from None
    assert isinstance(loaded, dict)
    return loaded


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`.

    Raises:
        ModelError: it is missing, or not a JSON object.
    """
    try:
        value = read_json(path)
    except UserError as error:
        raise ModelError(str(error)) from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return value
