"""Records of a WARC file (ISO 28500), as far as they are whole: what is cut off, corrupt or misstated costs only itself.

Compared with warcio and FastWARC, which stop at the first corrupt member or pass over it in silence, this counts what
is lost and goes on behind it, and a Content-Length that is not true fills no memory.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mlxllm.data.sources.members import Gap, unpacked

MOST_BLOCK_BYTES = 64 << 20
"""Of a record; larger ones are passed over."""
CUT_OFF = "cut-off record"
BROKEN = "broken record"
TOO_LARGE = "record too large"

MAGIC = b"WARC/"
_MOST_HEAD_BYTES = 1 << 20
_LINE_ENDS = re.compile(rb"[\r\n]+")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_BEGINNING = re.compile(rb"\nWARC/\d\.\d+\r?\n[A-Za-z-]+[ \t]*:")
_BEGINNING_BYTES = 128
"""As many hold the match of `_BEGINNING`, but for a name that no WARC has."""
_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha512": 64, "md5": 16}


@dataclass(frozen=True, slots=True)
class WarcRecord:
    """One record."""

    number: int
    """Its place in the file, from 1; records that were not whole count."""
    fields: dict[str, str]
    """Of its head, the names in small letters."""
    block: bytes
    """What stands behind the head."""

    @property
    def type(self) -> str:
        """`response`, `conversion`, `metadata`, ..."""
        return self.fields.get("warc-type", "").lower()

    @property
    def url(self) -> str:
        """Of the page that the record is about; empty where it names none."""
        return self.fields.get("warc-target-uri", "").strip("<>")


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A record that is not whole."""

    number: int
    fields: dict[str, str]
    """As far as its head could be read."""
    reason: str
    """CUT_OFF, BROKEN or TOO_LARGE."""
    detail: str


def warc_records(file: BinaryIO) -> Iterator[WarcRecord | BrokenRecord | Gap]:
    """The records of a file in order: plain, or packed with gzip or Zstandard, as members of one record or as a whole.

    A record behind which something else begins than the next one is handed out only if its digest proves it. A Gap
    stands where bytes are passed over. At most twice `MOST_BLOCK_BYTES` are in memory.

    Raises:
        OSError: the file cannot be read.
    """
    buffer = _Buffer(unpacked(file, MAGIC))
    number = 0
    broken = False
    while True:
        buffer.skip_line_ends()
        if not buffer.fill_to(len(MAGIC)):
            if buffer.data:
                yield Gap(f"{len(buffer.data)} bytes that belong to no record")
            if buffer.gap is None:
                return
            yield buffer.resume()
            continue
        if not buffer.data.startswith(MAGIC):
            passed = buffer.skip_to_record()
            if not broken:  # then they are the rest of it, and counted with it
                yield Gap(f"{passed:,} bytes that belong to no record")
            continue
        number += 1
        record = _next_record(buffer, number)
        broken = isinstance(record, BrokenRecord)
        yield record


def _next_record(buffer: "_Buffer", number: int) -> WarcRecord | BrokenRecord:
    """The record that begins where the buffer does; afterwards the buffer begins behind it, or at what may be next."""
    head = buffer.take_head()
    if head is None:
        reason = CUT_OFF if len(buffer.data) < _MOST_HEAD_BYTES else BROKEN
        buffer.drop(len(MAGIC))
        return BrokenRecord(number, {}, reason, "its head has no end")
    fields = _fields(head)
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        return BrokenRecord(number, fields, BROKEN, f"Content-Length {length!r}" if length else "no Content-Length")
    size = int(length)
    if size > MOST_BLOCK_BYTES:
        passed = buffer.skip(size)
        more = "" if passed == size else f", of which {passed:,} are there"
        return BrokenRecord(number, fields, TOO_LARGE, f"{size:,} bytes{more}")
    whole = buffer.fill_to(size)
    block = buffer.take(min(size, len(buffer.data)))
    if whole and buffer.at_record():
        return WarcRecord(number, fields, block)
    if whole and _proven(fields, block):
        return WarcRecord(number, fields, block)
    # The length may reach into the next record.
    if (inside := _BEGINNING.search(block)) is not None:
        buffer.put_back(block[inside.start() + 1 :])
        return BrokenRecord(number, fields, BROKEN, f"another record begins inside of its {size:,} bytes")
    if whole:
        follows = (
            "its packed data is damaged" if buffer.gap and not buffer.data else "something else than a record follows"
        )
        return BrokenRecord(number, fields, BROKEN, f"{follows}, and no digest proves it")
    return BrokenRecord(number, fields, CUT_OFF, f"{len(block):,} of {size:,} bytes")


class _Buffer:
    """Bytes of a file up to a gap, and then up to the next."""

    def __init__(self, pieces: Iterator[bytes | Gap]) -> None:
        self.data = bytearray()
        self.gap: Gap | None = None
        """Behind the data something is missing."""
        self._pieces = pieces

    def fill_to(self, size: int) -> bool:
        """Whether there are `size` bytes before the gap or the end."""
        while len(self.data) < size:
            if not self._fill():
                return False
        return True

    def resume(self) -> Gap:
        """Go on behind the gap, and say what it was."""
        gap = self.gap
        assert gap is not None
        self.data.clear()
        self.gap = None
        return gap

    def take(self, size: int) -> bytes:
        """The first bytes, which are there."""
        with memoryview(self.data) as view:
            taken = bytes(view[:size])
        del self.data[:size]
        return taken

    def drop(self, size: int) -> None:
        """Forget the first bytes, which are there."""
        del self.data[:size]

    def put_back(self, data: bytes) -> None:
        """These come next."""
        self.data[:0] = data

    def skip(self, size: int) -> int:
        """Pass over so many bytes, or fewer if a gap or the end comes first; returns how many."""
        passed = 0
        while passed < size and (self.data or self._fill()):
            step = min(size - passed, len(self.data))
            self.drop(step)
            passed += step
        return passed

    def skip_line_ends(self) -> None:
        """Pass over the empty lines between records."""
        while True:
            if found := _LINE_ENDS.match(self.data):
                self.drop(found.end())
            if self.data or not self._fill():
                return

    def at_record(self) -> bool:
        """Whether a record ends here: line ends follow, and then the next record or the end of the file."""
        self.skip_line_ends()
        if self.fill_to(len(MAGIC)):
            return self.data.startswith(MAGIC)
        return not self.data and (self.gap is None or self.gap.clean)

    def take_head(self) -> bytes | None:
        """Up to the empty line; None if there is none within a bound."""
        start = 0
        while (found := _HEAD_END.search(self.data, start)) is None:
            start = max(0, len(self.data) - 3)
            if len(self.data) >= _MOST_HEAD_BYTES or not self._fill():
                return None
        head = self.take(found.start())
        self.drop(found.end() - found.start())
        return head

    def skip_to_record(self) -> int:
        """Pass over everything up to the beginning of a record, a gap or the end; returns how many bytes."""
        passed = 0
        while (found := _BEGINNING.search(self.data)) is None:
            step = max(0, len(self.data) - _BEGINNING_BYTES)
            self.drop(step)
            passed += step
            if not self._fill():
                passed += len(self.data)
                self.data.clear()
                return passed
        self.drop(found.start() + 1)
        return passed + found.start() + 1

    def _fill(self) -> bool:
        if self.gap is not None:
            return False
        piece = next(self._pieces, None)
        if isinstance(piece, Gap):
            self.gap = piece
            return False
        if piece is None:
            return False
        self.data += piece
        return True


def _fields(head: bytes) -> dict[str, str]:
    """Names in small letters with their values; a line that begins with a blank goes on with the one before."""
    fields: dict[str, str] = {}
    name = ""
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in (" ", "\t"):
            if name:
                fields[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name:
            fields[name] = value.strip()
    return fields


def digest_holds(stated: str, data: bytes) -> bool | None:
    """Whether data has the digest that a record states; None where that says nothing, such as an unknown algorithm.

    `sha1:` in base 32 is what crawls write, hexadecimal occurs (WARC 1.1, section 5.8).
    """
    algorithm, _, value = stated.partition(":")
    algorithm = algorithm.strip().lower().replace("-", "")
    size = _DIGEST_BYTES.get(algorithm)
    if size is None:
        return None
    value = value.strip()
    try:
        if len(value) == 2 * size:
            expected = bytes.fromhex(value)
        else:
            expected = base64.b32decode(value.upper() + "=" * (-len(value) % 8))
    except ValueError:
        return None
    if len(expected) != size:
        return None
    return hashlib.new(algorithm, data, usedforsecurity=False).digest() == expected


def _proven(fields: dict[str, str], block: bytes) -> bool:
    return digest_holds(fields.get("warc-block-digest", ""), block) is True
