"""Reading evaluation files: every text of every record of .jsonl, .json, .csv, .tsv, .parquet and plain text files.

Formats are told by content; only .csv and .tsv, which have no mark of their own, by name. Compressed files are unpacked.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import byte_lines
from mlxllm.data.sources.files import DamagedFileError, name_without_packing, read_chunks
from mlxllm.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
"""What is looked for in a folder, also with .gz or .zst behind it."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MOST_BYTES = 512 << 20
"""Files of one JSON value, tables and texts are read as a whole, up to this size."""
_PARQUET_MAGIC = b"PAR1"

Texts = tuple[str, ...]


def evaluation_files(name: str) -> list[Path]:
    """The evaluation files that a path or a folder stands for, sorted.

    Raises:
        DataError: there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"there is no evaluation file or folder {name!r}")
    found = sorted(p for p in path.rglob("*") if p.is_file() and name_without_packing(p).lower().endswith(SUFFIXES))
    if not found:
        raise DataError(f"folder {name!r} holds no evaluation files; wanted {' '.join(SUFFIXES)} (also .gz, .zst)")
    return found


def evaluation_records(path: Path) -> Iterator[tuple[int, Texts]]:
    """Number (from 1; the line, in files of lines) and texts of each record, in order.

    Raises:
        DataError: the file cannot be read to its end, or a record of it not be understood: a check that passes over
            part of an evaluation set would promise too much.
    """
    try:
        beginning = _beginning(path)
        if beginning.startswith(_PARQUET_MAGIC):
            yield from _parquet(path)
        elif beginning.lstrip()[:1] not in (b"{", b"["):
            yield from _table_or_text(path)
        elif _is_of_lines(beginning):
            yield from _lines(path)
        else:
            yield from _whole_json(path)
    except (OSError, DamagedFileError) as error:
        raise DataError(f"evaluation file {path} cannot be read: {error}") from None


def _beginning(path: Path) -> bytes:
    return next(iter(read_chunks(path)), b"").removeprefix(b"\xef\xbb\xbf")


def _is_of_lines(beginning: bytes) -> bool:
    """Whether the first line is a record, as far as it can be seen, and not all there is."""
    line, _, more = beginning.lstrip().partition(b"\n")
    if not more.strip() and len(beginning) < 1 << 16:
        return False
    if not more:  # a line too long to be seen whole
        return line.startswith(b"{")
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(path: Path) -> Iterator[tuple[int, Texts]]:
    problems = Problems()
    for number, line in byte_lines(path, problems):
        if line.strip():
            yield number, tuple(_texts(_parsed(line, f"{path}:{number}")))
    if problems.examples:
        raise DataError(f"evaluation file {next(iter(problems.examples.values()))[0]}")


def _whole_json(path: Path) -> Iterator[tuple[int, Texts]]:
    value = _parsed(_whole(path), str(path))
    if isinstance(value, dict):
        # {"version": ..., "data": [records]}; anything else is one record.
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        value = max(lists, key=len) if lists else [value]
    for number, record in enumerate(value, 1):
        yield number, tuple(_texts(record))


def _parquet(path: Path) -> Iterator[tuple[int, Texts]]:
    import pyarrow as pa  # large, and only for files of this format
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, tuple(_texts(row))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"evaluation file {path} is not whole parquet: {str(error).splitlines()[0]}") from None


def _table_or_text(path: Path) -> Iterator[tuple[int, Texts]]:
    text = _decoded(_whole(path), str(path))
    delimiter = _DELIMITERS.get(Path(name_without_packing(path)).suffix.lower())
    if delimiter is None:
        paragraphs = (part.strip() for part in text.replace("\r\n", "\n").split("\n\n"))
        yield from ((number, (part,)) for number, part in enumerate(filter(None, paragraphs), 1))
        return
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            yield number, tuple(row)
    except csv.Error as error:
        raise DataError(f"evaluation file {path}: row {number + 1:,} is not valid CSV ({error})") from None


def _whole(path: Path) -> bytes:
    content = bytearray()
    for chunk in read_chunks(path):
        content += chunk
        if len(content) > _MOST_BYTES:
            raise DataError(
                f"evaluation file {path} is larger than {_MOST_BYTES >> 20} MiB; give it as .jsonl, which is read "
                f"line by line"
            )
    return bytes(content)


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(_decoded(content, where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"evaluation file {where} is not valid JSON: {error}") from None


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"evaluation file {where} is not UTF-8 at byte {error.start:,}") from None


def _texts(value: Any) -> Iterator[str]:
    """All strings in a record, in order, at any depth."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending += reversed(list(item.values()))
        elif isinstance(item, list):
            pending += reversed(item)
