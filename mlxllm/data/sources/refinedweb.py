"""RefinedWeb (Penedo et al., 2023, arXiv:2306.01116): Common Crawl, filtered and deduplicated; its text is in `content`."""

from mlxllm.data.sources.base import SourceKind
from mlxllm.data.sources.tables import TableSource, open_published

KIND = SourceKind(
    "refinedweb",
    "Falcon RefinedWeb: parquet files that are here (refinedweb:FILES), or with nothing named the data set on the Hub; "
    ",shards=N,revision=REV",
    "ODC-By 1.0, and the terms of Common Crawl",
    "refinedweb:shards=1",
    "English web pages that are clean already: a base model of general English",
    download="each file as it is read (some 300 MB)",
)
PLACE = "tiiuae/falcon-refinedweb"


def parse(spec: str) -> TableSource:
    """The source that `refinedweb:[FILES][,option=value...]` stands for.

    Raises:
        ConfigError: an option is not understood.
        DataError: there is no such path.
    """
    return open_published(KIND.kind, spec, PLACE)
