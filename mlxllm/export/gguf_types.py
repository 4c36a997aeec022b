"""Which number formats a GGUF file can hold its weights in, and which tensor gets which."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlxllm.errors import ConfigError, ModelError

FULL = ("f32", "f16", "bf16")
"""Formats of single numbers; the others round blocks of a row together."""

SMALL = 2**26
"""Weights."""
_WRITERS = ("attn_output.weight", "ffn_down.weight", "ffn_down_exps.weight")
_LARGEST_F16 = 65504.0


@dataclass(frozen=True)
class TensorType:
    """One format, by the names of the `gguf` package."""

    name: str
    ggml: str
    """Of `GGMLQuantizationType`."""
    file_type: str
    """Of `LlamaFileType`: what a whole file of it calls itself."""
    block: int
    """Numbers that share a scale; the rows of a matrix must be a multiple."""
    bits: float
    """Per weight, scales included."""
    rounding: float
    """How far rounding may move a matrix, as a share of its size (root mean squares)."""
    about: str

    @property
    def number(self) -> Any:
        """The member of `GGMLQuantizationType`."""
        import gguf  # only where a GGUF file is made

        return gguf.GGMLQuantizationType[self.ggml]


TYPES: dict[str, TensorType] = {
    each.name: each
    for each in (
        TensorType("f32", "F32", "ALL_F32", 1, 32, 0, "as trained"),
        TensorType("bf16", "BF16", "MOSTLY_BF16", 1, 16, 0.004, "the range of f32, 8 bits of precision"),
        TensorType("f16", "F16", "MOSTLY_F16", 1, 16, 0.001, "11 bits of precision, up to 65,504"),
        TensorType("q8_0", "Q8_0", "MOSTLY_Q8_0", 32, 8.5, 0.02, "next to no loss"),
        TensorType("q5_1", "Q5_1", "MOSTLY_Q5_1", 32, 6, 0.1, "5 bits, scale and minimum"),
        TensorType("q5_0", "Q5_0", "MOSTLY_Q5_0", 32, 5.5, 0.1, "5 bits, scale"),
        TensorType("q4_1", "Q4_1", "MOSTLY_Q4_1", 32, 5, 0.2, "4 bits, scale and minimum"),
        TensorType("q4_0", "Q4_0", "MOSTLY_Q4_0", 32, 4.5, 0.2, "4 bits, scale"),
        TensorType("mxfp4", "MXFP4", "MOSTLY_MXFP4_MOE", 32, 4.25, 0.3, "4-bit floats, scale a power of two"),
        TensorType("tq2_0", "TQ2_0", "MOSTLY_TQ2_0", 256, 2.0625, 1, "for weights that were trained as -1, 0, 1"),
        TensorType("tq1_0", "TQ1_0", "MOSTLY_TQ1_0", 256, 1.6875, 1, "the same, smaller and slower"),
    )
}
"""All that the `gguf` package can write; its K and IQ formats it can only read (`llama-quantize` of llama.cpp makes
them from an f16 file)."""


def tensor_type(name: str) -> TensorType:
    """The format that a command line calls `name`.

    Raises:
        ConfigError: there is none; the message lists those that there are.
    """
    found = TYPES.get(name.lower())
    if found is None:
        raise ConfigError(
            f"GGUF files are written as {', '.join(TYPES)}, not as {name!r}; choose one of these, or write f16 and let "
            f"llama-quantize of llama.cpp make {name} of it"
        )
    return found


def type_for(tensor: str, shape: tuple[int, ...], wanted: TensorType, *, head: str, small: bool = False) -> TensorType:
    """The format of one tensor of a file that is to be of the format `wanted`.

    As llama.cpp has it, vectors, position tables and the routers of experts stay float32, and the matrix that makes the
    logits keeps 8 bits where the others have fewer (its 6-bit format can't be written by the `gguf` package). A row that
    is no multiple of the block stays float16.

    Args:
        tensor: its name in the file.
        shape: as numpy has it, rows last.
        wanted: what the file is to be of.
        head: name of the tensor that makes the logits.
        small: the model has less than `SMALL` weights. Small models are undecided at many positions, so that in q8_0 one
            likeliest token in thirty was another one; with the matrices that write to the residual stream, and the head,
            in float16 it is one in seventy, and the file is still small.
    """
    if small and wanted.name == "q8_0" and (tensor == head or any(part in tensor for part in _WRITERS)):
        return TYPES["f16"]
    if len(shape) < 2 or tensor == "position_embd.weight" or "ffn_gate_inp" in tensor:
        return TYPES["f32"]
    if tensor == head and wanted.bits < 8:
        wanted = TYPES["q8_0"]
    return TYPES["f16"] if shape[-1] % wanted.block else wanted


def encoded(values: npt.NDArray[np.float32], kind: TensorType, tensor: str) -> npt.NDArray[Any]:
    """The numbers as they stand in the file.

    Raises:
        ModelError: they hold NaN or an infinity, or are too large for float16.
    """
    import gguf

    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise ModelError(f"the weights {tensor} hold numbers that are not finite; export an earlier checkpoint")
    if kind.name == "f16" and largest > _LARGEST_F16:
        raise ModelError(
            f"the weights {tensor} reach {largest:,.0f}, and float16 ends at {_LARGEST_F16:,.0f}; write bf16 or f32"
        )
    # A block of zeros has no scale to divide by; the result is right.
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(gguf.quants.quantize(np.ascontiguousarray(values), kind.number))


def encoded_bytes(shape: tuple[int, ...], kind: TensorType) -> int:
    """Size of a tensor in the file."""
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[kind.number]
    return int(np.prod(shape)) // int(block) * int(size)
