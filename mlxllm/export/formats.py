"""The formats that `mlxllm export` knows, in one table: what each takes, who reads it, and what writes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm.errors import ConfigError
from mlxllm.export.gguf_types import FULL, TYPES
from mlxllm.export.gguf_verification import GGUF_READERS, chosen_gguf_readers
from mlxllm.export.hf_files import DTYPES
from mlxllm.export.verification import READERS, checked, chosen_readers
from mlxllm.export.verified import Verification
from mlxllm.model.loading import LoadedModel

if TYPE_CHECKING:
    from mlxllm.export.adapters import AdapterExport

GGUF_DTYPES = {"f32": "f32", "f16": "f16", "bf16": "bf16", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""What `--dtype` may be with `--format gguf`: llama.cpp's names or the usual ones."""

Check = Callable[[Path], None]


@dataclass(frozen=True)
class Order:
    """What is to be written."""

    loaded: LoadedModel
    path: Path
    """Must not exist."""
    dtype: str | None = None
    """One of the format's; None for the format's own choice."""
    quantize: str | None = None
    """One of the format's."""
    modelfile: bool = False
    """gguf: whether an Ollama Modelfile goes beside it."""
    check: Check | None = None
    """Looks at the finished folder; what it raises leaves nothing there."""


@dataclass(frozen=True)
class Exported:
    """What was written, and what is to be said about it."""

    verification: Verification | None = None
    """None where no reader was asked."""
    notes: tuple[str, ...] = ()
    """What is otherwise than in the model, or has to be known about its base; a sentence each."""
    base: str = ""
    """Adapters alone: the model to put them on; empty where that has to be made first, as a note says."""


@dataclass(frozen=True)
class Format:
    """One format."""

    summary: str
    write: Callable[[Order], Exported]
    dtypes: Sequence[str]
    readers: Sequence[str]
    """Who can read it back."""
    choose: Callable[[Sequence[str]], list[str]] = chosen_readers
    """Those of its readers that were asked for by name."""
    quantizations: Sequence[str] = ()
    """What `--quantize` may be."""
    merges: bool = True
    """Whether it is the whole model, with adapters merged; else the adapters leave alone, and their writer checks them."""


def _write_hf(order: Order) -> Exported:
    from mlxllm.export.hf import write_hf

    dtype = None if order.dtype is None else DTYPES[order.dtype]
    if order.quantize is None:
        write_hf(order.loaded, order.path, dtype=dtype, check=order.check)
        return Exported()
    from mlxllm.export.quantized import QUANTIZATIONS, write_quantized

    mode, bits = QUANTIZATIONS[order.quantize]
    done = write_quantized(order.loaded, order.path, mode=mode, bits=bits, dtype=dtype, check=order.check)
    return Exported(notes=done.notes())


def _write_peft(order: Order) -> Exported:
    from mlxllm.export.adapters import write_peft_adapter

    return _alone(write_peft_adapter(order.loaded, order.path, check=order.check))


def _write_mlx_adapter(order: Order) -> Exported:
    from mlxllm.export.adapters import write_mlx_adapter

    return _alone(write_mlx_adapter(order.loaded, order.path, check=order.check))


def _alone(done: "AdapterExport") -> Exported:
    return Exported(notes=done.notes, base="" if done.below else done.base)


def _write_gguf(order: Order) -> Exported:
    from mlxllm.export.gguf_folder import write_gguf_folder

    if order.dtype is not None and order.quantize is not None:
        raise ConfigError(
            f"--dtype {order.dtype} and --quantize {order.quantize} both say what the matrices of a GGUF file are in; give "
            f"one of them"
        )
    kind = order.quantize or GGUF_DTYPES[order.dtype or "f16"]
    done = write_gguf_folder(order.loaded, order.path, dtype=kind, modelfile=order.modelfile, check=order.check)
    return Exported(notes=done.notes)


FORMATS: Mapping[str, Format] = {
    "hf": Format(
        summary="a folder for transformers, mlx-lm and mlxllm",
        write=_write_hf,
        dtypes=tuple(DTYPES),
        readers=READERS,
        quantizations=("affine4", "affine8", "mxfp4", "nvfp4"),
    ),
    "peft": Format(
        summary="the adapters alone, for PEFT",
        write=_write_peft,
        dtypes=("float32",),
        readers=(),
        merges=False,
    ),
    "mlx-adapter": Format(
        summary="the adapters alone, for mlx-lm",
        write=_write_mlx_adapter,
        dtypes=("float32",),
        readers=(),
        merges=False,
    ),
    "gguf": Format(
        summary="one file for llama.cpp, Ollama and LM Studio",
        write=_write_gguf,
        dtypes=tuple(GGUF_DTYPES),
        readers=GGUF_READERS,
        choose=chosen_gguf_readers,
        quantizations=tuple(name for name in TYPES if name not in FULL),
    ),
}


def format_named(name: str, *, dtype: str | None, quantize: str | None) -> Format:
    """The format of that name, which takes this dtype and quantisation.

    Raises:
        ConfigError: it does not; the message lists what there is.
    """
    if name not in FORMATS:
        raise ConfigError(f"--format is {name!r}; known are {', '.join(FORMATS)}")
    form = FORMATS[name]
    if dtype is not None and dtype not in form.dtypes:
        raise ConfigError(f"--dtype is {dtype!r}, which --format {name} does not have; it has {', '.join(form.dtypes)}")
    if quantize is not None and quantize not in form.quantizations:
        there = f"it has {', '.join(form.quantizations)}" if form.quantizations else "leave it out"
        raise ConfigError(f"--quantize is {quantize!r}, which --format {name} does not have; {there}")
    return form


def export(name: str, order: Order, *, verify: bool = True, readers: Sequence[str] | None = None) -> Exported:
    """Write a model in a format, and verify it unless told not to.

    Args:
        name: of the format.
        order: what is to be written; its `check` is replaced where it is to be verified.
        verify: whether readers are to be asked.
        readers: which ones; by default all that are installed.

    Raises:
        ConfigError: see `format_named` and `verification.chosen_readers`.
        DifferentError: the export differs from the model, and nothing was left.
        ModelError: no such architecture exists, or the folder is there already.
        UserError: it cannot be written.
    """
    form = format_named(name, dtype=order.dtype, quantize=order.quantize)
    found: list[Verification] = []
    check = checked(order.loaded, found, readers) if verify and form.merges else order.check
    done = form.write(replace(order, check=check))
    return replace(done, verification=found[0] if found else None)
