"""A SentencePiece BPE `tokenizer.model` of somebody else as the `tokenizers` library takes it.

SentencePiece keeps pieces and their strength; the library wants the merges that lead to them. A piece can be reached by
every pair of shorter pieces that together are it, and the piece with the lower id is merged first (transformers finds
the merges in the same way, so that the ids are its ids).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlxllm.errors import DataError
from mlxllm.tokenizer.hub_checks import MOST_TOKENS
from mlxllm.tokenizer.hub_files import spelling

_NORMAL, _CONTROL, _USER_DEFINED, _BYTE = 1, 3, 4, 6
_UNIGRAM, _BPE = 1, 2
_SPACE = "▁"


@dataclass(frozen=True, slots=True)
class SentencePiece:
    """One id of the model."""

    text: str
    kind: int
    """1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte."""


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """What of the file decides the ids."""

    pieces: tuple[SentencePiece, ...]
    model_type: int
    bos: int
    eos: int
    unk: int
    adds_space: bool


def read_sentencepiece(content: bytes, where: str) -> SentencePieceModel:
    """The pieces of a model file.

    Raises:
        DataError: it is damaged, or no SentencePiece model.
    """
    pieces: list[SentencePiece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _fields(content):
            if field == 1:
                inner = dict(_fields(value))
                pieces.append(SentencePiece(bytes(inner[1]).decode("utf-8"), int(inner.get(3, _NORMAL))))
            elif field == 2:
                trainer = dict(_fields(value))
            elif field == 3:
                normalizer = dict(_fields(value))
        if not pieces or len(pieces) > MOST_TOKENS:
            raise ValueError(f"it has {len(pieces):,} pieces")
        if len({piece.text for piece in pieces}) != len(pieces):
            raise ValueError("a piece occurs twice")
        numbers = [_signed(trainer.get(key, default)) for key, default in ((41, 1), (42, 2), (40, 0), (3, _UNIGRAM))]
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise DataError(f"{where} is not a SentencePiece model, or damaged ({error}); copy it again") from None
    if not normalizer.get(5, 1):
        raise DataError(
            f"{where} does not write spaces as U+2581, which no tokenizer but ours leaves out; if it was made here, copy "
            f"the tokenizer_config.json that belongs to it as well"
        )
    bos, eos, unk, model_type = numbers
    return SentencePieceModel(tuple(pieces), model_type, bos, eos, unk, bool(normalizer.get(3, 1)))


def as_tokenizer_json(model: SentencePieceModel, config: dict[str, Any], where: str) -> dict[str, Any]:
    """The same tokenizer as a tokenizer.json.

    Args:
        model: the pieces.
        config: of tokenizer_config.json: `legacy` and `add_prefix_space` decide where a space is put before a text, and
            `add_bos_token` whether `bos_token` is.
        where: the file, for messages.

    Raises:
        DataError: it is not a BPE model.
    """
    if model.model_type != _BPE:
        raise DataError(
            f"{where} is a SentencePiece model of another kind than BPE; let transformers write a tokenizer.json for it "
            f"(AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER))"
        )
    vocab = {piece.text: number for number, piece in enumerate(model.pieces)}
    adds = config.get("add_prefix_space")
    adds_space = model.adds_space if not isinstance(adds, bool) else adds
    scheme = ("always" if config.get("legacy") is True else "first") if adds_space else "never"
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_space else []
    added = [
        {
            "id": number,
            "content": piece.text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": piece.kind != _USER_DEFINED,
        }
        for number, piece in enumerate(model.pieces)
        if piece.kind in (2, _CONTROL, _USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False},
        "post_processor": _beginning(model, vocab, config),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": model.pieces[model.unk].text if 0 <= model.unk < len(model.pieces) else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(piece.kind == _BYTE for piece in model.pieces),
            "ignore_merges": False,
            "vocab": vocab,
            "merges": _merges(vocab),
        },
    }


def _beginning(model: SentencePieceModel, vocab: dict[str, int], config: dict[str, Any]) -> dict[str, Any] | None:
    """What puts `<s>` before a text, if the configuration wants that."""
    bos = spelling(config.get("bos_token"))
    if bos not in vocab:
        bos = model.pieces[model.bos].text if 0 <= model.bos < len(model.pieces) else None
    if config.get("add_bos_token") is not True or bos is None:
        return None
    token = {"SpecialToken": {"id": bos, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [token, first],
        "pair": [token, first, token, second],
        "special_tokens": {bos: {"id": bos, "ids": [vocab[bos]], "tokens": [bos]}},
    }


def _merges(vocab: dict[str, int]) -> list[list[str]]:
    found = []
    for piece, rank in vocab.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab:
                found.append((rank, len(left), left, right))
    found.sort(key=lambda merge: merge[:2])
    return [[left, right] for _, _, left, right in found]


def _fields(content: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: number, and a number, bytes or four or eight bytes."""
    if not isinstance(content, bytes | memoryview):
        raise ValueError("a message is missing")
    view = memoryview(content)
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(view, at)
            yield field, value
            continue
        if wire == 2:
            length, at = _varint(view, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(view):
            raise ValueError("it ends too early")
        yield field, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _signed(value: int) -> int:
    """An int32 of protobuf: negative ones are written as 64-bit two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value
