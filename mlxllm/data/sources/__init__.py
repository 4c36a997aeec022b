"""Where documents come from: one file a source, and the registry that opens them by KIND:SPEC."""

import difflib
import importlib
import re
from pathlib import Path
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
    "list_sources",
    "open_source",
    "parse_source",
]

_MODULES = {
    "stories": "stories_source",
    "pydocs": "pydocs",
    "text": "text",
    "shakespeare": "shakespeare",
}
"""The module of each kind, in the order in which they are shown. It has `KIND`, a SourceKind, and `parse`, which makes
a Source of what stands behind the colon."""
_WEIGHT = re.compile(r"(?P<spec>.+)@(?P<weight>[^@/]*)", re.DOTALL)


def list_sources() -> list[SourceKind]:
    """All kinds that `open_source` knows, in the order in which they are shown."""
    return [_module(kind).KIND for kind in _MODULES]


def open_source(spec: str) -> Source:
    """The source that `KIND:SPEC`, a bare kind, or the path of a text stands for; nothing large is read yet.

    Raises:
        ConfigError: the kind or its options are not known.
        DataError: a path does not exist or holds nothing to read.
    """
    kind, _, rest = spec.partition(":")
    if kind not in _MODULES:
        if Path(spec).expanduser().exists() or "/" in spec or any(c in spec for c in "*?["):
            kind, rest = "text", spec
        else:
            near = difflib.get_close_matches(kind, _MODULES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known kinds: {', '.join(_MODULES)}"
            raise ConfigError(f"source {spec!r} is neither a kind of source nor a path that exists; {hint}")
    source: Source = _module(kind).parse(rest)
    return source


def parse_source(argument: str) -> tuple[Source, float]:
    """`KIND:SPEC[@WEIGHT]` as a source and its weight (1 if none is given).

    Raises:
        ConfigError: the weight is not a number above 0, or see `open_source`.
        DataError: see `open_source`.
    """
    match = _WEIGHT.fullmatch(argument)
    # A path may hold an @ of its own.
    path = argument.removeprefix("text:")
    if match is None or Path(path).expanduser().exists():
        return open_source(argument), 1.0
    try:
        weight = float(match["weight"])
    except ValueError:
        weight = -1.0
    if not 0.0 < weight <= 1000.0:
        raise ConfigError(
            f"source {argument!r}: weight {match['weight']!r} is not a number above 0 and up to 1000 "
            f"(2 reads its training documents twice, 0.5 takes half of them)"
        )
    return open_source(match["spec"]), weight


def _module(kind: str) -> Any:
    """Loaded when it is used: some of them bring large tables along."""
    return importlib.import_module(f"mlxllm.data.sources.{_MODULES[kind]}")
