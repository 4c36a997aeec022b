"""FineWeb-Edu (Penedo et al., 2024, arXiv:2406.17557, section 4): the pages of FineWeb that teach something."""

from mlxllm.data.sources import fineweb
from mlxllm.data.sources.base import SourceKind
from mlxllm.data.sources.tables import TableSource, open_published

KIND = SourceKind(
    "fineweb-edu",
    "as fineweb, of the pages that a classifier found educational",
    fineweb.KIND.licence,
    "fineweb-edu:sample-10BT,shards=1",
    "knowledge: what a small model profits from most",
    download=fineweb.KIND.download,
)
PLACE = "HuggingFaceFW/fineweb-edu"


def parse(spec: str) -> TableSource:
    """The source that `fineweb-edu:[FILES or CONFIG][,option=value...]` stands for.

    Raises:
        ConfigError: an option is not understood.
        DataError: there is no such path.
    """
    return open_published(KIND.kind, spec, PLACE, fineweb.CONFIG)
