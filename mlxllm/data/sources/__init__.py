"""Where documents come from: one file a source, and the registry that opens them by KIND:SPEC."""

import difflib
import re
from pathlib import Path

from mlxllm.data.sources.base import Document, Extent, Problems, Source, SourceKind, extent_of
from mlxllm.errors import ConfigError

__all__ = [
    "Document",
    "Extent",
    "Problems",
    "Source",
    "SourceKind",
    "extent_of",
    "list_sources",
    "open_source",
    "parse_source",
]

_KINDS = (
    SourceKind(
        "stories",
        "generated here: COUNT, or count=N,seed=S,start=I,plots=P,questions=1 (20000 of seed 0; plots: the P simplest of 31; "
        "questions: a reading book)",
        "made by this program; free to use",
        "stories:20000",
        "a first model: a small world whose words a tiny model can learn in minutes",
    ),
    SourceKind(
        "pydocs",
        "the language reference and the docstrings of the Python that runs this, offline",
        "PSF licence (part of Python)",
        "pydocs",
        "technical English and a little code, when there is no network: about 2 MB",
    ),
    SourceKind(
        "text",
        "a file, folder or glob of .txt .md .py .jsonl (.gz .zst); a line of only <|endoftext|> splits it",
        "your own files: their licence",
        "text:notes/",
        "a model that writes like your own texts; 1 MB or more of them",
    ),
    SourceKind(
        "shakespeare",
        "tiny Shakespeare, 1.1 MB, downloaded once and checked",
        "public domain",
        "shakespeare",
        "the text of many tutorials, so that your numbers can be compared with theirs",
        download="1.1 MB",
    ),
)
_WEIGHT = re.compile(r"(?P<spec>.+)@(?P<weight>[^@/]*)", re.DOTALL)


def list_sources() -> list[SourceKind]:
    """All kinds that `open_source` knows, in the order in which they are shown."""
    return list(_KINDS)


def open_source(spec: str) -> Source:
    """The source that `KIND:SPEC`, a bare kind, or the path of a text stands for; nothing large is read yet.

    Raises:
        ConfigError: the kind or its options are not known.
        DataError: a path does not exist or holds nothing to read.
    """
    kind, colon, rest = spec.partition(":")
    names = [known.kind for known in _KINDS]
    if kind not in names:
        if Path(spec).expanduser().exists() or "/" in spec or any(c in spec for c in "*?["):
            kind, rest = "text", spec
        else:
            near = difflib.get_close_matches(kind, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known kinds: {', '.join(names)}"
            raise ConfigError(f"source {spec!r} is neither a kind of source nor a path that exists; {hint}")
    if kind == "stories":
        from mlxllm.data.sources.stories_source import StoriesSource

        return StoriesSource.parse(rest)
    if kind == "text":
        if not rest:
            raise ConfigError("source 'text' needs a file, a folder or a glob: text:PATH")
        from mlxllm.data.sources.text import TextSource

        return TextSource(rest)
    if colon and rest:
        raise ConfigError(f"source {kind!r} takes no options; found {rest!r} behind the colon")
    if kind == "pydocs":
        from mlxllm.data.sources.pydocs import PydocsSource

        return PydocsSource()
    from mlxllm.data.sources.shakespeare import ShakespeareSource

    return ShakespeareSource()


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
