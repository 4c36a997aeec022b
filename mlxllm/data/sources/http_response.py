"""An HTTP response as an archive holds it: its head, and its body without transfer and content encodings (RFC 9112)."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_CHUNK_END = re.compile(rb"\r?\n")
_PAGE = re.compile(rb"\s*<")
_MOST_HEAD_BYTES = 1 << 20
_OUT_BYTES = 1 << 18


class EncodedBodyError(Exception):
    """A body that cannot be decoded; the message says why."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What stands before the body."""

    status: int
    fields: dict[str, str]
    """Names in small letters; of a name that stands there twice the first value."""
    body_start: int
    """Where the body begins in the block."""

    @property
    def media_type(self) -> str:
        """Of Content-Type, in small letters, without its parameters; empty where there is none."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()


def response_head(block: bytes) -> ResponseHead | None:
    """The head of an HTTP response; None where there is none, such as in the answer of a name server."""
    status = _STATUS.match(block)
    if status is None:
        return None
    end = _HEAD_END.search(block, 0, _MOST_HEAD_BYTES)
    stop, start = (end.start(), end.end()) if end else (min(len(block), _MOST_HEAD_BYTES), len(block))
    fields: dict[str, str] = {}
    for line in block[:stop].decode("latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return ResponseHead(int(status[1]), fields, start)


def response_body(head: ResponseHead, block: bytes, most: int) -> bytes:
    """The body as the page was written.

    Many crawlers decode a body and leave the fields of its encodings as they were, so a body that is a page already
    is taken as it is.

    Raises:
        EncodedBodyError: its encoding is not known or corrupt, or it is larger than `most` bytes.
    """
    body = block[head.body_start :]
    if "chunked" in head.fields.get("transfer-encoding", "").lower():
        body = without_chunks(body) or body
    encodings = [name.strip().lower() for name in head.fields.get("content-encoding", "").split(",")]
    for encoding in reversed(encodings):
        if encoding in ("", "identity", "none", "utf-8") or _PAGE.match(body):
            continue
        body = _decoded(body, encoding, most)
    return body


def without_chunks(body: bytes) -> bytes | None:
    """The body that was sent in chunks (RFC 9112, section 7.1), up to where it ends early; None if it is in none."""
    parts: list[bytes] = []
    place = 0
    while size := _CHUNK_SIZE.match(body, place):
        length = int(size[1], 16)
        if not length:
            break
        parts.append(body[size.end() : size.end() + length])
        end = _CHUNK_END.match(body, size.end() + length)
        if end is None:
            if size.end() + length < len(body):
                return b"".join(parts) if len(parts) > 1 else None
            break
        place = end.end()
    return b"".join(parts) if parts else None


def _decoded(body: bytes, encoding: str, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for piece in _pieces(body, encoding.removeprefix("x-")):
        parts.append(piece)
        size += len(piece)
        if size > most:
            raise EncodedBodyError(f"unfolds to more than {most >> 20} MiB")
    return b"".join(parts)


def _pieces(body: bytes, encoding: str) -> Iterator[bytes]:
    """What an encoded body unfolds to, as far as it is there; a page that was cut off is of use."""
    if encoding == "gzip":
        inflate = zlib.decompressobj(wbits=31)
    elif encoding == "deflate":
        # Half of the servers send it without the zlib head that it should have.
        headed = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        inflate = zlib.decompressobj(wbits=15 if headed else -15)
    else:
        raise EncodedBodyError(f"content encoding {encoding[:20]!r} is not read")
    begun = False
    try:
        while out := inflate.decompress(body, _OUT_BYTES):
            yield out
            begun, body = True, inflate.unconsumed_tail
    except zlib.error as error:
        if not begun:
            raise EncodedBodyError(f"{encoding} data is corrupt ({str(error).split(': ')[-1]})") from None
