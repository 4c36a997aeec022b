"""What every tokenizer is: a table from ids to bytes, and a way to spell text with it.

Ids are laid out the same way in the three kinds that are made here (`hub.py` opens those of others):

    0 .. 4      special tokens, in the order of SPECIAL_TOKENS
    5 .. 260    the 256 single bytes
    261 ..      what was learned: characters (`char`), pieces (`bpe`), nothing (`byte`)

Since every byte has an id, every text can be spelled and `decode(encode(text)) == text` always. Special ids
are put in by whoever builds a sequence (shards, chat templates); `encode` never yields one, whatever the text
spells.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mlxllm.errors import DataError

SPECIAL_TOKENS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
"""Reserved from the start, so that a model can be tuned for chat without a new vocabulary; ids 0 to 4."""
FIRST_BYTE_ID = len(SPECIAL_TOKENS)
"""Byte b has the id FIRST_BYTE_ID + b."""
FIRST_LEARNED_ID = FIRST_BYTE_ID + 256
FORMAT_VERSION = 1
CHARACTERS_FILE = "characters.json"
MODEL_FILE = "tokenizer.model"

_LONE_SURROGATE = (
    "the {}text holds the lone surrogate U+{:04X}{}, which is half of a character and cannot be written as "
    "UTF-8; decode its source with errors='replace'"
)

_SPECIAL = re.compile(f"({'|'.join(map(re.escape, SPECIAL_TOKENS))})")

TokenArray = npt.NDArray[np.uint32]


class Tokenizer(ABC):
    """Text to ids and back. Immutable; `fingerprint` tells two tokenizers with different ids apart."""

    kind: ClassVar[str]
    """`char`, `byte` or `bpe`; `hub` for one that came with somebody else's model."""
    stop_ids: tuple[int, ...]
    """The ids that end what a model writes, the end of a text first."""
    adds_space: bool = False
    """Whether `encode` puts a space before a text, so that its first word is a word like any other."""
    prefix_ids: tuple[int, ...] = ()
    """What stands before every text that a model learned from, such as `<s>`; nothing in our own."""

    def __init__(self, learned: Sequence[str]) -> None:
        """Lay out the vocabulary.

        Args:
            learned: the strings of the ids from FIRST_LEARNED_ID on.
        """
        self._learned = tuple(learned)
        self.vocab_size: int = FIRST_LEARNED_ID + len(self._learned)
        self.special_ids: dict[str, int] = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
        self.eot_id: int = self.special_ids["<|endoftext|>"]
        self.stop_ids = (self.eot_id,)
        self._token_bytes = [b""] * FIRST_BYTE_ID + [bytes([b]) for b in range(256)]
        self._token_bytes += [piece.encode("utf-8") for piece in self._learned]
        # A dict, not a list: it refuses negative ids.
        self._spelling: dict[int, bytes] = dict(enumerate(self._token_bytes))
        self._spelling.update({i: token.encode() for token, i in self.special_ids.items()})
        self.fingerprint: str = fingerprint_of(self.kind, self.model_files())

    @abstractmethod
    def encode_to_array(self, texts: Sequence[str]) -> list[TokenArray]:
        """The ids of each text, one uint32 array a text.

        Raises:
            DataError: a text holds a lone surrogate (half a UTF-16 pair), which no UTF-8 text can.
        """

    @abstractmethod
    def model_files(self) -> dict[str, bytes]:
        """File name -> content of all that decides the ids. The same bytes on every machine."""

    def files_for_readers(self) -> dict[str, bytes]:
        """`model_files` as others are to get them beside a model's weights."""
        return self.model_files()

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; never a special one.

        Raises:
            DataError: `text` holds a lone surrogate.
        """
        ids: list[int] = self.encode_to_array([text])[0].tolist()
        return ids

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What stands before a text that is yet to begin: its prefix, else the end of the text before."""
        return self.prefix_ids or (self.eot_id,)

    @property
    def learned_ids(self) -> Sequence[int]:
        """The ids of what was learned from text, without special tokens and single bytes."""
        return range(FIRST_LEARNED_ID, self.vocab_size)

    def encode_begun(self, text: str) -> list[int]:
        """The ids of a text from its beginning, as models learn it: `prefix_ids` and `encode`.

        Raises:
            DataError: `text` holds a lone surrogate.
        """
        return [*self.prefix_ids, *self.encode(text)]

    def encode_continued(self, text: str) -> list[int]:
        """The ids of `text` in the middle of another, without a space that some put before a beginning.

        Raises:
            DataError: `text` holds a lone surrogate.
        """
        return self.encode(text)

    def encode_with_specials(self, text: str) -> list[int]:
        """The ids of a rendered chat template: what spells a special token becomes its id.

        Raises:
            DataError: `text` holds a lone surrogate.
        """
        ids: list[int] = []
        for part in filter(None, _SPECIAL.split(text)):
            special = self.special_ids.get(part)
            ids.extend(self.encode(part) if special is None else [special])
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`: special tokens as their spelling, bytes that are not UTF-8 as U+FFFD.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_continued(self, ids: Iterable[int]) -> str:
        """The text of `ids` in the middle of another: as `decode`, but a space at the beginning is always kept.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`, special tokens as their spelling.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        # Python's own ints are several times faster as keys than numpy's scalars.
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else ids
        try:
            return b"".join([self._spelling[i] for i in numbers])
        except KeyError as error:
            raise self._unknown(error.args[0]) from None

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for in a text; none for a special token.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise self._unknown(token_id)
        return self._token_bytes[token_id]

    def piece(self, token_id: int) -> str:
        """The token as a reader would know it: its string, `<0x0A>` for a byte, a special token's spelling.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        value = self.token_bytes(token_id)
        if token_id < FIRST_BYTE_ID:
            return SPECIAL_TOKENS[token_id]
        if token_id < FIRST_LEARNED_ID:
            return f"<0x{value[0]:02X}>"
        return self._learned[token_id - FIRST_LEARNED_ID]

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """Bytes that each id stands for, shape (vocab_size,); 0 for special tokens.

        Summed over targets it turns a loss in nats a token into bits per byte.
        """
        return np.array([len(value) for value in self._token_bytes], dtype=np.int64)

    def save(self, directory: Path) -> None:
        """Write a self-contained tokenizer directory; an older tokenizer there is replaced as a whole.

        Raises:
            DataError: `directory` exists and is not a tokenizer, or cannot be written.
        """
        from mlxllm.tokenizer.storage import save_tokenizer  # storage needs the classes of this module

        save_tokenizer(self, directory)

    def _unknown(self, token_id: Any) -> DataError:
        return DataError(
            f"token id {token_id} is not in the vocabulary of this {self.kind} tokenizer, which has the ids "
            f"0 to {self.vocab_size - 1:,}; were the ids made with another tokenizer?"
        )


def fingerprint_of(kind: str, model_files: Mapping[str, bytes]) -> str:
    """SHA-256 over what decides the ids: kind, special tokens and model files. 64 hexadecimal digits."""
    digest = hashlib.sha256()
    parts = [b"mlxllm tokenizer", str(FORMAT_VERSION).encode(), kind.encode()]
    parts += [token.encode() for token in SPECIAL_TOKENS]
    for name in sorted(model_files):
        parts += [name.encode(), model_files[name]]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def utf8(text: str) -> bytes:
    """`text` in UTF-8.

    Raises:
        DataError: it holds a lone surrogate; the message says which and where.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        place = f" at character {error.start:,}"
        raise DataError(_LONE_SURROGATE.format("", ord(text[error.start]), place)) from None


def check_characters(characters: Iterable[str]) -> None:
    """Refuse lone surrogates among the characters of a training text.

    Raises:
        DataError: there is one.
    """
    for char in characters:
        if "\ud800" <= char <= "\udfff":
            raise DataError(_LONE_SURROGATE.format("training ", ord(char), ""))
