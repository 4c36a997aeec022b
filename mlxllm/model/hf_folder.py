"""Reading a folder in Hugging Face's form: config.json, *.safetensors, and our tokenizer in tokenizer/.

As `save_pretrained`, mlx-lm or `mlxllm.export.hf` writes it, quantised by mlx-lm or not. What their config.json has no
word for stands under `mlxllm` in it, which they pass over.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.errors import DataError, ModelError
from mlxllm.model.hf_config import config_from_hf
from mlxllm.model.hf_weights import check_shapes, weights_from_hf
from mlxllm.model.module import named_parameters
from mlxllm.model.quantization import PackedMatrix
from mlxllm.model.quantized_models import packed_in, unpacked, unpacked_shapes, use_packed
from mlxllm.model.transformer import Transformer
from mlxllm.model.weight_files import check_memory, inside, read_headers, read_object, read_safetensors, weight_files
from mlxllm.tokenizer import Tokenizer, load_tokenizer
from mlxllm.tokenizer.hub_files import has_chat_template
from mlxllm.tokenizer.storage import tokenizer_directory

CONFIG_FILE = "config.json"
BASE = "base"
INSTRUCT = "instruct"
"""The stage of somebody else's model that came with a chat template."""
GGUF_SUFFIX = ".gguf"
NOT_GGUF = (
    f"which mlxllm writes but does not read; give the model that it was made from: a run, or a folder with {CONFIG_FILE} and "
    f".safetensors files"
)
"""What is said of a GGUF file where a model should be."""

_OURS = "mlxllm"
"""Key of config.json for what nobody else reads: {"history": the stages that made the model}."""


def read_hf_config(path: Path) -> ModelConfig:
    """The config.json of a folder, as ours.

    Raises:
        ModelError: it is missing, damaged or not supported; the message names the key.
    """
    return _config(path, _read_config(path))


def load_hf_folder(path: Path, *, dtype: mx.Dtype | None = None) -> tuple[Transformer, ModelConfig, tuple[Path, ...]]:
    """Model, config and weight files of a folder; its tokenizer is left aside.

    Matrices that mlx-lm has quantised stay packed, and the model computes in the dtype of the rest.

    Raises:
        ModelError: something is missing, damaged, or not supported; the message names the file and the key.
    """
    raw, config, files = check_hf_folder(path, dtype=dtype)
    where, settings = _where(path, files), _quantization(raw)
    theirs: dict[str, mx.array] = {}
    for file in files:
        theirs.update(read_safetensors(file))
    packed: dict[str, PackedMatrix] = {}
    if settings is not None:
        packed = packed_in(theirs, settings, where)
        plain = [array.dtype for name, array in theirs.items() if name.rpartition(".")[0] not in packed]
        dtype = dtype or next((kind for kind in plain if mx.issubdtype(kind, mx.floating)), mx.float32)
        theirs = unpacked(theirs, packed, dtype)
    model = model_with(config, weights_from_hf(config, theirs, where), dtype, packed)
    return model, config, files


def check_hf_folder(
    path: Path, *, dtype: mx.Dtype | None = None
) -> tuple[dict[str, Any], ModelConfig, tuple[Path, ...]]:
    """All that can be told of a folder before a number is read: config.json, as it stands and as ours, and weight files.

    Args:
        path: the folder.
        dtype: what the weights would be cast to, which decides whether there is memory for them.

    Raises:
        ModelError: they do not fit each other or this machine; see `load_hf_folder`.
    """
    raw = _read_config(path)
    config = _config(path, raw)
    files = weight_files(path)
    where, settings = _where(path, files), _quantization(raw)
    tensors = read_headers(path, files)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    check_shapes(config, unpacked_shapes(shapes, settings, where) if settings is not None else shapes, where)
    check_memory(path, tensors, dtype.size if dtype is not None else 0)
    return raw, config, files


def _where(path: Path, files: tuple[Path, ...]) -> str:
    """What messages call the weights."""
    return str(files[0] if len(files) == 1 else path)


def model_with(
    config: ModelConfig,
    weights: Mapping[str, mx.array],
    dtype: mx.Dtype | None = None,
    packed: Mapping[str, PackedMatrix] | None = None,
) -> Transformer:
    """A model in evaluation mode.

    Args:
        config: its shape.
        weights: all of them, by our names.
        dtype: what they are cast to; by default they stay as they are.
        packed: layers that keep their quantised matrices, which `weights` has unpacked and lazy; needs a dtype.
    """
    model = Transformer(config)
    if dtype is not None:
        weights = {name: weight.astype(dtype) for name, weight in weights.items()}
    model.load_weights(list(weights.items()))
    if packed:
        assert dtype is not None
        use_packed(model, packed, dtype)
    model.eval()
    # Loads are lazy: read now, so that a disk that fails does so here and the first token does not wait for it.
    mx.eval(named_parameters(model))
    return model


def read_history(path: Path) -> tuple[str, ...]:
    """The stages that made the model in a folder; without a note of ours a chat template tells one that answers."""
    ours = _read_config(path).get(_OURS)
    if isinstance(ours, dict):
        return history_in(ours)
    return (BASE, INSTRUCT) if has_chat_template(path) else (BASE,)


def history_in(noted: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages under `history`, the last one last; `base` where there are none."""
    stages = noted.get("history")
    return tuple(str(stage) for stage in stages) if isinstance(stages, list) and stages else (BASE,)


def folder_tokenizer(path: Path) -> Tokenizer:
    """Ours, from the folder or from tokenizer/ in it.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    try:
        return load_tokenizer(tokenizer_directory(path))
    except DataError as error:
        raise ModelError(f"the tokenizer of the model {path} cannot be used: {error}") from None


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / CONFIG_FILE).is_file():
        if (file := next(path.glob(f"*{GGUF_SUFFIX}"), None)) is not None:
            raise ModelError(f"{path} holds no {CONFIG_FILE} but the GGUF file {file.name}, {NOT_GGUF}")
        raise ModelError(f"{path} is neither a run nor a model: it holds no {CONFIG_FILE}")
    try:
        return read_object(inside(path, CONFIG_FILE))
    except ModelError as error:
        raise ModelError(f"{error}; copy the {CONFIG_FILE} of the model there again") from None


def parse_hf_config(raw: Mapping[str, Any]) -> ModelConfig:
    """The content of a config.json, as ours; that of a model that mlx-lm has quantised as well.

    Raises:
        ModelError: it is not supported; the message names the key.
    """
    if _quantization(raw) is not None:  # mlx-lm says the same once more in Hugging Face's key
        raw = {key: value for key, value in raw.items() if key != "quantization_config"}
    return config_from_hf(raw)


def _config(path: Path, raw: Mapping[str, Any]) -> ModelConfig:
    try:
        return parse_hf_config(raw)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _quantization(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """mlx-lm's settings of a quantised model."""
    settings = raw.get("quantization")
    return settings if isinstance(settings, dict) else None
