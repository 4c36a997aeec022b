"""Any data set of text on the Hugging Face Hub: parquet or JSON records, fetched a file at a time."""

from mlxllm.data.sources.base import SourceKind
from mlxllm.data.sources.options import split_options
from mlxllm.data.sources.table_files import HUB_OPTIONS, find_tables
from mlxllm.data.sources.tables import TableSource
from mlxllm.errors import ConfigError

KIND = SourceKind(
    "hub",
    "a data set on the Hugging Face Hub: owner/name[/config], of parquet or JSON records with a column text or content; "
    ",column=NAME,split=train,revision=REV,shards=N",
    "as the page of the data set says",
    "hub:roneneldan/TinyStories",
    "whatever it was made for; shards=1 reads only the first file of a large one",
    download="each file as it is read",
)


def parse(spec: str) -> TableSource:
    """The source that `hub:owner/name[/config][,option=value...]` stands for; the Hub is not asked yet.

    A path is taken as well: that of a data set which has been downloaded.

    Raises:
        ConfigError: it is no such name, or an option is not understood.
        DataError: there is no such path.
    """
    place, options = split_options(KIND.kind, spec, HUB_OPTIONS)
    if not place:
        raise ConfigError("source 'hub' needs a data set of the Hub: hub:owner/name or hub:owner/name/config")
    return TableSource(KIND.kind, place.strip("/"), find_tables(KIND.kind, place, options), options.get("column"))
