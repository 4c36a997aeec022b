"""The header of a safetensors file, read and held against the file before anything maps it.

MLX trusts what a header says, and a wrong one can make it read beside its file. The format: 8 bytes with the length of
the header (little-endian), a JSON object, then the numbers of all tensors one behind the other. The object has for each
tensor `dtype`, `shape` and `data_offsets` (begin, end), counted from the end of the header.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlxllm.errors import ModelError
from mlxllm.visible import brief, called, visible

ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}
"""dtype of the format -> bytes of one number."""
MOST_HEADER_BYTES = 100_000_000
"""What the format allows."""
_MOST_TENSORS = 1_000_000
_MOST_DIMENSIONS = 16
_LONGEST_NAME = 1_000
_LARGEST_DIMENSION = 2**31 - 1
"""MLX counts the length of an axis in 32 bits."""
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class _HeaderError(Exception):
    """What is wrong, as half a sentence."""


def read_header(file: Path) -> dict[str, Tensor]:
    """Name -> dtype and shape of every tensor of a safetensors file, in the order of their numbers.

    Nothing but the header is read; it describes the file to its last byte.

    Raises:
        ModelError: the file cannot be read, or its header is not one, or does not fit the file.
    """
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > size - 8:
                raise _HeaderError(
                    f"it has {size:,} bytes" + (f", and its header alone should have {length:,}" if size >= 8 else "")
                )
            if length > MOST_HEADER_BYTES:
                raise _HeaderError(f"its header has {length:,} bytes, and {MOST_HEADER_BYTES:,} is the most there is")
            text = opened.read(length)
        return _tensors(_parsed(text), size - 8 - length)
    except OSError as error:
        raise ModelError(f"cannot read {file}: {error.strerror or error}") from None
    except _HeaderError as error:
        raise ModelError(f"{file} is not a usable safetensors file: {error}; download or copy it again") from None


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _HeaderError(f"its header is no JSON ({_words(error)})") from None
    if not isinstance(header, dict):
        raise _HeaderError("its header is no JSON object")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _HeaderError("its header has a key twice")
    return found


def _no_number(constant: str) -> NoReturn:
    raise _HeaderError(f"its header has {constant} for a number")


def _tensors(header: dict[str, Any], data_bytes: int) -> dict[str, Tensor]:
    metadata = header.pop(_METADATA, None)
    if metadata is None:  # MLX writes null where it has none
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _HeaderError(f"{_METADATA} in its header is not text by text")
    if len(header) > _MOST_TENSORS:
        raise _HeaderError(
            f"its header names {len(header):,} tensors, and {_MOST_TENSORS:,} are the most that are read"
        )
    places = []
    for name, entry in header.items():
        shown = called(name)
        if len(name) > _LONGEST_NAME:
            raise _HeaderError(f"its header has a name of {len(name):,} characters, {shown}")
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise _HeaderError(f"{shown} has not dtype, shape and data_offsets in its header, and nothing else")
        tensor = Tensor(_dtype(shown, entry["dtype"]), _shape(shown, entry["shape"]))
        begin, end = _offsets(shown, entry["data_offsets"])
        if end - begin != tensor.nbytes:
            raise _HeaderError(
                f"{shown} is {tensor.dtype} of shape {tensor.shape}, which takes {tensor.nbytes:,} bytes, and its header "
                f"gives it {end - begin:,}"
            )
        places.append((begin, end, name, tensor))
    places.sort(key=lambda place: place[:2])
    at = 0
    for begin, end, name, _ in places:
        if begin != at:
            what = "overlap" if begin < at else "leave a gap"
            raise _HeaderError(f"the numbers of {called(name)} and of the tensor before it {what}")
        at = end
    if at != data_bytes:
        lacks = "is cut off" if at > data_bytes else "has more than it says"
        raise _HeaderError(f"it {lacks}: {data_bytes:,} bytes follow its header, which describes {at:,}")
    return {name: tensor for _, _, name, tensor in places}


def _dtype(shown: str, dtype: object) -> str:
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _HeaderError(f"{shown} has the dtype {brief(dtype)}; known are {', '.join(ITEM_BYTES)}")
    return dtype


def _shape(shown: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_count, shape)):
        raise _HeaderError(f"{shown} has the shape {brief(shape)}")
    if any(length > _LARGEST_DIMENSION for length in shape):
        raise _HeaderError(f"{shown} has the shape {brief(shape)}, more than can be in memory")
    return tuple(shape)


def _offsets(shown: str, offsets: object) -> tuple[int, int]:
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise _HeaderError(f"{shown} has the data_offsets {brief(offsets)}")
    begin, end = offsets
    if end < begin:
        raise _HeaderError(f"{shown} ends before it begins: {brief(offsets)}")
    return begin, end


def _words(error: Exception) -> str:
    return " ".join(visible(word) for word in str(error)[:80].split())


def _is_count(value: object) -> bool:
    """Whether it is a number that a file can hold; the bound keeps products and messages short."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
