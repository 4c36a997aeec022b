import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.sources.http_response import EncodedBodyError, response_body, response_head, without_chunks
from tests.data.warc_files import http_page

MOST = 1 << 20
BODY = b"<html><p>text</p></html>"


def body_of(block: bytes) -> bytes:
    head = response_head(block)
    assert head is not None
    return response_body(head, block, MOST)


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%X;ext=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


def test_a_head_is_read_as_servers_write_it() -> None:
    block = b"HTTP/1.1 404 Not Found\ncontent-TYPE: Text/HTML ; charset=x\nContent-Type: b\nbad line\n\nbody"
    head = response_head(block)
    assert head is not None
    assert (head.status, head.media_type, block[head.body_start :]) == (404, "text/html", b"body")
    assert head.fields["content-type"] == "Text/HTML ; charset=x", "the first of two"
    without_body = response_head(b"HTTP/2 200\r\nA: b")
    assert without_body is not None
    assert (without_body.status, without_body.fields, without_body.body_start) == (200, {"a": "b"}, 16)
    for other in (b"", b"20240518 example.org 60 IN A 192.0.2.1", b"HTTP/1.1 OK", b"<html>"):
        assert response_head(other) is None


def test_bodies_are_decoded() -> None:
    raw = zlib.compressobj(wbits=-15)
    deflate = raw.compress(BODY) + raw.flush()
    assert body_of(http_page(BODY)) == BODY
    assert body_of(http_page(gzip.compress(BODY), Content_Encoding="gzip")) == BODY
    assert body_of(http_page(gzip.compress(BODY), Content_Encoding="X-GZIP")) == BODY
    assert body_of(http_page(zlib.compress(BODY), Content_Encoding="deflate")) == BODY
    assert body_of(http_page(deflate, Content_Encoding="deflate")) == BODY
    assert body_of(http_page(gzip.compress(zlib.compress(BODY)), Content_Encoding="deflate, gzip")) == BODY
    twice = http_page(chunked(gzip.compress(BODY), 7), Content_Encoding="gzip", Transfer_Encoding="chunked")
    assert body_of(twice) == BODY


def test_a_body_that_the_crawler_has_decoded_is_taken_as_it_is() -> None:
    for encoding in ("gzip", "br", "deflate", "identity", "zstd", ""):
        assert body_of(http_page(BODY, Content_Encoding=encoding, Transfer_Encoding="chunked")) == BODY


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (b"\x0b\x02\x80text\x03", "br", "content encoding 'br' is not read"),
        (b"no gzip", "gzip", "gzip data is corrupt"),
        (b"\x07\x01no", "deflate", "deflate data is corrupt"),
        (gzip.compress(bytes(50 << 20), mtime=0), "gzip", "unfolds to more than 1 MiB"),
    ],
)
def test_a_body_that_cannot_be_decoded_says_why(body: bytes, encoding: str, why: str) -> None:
    with pytest.raises(EncodedBodyError, match=why):
        body_of(http_page(body, Content_Encoding=encoding))


def test_a_page_that_was_cut_off_in_its_encoding_gives_its_beginning() -> None:
    long = b"<p>" + bytes(range(32, 127)) * 5000
    packed = gzip.compress(long)
    found = body_of(http_page(packed[: len(packed) // 2], Content_Encoding="gzip"))
    assert len(found) > len(long) // 4
    assert long.startswith(found)
    assert without_chunks(chunked(BODY, 10)[:-20]) is not None
    assert BODY.startswith(without_chunks(chunked(BODY, 10)[:-20]) or b"x")


@given(st.binary(max_size=500), st.integers(1, 100))
def test_chunks_are_undone(body: bytes, size: int) -> None:
    assert without_chunks(chunked(body, size)) == (body or None)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body(data: bytes) -> None:
    head = response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert head is not None
    response_body(head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data, MOST)
