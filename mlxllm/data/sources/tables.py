"""Tables of text: parquet and JSON records with a column of text, from files that are here or from the Hub."""

import codecs
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mlxllm.data.sources.base import Document, Dropped, Extent, Problems, Record, RecordSource
from mlxllm.data.sources.decoding import MOST_LINE_BYTES, is_encodable
from mlxllm.data.sources.files import DamagedFileError
from mlxllm.data.sources.json_rows import json_rows, keys_of
from mlxllm.data.sources.options import is_local, joined, split_options
from mlxllm.data.sources.parquet_rows import MAGIC, ParquetTable
from mlxllm.data.sources.table_files import HUB_OPTIONS, SUFFIXES, LocalTables, Tables, find_tables
from mlxllm.errors import DataError

TEXT_COLUMNS = ("text", "content")
"""What a column of text is called where none is named."""
METADATA = {
    "language": ("language", "lang"),
    "licence": ("license", "licence"),
    "url": ("url",),
    "title": ("title",),
    "category": ("category",),
}
"""Keys of a document's metadata, and the columns that tell them."""
_TOLD_COLUMNS = 20
_PATIENCE_ROWS = 1000
"""Without the text column in the first so many records of the first file, it is not there at all."""


class TableSource(RecordSource):
    """A document a row."""

    def __init__(self, kind: str, name: str, tables: Tables, column: str | None = None) -> None:
        """Nothing is read or asked for yet.

        Args:
            kind: of the source, which its specification begins with.
            name: of the source.
            tables: the files.
            column: which one holds the text; None where that is `text` or `content`.
        """
        super().__init__(name, "")
        self.kind, self.tables, self.column = kind, tables, column
        self.spec = self._spec()

    def parts(self) -> Sequence[str]:
        """The files; of a data set on the Hub each with its commit.

        Raises:
            DataError: the Hub cannot be asked.
            ConfigError: the data set has no such config or split.
        """
        return self.tables.parts()

    def extent(self) -> Extent:
        """What is known without asking anybody."""
        return self.tables.extent()

    def head(self, most_bytes: int) -> "TableSource":
        """The same for a preview: of a file on the Hub only the beginning is fetched."""
        beginning = copy.copy(self)
        beginning.problems = Problems()
        beginning.tables = self.tables.beginning()
        return beginning

    def pinned(self) -> "TableSource":
        """The same source, whose specification stands for exactly the data that is there now.

        Raises:
            DataError: the Hub cannot be asked.
        """
        fixed = copy.copy(self)
        fixed.problems = Problems()
        fixed.tables = self.tables.pinned()
        fixed.spec = fixed._spec()
        return fixed

    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        """A Document a row.

        Raises:
            DataError: the first file has no such column, or the Hub does not give the file.
        """
        first = part == self.parts()[0]
        if first and isinstance(self.tables, LocalTables):
            self.problems.mended.update(self.tables.found.mended)
            self.problems.examples.update({reason: list(of) for reason, of in self.tables.found.examples.items()})
        with self.tables.open(part) as table:
            try:
                begins = _begins(table.file)
                if begins == MAGIC:
                    with ParquetTable(table.file, part) as rows:
                        yield from self._of_parquet(rows, part, first)
                elif (self.kind == "parquet" or part.endswith(".parquet")) and not _may_be_json(begins):
                    yield Dropped("not a parquet file", part, f"it begins with {begins!r} and not with {MAGIC!r}")
                else:
                    yield from self._of_json(table.file, part, first)
            except DamagedFileError as error:
                yield Dropped("damaged file", part, str(error))
            except OSError as error:
                if error.errno is None:
                    raise
                yield Dropped("unreadable file", part, error.strerror or str(error))
            table.read = True

    def row(self, where: str, text: str, values: Mapping[str, Any]) -> Record | Document | Dropped:
        """What becomes of a row whose text is not empty."""
        return Document(text, where, self.name, metadata=metadata_of(values))

    def other_columns(self, columns: Sequence[str]) -> list[str]:
        """Which columns are read beside the text."""
        return [name for names in METADATA.values() for name in names if name in columns]

    def refusal(self, columns: Sequence[str]) -> str | None:
        """Why a table with these columns cannot be read, as the end of a sentence about it; None where it can."""
        return None

    def _of_parquet(self, table: ParquetTable, part: str, first: bool) -> Iterator[Record | Document | Dropped]:
        if refusal := self.refusal(list(table.columns)):
            raise DataError(f"{part} {refusal}")
        column = next((name for name in self._wanted() if name in table.columns), None)
        if column is None or not table.holds_text(column):
            wrong = None if column is None else (column, str(table.columns[column]))
            detail = _lacks(self._wanted(), list(table.columns), wrong)
            if first:
                raise DataError(f"{part} {detail}{self._remedy()}")
            yield Dropped("no text column", part, detail)
            return
        columns = [column, *(name for name in self.other_columns(list(table.columns)) if name != column)]
        for number, values in table.rows(columns, self.problems):
            yield self._checked(f"{part}#{number}", values[column], values)

    def _of_json(self, file: Path | BinaryIO, part: str, first: bool) -> Iterator[Record | Document | Dropped]:
        found = False
        wanted = self._wanted()
        for number, row in enumerate(json_rows(file, part, self.problems)):
            if isinstance(row, Dropped):
                yield row
                continue
            where, values = row
            if number == 0 and (refusal := self.refusal(list(values))):
                raise DataError(f"{part} {refusal}")
            column = next((name for name in wanted if name in values), None)
            if column is not None:
                found = True
                yield self._checked(where, values[column], values)
                continue
            detail = _lacks(wanted, list(values), None)
            if first and not found and number >= _PATIENCE_ROWS:
                raise DataError(f"{where} {detail}, as do all records before it{self._remedy()}")
            yield Dropped("no text column", where, detail, json.dumps(values, ensure_ascii=False)[:500])

    def _checked(self, where: str, text: Any, values: Mapping[str, Any]) -> Record | Document | Dropped:
        if isinstance(text, bytes):
            return Dropped("undecodable text", where, "it is not UTF-8", text[:500].decode("utf-8", "replace"))
        if text is None or (isinstance(text, str) and not text.strip()):
            return Dropped("empty", where)
        if not isinstance(text, str):
            return Dropped("no text column", where, f"found {keys_of(text)} where the text should be")
        if len(text) > MOST_LINE_BYTES:
            return Dropped("text too long", where, f"more than {MOST_LINE_BYTES >> 20} Mi characters", text[:500])
        if not is_encodable(text):
            return Dropped("undecodable text", where, "half of a surrogate pair")
        return self.row(where, text, values)

    def _wanted(self) -> tuple[str, ...]:
        return (self.column,) if self.column else TEXT_COLUMNS

    def _remedy(self) -> str:
        return f"; name the column of the text: {self.kind}:...,column=NAME"

    def _spec(self) -> str:
        return f"{self.kind}:{joined(self.tables.spec(), self._options())}"

    def _options(self) -> dict[str, str | None]:
        return {"column": self.column}


def first_row(tables: Tables) -> tuple[str, dict[str, Any]]:
    """Where the first row of the first file stands, and all its columns; of a file on the Hub little is fetched.

    Raises:
        DataError: there is none, or the Hub cannot be asked.
        ConfigError: the data set has no such config or split.
    """
    beginning, problems = tables.beginning(), Problems()
    part = beginning.parts()[0]
    with beginning.open(part) as table:
        try:
            if _begins(table.file) == MAGIC:
                with ParquetTable(table.file, part) as rows:
                    number, values = next(rows.rows(list(rows.columns), problems))
                return f"{part}#{number}", values
            return next(row for row in json_rows(table.file, part, problems) if not isinstance(row, Dropped))
        except (DamagedFileError, StopIteration) as error:
            raise DataError(f"{part} holds no record that can be read ({str(error) or 'it is empty'})") from None


def open_published(kind: str, spec: str, home: str, config: str | None = None) -> TableSource:
    """The source of a well-known data set: its files where they are named, else the data set on the Hub.

    Args:
        kind: of the source, and its name.
        spec: nothing, a path, a config or `owner/name[/config]`, and options.
        home: where it is on the Hub.
        config: which of its configs where none is named; a data set without one has none to be named.

    Raises:
        ConfigError: an option is not understood.
        DataError: there is no such path.
    """
    place, options = split_options(kind, spec, HUB_OPTIONS)
    if not place:
        place = f"{home}/{config}" if config else home
    elif config and "/" not in place and not is_local(place, SUFFIXES):
        place = f"{home}/{place}"
    elif "/" not in place and not is_local(place, SUFFIXES):
        raise DataError(f"there is no file or folder {place!r}; give parquet files, or nothing for the Hub's {home}")
    return TableSource(kind, kind, find_tables(kind, place, options), options.get("column"))


def metadata_of(values: Mapping[str, Any]) -> dict[str, str]:
    """What the columns of a row tell of its text."""
    told = {}
    for key, names in METADATA.items():
        value = next((values[name] for name in names if isinstance(values.get(name), str) and values[name]), None)
        if value is not None:
            told[key] = value
    return told


def _begins(file: Path | BinaryIO) -> bytes:
    if isinstance(file, Path):
        with open(file, "rb") as opened:
            return opened.read(len(MAGIC))
    begins = file.read(len(MAGIC))
    file.seek(0)
    return begins


def _may_be_json(begins: bytes) -> bool:
    """Whether records may follow, plain or packed; an empty file is none of another kind."""
    first = begins.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return first in (b"", b"{", b"[") or begins.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


def _lacks(wanted: Sequence[str], columns: Sequence[str], wrong: tuple[str, str] | None) -> str:
    if wrong is not None:
        return f"has in column {wrong[0]!r} {wrong[1]} and no text"
    names = ", ".join(columns[:_TOLD_COLUMNS]) or "none at all"
    return f"has no column {' or '.join(map(repr, wanted))}; its columns are {names}"
