"""FineWeb (Penedo et al., 2024, arXiv:2406.17557): Common Crawl, filtered and deduplicated, and samples of it."""

from mlxllm.data.sources.base import SourceKind
from mlxllm.data.sources.tables import TableSource, open_published

KIND = SourceKind(
    "fineweb",
    "FineWeb: parquet files that are here (fineweb:FILES), or a config on the Hub such as sample-10BT, sample-100BT or "
    "CC-MAIN-2024-10; ,shards=N,revision=REV",
    "ODC-By 1.0, and the terms of Common Crawl",
    "fineweb:sample-10BT,shards=1",
    "English web pages that are clean already: a base model of general English",
    download="each file as it is read (some 2 GB)",
)
PLACE = "HuggingFaceFW/fineweb"
CONFIG = "sample-10BT"
"""Where none is named: the default one of the data set is all of it, 15 T tokens."""


def parse(spec: str) -> TableSource:
    """The source that `fineweb:[FILES or CONFIG][,option=value...]` stands for.

    Raises:
        ConfigError: an option is not understood.
        DataError: there is no such path.
    """
    return open_published(KIND.kind, spec, PLACE, CONFIG)
