"""Rows of a parquet file in batches of bounded size, of the wanted columns only; what is damaged is passed over."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import DAMAGED
from mlxllm.data.sources.files import DamagedFileError

MAGIC = b"PAR1"
_BATCH_BYTES = 4 << 20
"""About so much text is unpacked at a time."""
_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20
"""A column is read in stretches of this, rather than a whole row group of it at once."""
_FOOTER_BYTES = 64 << 20


class ParquetTable:
    """A parquet file that is open; a context manager."""

    def __init__(self, file: Path | BinaryIO, where: str) -> None:
        """Read its footer.

        Raises:
            DamagedFileError: that is not there, so that nothing of the file can be read.
            OSError: the file cannot be read.
        """
        import pyarrow.parquet  # only when used: it is slow to load

        self.where = where
        options = {"buffer_size": _BUFFER_BYTES, "pre_buffer": False, "memory_map": False}
        # A crafted footer may ask for any amount of memory.
        options |= {"thrift_string_size_limit": _FOOTER_BYTES, "thrift_container_size_limit": 10_000_000}
        try:
            self._file = pyarrow.parquet.ParquetFile(file, **options)
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedFileError(f"it has no footer that can be read ({_first_line(error)})") from None
        self.columns: dict[str, Any] = {field.name: field.type for field in self._file.schema_arrow}
        """Names and Arrow types of the columns."""

    def __enter__(self) -> "ParquetTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def num_rows(self) -> int:
        """As the footer says."""
        return int(self._file.metadata.num_rows)

    def holds_text(self, column: str) -> bool:
        """Whether a column holds strings."""
        import pyarrow.types as types

        kind = self.columns[column]
        if types.is_dictionary(kind):
            kind = kind.value_type
        return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))

    def rows(self, columns: Sequence[str], problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and values of each row; a value that is not UTF-8 is left as bytes.

        A row group that breaks off is counted in `problems`, and reading goes on with the next.
        """
        import pyarrow  # only when used: it is slow to load

        metadata = self._file.metadata
        first = 0
        for group in range(metadata.num_row_groups):
            size = metadata.row_group(group).num_rows
            number = first
            batches = self._file.iter_batches(
                batch_size=self._batch_rows(group, columns),
                row_groups=[group],
                columns=list(columns),
                use_threads=False,
            )
            try:
                for batch in batches:
                    values = [_values(column) for column in batch.columns]
                    for row in zip(*values, strict=True):
                        yield number, dict(zip(batch.schema.names, row, strict=True))
                        number += 1
            except (pyarrow.ArrowException, OSError) as error:
                rest = first + size - number
                problems.mend(
                    DAMAGED, self.where, f"row group {group} ({_first_line(error)}); {rest:,} of its rows are lost"
                )
            first += size

    def _batch_rows(self, group: int, columns: Sequence[str]) -> int:
        """So many rows as make about `_BATCH_BYTES`, by what the footer says of the row group."""
        facts = self._file.metadata.row_group(group)
        size = sum(
            facts.column(index).total_uncompressed_size
            for index in range(facts.num_columns)
            if facts.column(index).path_in_schema.split(".")[0] in columns
        )
        return int(min(_BATCH_ROWS, max(1, _BATCH_BYTES * facts.num_rows // max(1, size))))


def _values(column: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150].rstrip(".")
