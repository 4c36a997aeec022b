"""Packed files that are made of many members (gzip) or frames (Zstandard): what lies behind a damaged one is found again.

An archive of pages holds one member a record, so that damage to one costs that record and not the rest of the file.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

_READ_BYTES = 1 << 16
"""What is left of it behind each member is copied, so it is not much larger than a member."""
_OUT_BYTES = 1 << 18
# A Zstandard block of 4 bytes can unfold to 128 KiB, and its decompressor takes no output limit.
_ZSTD_FEED_BYTES = 8 << 10
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
_MOST_DICTIONARY_BYTES = 16 << 20
_TRIED_BYTES = 1 << 10
"""Of a place that may be the beginning of a member; that of a record shows by then."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A place at which something is missing: what comes next does not go on from what came before."""

    detail: str
    """What was found there."""
    clean: bool = False
    """What came before ends with a member that is whole."""


class _DamageError(Exception):
    """A member is corrupt."""


class _Member(Protocol):
    """One member while it is unpacked."""

    ended: bool
    rest: bytes
    """What was fed and lies behind the end of it."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unfolds to, in pieces of bounded size.

        Raises:
            _DamageError: it is corrupt.
        """


@dataclass(frozen=True, slots=True)
class _Packing:
    name: str
    begin: Callable[[], _Member]
    magic: re.Pattern[bytes]
    """How a member begins; used to find one, so that it is narrower than what is read."""


class _GzipMember:
    def __init__(self) -> None:
        self.ended, self.rest = False, b""
        self._inflate = zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        more = True
        # A full output may leave more inside the decompressor after its input is used up.
        while (data or more) and not self._inflate.eof:
            # Where this piece is found to be corrupt, what comes before the damage is to be had nevertheless.
            before = self._inflate.copy() if self._begun else zlib.decompressobj(wbits=31)
            try:
                out = self._inflate.decompress(data, _OUT_BYTES)
            except zlib.error as error:
                yield from _up_to_damage(before, data)
                raise _DamageError(str(error).split(": ")[-1]) from None
            data, more, self._begun = self._inflate.unconsumed_tail, len(out) == _OUT_BYTES, True
            if out:
                yield out
        self.ended, self.rest = self._inflate.eof, self._inflate.unused_data


def _up_to_damage(inflate: Any, data: bytes) -> Iterator[bytes]:
    """What corrupt data unfolds to before that shows, found byte by byte."""
    for place in range(len(data)):
        step = data[place : place + 1]
        while step:
            try:
                out = inflate.decompress(step, _OUT_BYTES)
            except zlib.error:
                return
            if out:
                yield out
            step = inflate.unconsumed_tail


class _ZstdFrame:
    def __init__(self, decompressor: Any) -> None:
        self.ended, self.rest = False, b""
        self._frame = decompressor.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        import zstandard  # only for files that need it

        for start in range(0, len(data), _ZSTD_FEED_BYTES):
            try:
                out = self._frame.decompress(data[start : start + _ZSTD_FEED_BYTES])
            except zstandard.ZstdError as error:
                raise _DamageError(str(error)) from None
            for begin in range(0, len(out), _OUT_BYTES):
                yield out[begin : begin + _OUT_BYTES]
            if self._frame.eof:
                self.ended, self.rest = True, self._frame.unused_data + data[start + _ZSTD_FEED_BYTES :]
                return


# ID1, ID2, deflate, no reserved flag; then time, and XFL as compressors set it (RFC 1952, section 2.3). The system behind
# it is anything: wget writes 19.
_GZIP = _Packing("gzip", _GzipMember, re.compile(rb"\x1f\x8b\x08[\0-\x1f].{4}[\0\2\4].", re.DOTALL))


def unpacked(file: BinaryIO, starts: bytes) -> Iterator[bytes | Gap]:
    """The bytes of a file in pieces of bounded size, unpacked if it begins as gzip or Zstandard do.

    Behind a corrupt member, which has been handed out up to the damage, comes a Gap, and then the next member that
    unfolds to something that begins with `starts`.

    Raises:
        OSError: the file cannot be read.
    """
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b") or _is_gzip_later(file, starts):
        yield from _members(file, _GZIP, starts)
    elif magic in (_ZSTD_MAGIC, _DICTIONARY_MAGIC):
        yield from _members(file, _zstd(file), starts)
    else:
        while data := file.read(_OUT_BYTES):
            yield data


def _is_gzip_later(file: BinaryIO, starts: bytes) -> bool:
    """Whether the very first member is what is damaged."""
    head = file.read(_READ_BYTES)
    file.seek(0)
    if head.startswith(starts):
        return False
    found = any(_unfolds_to(file, match.start(), _GZIP, starts) for match in _GZIP.magic.finditer(head))
    file.seek(0)
    return found


def _members(file: BinaryIO, packing: _Packing, starts: bytes) -> Iterator[bytes | Gap]:
    member: _Member | None = None
    begun = position = file.tell()  # of the member, and of what has not been fed to it yet
    data = b""
    clean = True
    while data := data or file.read(_READ_BYTES):
        if member is None:
            # Zero bytes behind the last member are padding (tapes, block devices), not damage.
            position += len(data) - len(data := data.lstrip(b"\0"))
            if not data:
                continue
            member, begun, clean = packing.begin(), position, True
        try:
            for piece in member.feed(data):
                clean = False
                yield piece
        except _DamageError as error:
            found = _next_member(file, begun + 1, packing, starts)
            lost = f"{found - begun:,} bytes are passed over" if found is not None else "nothing usable follows"
            yield Gap(f"{packing.name} data is corrupt at byte {begun:,} ({error}); {lost}", clean)
            if found is None:
                return
            file.seek(found)
            member, position, data = None, found, b""
            continue
        position += len(data) - len(member.rest)
        data = member.rest
        if member.ended:
            member = None
    if member is not None:
        yield Gap(f"{packing.name} data ends early, in what begins at byte {begun:,}", clean)


def _next_member(file: BinaryIO, start: int, packing: _Packing, starts: bytes) -> int | None:
    """Where the first member at or behind `start` begins that unfolds to `starts`."""
    file.seek(start)
    window, offset = b"", start
    while data := file.read(_READ_BYTES):
        window += data
        for match in packing.magic.finditer(window):
            found = offset + match.start()
            if _unfolds_to(file, found, packing, starts):
                return found
        # A beginning may be cut by the end of the window.
        kept = window[-_HEADER_BYTES:]
        offset += len(window) - len(kept)
        window = kept
        file.seek(offset + len(window))
    return None


_HEADER_BYTES = 9
"""One less than the longest match."""


def _unfolds_to(file: BinaryIO, place: int, packing: _Packing, starts: bytes) -> bool:
    file.seek(place)
    out = b""
    try:
        for piece in packing.begin().feed(file.read(_TRIED_BYTES)):
            out += piece
            if len(out) >= len(starts):
                break
    except _DamageError:
        pass
    return out.startswith(starts)


def _zstd(file: BinaryIO) -> _Packing:
    """How frames of this file are read: a dictionary may stand before them.

    It stands in a skippable frame, itself compressed or not (IIPC, "Zstandard compression for WARC files 1.0").
    """
    import zstandard  # only for files that need it

    dictionary = None
    if file.read(4) == _DICTIONARY_MAGIC:
        size = int.from_bytes(file.read(4), "little")
        held = file.read(min(size, _MOST_DICTIONARY_BYTES))
        if held.startswith(_ZSTD_MAGIC):
            pieces = _ZstdFrame(zstandard.ZstdDecompressor())
            try:
                held = b"".join(_limited(pieces.feed(held), _MOST_DICTIONARY_BYTES))
            except _DamageError:
                held = b""  # then each frame is damaged, and told so
        dictionary = zstandard.ZstdCompressionDict(held)
    else:
        file.seek(0)
    decompressor = (
        zstandard.ZstdDecompressor(dict_data=dictionary) if dictionary is not None else zstandard.ZstdDecompressor()
    )
    return _Packing("Zstandard", lambda: _ZstdFrame(decompressor), re.compile(re.escape(_ZSTD_MAGIC)))


def _limited(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    for piece in pieces:
        if most <= 0:
            return
        most -= len(piece)
        yield piece
