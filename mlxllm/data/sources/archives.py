"""Files inside a tar archive as they come: one pass, nothing unpacked to the disk, little of a file in memory at a time."""

import re
from collections.abc import Callable, Iterator

from mlxllm.data.sources.files import DamagedFileError

_BLOCK = 512
_READ_BYTES = 1 << 18
_MAGIC = slice(257, 262)
_MOST_NAME_BYTES = 1 << 16
_PAX_PATH = re.compile(rb"\d+ path=([^\n]+)\n")
_OTHERS = (b"1", b"2", b"3", b"4", b"6")
"""Links, devices and pipes."""
_FILE, _LONG_NAME, _PAX, _PAX_OF_ALL = (b"0", b"\0", b"7"), b"L", b"x", b"g"


def is_tar(head: bytes) -> bool:
    """Whether the first 512 bytes of a file begin a tar archive (POSIX ustar or pax, or GNU)."""
    return head[_MAGIC] == b"ustar"


def tar_members(
    chunks: Iterator[bytes], passed_over: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and bytes of each regular file of a tar archive, in order; links, folders and devices are passed over.

    `passed_over` is told the names of links and devices.

    Names are for people, and are no paths to write to. The bytes of a member can be read until the next member is asked
    for; what was not read of it is skipped.

    Raises:
        DamagedFileError: while the next member or more of one is asked for: the archive ends early, or is corrupt.
    """
    stream = _Stream(chunks)
    long_name = b""
    while (header := stream.take(_BLOCK, anything=True)).strip(b"\0"):
        size = _checked_size(header)
        kind = header[156:157]
        if kind in (_LONG_NAME, _PAX) and size <= _MOST_NAME_BYTES:
            extra = stream.take(size)
            path = _PAX_PATH.search(extra)
            long_name = extra.rstrip(b"\0") if kind == _LONG_NAME else path[1] if path else long_name
            stream.skip(-size % _BLOCK)
            continue
        member = _Member(stream, size)
        prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
        name = (long_name or b"/".join(filter(None, (prefix, header[:100].split(b"\0")[0])))).decode(errors="replace")
        if kind in _FILE:
            yield name, member
        elif kind in _OTHERS and passed_over is not None:
            passed_over(name)
        if kind != _PAX_OF_ALL:
            long_name = b""
        stream.skip(member.left + -size % _BLOCK)


def _checked_size(header: bytes) -> int:
    """The size that a header tells, once its checksum is right."""
    try:
        told = int(header[148:156].strip(b"\0 "), 8)
        # Above 8 GiB the size is in base 256, marked by its first bit.
        if header[124] & 0x80:
            size = int.from_bytes(header[125:136], "big")
        else:
            size = int(header[124:136].strip(b"\0 ") or b"0", 8)
    except ValueError:
        told = size = -1
    if told != sum(header) - sum(header[148:156]) + 8 * 0x20 or size < 0:
        raise DamagedFileError("the tar archive is corrupt (a header with a wrong checksum)")
    return size


class _Member:
    """The bytes of one file, as an iterator of chunks."""

    def __init__(self, stream: "_Stream", size: int) -> None:
        self.left = size
        self._stream = stream

    def __iter__(self) -> "_Member":
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        chunk = self._stream.take(min(self.left, _READ_BYTES))
        self.left -= len(chunk)
        return chunk


class _Stream:
    """Bytes by number from chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()

    def take(self, size: int, *, anything: bool = False) -> bytes:
        """So many bytes; with `anything`, nothing at all is right too: an archive may end without its empty blocks."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                if anything and not self._buffer:
                    return b""
                raise DamagedFileError("the tar archive ends early")
            self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, _READ_BYTES)))
