"""What kind of source a file is that was named by its path alone, by how it begins."""

import os
import re
from pathlib import Path

from mlxllm.data.sources.files import DamagedFileError, read_chunks

_LOOKED_AT = 1 << 12
_BEGINNINGS = (
    ("commoncrawl", re.compile(rb"WARC/\d")),
    (
        "pubmed",
        re.compile(rb"\s*<(?:\?xml.*<)?!?(?:DOCTYPE )?(?:PubmedArticleSet|pmc-articleset|article)\b", re.DOTALL),
    ),
)


def kind_of_file(path: str) -> str:
    """`commoncrawl` for WARC and its relatives, `pubmed` for the XML of PubMed and JATS, and `text` for all else."""
    expanded = Path(os.path.expanduser(path))
    beginning = b""
    try:
        if expanded.is_file():
            beginning = next(read_chunks(expanded), b"")[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf")
    except (OSError, DamagedFileError):
        pass  # the source will say what is wrong with it
    return next((kind for kind, begins in _BEGINNINGS if begins.match(beginning)), "text")
