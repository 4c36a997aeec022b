"""SentencePiece's model file, written field by field.

We write the file ourselves rather than keep the trainer's: ours holds what decides the ids and nothing else
(no paths, no thread counts), so equal vocabularies are equal bytes, and it needs no protobuf library. Field
numbers are those of `sentencepiece_model.proto`.
"""

import struct
from collections.abc import Sequence

from mlxllm.tokenizer.base import FIRST_LEARNED_ID, SPECIAL_TOKENS

# ModelProto.SentencePiece.Type
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_BPE = 2  # TrainerSpec.ModelType
# Protobuf wire types
_VARINT, _LENGTH_DELIMITED, _FIXED32 = 0, 2, 5


def model_proto(learned: Sequence[str]) -> bytes:
    """A SentencePiece BPE model: special tokens, bytes, then `learned` pieces, the earlier the stronger.

    Spaces stand as themselves in the pieces and `escape_whitespaces` is off. With SentencePiece's usual
    escaping, U+2581 in a text would become a space; so it is a character like any other.

    SentencePiece wants one piece of type "unknown". With byte fallback it is never used, so `<|endoftext|>`
    serves, as in GPT-2; the other special tokens are control pieces, which encoding never yields.
    """
    out = bytearray()
    for token_id, token in enumerate(SPECIAL_TOKENS):
        out += _piece(token, 0.0, _UNKNOWN if token_id == 0 else _CONTROL)
    for byte in range(256):
        out += _piece(f"<0x{byte:02X}>", 0.0, _BYTE)
    for rank, piece in enumerate(learned):
        out += _piece(piece, -float(rank), _NORMAL)
    trainer_spec = (
        _number(3, _BPE)  # model_type
        + _number(4, FIRST_LEARNED_ID + len(learned))  # vocab_size
        + _number(35, 1)  # byte_fallback
        + _number(40, 0)  # unk_id
        + _number(41, -1)  # bos_id
        + _number(42, -1)  # eos_id
        + _number(43, -1)  # pad_id
        + _bytes(45, SPECIAL_TOKENS[0].encode())  # unk_piece
    )
    normalizer_spec = (
        _bytes(1, b"identity")  # name
        + _bytes(2, b"")  # precompiled_charsmap
        + _number(3, 0)  # add_dummy_prefix
        + _number(4, 0)  # remove_extra_whitespaces
        + _number(5, 0)  # escape_whitespaces
    )
    out += _bytes(2, trainer_spec) + _bytes(3, normalizer_spec)
    return bytes(out)


def _piece(text: str, score: float, kind: int) -> bytes:
    score_field = _varint(2 << 3 | _FIXED32) + struct.pack("<f", score)
    return _bytes(1, _bytes(1, text.encode("utf-8")) + score_field + _number(3, kind))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    # A negative int32 is written as its 64-bit two's complement.
    return _varint(field << 3 | _VARINT) + _varint(value & (1 << 64) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
