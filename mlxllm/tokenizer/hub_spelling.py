"""The bytes that a token of somebody else's tokenizer adds to a text, as its decoder would write them.

Three ways to hold bytes in the strings of a vocabulary are in use: GPT-2's alphabet, in which each byte is a printable
character; SentencePiece's U+2581 for a space; and `<0x0A>` for a byte that no piece has.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlxllm.errors import DataError
from mlxllm.tokenizer.hub_files import quoted

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
_NO_BYTE = 0x10FFFF  # of other characters, some would pass for bytes
_BYTES = dict.fromkeys(range(0x100), _NO_BYTE) | {ord(char): byte for char, byte in _ALPHABET.items()}

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
    if decoder is None and has_byte_level(content.get("pre_tokenizer")):
        return _byte_level, False
    parts = _parts(decoder)
    kinds = [part.get("type") for part in parts]
    steps: list[Callable[[str], str]] = []
    whole = strips = bytes_too = alphabet = False
    for part in parts:
        kind = part.get("type")
        if alphabet or not (step := _step(part, whole=whole)):
            raise _unknown(where, kinds)
        steps.append(step)
        alphabet |= kind == "ByteLevel"
        bytes_too |= kind == "ByteFallback"
        whole |= kind == "Fuse"
        if kind == "Metaspace":
            scheme = part.get("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never")
            strips = scheme != "never"
        strips = strips or (kind == "Strip" and whole and part.get("start") == 1)
    if not parts:
        raise _unknown(where, kinds)

    def spell(token: str) -> bytes:
        if bytes_too and (found := BYTE_TOKEN.fullmatch(token)):
            return bytes([int(found[1], 16)])
        for step in steps:
            token = step(token)
        return _byte_level(token) if alphabet else token.encode("utf-8")

    return spell, strips


def _step(part: Mapping[str, Any], *, whole: bool) -> Callable[[str], str] | None:
    """What a part of a decoder does to one token; None if that is not known here.

    Args:
        part: of the decoder.
        whole: the tokens are one text by then, of which only the beginning can be cut.
    """
    kind, content, pattern = part.get("type"), part.get("content"), part.get("pattern")
    if kind in ("ByteFallback", "Fuse", "ByteLevel"):
        return _same
    if kind == "Metaspace" and isinstance(mark := part.get("replacement", _SPACE), str) and mark:
        return lambda token: token.replace(mark, " ")
    if kind == "Replace" and isinstance(pattern, dict) and isinstance(content, str):
        old = pattern.get("String")
        return (lambda token: token.replace(old, content)) if isinstance(old, str) and old else None
    if kind == "Strip" and whole and content == " " and part.get("stop") == 0 and part.get("start") in (0, 1):
        return _same
    if kind == "Strip" and not whole and part.get("stop") == 0 and part.get("start") == 1 and content:
        return lambda token: token[1:] if token[0] == content else token
    return None


def _same(token: str) -> str:
    return token


def _byte_level(token: str) -> bytes:
    try:
        return token.translate(_BYTES).encode("latin-1")
    except UnicodeEncodeError:  # a token that was added as it is
        return token.encode("utf-8")


def has_byte_level(part: Any) -> bool:
    """Whether a pre-tokenizer writes texts in GPT-2's alphabet."""
    return any(each.get("type") == "ByteLevel" for each in _parts(part))


def _parts(part: Any) -> list[Mapping[str, Any]]:
    if not isinstance(part, dict):
        return []
    if part.get("type") != "Sequence":
        return [part]
    inner = part.get("decoders", part.get("pretokenizers"))
    return [deep for each in inner for deep in _parts(each)] if isinstance(inner, list) else []


def _unknown(where: str, kinds: list[Any]) -> DataError:
    found = ", ".join(quoted(kind).strip("'") for kind in kinds[:8]) or "none"
    return DataError(
        f"{where} spells its tokens in a way that is not known here (decoder: {found}); known are ByteLevel, as GPT-2, "
        f"Llama 3 and Qwen have it, and SentencePiece's, as Llama 2 and Mistral do"
    )
