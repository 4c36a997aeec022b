"""A model as a folder in Hugging Face's form, which transformers, mlx-lm and mlxllm open as it is.

    config.json  generation_config.json  model.safetensors (or numbered parts with their index)
    tokenizer.json  tokenizer_config.json  chat_template.jinja (of a tuned model)
    tokenizer/  our own tokenizer once more, in our own form: exact and fast
    README.md   the model card

See `placing` for how it gets to its place.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.conversation.own_format import OWN_TEMPLATE
from mlxllm.conversation.template import ChatTemplate
from mlxllm.conversation.template_files import template_with
from mlxllm.export.card import model_card
from mlxllm.export.hf_files import CONFIG_FILE, GENERATION_FILE, generation_config, model_config
from mlxllm.export.placing import put_folder
from mlxllm.export.tokenizers import (
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    as_json,
    is_own,
    tokenizer_config,
    tokenizer_json,
)
from mlxllm.model.adapters import fused, has_adapters
from mlxllm.model.checkpoint_files import MODEL_FILE
from mlxllm.model.hf_config import architecture_of, family_of
from mlxllm.model.hf_folder import BASE, model_with
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.model.quantized_models import is_quantized
from mlxllm.model.transformer import Transformer
from mlxllm.model.weight_files import INDEX_FILE
from mlxllm.tokenizer import Tokenizer
from mlxllm.tokenizer.storage import TOKENIZER_DIRECTORY

MAX_SHARD_SIZE = 5 * 10**9
"""Bytes of one file of weights, as the Hub has them."""
CARD_FILE = "README.md"


def write_hf(
    loaded: LoadedModel,
    path: Path,
    *,
    dtype: mx.Dtype | None = None,
    max_shard_size: int = MAX_SHARD_SIZE,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a model; adapters are merged and packed matrices unpacked.

    Args:
        loaded: the model with its tokenizer.
        path: must not exist; it appears when it is whole.
        dtype: of the weights; by default theirs.
        max_shard_size: bytes of a file of weights at most, unless a single array is larger.
        check: called with the finished folder before it is moved into place; what it raises leaves nothing there.

    Raises:
        ModelError: no Hugging Face architecture has this config (the message names the fields), or `path` is there.
        UserError: it cannot be written.
    """
    model = with_any_tokenizer(plain_model(loaded), loaded.tokenizer)
    dtype = dtype or dtype_of(model)
    raw = model_config(model.config, dtype, loaded.tokenizer, loaded.history)
    write_folder(loaded, path, raw, weights_for(raw, model), dtype=dtype, max_shard_size=max_shard_size, check=check)


def write_folder(
    loaded: LoadedModel,
    path: Path,
    raw: Mapping[str, Any],
    weights: Mapping[str, mx.array],
    *,
    dtype: mx.Dtype | None = None,
    max_shard_size: int = MAX_SHARD_SIZE,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a folder with this config.json and these weights; the rest is that of `loaded`.

    Args:
        loaded: whose tokenizer, template and history it gets.
        path: see `write_hf`.
        raw: the content of config.json, from `model_config`.
        weights: by the names of the file.
        dtype: what they are cast to, one file at a time; by default they stay as they are.
        max_shard_size: see `write_hf`.
        check: see `write_hf`.

    Raises:
        ModelError, UserError: see `write_hf`.
    """
    size = sum(_bytes(array, dtype) for array in weights.values())

    def write(partial: Path) -> None:
        _write_weights(partial, weights, dtype, max_shard_size)
        files = {
            CONFIG_FILE: as_json(dict(raw)),
            GENERATION_FILE: as_json(generation_config(loaded.tokenizer, loaded.history)),
            CARD_FILE: model_card(loaded, raw, size).encode("utf-8"),
            **tokenizer_files(loaded),
        }
        for name, content in files.items():
            (partial / name).write_bytes(content)
        if is_own(loaded.tokenizer):
            loaded.tokenizer.save(partial / TOKENIZER_DIRECTORY)

    put_folder(path, write, size=size, check=check)


def plain_model(loaded: LoadedModel) -> Transformer:
    """The model without adapters and packed matrices; itself where it has none."""
    model = loaded.model
    return fused(model) if has_adapters(model) or is_quantized(model) else model


def with_any_tokenizer(model: Transformer, tokenizer: Tokenizer) -> Transformer:
    """The same function as an architecture that transformers opens with the tokenizer of the folder.

    transformers 5 gives each `qwen2` model Qwen's own tokenizer, whatever lies beside it. With a tokenizer of ours such a
    model leaves as the Llama that it also is: with biases of the output projections that are zero.

    Args:
        model: plain.
        tokenizer: that goes with it.
    """
    config = config_with_any_tokenizer(model.config, tokenizer)
    if config == model.config:
        return model
    weights = named_parameters(model)
    for name, weight in list(weights.items()):
        if name.endswith("o_proj.weight"):
            weights[name.removesuffix("weight") + "bias"] = mx.zeros(weight.shape[:1], weight.dtype)
    return model_with(config, weights)


def config_with_any_tokenizer(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The config that `with_any_tokenizer` gives a model."""
    if not is_own(tokenizer) or architecture_of(config) != "Qwen2ForCausalLM" or config.sliding_window is not None:
        return config
    return config.model_copy(update={"attention_out_bias": True})


def dtype_of(model: Transformer) -> mx.Dtype:
    """The dtype of the norms, which is that of a whole plain model."""
    return model.model.layers[0].input_layernorm.weight.dtype


def weights_for(raw: Mapping[str, Any], model: Transformer) -> dict[str, mx.array]:
    """The weights of a plain model under the names that a folder with the config `raw` has them, sorted."""
    # transformers reads GPT-2's names with and without their prefix, mlx-lm only without, as OpenAI's own files are.
    prefix = family_of(raw).prefix
    theirs = weights_to_hf(model.config, named_parameters(model))
    return {name.removeprefix(prefix): theirs[name] for name in sorted(theirs)}


def tokenizer_files(loaded: LoadedModel) -> dict[str, bytes]:
    """Name -> content of the files of tokenizer and template at the top of the folder."""
    tokenizer, template = loaded.tokenizer, template_with(loaded.tokenizer_directory)
    if not is_own(tokenizer):
        files = tokenizer.files_for_readers()
        if template is not None and TEMPLATE_FILE not in files:
            files[TEMPLATE_FILE] = template.source.encode("utf-8")
        return files
    source = _own_template(loaded, template)
    tuned = loaded.history[-1] != BASE
    config = tokenizer_config(
        tokenizer,
        eos="<|end|>" if tuned else "<|endoftext|>",
        longest=loaded.config.max_position_embeddings,
        template=source,
    )
    files = {TOKENIZER_FILE: as_json(tokenizer_json(tokenizer)), TOKENIZER_CONFIG_FILE: as_json(config)}
    return files if source is None else files | {TEMPLATE_FILE: source.encode("utf-8")}


def _own_template(loaded: LoadedModel, template: ChatTemplate | None) -> str | None:
    """The chat template of a model with a tokenizer of ours: ours, unless it was tuned with another; none for a base."""
    if template is None:
        return None if loaded.history[-1] == BASE else OWN_TEMPLATE
    if template.source == OWN_TEMPLATE:
        return OWN_TEMPLATE
    # Said in tokenizer_config.json, tokens of others would be added to the vocabulary.
    tokens = {name: value for name, value in template.variables.items() if name.endswith("_token")}
    return "".join(f"{{%- set {name} = {json.dumps(tokens[name])} -%}}" for name in sorted(tokens)) + template.source


def _write_weights(folder: Path, weights: Mapping[str, mx.array], dtype: mx.Dtype | None, max_size: int) -> None:
    shards = list(_shards({name: _bytes(array, dtype) for name, array in weights.items()}, max_size))
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = [MODEL_FILE]
    for file, names in zip(files, shards, strict=True):
        # Cast here, so that the casts of one file are gone before those of the next are made.
        arrays = {name: weights[name] if dtype is None else weights[name].astype(dtype) for name in names}
        # The metadata is fixed: equal weights give equal files.
        mx.save_safetensors(str(folder / file), arrays, {"format": "mlx"})
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(_bytes(array, dtype) for array in weights.values())},
            "weight_map": {name: file for file, names in zip(files, shards, strict=True) for name in names},
        }
        (folder / INDEX_FILE).write_bytes(as_json(index))


def _shards(sizes: Mapping[str, int], max_size: int) -> Iterator[list[str]]:
    """The names in order, in parts of at most `max_size` bytes or of one array."""
    shard: list[str] = []
    total = 0
    for name, size in sizes.items():
        if shard and total + size > max_size:
            yield shard
            shard, total = [], 0
        shard.append(name)
        total += size
    yield shard


def _bytes(array: mx.array, dtype: mx.Dtype | None) -> int:
    return array.nbytes if dtype is None else array.size * dtype.size
