"""What kind of source a path is that was named alone: by how its file begins, or the files of its folder."""

import json
import os
import re
from itertools import islice
from pathlib import Path

from mlxllm.data.sources.archives import is_tar
from mlxllm.data.sources.files import PACKED_SUFFIXES, RECORD_SUFFIXES, TEXT_SUFFIXES, DamagedFileError, read_chunks

_LOOKED_AT = 1 << 16
_LOOKED_AT_IN_TAR = 8 << 20
_FILES_LOOKED_AT = 20
_BEGINNINGS = (
    ("commoncrawl", re.compile(rb"WARC/\d")),
    (
        "pubmed",
        re.compile(rb"\s*<(?:\?xml.*<)?!?(?:DOCTYPE )?(?:PubmedArticleSet|pmc-articleset|article)\b", re.DOTALL),
    ),
    ("arxiv", re.compile(rb"\s*(?:%[^\n]*\n\s*)*\\document(?:class|style)\b")),
)
_TEX_IN_TAR = re.compile(rb"[\w./+-]+\.(?:tex|bbl|cls|sty)\0")
_STACK, _TEXT = {"content", "max_stars_repo_licenses"}, {"text", "content"}
_TALK = {"messages", "conversations", "prompt", "chosen", "instruction"}


def kind_of_path(path: str) -> str:
    """The kind of source that reads a file or a folder; `text` where nothing tells of another one."""
    expanded = Path(os.path.expanduser(path))
    if not expanded.is_dir():
        return _kind_of_file(expanded)
    files = (Path(parent, name) for parent, _, names in os.walk(expanded) for name in sorted(names))
    found = [(file, _kind_of_file(file)) for file in islice(files, _FILES_LOOKED_AT) if not file.name.startswith(".")]
    kinds = {kind for _, kind in found if kind != "text"}
    if len(kinds) != 1 or any(kind == "text" and _is_text_name(file.name) for file, kind in found):
        return "text"
    return kinds.pop()


def _kind_of_file(path: Path) -> str:
    try:
        if not path.is_file():
            return "text"
        with open(path, "rb") as file:
            raw = file.read(8)
        if raw.startswith(b"PAR1"):
            return _kind_of_parquet(path)
        beginning = next(read_chunks(path), b"")[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf")
        if is_tar(beginning):
            return "arxiv" if _holds_tex(path) else "code"
    except (OSError, DamagedFileError):
        return "text"  # the source will say what is wrong with it
    if raw.startswith(b"PK\x03\x04"):
        return "code"
    if _is_metadata_of_arxiv(beginning):
        return "arxiv"
    kind = next((kind for kind, begins in _BEGINNINGS if begins.match(beginning)), "text")
    # LaTeX that lies there as it was written is somebody's text; arXiv packs each paper.
    return "text" if kind == "arxiv" and raw[:2] != b"\x1f\x8b" else kind


def _kind_of_parquet(path: Path) -> str:
    import pyarrow  # only when used: it is slow to load
    import pyarrow.parquet

    try:
        columns = set(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError):
        return "parquet"
    return "thestack" if columns >= _STACK else "parquet" if columns & _TEXT and not columns & _TALK else "text"


def _holds_tex(path: Path) -> bool:
    size = 0
    for chunk in read_chunks(path):
        if _TEX_IN_TAR.search(chunk):
            return True
        size += len(chunk)
        if size > _LOOKED_AT_IN_TAR:
            break
    return False


def _is_metadata_of_arxiv(beginning: bytes) -> bool:
    try:
        record = json.loads(beginning.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.keys() >= {"id", "abstract", "categories"}


def _is_text_name(name: str) -> bool:
    lower = name.lower()
    for suffix in PACKED_SUFFIXES:
        lower = lower.removesuffix(suffix)
    return lower.endswith(TEXT_SUFFIXES + RECORD_SUFFIXES)
