"""Weights as a Hugging Face file names and shapes them, to ours and back, by the tables of `families`.

Shapes: E experts.
"""

import re
from collections.abc import Mapping

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError
from mlxllm.model.families import FAMILIES, Family, Rename
from mlxllm.model.hf_config import architecture_of, why_no_architecture
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer

Weights = dict[str, mx.array]


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
    family = _family(config)
    theirs = {name.removeprefix(family.prefix): weight for name, weight in weights.items()}
    ours: Weights = {}
    used: set[str] = set()
    for name, shape in expected_shapes(config).items():
        rename = _rename(family, name)
        sources = _source_names(rename, config)
        if len(sources) > 1 and (stacked := f"{name_in_mlx_lm(name, config)}.weight") in theirs:
            sources, rename = [stacked], Rename("", stacked)
        if missing := [source for source in sources if source not in theirs]:
            raise ModelError(f"{where} lacks {_some(missing)}; its config.json describes a model that has it")
        used.update(sources)
        per_source = shape if len(sources) == 1 else shape[1:]
        parts = [_take(theirs[source], rename, per_source, where, source) for source in sources]
        ours[name] = parts[0] if len(sources) == 1 else mx.stack(parts)
    # A tied head is written by some, and is the embedding once more.
    idle = re.compile(family.ignored + (r"|lm_head\.weight" if config.tie_word_embeddings else ""))
    if unknown := sorted(name for name in theirs if name not in used and not idle.fullmatch(name)):
        raise ModelError(f"{where} holds {_some(unknown)}, which a model of its config.json does not have")
    return ours


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
        arrays = [weight] if len(sources) == 1 else [weight[e] for e in range(len(sources))]
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


def _take(array: mx.array, rename: Rename, shape: tuple[int, ...], where: str, name: str) -> mx.array:
    """Our array of `shape` out of theirs."""
    index, count = rename.part
    matrix = rename.transposed and len(shape) == 2
    their_shape = shape[::-1] if matrix else shape
    their_shape = (*their_shape[:-1], their_shape[-1] * count)
    _check_array(where, name, array, their_shape)
    if count > 1:
        width = their_shape[-1] // count
        array = array[..., index * width : (index + 1) * width]
    return array.T if matrix else array


def _check_array(where: str, name: str, array: mx.array, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != shape:
        raise ModelError(f"{where} holds {name} of shape {tuple(array.shape)} where config.json makes it {shape}")
    if not mx.issubdtype(array.dtype, mx.floating):
        kind = str(array.dtype).removeprefix("mlx.core.")
        raise ModelError(f"{where} holds {name} as {kind}; weights must be float32, bfloat16 or float16")


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
