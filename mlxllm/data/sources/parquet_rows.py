"""Rows of a parquet file in batches of bounded size, of the wanted columns only; what is damaged is passed over."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import DAMAGED
from mlxllm.data.sources.files import DamagedFileError

MAGIC = b"PAR1"
_BATCH_BYTES = 4 << 20
"""About so much text is unpacked at a time."""
_BATCH_ROWS = 64
_BUFFER_BYTES = 1 << 20
"""A column is read in stretches of this, rather than a whole row group of it at once."""
_FOOTER_BYTES, _FOOTER_ENTRIES = 64 << 20, 10_000_000
MOST_RATIO = 1000
"""A file may unpack to so many times its size: the same document a thousand times over is none worth to have."""
FREE_BYTES = 64 << 20
"""To so much it may unpack whatever its size."""
_SUSPICIOUS_RATIO = 30
"""Text is packed to a third, or to a tenth where it repeats itself."""


class ParquetTable:
    """A parquet file that is open; a context manager."""

    def __init__(self, file: Path | BinaryIO, where: str) -> None:
        """Read its footer.

        Raises:
            DamagedFileError: that is not there, so that nothing of the file can be read.
            OSError: the file cannot be read.
        """
        import pyarrow  # only when used: it is slow to load

        self.where, self._source = where, file
        try:
            self._file = self._opened()
            # Names that are not UTF-8 show here.
            self.columns: dict[str, Any] = {field.name: field.type for field in self._file.schema_arrow}
            """Names and Arrow types of the columns."""
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedFileError(f"it has no footer that can be read ({_first_line(error)})") from None

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

        A row group that breaks off is counted in `problems`, and reading goes on with the next; so is a file that unpacks
        without bound, of which no more is read.
        """
        import pyarrow  # only when used: it is slow to load

        packed = self._bytes()
        left = max(FREE_BYTES, MOST_RATIO * packed)
        first = 0
        for group in range(self._file.metadata.num_row_groups):
            size, number = 0, first
            try:
                size = self._file.metadata.row_group(group).num_rows
                batches = self._file.iter_batches(
                    batch_size=self._batch_rows(group, packed),
                    row_groups=[group],
                    columns=list(columns),
                    use_threads=False,
                )
                for batch in batches:
                    values = [_values(column) for column in batch.columns]
                    names = batch.schema.names
                    for row in zip(*values, strict=True):
                        yield number, dict(zip(names, row, strict=True))
                        number += 1
                    left -= batch.nbytes
                    if left < 0:
                        problems.mend(DAMAGED, self.where, f"it unpacks to more than {MOST_RATIO:,} times its size")
                        return
            except (pyarrow.ArrowException, OSError, IndexError) as error:
                rest = first + size - number
                problems.mend(
                    DAMAGED, self.where, f"row group {group} ({_first_line(error)}); {rest:,} of its rows are lost"
                )
            first += size

    def _opened(self) -> Any:
        import pyarrow.parquet  # only when used: it is slow to load

        return pyarrow.parquet.ParquetFile(
            self._source,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            memory_map=False,
            # A crafted footer may ask for any amount of memory.
            thrift_string_size_limit=_FOOTER_BYTES,
            thrift_container_size_limit=_FOOTER_ENTRIES,
        )

    def _bytes(self) -> int:
        if isinstance(self._source, Path):
            return self._source.stat().st_size
        return self._source.seek(0, io.SEEK_END)

    def _batch_rows(self, group: int, packed: int) -> int:
        """So many rows as make about `_BATCH_BYTES`, by what the footer says of the row group and all its columns.

        Its columns are not asked one by one: a crafted footer ends the process there (pyarrow 26). Where a row group
        unpacks to far more than the file has, a dictionary may stand for the same large text again and again.
        """
        facts = self._file.metadata.row_group(group)
        if facts.total_byte_size > _SUSPICIOUS_RATIO * packed:
            return 1
        return int(min(_BATCH_ROWS, max(1, _BATCH_BYTES * facts.num_rows // max(1, facts.total_byte_size))))


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
