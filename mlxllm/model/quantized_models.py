"""Whole models with packed matrices: packing the blocks of one, taking over one that came packed, unpacking."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxllm.errors import ConfigError, ModelError
from mlxllm.model.feed_forward import Experts
from mlxllm.model.hf_weights import name_of_mlx_lm
from mlxllm.model.lora import Adapter
from mlxllm.model.module import named_modules, named_parameters
from mlxllm.model.quantization import (
    Format,
    PackedMatrix,
    QuantizedEmbedding,
    QuantizedExperts,
    QuantizedLinear,
    format_for,
    pack,
)
from mlxllm.model.transformer import Transformer
from mlxllm.visible import brief, called

_MODES = {"affine": (2, 3, 4, 5, 6, 8), "mxfp4": (4,), "mxfp8": (8,), "nvfp4": (4,)}
"""Mode -> bits that MLX has it in."""
_GROUPS = {"affine": (32, 64, 128), "mxfp4": (32,), "mxfp8": (32,), "nvfp4": (16,)}
"""Mode -> neighbours that can share a scale."""


def quantize_blocks(model: Transformer, name: str) -> None:
    """Pack the matrices of all blocks but the routers of experts; embeddings, head and norms stay as they are.

    One matrix is packed at a time, so that at most one exists twice.

    Args:
        model: with its weights.
        name: of `quantization.FORMATS`.

    Raises:
        ConfigError: the format does not fit a matrix, or they are packed already.
    """
    if is_quantized(model):
        raise ConfigError(f"lora.quantize is {name}, but this model is quantised as it comes; leave lora.quantize out")
    for i, block in enumerate(model.model.layers):
        modules = named_modules(block)
        for path in list(modules):
            where = f"model.layers.{i}.{path}"
            parent, _, leaf = path.rpartition(".")
            module = modules.pop(path) if path else None
            new: nn.Module
            if isinstance(module, Experts):
                matrices = {n: module[n] for n in module.shapes()}
                forms = {n: format_for(name, matrix.shape[-1], f"{where}.{n}") for n, matrix in matrices.items()}
                new = QuantizedExperts(model.config, {n: pack(matrix, forms[n]) for n, matrix in matrices.items()})
            elif isinstance(module, nn.Linear) and path != "mlp.gate":
                form = format_for(name, module.weight.shape[-1], where)
                new = QuantizedLinear(pack(module.weight, form), module.get("bias"))
            else:
                continue
            mx.eval(named_parameters(new))
            setattr(_at(block, parent), leaf, new)


def _at(module: nn.Module, path: str) -> nn.Module:
    """The module below `module` at `path`, a name of attributes."""
    for part in path.split("."):
        module = module[part]
    return module


def is_quantized(model: nn.Module) -> bool:
    """Whether some matrices are packed; they cannot be trained, only adapters on them."""
    return any(isinstance(module, QuantizedLinear | QuantizedExperts) for module in model.modules())


def dense_weights(model: Transformer) -> dict[str, mx.array]:
    """The base's weights under the names of a plain `Transformer`, packed ones unpacked into the dtype of its norms.

    Adapters are left out. Nothing is computed here.
    """
    dtype = model.model.layers[0].input_layernorm.weight.dtype
    modules = named_modules(model)
    weights: dict[str, mx.array] = {}
    for name, array in named_parameters(model).items():
        path, _, leaf = name.rpartition(".")
        module = modules[path]
        if isinstance(module, Adapter):
            continue
        if isinstance(module, QuantizedLinear) and leaf != "bias":
            if leaf != "weight":
                continue
            array = module.packed.dense(dtype)
        elif isinstance(module, QuantizedExperts):
            if leaf not in module.shapes():
                continue
            array = module.packed(leaf).dense(dtype)
        weights[name.replace(".linear.", ".").replace(".experts.experts.", ".experts.")] = array
    return weights


def packed_in(weights: Mapping[str, mx.array], settings: Mapping[str, Any], where: str) -> dict[str, PackedMatrix]:
    """The packed matrices among the weights of a model that came quantised, by the name of their layer.

    Args:
        weights: all arrays of the files, by their names there; a packed layer has `scales` beside its `weight`.
        settings: `quantization` of config.json: bits, group_size and mode, and again under the names of layers
            that differ.
        where: what messages call the files.

    Raises:
        ModelError: settings that MLX does not have, or arrays that do not fit them.
    """
    packed: dict[str, PackedMatrix] = {}
    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    for layer, form in _packed_layers(shapes, settings, where).items():
        matrix = PackedMatrix(
            weights[f"{layer}.weight"], weights[f"{layer}.scales"], weights.get(f"{layer}.biases"), form
        )
        if matrix.weight.dtype != mx.uint32:
            raise _misfit(where, layer, form)
        packed[layer] = matrix
    return packed


def unpacked_shapes(
    shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any], where: str
) -> dict[str, tuple[int, ...]]:
    """The shapes that the tensors of a model that came quantised have when they are unpacked.

    Args:
        shapes: of all arrays of the files; see `packed_in` for the rest.
        settings: see there.
        where: what messages call the files.

    Raises:
        ModelError: settings that MLX does not have, or shapes that do not fit them.
    """
    layers = _packed_layers(shapes, settings, where)
    plain = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        if layer not in layers or leaf not in ("weight", "scales", "biases"):
            plain[name] = shape
        elif leaf == "weight":
            plain[name] = (*shape[:-1], shape[-1] * 32 // layers[layer].bits)
    return plain


def _packed_layers(shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any], where: str) -> dict[str, Format]:
    """The layers that have `scales`, each with its format, which its shapes fit."""
    layers: dict[str, Format] = {}
    for name, scales in shapes.items():
        layer, _, leaf = name.rpartition(".")
        if leaf != "scales":
            continue
        form = _format(settings[layer] if isinstance(settings.get(layer), dict) else settings, where)
        weight, biases = shapes.get(f"{layer}.weight"), shapes.get(f"{layer}.biases")
        fits = (
            weight
            and len(weight) == len(scales)
            and (*scales[:-1], scales[-1] * form.group_size) == (*weight[:-1], weight[-1] * 32 // form.bits)
            and (biases == scales if biases is not None else form.mode != "affine")
        )
        if not fits:
            raise _misfit(where, layer, form)
        layers[layer] = form
    return layers


def _misfit(where: str, layer: str, form: Format) -> ModelError:
    return ModelError(
        f"{where}: the arrays of {called(layer)} are not what {form.mode} with {form.bits} bits and groups of "
        f"{form.group_size} gives, as config.json says under quantization; download the model again"
    )


def _format(settings: Mapping[str, Any], where: str) -> Format:
    mode, bits, group_size = settings.get("mode", "affine"), settings.get("bits"), settings.get("group_size")
    known = _MODES.get(mode, ()) if isinstance(mode, str) else ()
    if type(bits) is not int or bits not in known or type(group_size) is not int or group_size not in _GROUPS[mode]:
        raise ModelError(
            f"{where}: config.json asks for quantization with mode {brief(mode)}, bits {brief(bits)} and group_size "
            f"{brief(group_size)}, which MLX does not have; its modes are {', '.join(_MODES)}"
        )
    return Format(mode, bits, group_size)


def unpacked(
    weights: Mapping[str, mx.array], packed: Mapping[str, PackedMatrix], dtype: mx.Dtype
) -> dict[str, mx.array]:
    """The weights with each packed layer as one plain array; lazy, so what `use_packed` replaces is never computed."""
    plain = {name: array for name, array in weights.items() if name.rpartition(".")[0] not in packed}
    biases = {f"{layer}.bias": weights[f"{layer}.bias"] for layer in packed if f"{layer}.bias" in weights}
    return plain | biases | {f"{layer}.weight": matrix.dense(dtype) for layer, matrix in packed.items()}


def use_packed(model: Transformer, packed: Mapping[str, PackedMatrix], dtype: mx.Dtype) -> None:
    """Put packed layers in the place of plain ones; those that are named otherwise in `model` stay unpacked."""
    modules = named_modules(model)
    experts: dict[str, dict[str, PackedMatrix]] = {}
    for layer, matrix in packed.items():
        layer = name_of_mlx_lm(layer)
        module = modules.get(layer)
        parent, _, leaf = layer.rpartition(".")
        if matrix.biases is not None:
            matrix = PackedMatrix(
                matrix.weight, matrix.scales.astype(dtype), matrix.biases.astype(dtype), matrix.format
            )
        if isinstance(module, nn.Linear):
            setattr(modules[parent], leaf, QuantizedLinear(matrix, module.get("bias")))
        elif isinstance(module, nn.Embedding):
            setattr(modules[parent], leaf, QuantizedEmbedding(matrix, dtype))
        elif isinstance(modules.get(parent), Experts):
            experts.setdefault(parent, {})[leaf] = matrix
    for path, matrices in experts.items():
        if matrices.keys() == modules[path].shapes().keys():
            setattr(modules[path.rpartition(".")[0]], path.rpartition(".")[2], QuantizedExperts(model.config, matrices))
