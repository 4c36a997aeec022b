"""Pages of WARC and WET files as documents: which records are pages is seen here, what their text is in `extract`."""

import io
import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import BinaryIO

from mlxllm.data.sources.base import Document, Dropped, Record, RecordSource
from mlxllm.data.sources.decoding import DAMAGED
from mlxllm.data.sources.html_text import NoTextError, decoded_page, page_text
from mlxllm.data.sources.http_response import (
    EncodedBodyError,
    ResponseHead,
    response_body,
    response_head,
    without_chunks,
)
from mlxllm.data.sources.members import Gap, unpacked
from mlxllm.data.sources.warc import MAGIC, BrokenRecord, WarcRecord, digest_holds, warc_records

_HTML = ("text/html", "application/xhtml+xml")
_PAGE = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_NO_PAGES = ("warcinfo", "request", "metadata")
"""Types of records that stand beside pages and hold none."""
_MOST_PAGE_BYTES = 8 << 20
"""Crawls cut pages at 5 MiB; what takes the square of a page's size would take hours for larger ones."""
_SHOWN_CHARS = 500
LOOKED_AT_BYTES = 1 << 20
"""Of a file, to see what it is."""
_LISTED = re.compile(r"[\w.=/-]+\.(?:gz|zst|parquet|cdx|warc|wet|wat|arc|idx)", re.ASCII)
_EXAMPLE_ID = "CC-MAIN-2024-22"
_CRAWL_ID = re.compile(r"CC-MAIN-\d{4}-\d{2}")


class WarcSource(RecordSource):
    """Files of web pages; a subclass says where they are."""

    beginning_only = False
    """Of each file only the beginning is there, so that nothing is wrong if it ends early."""

    @abstractmethod
    def opened(self, part: str) -> AbstractContextManager[BinaryIO]:
        """The file `part`, from its beginning; it can seek.

        Raises:
            OSError: it cannot be read.
            DataError: it cannot be had.
        """

    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        """The pages of one file, packed in any way; of what is damaged as much as is whole.

        A file without pages, such as a WAT file, is counted in `problems.mended` and read no further.
        """
        try:
            with self.opened(part) as file:
                head = file.read(LOOKED_AT_BYTES)
                file.seek(0)
                if (refusal := why_no_pages(head)) is not None:
                    self.problems.mend(refusal[0], part, refusal[1])
                    return
                yield from self._pages(part, file)
        except OSError as error:
            self.problems.mend("unreadable file", part, error.strerror or str(error))

    def _pages(self, part: str, file: BinaryIO) -> Iterator[Record | Dropped]:
        for found in warc_records(file):
            if self.beginning_only and not isinstance(found, WarcRecord):
                return
            if isinstance(found, Gap):
                self.problems.mend(DAMAGED, part, found.detail)
                continue
            where = f"{part}#{found.number}"
            if isinstance(found, BrokenRecord):
                if found.fields.get("warc-type", "").lower() in _NO_PAGES:
                    self.problems.mend(found.reason, where, found.detail)
                else:
                    url = found.fields.get("warc-target-uri", "")
                    yield Dropped(found.reason, where, f"{found.detail} ({url})" if url else found.detail)
            elif (page := _page(found, where)) is not None:
                yield page
            elif found.type not in _NO_PAGES:
                self.problems.mend("record without a page", where, f"type {found.type[:20]!r}")

    def extract(self, record: Record) -> Document | Dropped:
        """The text of one page: of HTML the main content, of WET all that it has."""
        page: WarcRecord = record.content
        if (wrong := _wrong_digest(page)) is not None:
            return Dropped("bad digest", record.where, f"{wrong} ({page.url})")
        try:
            if page.type == "conversion":
                text, title = page.block.decode().strip(), ""
            else:
                head = response_head(page.block)
                assert head is not None  # `records` has looked
                body = response_body(head, page.block, _MOST_PAGE_BYTES)
                made = page_text(decoded_page(body, head.fields.get("content-type", "")), _SHOWN_CHARS)
                text, title = made.text, made.title
                if not text:
                    return Dropped("no main text", record.where, page.url, made.everything)
        except UnicodeDecodeError as error:
            return Dropped("undecodable page", record.where, f"byte {error.start:,} is not UTF-8 ({page.url})")
        except (EncodedBodyError, NoTextError) as error:
            return Dropped("undecodable page", record.where, f"{error} ({page.url})")
        if not text:
            return Dropped("empty", record.where, page.url)
        metadata = {
            "url": page.url,
            "title": title,
            "date": page.fields.get("warc-date", ""),
            # Up to three of ISO 639-3, the most frequent first.
            "language": page.fields.get("warc-identified-content-language", ""),
        }
        return Document(
            text, record.where, self.name, metadata={key: value for key, value in metadata.items() if value}
        )


def _page(found: WarcRecord, where: str) -> Record | Dropped | None:
    """A record that holds a page, or should; None for one of another kind."""
    if found.type == "conversion":
        kind = found.fields.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("", "text/plain"):
            return Dropped("not text", where, f"{kind[:60]!r} ({found.url})")
        return Record(where, found)
    if found.type != "response":
        return None
    head = response_head(found.block)
    if head is None:
        return Dropped("not HTML", where, f"no HTTP response ({found.url})")
    if head.status != 200:
        return Dropped("HTTP status is not 200", where, f"{head.status} ({found.url})")
    kind = _media_type(found, head)
    if kind not in _HTML:
        return Dropped("not HTML", where, f"{kind[:60] or 'no content type'!r} ({found.url})")
    if len(found.block) - head.body_start > _MOST_PAGE_BYTES:
        return Dropped("page too large", where, f"{len(found.block) - head.body_start:,} bytes ({found.url})")
    return Record(where, found)


def _media_type(found: WarcRecord, head: ResponseHead) -> str:
    """What the crawler found the page to be, else what the server says, else what it begins like."""
    found_to_be = found.fields.get("warc-identified-payload-type", "").partition(";")[0].strip().lower()
    if kind := found_to_be or head.media_type:
        return kind
    return "text/html" if _PAGE.match(found.block, head.body_start) else ""


def _wrong_digest(page: WarcRecord) -> str | None:
    """Which of the digests that a record states does not hold; None where none is stated that can be checked."""
    stated = page.fields.get("warc-block-digest", "")
    if (holds := digest_holds(stated, page.block)) is not None:
        return None if holds else f"WARC-Block-Digest {stated[:80]}"
    stated = page.fields.get("warc-payload-digest", "")
    if page.type == "conversion":
        payload = page.block
    else:
        head = response_head(page.block)
        payload = page.block[head.body_start if head else 0 :]
    holds = digest_holds(stated, payload)
    if holds is False:
        # The standard means the payload as it was sent; some tools take it without its chunks.
        holds = digest_holds(stated, without_chunks(payload) or b"")
    return f"WARC-Payload-Digest {stated[:80]}" if holds is False else None


def why_no_pages(head: bytes) -> tuple[str, str] | None:
    """Why a file that begins so holds no pages to read: a reason to count by, and a sentence; None if it may hold some."""
    text, damaged = b"", False
    for piece in unpacked(io.BytesIO(head), MAGIC):
        if isinstance(piece, Gap):
            damaged = True
            break
        text += piece
        if len(text) >= LOOKED_AT_BYTES:
            break
    if not text and not damaged:
        return "empty file", "it is empty"
    if MAGIC in text:
        return _why_no_pages_in_records(head)
    lines = text[: 1 << 12].decode("utf-8", "replace").split("\n")
    if all(_LISTED.match(line) for line in lines[:2] if line) and _LISTED.fullmatch(lines[0].strip()):
        return "list of files", _list_sentence(lines[0].strip())
    if text.startswith(b"filedesc:"):
        return "ARC file", "it is in the ARC format of before 2013, which is not read; take a WARC or WET file"
    if damaged and not text:
        return None  # records may follow behind the damage
    shown = text[:20].decode("utf-8", "replace")
    return "not a WARC file", f"it begins with {shown!r}; a WARC or WET file begins with 'WARC/1.0'"


def _why_no_pages_in_records(head: bytes) -> tuple[str, str] | None:
    for record in warc_records(io.BytesIO(head)):
        if not isinstance(record, WarcRecord) or record.type == "warcinfo":
            continue
        if record.type == "metadata" and record.block.lstrip().startswith((b'{"Container"', b'{"Envelope"')):
            return "WAT file", (
                "it holds what is known of pages, as JSON, and no text of theirs; take the .warc.gz or .warc.wet.gz of "
                "the same name"
            )
        return None
    return None


def _list_sentence(first: str) -> str:
    name = PurePosixPath(first).name
    crawl = match[0] if (match := _CRAWL_ID.search(first)) else _EXAMPLE_ID
    if "/warc/" in first or "/wet/" in first:
        kind = ",kind=wet" if "/wet/" in first else ""
        return (
            f"it lists files of a crawl ({name}, ...), which are fetched by the crawl's id: "
            f"commoncrawl:{crawl},files=1{kind}"
        )
    return f"it lists files that hold no pages ({name}, ...); pages are fetched by a crawl's id, such as commoncrawl:{crawl}"
