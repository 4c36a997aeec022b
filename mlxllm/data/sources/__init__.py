"""Where documents come from: one file a source, and the registry that opens them by KIND:SPEC."""

import difflib
import importlib
import re
from typing import Any

from mlxllm.data.sources.base import (
    Document,
    Dropped,
    Extent,
    Problems,
    Record,
    RecordSource,
    Source,
    SourceKind,
    extent_of,
)
from mlxllm.data.sources.files import RECORD_SUFFIXES, TEXT_SUFFIXES
from mlxllm.data.sources.options import is_local
from mlxllm.data.sources.telling import kind_of_path
from mlxllm.errors import ConfigError

__all__ = [
    "Document",
    "Dropped",
    "Extent",
    "Problems",
    "Record",
    "RecordSource",
    "Source",
    "SourceKind",
    "extent_of",
    "kind_of",
    "kinds",
    "list_sources",
    "open_source",
    "recipe_of",
]

_MODULES = {
    "stories": "stories_source",
    "pydocs": "pydocs",
    "text": "text",
    "jsonl": "jsonl",
    "shakespeare": "shakespeare",
    "commoncrawl": "commoncrawl",
    "hub": "hub",
    "refinedweb": "refinedweb",
    "fineweb": "fineweb",
    "fineweb-edu": "fineweb_edu",
    "parquet": "parquet",
    "pubmed": "pubmed",
    "arxiv": "arxiv",
    "thestack": "thestack",
    "code": "code",
}
"""The module of each kind, in the order in which they are shown. It has `KIND`, a SourceKind, and `parse`, which makes
a Source of what stands behind the colon."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?:[/,]|\Z)")


def kinds() -> tuple[str, ...]:
    """The names of all kinds."""
    return tuple(_MODULES)


def list_sources() -> list[SourceKind]:
    """All kinds that `open_source` knows, in the order in which they are shown."""
    return [_module(kind).KIND for kind in _MODULES]


def kind_named(kind: str) -> SourceKind:
    """What is told of one of `kinds()`."""
    told: SourceKind = _module(kind).KIND
    return told


def open_source(spec: str) -> Source:
    """The source that `KIND:SPEC`, a bare kind, the path of a text, `owner/name` on the Hub or a ready set stands for.

    Nothing large is read yet, and nobody is asked for anything.

    Raises:
        ConfigError: the kind or its options are not known.
        DataError: a path does not exist or holds nothing to read, or a ready set is not downloaded.
    """
    kind, _, rest = spec.partition(":")
    if kind not in _MODULES:
        if _HUB_NAME.match(spec) and not is_local(spec, TEXT_SUFFIXES + RECORD_SUFFIXES + (".json", ".parquet")):
            kind, rest = "hub", spec
        elif "/" in spec or is_local(spec):
            kind, rest = kind_of_path(spec), spec
        elif (ready := _ready_source(spec)) is not None:
            return ready
        else:
            near = difflib.get_close_matches(kind, (*_MODULES, *_ready_names()), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known kinds: {', '.join(_MODULES)}"
            raise ConfigError(f"source {spec!r} is neither a kind of source nor a path that exists; {hint}")
    source: Source = _module(kind).parse(rest)
    return source


def kind_of(source: Source) -> str:
    """The name of its kind."""
    return source.spec.partition(":")[0]


def recipe_of(source: Source) -> str:
    """The name of the recipe by which its documents are cleaned unless another is asked for."""
    kind = kind_of(source)
    return str(_module(kind).KIND.recipe) if kind in _MODULES else "none"


def _ready_names() -> list[str]:
    from mlxllm.data.catalogue import READY_SETS  # which names the text of a source

    return [each.name for each in READY_SETS]


def _ready_source(name: str) -> Source | None:
    from mlxllm.data.ready_sets import ready_source  # which opens sources itself

    return ready_source(name, open_source)


def _module(kind: str) -> Any:
    """Loaded when it is used: some of them bring large tables along."""
    return importlib.import_module(f"mlxllm.data.sources.{_MODULES[kind]}")
