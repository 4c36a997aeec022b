"""Models packed into a few bits a weight, as mlx-lm packs and loads them.

Every matrix whose rows the groups divide is packed: embeddings and head as well, as mlx-lm does. Routers of experts get 8
bits whatever the rest has (mlx-lm's choice for Qwen3-MoE): they are tiny, and a wrong expert is a large mistake. What is
packed otherwise than the rest, or not at all, stands by its name in config.json.

Shapes: V vocabulary, D hidden, E experts; matrices are (out, in), those of experts (E, out, in).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export.divergence import Divergence, divergence
from mlxllm.export.hf import dtype_of, write_folder
from mlxllm.export.hf_files import model_config
from mlxllm.model.adapters import fused, has_adapters
from mlxllm.model.hf_config import architecture_of, why_no_architecture
from mlxllm.model.hf_folder import load_hf_folder
from mlxllm.model.hf_weights import weights_to_mlx_lm
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.model.quantization import Format, pack
from mlxllm.model.quantized_models import is_quantized
from mlxllm.model.transformer import Transformer

MODES: dict[str, dict[int, tuple[int, ...]]] = {
    "affine": dict.fromkeys((4, 2, 3, 5, 6, 8), (64, 32, 128)),
    "mxfp4": {4: (32,)},
    "nvfp4": {4: (16,)},
}
"""Mode -> bits -> sizes of groups that MLX has, the default ones first."""

QUANTIZATIONS = {"affine4": ("affine", 4), "affine8": ("affine", 8), "mxfp4": ("mxfp4", 4), "nvfp4": ("nvfp4", 4)}
"""What `export --quantize` names: mode and bits."""

ROUTER = Format("affine", 8, 64)
"""How routers of experts are packed."""

KEPT = 0.5
"""Share of the likeliest tokens that should stay the same."""

_SHOWN = 3
"""So many names are said; the rest is counted."""

Check = Callable[[Path], None]
"""Looks at the folder before it gets its name; raising leaves nothing behind."""


@dataclass(frozen=True)
class Quantized:
    """What was written."""

    path: Path
    mode: str
    bits: int
    group_size: int
    bytes_before: int
    """Of all weights in the dtype that they came in."""
    bytes_after: int
    bits_per_weight: float
    """Scales and everything that stays plain counted in."""
    packed: int
    """Matrices."""
    plain: tuple[str, ...]
    """Matrices that stay plain because their rows are no whole number of groups."""
    kept: tuple[str, ...]
    """Matrices that stay plain because that was asked for."""
    loss: Divergence | None
    """How far its predictions are from those of the model before; None where no text was given."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "path": str(self.path), "loss": self.loss and self.loss.as_dict()}

    def notes(self) -> tuple[str, ...]:
        """What a user may not have expected, a sentence each."""
        notes = []
        if self.plain:
            rows = f"their rows are no whole number of groups of {self.group_size}"
            notes.append(f"{some(self.plain)} stay plain: {rows}; a smaller --group-size may do")
        if self.loss is not None and self.loss.top_equal < KEPT:
            more = "leave it plain" if self.bits == 8 else "take more, such as --mode affine --bits 8"
            notes.append(
                f"only {self.loss.top_equal:.1%} of the favourites stay with {self.bits} bits, so it is hardly the same "
                f"model; {more}"
            )
        return tuple(notes)


def format_of(mode: str, bits: int | None, group_size: int | None) -> Format:
    """The format that is asked for, its gaps filled with the mode's defaults.

    Raises:
        ConfigError: MLX does not have it; the message says what it has.
    """
    if mode not in MODES:
        raise ConfigError(f"--mode is {mode!r}; known are {', '.join(MODES)}")
    known = MODES[mode]
    bits = next(iter(known)) if bits is None else bits
    if bits not in known:
        other = "use one of these" if mode == "affine" else "use that, or --mode affine"
        raise ConfigError(f"--bits is {bits}, and {mode} has {_or(sorted(known))}; {other}")
    group_size = known[bits][0] if group_size is None else group_size
    if group_size not in known[bits]:
        raise ConfigError(f"--group-size is {group_size}, and {mode} has {_or(sorted(known[bits]))}; leave it out")
    return Format(mode, bits, group_size)


def write_quantized(
    loaded: LoadedModel,
    path: Path,
    *,
    mode: str = "affine",
    bits: int | None = None,
    group_size: int | None = None,
    keep: Sequence[str] = (),
    dtype: mx.Dtype | None = None,
    token_ids: Sequence[int] | None = None,
    check: Check | None = None,
) -> Quantized:
    """Write a model with packed matrices as a folder that mlx-lm and `load_model` read.

    Args:
        loaded: any model but one that is packed already; adapters are merged first.
        path: must not exist; it appears when it is whole.
        mode: of `MODES`.
        bits: None is the mode's first.
        group_size: None is the mode's first.
        keep: matrices that stay plain: whole names, or how they end ("lm_head", "v_proj", "layers.0.mlp.down_proj").
        dtype: of what stays plain, of scales and of the arithmetic; None is that of the weights.
        token_ids: of a text on which the loss is measured, if any.
        check: is given the folder before it gets its name.

    Raises:
        ConfigError: a format that MLX does not have, a name that fits no matrix, or nothing to pack.
        ModelError: mlx-lm has no architecture for the model, or cannot read it packed, or `path` is there.
        UserError: it cannot be written.
    """
    form = format_of(mode, bits, group_size)
    config = loaded.config
    if architecture_of(config) is None:
        raise ModelError(f"{loaded.name} cannot be quantised for mlx-lm: {why_no_architecture(config)}")
    if is_quantized(loaded.model) and not has_adapters(loaded.model):
        raise ConfigError(f"the weights of {loaded.name} are quantised already; begin with the model as it was before")
    model = fused(loaded.model) if has_adapters(loaded.model) else loaded.model
    before = sum(weight.nbytes for weight in named_parameters(model).values())
    arrays, settings, plain, kept = _packed_arrays(model, form, keep, dtype)
    raw = model_config(config, dtype or dtype_of(model), loaded.tokenizer, loaded.history)
    raw |= {"quantization": settings, "quantization_config": settings}
    losses: list[Divergence] = []

    def reread(folder: Path) -> None:
        again, _, _ = load_hf_folder(folder)
        if token_ids is not None:
            losses.append(divergence(model, again, token_ids))
        if check is not None:
            check(folder)

    write_folder(loaded, path, raw, arrays, check=reread)
    after = sum(array.nbytes for array in arrays.values())
    packed = sum(name.endswith(".scales") for name in arrays)
    loss = losses[0] if losses else None
    weights = sum(weight.size for weight in named_parameters(model).values())
    return Quantized(
        path, form.mode, form.bits, form.group_size, before, after, 8 * after / weights, packed, plain, kept, loss
    )


def _packed_arrays(
    model: Transformer, form: Format, keep: Sequence[str], dtype: mx.Dtype | None
) -> tuple[dict[str, mx.array], dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Arrays by mlx-lm's names, its settings, and the names of the matrices that stay plain, by need and by wish."""
    config = model.config
    theirs = weights_to_mlx_lm(config, named_parameters(model))
    # Embeddings, linear layers and experts; norms and biases have one axis.
    matrices = [name.removesuffix(".weight") for name, array in theirs.items() if array.ndim > 1]
    kept = _chosen(keep, matrices)
    settings: dict[str, Any] = {"group_size": form.group_size, "bits": form.bits, "mode": form.mode}
    arrays: dict[str, mx.array] = {}
    plain: list[str] = []
    for name, array in theirs.items():
        layer = name.removesuffix(".weight")
        array = array if dtype is None else array.astype(dtype)
        router = layer.endswith((".mlp.gate", ".block_sparse_moe.gate"))
        its = ROUTER if router and array.shape[-1] % ROUTER.group_size == 0 else form
        if array.ndim == 1 or layer in kept or array.shape[-1] % its.group_size:
            arrays[name] = array
            if array.ndim > 1:
                settings[layer] = False
                plain += [] if layer in kept else [layer]
            continue
        packed = pack(array, its)
        arrays[f"{layer}.weight"], arrays[f"{layer}.scales"] = packed.weight, packed.scales
        if packed.biases is not None:
            arrays[f"{layer}.biases"] = packed.biases
        if its != form:
            settings[layer] = {"group_size": its.group_size, "bits": its.bits, "mode": its.mode}
        mx.eval(packed.weight, packed.scales)  # one matrix at a time
    if not any(name.endswith(".scales") for name in arrays):
        raise ConfigError(
            f"no matrix of this model can be packed: rows of {config.hidden_size} weights are no whole number of groups of "
            f"{form.group_size}; use a mode with smaller groups (mxfp4 has 32, nvfp4 16)"
        )
    return dict(sorted(arrays.items())), settings, tuple(plain), kept


def _chosen(keep: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that `keep` means.

    Raises:
        ConfigError: one means none.
    """
    chosen: set[str] = set()
    for wish in keep:
        fitting = [name for name in names if f".{name}".endswith(f".{wish.removesuffix('.weight')}")]
        if not fitting:
            leaves = dict.fromkeys(name.rpartition(".")[2] for name in names)
            raise ConfigError(f"--keep {wish} fits no matrix of this model; it has {', '.join(leaves)}")
        chosen.update(fitting)
    return tuple(name for name in names if name in chosen)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _or(numbers: Mapping[int, Any] | Sequence[int]) -> str:
    *first, last = [str(number) for number in numbers]
    return f"{', '.join(first)} or {last}" if first else last
