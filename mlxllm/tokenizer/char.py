"""The character tokenizer: one id for each character of the training text, bytes for what was not seen."""

import json
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from mlxllm.errors import DataError
from mlxllm.tokenizer.base import (
    CHARACTERS_FILE,
    FIRST_BYTE_ID,
    FIRST_LEARNED_ID,
    TokenArray,
    Tokenizer,
    check_characters,
    utf8,
)

# Entry of the lookup table for a character without an id; `encode` yields no special id, so 0 is free.
_UNSEEN = 0


class CharTokenizer(Tokenizer):
    """The classic for tiny Shakespeare: its 65 characters have the ids 261 to 325, sorted by code point."""

    kind = "char"

    def __init__(self, characters: Iterable[str]) -> None:
        """Make a tokenizer of a set of characters.

        Args:
            characters: strings of one character each, in any order, repeats allowed.

        Raises:
            DataError: one of them is a lone surrogate.
        """
        alphabet = sorted(set(characters))
        check_characters(alphabet)
        super().__init__(alphabet)
        codes = np.array([ord(char) for char in alphabet], dtype=np.int64)
        self._id_of_code = np.full(int(codes.max(initial=0)) + 2, _UNSEEN, dtype=np.uint32)
        self._id_of_code[codes] = np.arange(FIRST_LEARNED_ID, self.vocab_size, dtype=np.uint32)

    @classmethod
    def train(cls, texts: Iterable[str]) -> Self:
        """The tokenizer of all characters in `texts`, which are read once and not kept.

        Raises:
            DataError: there is no text, or it holds a lone surrogate.
        """
        seen: set[str] = set()
        for text in texts:
            seen.update(text)
        if not seen:
            raise DataError("there is no text to take the characters from: the input is empty")
        return cls(seen)

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        """The tokenizer that `model_files` describes.

        Raises:
            ValueError: `files` holds something else.
        """
        value = json.loads(files[CHARACTERS_FILE])
        if not isinstance(value, str) or sorted(set(value)) != list(value):
            raise ValueError("the characters are not a sorted string without repeats")
        return cls(value)

    def model_files(self) -> dict[str, bytes]:
        """The characters as one JSON string."""
        return {CHARACTERS_FILE: json.dumps("".join(self._learned)).encode("ascii")}

    def encode_to_array(self, texts: Sequence[str]) -> list[TokenArray]:
        """See `Tokenizer.encode_to_array`."""
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> TokenArray:
        try:
            codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        except UnicodeEncodeError:
            utf8(text)  # raises, and says where
            raise
        # Codes above the table fall on its last row, which belongs to no character.
        ids: TokenArray = self._id_of_code[np.minimum(codes, len(self._id_of_code) - 1)]
        unseen = ids == _UNSEEN
        return _spell_in_bytes(ids, codes, unseen) if unseen.any() else ids


def _spell_in_bytes(ids: TokenArray, codes: TokenArray, unseen: np.ndarray) -> TokenArray:
    """`ids` with every unseen character replaced by the ids of its 1 to 4 UTF-8 bytes."""
    length = np.ones(len(ids), dtype=np.int64)
    missing = codes[unseen]
    length[unseen] = 1 + (missing >= 0x80) + (missing >= 0x800) + (missing >= 0x10000)
    start = np.cumsum(length) - length
    out = np.empty(int(length.sum()), dtype=np.uint32)
    out[start[~unseen]] = ids[~unseen]
    flat = np.frombuffer(missing.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8"), dtype=np.uint8)
    is_byte = np.ones(len(out), dtype=bool)
    is_byte[start[~unseen]] = False
    out[is_byte] = flat + np.uint32(FIRST_BYTE_ID)
    return out
