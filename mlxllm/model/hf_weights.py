"""Weights as a Hugging Face file names and shapes them, to ours and back, by the tables of `families`.

Shapes: E experts.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError
from mlxllm.model.families import FAMILIES, Family, Rename
from mlxllm.model.hf_config import architecture_of, why_no_architecture
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.visible import called

Weights = dict[str, mx.array]
T = TypeVar("T")


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of ours. Nothing is computed: MLX's arrays are lazy."""
    return {name: weight.shape for name, weight in named_parameters(Transformer(config)).items()}


def check_weights(config: ModelConfig, weights: Mapping[str, mx.array], where: str) -> None:
    """Make sure that `weights` (our names) are exactly the parameters of a model of `config`.

    Args:
        config: the shape.
        weights: name -> array.
        where: what the message calls their source, e.g. a path.

    Raises:
        ModelError: a name is missing or unknown, a shape is another, or numbers are not floating-point.
    """
    expected = expected_shapes(config)
    if missing := [name for name in expected if name not in weights]:
        raise ModelError(f"{where} lacks {_some(missing)}; its config.json describes a model that has it")
    if unknown := sorted(name for name in weights if name not in expected):
        raise ModelError(f"{where} holds {_some(unknown)}, which a model of its config.json does not have")
    for name, shape in expected.items():
        _check_array(where, name, weights[name], shape)


def weights_from_hf(config: ModelConfig, weights: Mapping[str, mx.array], where: str = "the file") -> Weights:
    """Our names and shapes from theirs: fused projections apart, experts stacked, matrices as (out, in).

    Experts that mlx-lm has stacked already are taken as they are.

    Args:
        config: from `config_from_hf`.
        weights: all tensors of the model; not changed.
        where: what messages call their source.

    Raises:
        ModelError: a tensor is missing, unknown, of another shape, or not of floating-point numbers.
    """
    weights = _as_transformers(config, weights, lambda matrix: matrix.T)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    ours: Weights = {}
    for name, part in _parts(config, shapes, where).items():
        arrays = [_taken(weights[source], part.rename, where, source) for source in part.sources]
        ours[name] = mx.stack(arrays) if part.stacked else arrays[0]
    return ours


def check_shapes(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Make sure that tensors of these names and shapes are a model of `config`, before any is read.

    Args:
        config: from `config_from_hf`.
        shapes: by their names in the files; those that are packed as they are when unpacked.
        where: what messages call the files.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape.
    """
    _parts(config, _as_transformers(config, shapes, lambda shape: shape[::-1]), where)


_MLX_LM_PREFIX = "model."
"""What mlx-lm's names of a model begin with that has names of its own, GPT-2's; its matrices there are (out, in)."""


def _as_transformers(config: ModelConfig, theirs: Mapping[str, T], turn: Callable[[T], T]) -> dict[str, T]:
    """Names and orientation of transformers where mlx-lm has converted a GPT-2; everything else as it is."""
    family = _family(config)
    if not family.prefix or not all(name.startswith(_MLX_LM_PREFIX) for name in theirs):
        return dict(theirs)
    turned = _turned(family, config)
    short = {name.removeprefix(_MLX_LM_PREFIX): value for name, value in theirs.items()}
    return {name: turn(value) if name in turned else value for name, value in short.items()}


def weights_to_mlx_lm(config: ModelConfig, weights: Mapping[str, mx.array]) -> Weights:
    """mlx-lm's names and shapes from ours, as it holds a model: matrices (out, in), experts stacked.

    Raises:
        ModelError: no Hugging Face architecture has this config; the message names the fields.
    """
    family = _family(config)
    if not family.prefix:
        ends = {name: ".weight" if ".mlp.experts." in name else "" for name in weights}
        return {name_in_mlx_lm(name, config) + ends[name]: weight for name, weight in weights.items()}
    turned = _turned(family, config)
    theirs = {name.removeprefix(family.prefix): array for name, array in weights_to_hf(config, weights).items()}
    return {_MLX_LM_PREFIX + name: array.T if name in turned else array for name, array in theirs.items()}


def _turned(family: Family, config: ModelConfig) -> set[str]:
    """Names, without prefix, of the matrices that transformers has as (in, out)."""
    renames = {name: _rename(family, name) for name, shape in expected_shapes(config).items() if len(shape) == 2}
    return {rename.theirs for rename in renames.values() if rename.transposed}


@dataclass(frozen=True)
class _Part:
    """Where one array of ours lies in their files."""

    sources: list[str]
    """Their names."""
    stacked: bool
    """Each is one of ours, along a new first axis; else there is one source."""
    rename: Rename
    """How each becomes ours; transposed says so of matrices only."""


def _parts(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, _Part]:
    """Our name -> where it lies among tensors of these names and shapes, which are all of a model and nothing else."""
    family = _family(config)
    full = {name.removeprefix(family.prefix): name for name in shapes}
    if len(full) < len(shapes):
        twice = next(name for name in shapes if full[name.removeprefix(family.prefix)] != name)
        raise ModelError(f"{where} holds {_some([twice])} with and without the prefix {family.prefix!r}; remove one")
    # Each block has its tensors: a config that lies about their number is told before so many are made.
    if config.num_hidden_layers > len(shapes):
        raise ModelError(
            f"{where} holds {len(shapes):,} tensors, too few for the {config.num_hidden_layers:,} layers of its config.json"
        )
    parts: dict[str, _Part] = {}
    used: set[str] = set()
    for name, shape in expected_shapes(config).items():
        rename = _rename(family, name)
        if "{expert}" in rename.theirs and (stacked := f"{name_in_mlx_lm(name, config)}.weight") in full:
            sources, rename, many = [stacked], Rename("", stacked), False
        else:
            sources, many = _source_names(rename, config), "{expert}" in rename.theirs
        if missing := [source for source in sources if source not in full]:
            raise ModelError(f"{where} lacks {_some(missing)}; its config.json describes a model that has it")
        used.update(sources)
        wanted = shape[1:] if many else shape
        matrix = rename.transposed and len(wanted) == 2
        wanted = wanted[::-1] if matrix else wanted
        wanted = (*wanted[:-1], wanted[-1] * rename.part[1])
        for source in sources:
            _check_shape(where, source, shapes[full[source]], wanted)
        rename = replace(rename, transposed=matrix)
        parts[name] = _Part([full[source] for source in sources], many, rename)
    # A tied head is written by some, and is the embedding once more.
    idle = re.compile(family.ignored + (r"|lm_head\.weight" if config.tie_word_embeddings else ""))
    if unknown := sorted(name for name in full if name not in used and not idle.fullmatch(name)):
        raise ModelError(f"{where} holds {_some(unknown)}, which a model of its config.json does not have")
    return parts


def weights_to_hf(config: ModelConfig, weights: Mapping[str, mx.array]) -> Weights:
    """Their names and shapes from ours: what `weights_from_hf` undoes.

    Raises:
        ModelError: no Hugging Face architecture has this config; the message names the fields.
    """
    family = _family(config)
    theirs: Weights = {}
    parts: dict[str, dict[int, mx.array]] = {}
    for name, weight in weights.items():
        rename = _rename(family, name)
        sources = _source_names(rename, config)
        arrays = [weight[e] for e in range(len(sources))] if "{expert}" in rename.theirs else [weight]
        for source, array in zip(sources, arrays, strict=True):
            array = array.T if rename.transposed and array.ndim == 2 else array
            if rename.part == (0, 1):
                theirs[_full_name(family, source)] = array
            else:
                parts.setdefault(source, {})[rename.part[0]] = array
    for source, pieces in parts.items():
        theirs[_full_name(family, source)] = mx.concatenate([pieces[i] for i in sorted(pieces)], axis=-1)
    return theirs


def name_in_mlx_lm(path: str, config: ModelConfig) -> str:
    """mlx-lm's name of a matrix of ours: experts lie in `switch_mlp`, and Mixtral's feed-forward is called otherwise."""
    path = path.replace(".mlp.experts.", ".mlp.switch_mlp.")
    return path.replace(".mlp.", ".block_sparse_moe.") if architecture_of(config) == "MixtralForCausalLM" else path


def name_of_mlx_lm(path: str) -> str:
    """What `name_in_mlx_lm` undoes."""
    return path.replace(".block_sparse_moe.", ".mlp.").replace(".mlp.switch_mlp.", ".mlp.experts.")


def _family(config: ModelConfig) -> Family:
    architecture = architecture_of(config)
    found = next((family for family in FAMILIES if family.architecture == architecture), None)
    if found is None:
        raise ModelError(why_no_architecture(config))
    return found


def _full_name(family: Family, name: str) -> str:
    return name if name.startswith("lm_head.") else family.prefix + name


def _rename(family: Family, name: str) -> Rename:
    """The family's renames, put together for one array: `theirs` is its whole name."""
    transposed, part = False, (0, 1)
    for rename in family.renames:
        if rename.ours in name:
            name = name.replace(rename.ours, rename.theirs)
            transposed, part = transposed or rename.transposed, rename.part if rename.part != (0, 1) else part
    return Rename("", name, transposed, part)


def _source_names(rename: Rename, config: ModelConfig) -> list[str]:
    if "{expert}" not in rename.theirs:
        return [rename.theirs]
    return [rename.theirs.format(expert=e) for e in range(config.num_experts)]


def _taken(array: mx.array, rename: Rename, where: str, name: str) -> mx.array:
    """Our array out of theirs, whose shape is right."""
    _check_numbers(where, name, array)
    index, count = rename.part
    if count > 1:
        width = array.shape[-1] // count
        array = array[..., index * width : (index + 1) * width]
    return array.T if rename.transposed else array


def _check_array(where: str, name: str, array: mx.array, shape: tuple[int, ...]) -> None:
    _check_shape(where, name, tuple(array.shape), shape)
    _check_numbers(where, name, array)


def _check_shape(where: str, name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if found != shape:
        raise ModelError(f"{where} holds {name} of shape {found} where config.json makes it {shape}")


def _check_numbers(where: str, name: str, array: mx.array) -> None:
    if not mx.issubdtype(array.dtype, mx.floating) or array.dtype == mx.float64:  # which no GPU has
        kind = str(array.dtype).removeprefix("mlx.core.")
        raise ModelError(f"{where} holds {name} as {kind}; weights must be float32, bfloat16 or float16")


def _some(names: list[str]) -> str:
    first = called(names[0])
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"
