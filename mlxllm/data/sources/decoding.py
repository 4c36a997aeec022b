"""Bytes of a file to text: byte-order marks, bad bytes with their place, lines of bounded length."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.files import DamagedFileError, read_chunks

BLOCK_CHARS = 1 << 18
"""A line longer than this is handed on in parts."""
DAMAGED = "damaged file"
"""The note about a file whose compressed data is cut off or corrupt."""
MENDED = "undecodable bytes"
"""The note about a text in which a few of them were replaced."""
MOST_BAD = 0.001
"""Share of a text that may be undecodable; of German or French in Latin-1 it is more than ten times that."""
_BAD_IN_A_ROW = 4096
"""So much may be bad at the beginning before a file is given up: a block of a disk."""
_REPLACEMENT = "\ufffd"
MOST_LINE_BYTES = 128 << 20
"""Of a line of records only this much is kept in memory."""
# Longer ones first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def encoding_of(first: bytes) -> tuple[str, int]:
    """The encoding that a byte-order mark tells, and the length of the mark."""
    return next(((name, len(mark)) for mark, name in _MARKS.items() if first.startswith(mark)), ("utf-8", 0))


def decoded(path: Path, problems: Problems, most_bytes: int | None = None, *, mend: bool = False) -> Iterator[str]:
    """The text of a file in pieces; a byte-order mark is dropped, line ends stay as they are.

    Args:
        path: of the file.
        problems: told where packed data ends early, and what was mended.
        most_bytes: the text ends behind so many bytes, about.
        mend: put U+FFFD in the place of what cannot be decoded, as the Unicode Standard has it (section 3.9).

    Raises:
        UnicodeDecodeError: without `mend`; with `start` counted from the beginning of the (unpacked) file.
    """
    bad = _Bad(mend)
    yield from _texts(path, problems, most_bytes, bad)
    if bad.first is not None:
        places = "one place" if bad.count == 1 else f"{bad.count:,} places, the first"
        problems.mend(MENDED, str(path), f"{places} at byte {bad.first.start:,}; U+FFFD stands there now")


def check_decodable(path: Path, most_bytes: int | None = None) -> None:
    """Read a file to its end before any of it is used: a few bad bytes are mended, but not a file that is no such text.

    Raises:
        UnicodeDecodeError: more than `MOST_BAD` is bad, so that it is binary or in another encoding; tells the first
            bad byte.
    """
    bad, size = _Bad(mend=True), 0
    for text in _texts(path, Problems(), most_bytes, bad):
        size += len(text)
        if bad.first is not None and bad.count > _BAD_IN_A_ROW + size * MOST_BAD:
            raise bad.first
    if bad.first is not None and bad.count > size * MOST_BAD:
        raise bad.first


@dataclass(slots=True)
class _Bad:
    """What of a file could not be decoded."""

    mend: bool
    count: int = 0
    first: UnicodeDecodeError | None = None


def _texts(path: Path, problems: Problems, most_bytes: int | None, bad: _Bad) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder | None = None
    encoding, position = "", 0
    try:
        for chunk in read_chunks(path):
            if decoder is None:
                encoding, mark = encoding_of(chunk)
                decoder = codecs.getincrementaldecoder(encoding)()
                chunk, position = chunk[mark:], mark
            text = _decoded(decoder, chunk, False, position, bad)
            position += len(chunk)
            if text:
                yield text
            if most_bytes is not None and position >= most_bytes:
                return
    except DamagedFileError as error:
        # What came before the damage is whole, except for a character that it cut in two.
        problems.mend(DAMAGED, str(path), f"{error}; used up to byte {position:,} of the unpacked text")
        return
    if decoder is not None and (text := _decoded(decoder, b"", True, position, bad)):
        yield text


def _decoded(decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool, position: int, bad: _Bad) -> str:
    """The text of what stands at `position`, and of what of a character came before it."""
    held = decoder.getstate()[0]
    try:
        return decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        offset = position - len(held)
        found = UnicodeDecodeError(error.encoding, b"", error.start + offset, error.end + offset, error.reason)
    if not bad.mend:
        raise found
    decoder.errors = "replace"  # after an error the decoder is where it was before
    text = decoder.decode(chunk, final)
    decoder.errors = "strict"
    own = (held + chunk).count(_REPLACEMENT.encode(found.encoding))
    bad.first = bad.first or found
    bad.count += max(1, text.count(_REPLACEMENT) - own)
    return text


def line_blocks(texts: Iterator[str]) -> Iterator[str]:
    """The same text cut behind line breaks, so that no separator line is cut in two; overlong lines are cut
    anywhere.

    The first block of an overlong line has no line break, and what follows of that line is never mistaken for
    a separator line, since a block begins with it only if it is longer than any separator line.
    """
    carry = ""
    for text in texts:
        carry += text
        cut = carry.rfind("\n") + 1
        if cut:
            yield carry[:cut]
            carry = carry[cut:]
        elif len(carry) > BLOCK_CHARS:
            # A long part stays back, so the rest of this line cannot look like a line of its own.
            yield carry[: len(carry) - BLOCK_CHARS // 2]
            carry = carry[len(carry) - BLOCK_CHARS // 2 :]
    if carry:
        yield carry


def byte_lines(
    path: Path | BinaryIO, problems: Problems, most_bytes: int | None = None, where: str | None = None
) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; of a line of `MOST_LINE_BYTES` or more only the beginning is kept.

    With `most_bytes` the whole lines of about so many bytes, and one at least. `where` is what the file is called in
    `problems` if that is not its path.
    """
    where = where or str(path)
    line = bytearray()
    number = 1
    position = 0
    first = True
    try:
        for chunk in read_chunks(path):
            if first:
                chunk, first = chunk.removeprefix(codecs.BOM_UTF8), False
            *ended, rest = chunk.split(b"\n")
            for end in ended:
                if line:
                    end = bytes(_grown(line, end))
                    line.clear()
                yield number, end
                number += 1
            _grown(line, rest)
            position += len(chunk)
            if most_bytes is not None and position >= most_bytes and number > 1:
                return
    except DamagedFileError as error:
        problems.mend(DAMAGED, where, f"{error}; used up to line {number - 1:,}")
        if line:
            problems.drop("cut-off line", f"{where}:{number}")
        return
    if line:
        yield number, bytes(line)


def _grown(line: bytearray, more: bytes) -> bytearray:
    line += more[: max(0, MOST_LINE_BYTES - len(line))]
    return line


def is_encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON may hold half a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
