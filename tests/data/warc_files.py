"""WARC records as crawlers write them, and as they should not be."""

import base64
import gzip
import hashlib
import random

PARAGRAPH = (
    "The old bridge was built of stone that came down the river on rafts, and it has stood for three hundred years."
)


def sha1(data: bytes) -> str:
    """As digests stand in WARC files."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def warc_record(
    block: bytes,
    kind: str = "response",
    url: str = "https://example.org/a",
    *,
    digest: str | None = "",
    length: str | None = "",
    fields: dict[str, str] | None = None,
) -> bytes:
    """One record with the line ends behind it; a digest or a length of None is left out, an empty one is right."""
    head = {
        "WARC-Type": kind,
        "WARC-Record-ID": "<urn:uuid:00000000-0000-4000-8000-000000000000>",
        "WARC-Date": "2024-05-18T01:58:10Z",
        "WARC-Target-URI": url,
        "Content-Type": "application/http; msgtype=response" if kind == "response" else "text/plain",
    }
    if digest is not None:
        head["WARC-Block-Digest"] = digest or sha1(block)
    if length is not None:
        head["Content-Length"] = length or str(len(block))
    head.update(fields or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + block + b"\r\n\r\n"


def http_page(
    body: bytes, content_type: str = "text/html; charset=utf-8", status: str = "200 OK", **fields: str
) -> bytes:
    """An HTTP response; further fields have _ for -."""
    lines = [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return f"HTTP/1.1 {status}\r\n".encode() + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def html(*paragraphs: str, title: str = "A page", head: str = "") -> str:
    """A page with navigation around its text."""
    text = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    menu = "".join(f"<li><a href='/{name}'>{name}</a></li>" for name in ("Home", "News", "Contact"))
    return (
        f"<!DOCTYPE html><html><head>{head}<title>{title}</title></head><body><nav><ul>{menu}</ul></nav>"
        f"<div id='content'><h1>{title}</h1>{text}</div><footer>All rights reserved</footer></body></html>"
    )


def page_record(number: int) -> bytes:
    """Record of a page that tells its number, and other things than any other page."""
    words = random.Random(number).randbytes(600).hex(" ", 4)
    body = html(f"{PARAGRAPH} This is page number {number}.", words, title=f"Page {number}").encode()
    return warc_record(http_page(body), url=f"https://example.org/{number}")


def members(*records: bytes) -> bytes:
    """One gzip member a record, as crawls are packed."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)
