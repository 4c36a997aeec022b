"""The bytes that a token of somebody else's tokenizer adds to a text, as its decoder would write them.

Three ways to hold bytes in the strings of a vocabulary are in use: GPT-2's alphabet, in which each byte is a printable
character; SentencePiece's U+2581 for a space; and `<0x0A>` for a byte that no piece has.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlxllm.errors import DataError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""What a byte without a piece is called."""
_SPACE = "▁"


def byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for the 256 bytes: those that are printable stand for themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return alphabet | {chr(256 + number): byte for number, byte in enumerate(others)}


_ALPHABET = byte_alphabet()

Speller = Callable[[str], bytes]


def speller_of(content: Mapping[str, Any], where: str) -> tuple[Speller, bool]:
    """How tokens are spelled, and whether one space at the beginning of a text is not part of it.

    Args:
        content: of a tokenizer.json.
        where: the file, for messages.

    Raises:
        DataError: the decoder is of a kind that is not known here.
    """
    decoder = content.get("decoder")
    if decoder is None and _has_byte_level(content.get("pre_tokenizer")):
        return _byte_level, False
    parts = _parts(decoder)
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"]:
        return _byte_level, False
    replaced: list[tuple[str, str]] = []
    strips = fuses = bytes_too = False
    for part in parts:
        kind = part.get("type")
        if kind == "Metaspace" and not replaced:
            replaced.append((str(part.get("replacement", _SPACE)), " "))
            scheme = part.get("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never")
            strips = scheme != "never"
        elif kind == "Replace" and isinstance(old := (part.get("pattern") or {}).get("String"), str) and old:
            replaced.append((old, str(part.get("content", ""))))
        elif kind == "ByteFallback":
            bytes_too = True
        elif kind == "Fuse":
            fuses = True
        elif kind == "Strip" and fuses and part.get("content") == " " and part.get("stop") == 0:
            strips = strips or part.get("start") == 1
        else:
            raise _unknown(where, kinds)
    if not parts or not replaced:
        raise _unknown(where, kinds)

    def spell(token: str) -> bytes:
        if bytes_too and (found := BYTE_TOKEN.fullmatch(token)):
            return bytes([int(found[1], 16)])
        for old, new in replaced:
            token = token.replace(old, new)
        return token.encode("utf-8")

    return spell, strips


def _byte_level(token: str) -> bytes:
    try:
        return bytes([_ALPHABET[char] for char in token])
    except KeyError:  # a token that was added as it is
        return token.encode("utf-8")


def _has_byte_level(part: Any) -> bool:
    return any(each.get("type") == "ByteLevel" for each in _parts(part))


def _parts(part: Any) -> list[Mapping[str, Any]]:
    if not isinstance(part, dict):
        return []
    if part.get("type") != "Sequence":
        return [part]
    inner = part.get("decoders", part.get("pretokenizers"))
    return [deep for each in inner for deep in _parts(each)] if isinstance(inner, list) else []


def _unknown(where: str, kinds: list[Any]) -> DataError:
    found = ", ".join(str(kind) for kind in kinds) or "none"
    return DataError(
        f"{where} spells its tokens in a way that is not known here (decoder: {found}); known are ByteLevel, as GPT-2, "
        f"Llama 3 and Qwen have it, and SentencePiece's, as Llama 2 and Mistral do"
    )
