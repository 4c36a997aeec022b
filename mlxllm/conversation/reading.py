"""JSON, JSON lines and parquet to raw records, each with its place; told apart by content, not by suffix."""

import codecs
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from mlxllm.conversation.formats import MalformedRecordError, UnknownFormatError, UnusableRecordError, kind_of
from mlxllm.conversation.report import NO_RECORDS, Report
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import DAMAGED, MOST_LINE_BYTES, byte_lines, decoded
from mlxllm.data.sources.files import DamagedFileError, read_chunks
from mlxllm.errors import DataError

RawRecord = tuple[str, Any]
"""Where it stands, and what stands there."""
Parsed = TypeVar("Parsed")

_PARQUET_MAGIC = b"PAR1"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LIST_KEYS = ("data", "train", "instances", "records", "examples", "rows")
_ROWS_AT_ONCE = 256
_STORE_KEYS = frozenset(("id", "time", "how", "prompt", "chosen", "rejected"))
DAMAGED_LINE = "damaged line"
"""The reason for leaving out a line of a store of preferences that is no JSON."""


def parse_files(paths: list[Path], parse: Callable[[dict[str, Any], str], Parsed], report: Report) -> Iterator[Parsed]:
    """The records of `paths`, in order; the whole file is streamed where its format allows.

    Args:
        paths: files of any of the formats, also mixed.
        parse: raw record and place -> record.
        report: counts what was read, and what is well-formed but of no use.

    Raises:
        DataError: a record is malformed; the message names file and line, what was found and what is known.
    """
    for path in paths:
        empty = True
        for where, raw in raw_records(path, report.problems):
            empty = False
            report.read += 1
            try:
                if not isinstance(raw, dict):
                    raise MalformedRecordError(f"it is {kind_of(raw)}, and a record is a JSON object with keys")
                yield parse(raw, where)
            except UnusableRecordError as error:
                report.drop(error.reason, where, error.detail)
            except UnknownFormatError as error:
                nulls = ", ".join(repr(key) for key, value in raw.items() if value is None)
                if not nulls:
                    raise DataError(f"{where}: {error}") from None
                report.drop("null where something should be", where, nulls)
            except MalformedRecordError as error:
                raise DataError(f"{where}: {error}") from None
        if empty and not any(place.startswith(f"{path}: ") for place in report.problems.examples.get(DAMAGED, ())):
            report.note(NO_RECORDS, str(path))


def raw_records(path: Path, problems: Problems) -> Iterator[RawRecord]:
    """Every JSON value of a list of records, of lines, or every row of a parquet file.

    Raises:
        DataError: the file cannot be read, or is not what it began as; the message names the line.
    """
    try:
        head = _head(path)
        if is_store(path):
            yield from _json_lines(path, problems, passing_over=True)
        elif head.startswith(_PARQUET_MAGIC):
            yield from _parquet_rows(path)
        elif head.startswith(_UTF16_MARKS) or not _is_lines(head):
            yield from _json_values(path)
        else:
            yield from _json_lines(path, problems)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _head(path: Path) -> bytes:
    """The beginning of the (unpacked) file; where that is a line of an object, at least the whole line."""
    head = bytearray()
    try:
        for chunk in read_chunks(path):
            head += chunk
            if b"\n" in head.lstrip() or head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
                break
    except DamagedFileError:
        pass
    return bytes(head)


def _is_lines(head: bytes) -> bool:
    """Whether the first line is a whole JSON object; in other files a record has several lines, or a line several."""
    first = head.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n", 1)[0]
    if not first.startswith(b"{"):
        # Neither a list nor an object: as lines, the message can say which line is wrong.
        return not first.startswith(b"[")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        # A pretty-printed object breaks behind its brace or a comma; else it is a line with a mistake.
        return not first.rstrip().endswith((b"{", b",", b"[", b":"))
    rest = head.removeprefix(codecs.BOM_UTF8).lstrip()[len(first) :]
    return not (_list_key(value) and not rest.strip())


def is_store(path: Path) -> bool:
    """Whether the file is a store of preferences (`preference_store`), told by its first line that can be read."""
    try:
        lines = next(iter(read_chunks(path)), b"").split(b"\n")
    except DamagedFileError:
        return False
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        return isinstance(value, dict) and value.keys() >= _STORE_KEYS
    return False


def _json_lines(path: Path, problems: Problems, *, passing_over: bool = False) -> Iterator[RawRecord]:
    """The objects of lines; `passing_over` those that are none, which are counted, instead of refusing the file."""
    for number, line in byte_lines(path, problems):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        if len(line) >= MOST_LINE_BYTES:
            raise DataError(f"{where}: the line is longer than {MOST_LINE_BYTES >> 20} MiB; is it JSON lines?")
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            if not passing_over:
                raise _wrong_line(where, line, error) from None
            problems.drop(DAMAGED_LINE, where)


def _wrong_line(where: str, line: bytes, error: ValueError | RecursionError) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        return DataError(f"{where}: byte {error.start + 1:,} of the line is not UTF-8; save the file as UTF-8")
    if not isinstance(error, json.JSONDecodeError):
        return DataError(f"{where}: the JSON of this line is nested too deep")
    begin = line[:40].decode("utf-8", "replace").strip()
    return DataError(
        f"{where}: the line is not JSON ({error.msg} at character {error.pos + 1:,}); it begins {begin!r}. "
        f"Wanted: one JSON object a line, one JSON list of objects, or parquet"
    )


def _json_values(path: Path) -> Iterator[RawRecord]:
    """A list of records, one record over several lines, or several of them behind each other."""
    found = Problems()
    try:
        text = "".join(decoded(path, found)).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start:,} is not {error.encoding} ({error.reason}); save the file as UTF-8"
        ) from None
    if found.mended:  # what is left of a list has no end
        raise DataError(
            f"{found.examples[DAMAGED][0].rpartition('; ')[0]}; the file is damaged, fetch or write it again"
        )
    reader = _Reader(text, path)
    while reader.more():
        if reader.take("["):
            yield from _items(reader)
            continue
        where, value = reader.value()
        key = _list_key(value)
        if key:
            yield from ((f"{path}: {key}[{number}]", item) for number, item in enumerate(value[key]))
        else:
            yield where, value


def _items(reader: "_Reader") -> Iterator[RawRecord]:
    while not reader.take("]"):
        yield reader.value()
        if not reader.take(","):
            if not reader.take("]"):
                raise reader.error("',' or ']' is missing")
            return


class _Reader:
    """Reads JSON values one by one and knows their lines."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path = text, path
        self._at = self._line_at = 0
        self._line = 1
        self._decoder = json.JSONDecoder()

    def more(self) -> bool:
        """Whether there is anything but blanks."""
        while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
            self._at += 1
        return self._at < len(self._text)

    def take(self, sign: str) -> bool:
        """Pass `sign` if it comes next."""
        if not self.more() or self._text[self._at] != sign:
            return False
        self._at += 1
        return True

    def value(self) -> RawRecord:
        """The next value."""
        if not self.more():
            raise self.error("the file ends in the middle")
        where = self._where(self._at)
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self.error(error.msg) from None
        except RecursionError:
            raise self.error("it is nested too deep") from None
        return where, value

    def error(self, message: str) -> DataError:
        """What is wrong here."""
        return DataError(
            f"{self._where(min(self._at, len(self._text)))}: the file is not JSON from here on ({message}). "
            f"Wanted: one JSON object a line, one JSON list of objects, or parquet"
        )

    def _where(self, position: int) -> str:
        self._line += self._text.count("\n", self._line_at, position)
        self._line_at = max(position, self._line_at)
        return f"{self._path}:{self._line}"


def _parquet_rows(path: Path) -> Iterator[RawRecord]:
    import pyarrow  # only for files that need it: it is slow to load
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE))
            for number, row in enumerate(chain.from_iterable(batches)):
                yield f"{path}: row {number}", {key: _without_nulls(value) for key, value in row.items()}
    except pyarrow.ArrowException as error:
        what = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is damaged: {what}; fetch or write it again") from None


def _list_key(value: Any) -> str | None:
    """The key of an object that is only a wrapper around a list of records."""
    if not isinstance(value, dict):
        return None
    for key in _LIST_KEYS:
        items = value.get(key)
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            return key
    return None


def _without_nulls(value: Any) -> Any:
    """A field that a value does not have is null in parquet, to any depth; templates take that for a value."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
