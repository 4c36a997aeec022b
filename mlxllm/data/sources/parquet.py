"""Parquet files of anybody's making, with a column of text."""

from mlxllm.data.sources.base import SourceKind
from mlxllm.data.sources.files import shown_name
from mlxllm.data.sources.options import split_options
from mlxllm.data.sources.table_files import LocalTables
from mlxllm.data.sources.tables import TableSource
from mlxllm.errors import ConfigError

KIND = SourceKind(
    "parquet",
    "a file, folder or glob of parquet with a column text or content; ,column=NAME",
    "your own files: their licence",
    "parquet:web.parquet,column=body",
    "data sets that somebody has downloaded or made with another tool",
)


def parse(spec: str) -> TableSource:
    """The source that `parquet:FILES[,column=NAME]` stands for.

    Raises:
        ConfigError: no path is named, or an option is not understood.
        DataError: there is no such path.
    """
    place, options = split_options(KIND.kind, spec, ("column",))
    if not place:
        raise ConfigError("source 'parquet' needs a file, a folder or a glob: parquet:PATH")
    return TableSource(KIND.kind, shown_name(place), LocalTables.find(place), options.get("column"))
