"""The user's own text: files, folders and globs of .txt, .md, .py and .jsonl, plain or packed.

A plain file is one document; a line that holds only <|endoftext|> separates several in one file. A .jsonl
file (told by its first line) is one document a line, in the field `text` or `content`. Files of any size are
streamed.
"""

import codecs
import contextlib
import copy
import glob
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mlxllm.data.sources import parquet
from mlxllm.data.sources.base import Document, Extent, Problems, Source, SourceKind, first_reasons
from mlxllm.data.sources.decoding import (
    BLOCK_CHARS,
    MOST_LINE_BYTES,
    byte_lines,
    check_decodable,
    decoded,
    encoding_of,
    is_encodable,
    line_blocks,
)
from mlxllm.data.sources.files import (
    RECORD_SUFFIXES,
    DamagedFileError,
    find_files,
    name_without_packing,
    read_chunks,
    shown_name,
)
from mlxllm.data.sources.parquet_rows import MAGIC as PARQUET_MAGIC
from mlxllm.errors import ConfigError, DataError

KIND = SourceKind(
    "text",
    "a file, folder or glob of .txt .md .py .jsonl (.gz .zst); a line of only <|endoftext|> splits it",
    "your own files: their licence",
    "text:notes/",
    "a model that writes like your own texts; 1 MB or more of them",
)
SEPARATOR = "<|endoftext|>"
TEXT_FIELDS = ("text", "content")
_UNPACKED = 3
"""Text that was packed becomes about so many times as large."""
_KINDS = {bool: "true or false", int: "a number", float: "a number", type(None): "null", list: "a list"}
_SEPARATOR_LINE = re.compile(r"^[ \t]*<\|endoftext\|>[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


def parse(spec: str) -> Source:
    """The source that `text:SPEC` stands for; parquet files are opened as what they are.

    Raises:
        ConfigError: no path is named.
        DataError: see `TextSource`.
    """
    if not spec:
        raise ConfigError("source 'text' needs a file, a folder or a glob: text:PATH")
    if _begins_as_parquet(spec):
        return parquet.parse(spec)
    try:
        return TextSource(spec)
    except DataError:
        with contextlib.suppress(DataError):
            return parquet.parse(spec)  # a folder that holds nothing else
        raise


class TextSource:
    """Documents from the files that a path, a folder or a glob stands for, by sorted path."""

    def __init__(self, pattern: str) -> None:
        """Look up the files; nothing is read yet.

        Raises:
            DataError: the path does not exist, or holds no file of a known type.
        """
        self.pattern = pattern
        self.problems = Problems()
        self.files = find_files(pattern, self.problems)
        """In the order in which they are read."""
        self._found = self.problems.mended.copy(), {k: list(v) for k, v in self.problems.examples.items()}
        self._single: bool | None = None
        self._most_bytes: int | None = None
        self.name = shown_name(pattern)

    @property
    def spec(self) -> str:
        """`text:PATH`."""
        return f"text:{self.pattern}"

    @property
    def single_text(self) -> bool:
        """One plain file without separator lines. Reads the file on the first call."""
        if self._single is None:
            self._single = len(self.files) == 1 and self._is_single(self.files[0])
        return self._single

    def extent(self) -> Extent:
        """The size of the files, as far as they can be looked at."""
        size = 0
        for path in self.files:
            with contextlib.suppress(OSError):
                size += path.stat().st_size * (_UNPACKED if name_without_packing(path) != path.name else 1)
        return Extent(bytes=size)

    def head(self, most_bytes: int) -> "TextSource":
        """The same source for a preview: of each file only the beginning is read."""
        beginning = copy.copy(self)
        beginning.problems = Problems()
        beginning._single = None
        beginning._most_bytes = most_bytes
        return beginning

    def documents(self) -> Iterator[Document]:
        """All documents, file by file.

        Raises:
            DataError: no file yielded any text; the message says what was wrong with the first of them.
        """
        self.problems.clear()
        self.problems.mended.update(self._found[0])
        self.problems.examples.update({k: list(v) for k, v in self._found[1].items()})
        yielded = False
        for path in self.files:
            for document in self._read_file(path):
                yielded = True
                yield document
        if not yielded:
            raise DataError(f"{self.pattern!r} holds no usable text: {first_reasons(self.problems)}")

    def _read_file(self, path: Path) -> Iterator[Document]:
        try:
            if self._holds_records(path):
                encoding, _ = encoding_of(_beginning(path))
                if encoding != "utf-8":
                    self.problems.drop("undecodable file", str(path), f"JSON lines in {encoding}; save them as UTF-8")
                    return
                yield from self._read_records(path)
            else:
                yield from self._read_plain(path)
        except OSError as error:
            self.problems.drop("unreadable file", str(path), error.strerror or str(error))

    def _is_single(self, path: Path) -> bool:
        try:
            if self._holds_records(path):
                return False
            quiet = Problems()
            return not any(
                _SEPARATOR_LINE.search(block)
                for block in line_blocks(decoded(path, quiet, self._most_bytes, mend=True))
            )
        except OSError:
            return False

    def _holds_records(self, path: Path) -> bool:
        return _is_records(path)

    def _read_plain(self, path: Path) -> Iterator[Document]:
        where = str(path)
        try:
            check_decodable(path, self._most_bytes)
        except UnicodeDecodeError as error:
            why = f"byte {error.start:,} is not {error.encoding} ({error.reason}), nor is much of the rest; save it as UTF-8"
            self.problems.drop("undecodable file", where, why)
            return
        pieces = _Pieces(where, self.name)
        for block in line_blocks(decoded(path, self.problems, self._most_bytes, mend=True)):
            *ended, rest = _SEPARATOR_LINE.split(block) if SEPARATOR in block else [block]
            for text in ended:
                pieces.add(text)
                if document := pieces.end(separator=True):
                    yield document
                else:
                    self.problems.drop("empty", where, f"document {pieces.number - 1}")
            pieces.add(rest)
            if pieces.size >= BLOCK_CHARS:
                yield pieces.hand_out()
        if last := pieces.end(separator=False):
            yield last
        elif not pieces.number:
            self.problems.drop("empty", where)

    def _read_records(self, path: Path) -> Iterator[Document]:
        for number, line in byte_lines(path, self.problems, self._most_bytes):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            if len(line) >= MOST_LINE_BYTES:
                self.problems.drop("line too long", where, f"more than {MOST_LINE_BYTES >> 20} MiB")
                continue
            try:
                record = json.loads(line)
            except UnicodeDecodeError as error:
                self.problems.drop("undecodable line", where, f"byte {error.start:,} of the line is not UTF-8")
                continue
            except (ValueError, RecursionError) as error:
                self.problems.drop("bad JSON", where, str(error) or "nested too deep")
                continue
            text = _text_of(record)
            if text is None:
                self.problems.drop("no text field", where, f"wanted 'text' or 'content', found {_shape(record)}")
            elif not text.strip():
                self.problems.drop("empty", where)
            elif not is_encodable(text):
                self.problems.drop("undecodable line", where, "half of a surrogate pair")
            else:
                yield Document(text, where, self.name)


class _Pieces:
    """Collects the text of one document after another in a plain file."""

    def __init__(self, where: str, source: str) -> None:
        self.number = 0
        """Documents before this one in the file."""
        self.size = 0
        """Characters collected and not handed out yet."""
        self._where, self._source = where, source
        self._parts: list[str] = []
        self._begun = False

    def add(self, text: str) -> None:
        """The document goes on."""
        self._parts.append(text)
        self.size += len(text)

    def hand_out(self) -> Document:
        """What there is so far of a long document."""
        text = "".join(self._parts)
        if self.number and not self._begun:
            text = text.lstrip("\r\n")
        # Line breaks at the end stay back: a separator may follow, and then they belong to that.
        kept = text.rstrip("\r\n") or text
        self._parts, self.size = [text[len(kept) :]], len(text) - len(kept)
        self._begun = True
        return Document(kept, self._id(), self._source, more=True)

    def end(self, *, separator: bool) -> Document | None:
        """The document, or the last of it; None if there is nothing in it but blanks."""
        text, begun = "".join(self._parts), self._begun
        self._parts, self.size, self._begun = [], 0, False
        if separator or self.number:
            # Line breaks around a separator are the layout of the file.
            text = text.rstrip("\r\n") if begun else text.strip("\r\n")
        document = Document(text, self._id(), self._source) if begun or text.strip() else None
        self.number += separator
        return document

    def _id(self) -> str:
        return f"{self._where}#{self.number}"


def _text_of(record: object) -> str | None:
    if isinstance(record, dict):
        for key in TEXT_FIELDS:
            if isinstance(record.get(key), str):
                return str(record[key])
    return None


def _shape(record: object) -> str:
    if not isinstance(record, dict):
        return f"a JSON {type(record).__name__} and not an object"
    for key in TEXT_FIELDS:
        if key in record:
            return f"{key!r}, whose value is {_KINDS.get(type(record[key]), 'an object')} and not a text"
    keys = ", ".join(repr(key) for key in list(record)[:8])
    return f"keys {keys}" if keys else "no keys"


def _begins_as_parquet(pattern: str) -> bool:
    expanded = os.path.expanduser(pattern)
    if glob.has_magic(expanded) and not os.path.exists(expanded):
        expanded = min(glob.iglob(expanded, recursive=True), default=expanded)
    try:
        with open(expanded, "rb") as file:
            return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except OSError:  # a folder, or whatever TextSource will say of it
        return False


def _is_records(path: Path) -> bool:
    """Whether a file is JSON lines: its first line is an object with a text, or its name says so."""
    head = b""
    try:
        for chunk in read_chunks(path):
            head += chunk
            if b"\n" in head.lstrip() or len(head) > BLOCK_CHARS:
                break
    except DamagedFileError:
        pass
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    named = name_without_packing(path).lower().endswith(RECORD_SUFFIXES)
    if named or not head.startswith(b"{"):
        return named
    try:
        return _text_of(json.loads(head.split(b"\n", 1)[0])) is not None
    except (ValueError, RecursionError):
        return False


def _beginning(path: Path) -> bytes:
    """Where that is damaged, reading the records tells it."""
    try:
        return next(read_chunks(path), b"")
    except DamagedFileError:
        return b""
