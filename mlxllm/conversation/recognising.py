"""What a path is to us: text to read, conversations, preferences, or a dataset; told by its content."""

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlxllm.conversation.formats import MalformedRecordError, UnusableRecordError, parse_conversation
from mlxllm.conversation.locating import find_record_files
from mlxllm.conversation.preference_formats import parse_preference
from mlxllm.conversation.reading import raw_records
from mlxllm.conversation.records import Text
from mlxllm.data.manifest import FILE_NAME, read_manifest
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.files import DamagedFileError, read_chunks
from mlxllm.data.sources.options import joined
from mlxllm.data.sources.table_files import find_tables
from mlxllm.data.sources.tables import first_row
from mlxllm.data.sources.text import TEXT_FIELDS, TextSource
from mlxllm.errors import DataError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?::[\w.-]+)?")
_RECORD_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
_PLAIN_SUFFIXES = (".txt", ".md", ".py")
_DOWNLOADED = (".cache", "huggingface")
"""What `hf download --local-dir` keeps its notes in."""
_DESCRIPTION = re.compile(r"dataset_infos?\.json|licen[cs]e.*|requirements.*", re.IGNORECASE)
_LOOKED_AT = 1 << 16


@dataclass(frozen=True, slots=True)
class Recognised:
    """What stands at a path."""

    path: str
    """Absolute; on the Hub `owner/name[:split]`, of text its specification as a source."""
    kind: Literal["text", "conversations", "preferences", "dataset"]
    """What it is good for: pre-training, sft, dpo; a dataset is built already."""
    what: str
    """In a few words, for people."""


def recognise(name: str) -> Recognised:
    """What the file, folder, glob or data set on the Hub `name` holds, by its content.

    Raises:
        DataError: it does not exist, cannot be read, or is nothing that we know; the message says what to do.
    """
    name = name.strip()
    if not name:
        raise DataError("give the path of a file or a folder, such as ~/notes")
    path = os.path.abspath(os.path.expanduser(name))
    if glob.has_magic(path) and not os.path.exists(path):
        return Recognised(path, "text", _text_of(path))
    if not os.path.exists(path):
        if is_hub_name(name):
            return _on_the_hub(name)
        near = next((p for p in Path(path).parents if p.exists()), None)
        raise DataError(f"there is no file or folder {path}" + (f"; {near} is there" if near else ""))
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} may not be read: its permissions do not allow it")
    return _folder(path) if os.path.isdir(path) else _file(path)


def is_hub_name(name: str) -> bool:
    """Whether `owner/name[:split]` is meant, and no path."""
    return bool(_HUB_NAME.fullmatch(name)) and not _ends(name, _RECORD_SUFFIXES + _PLAIN_SUFFIXES)


def _on_the_hub(name: str) -> Recognised:
    """What the first record of a data set on the Hub is; that one is fetched."""
    place, _, split = name.partition(":")
    options = {"split": split} if split else {}
    where, row = first_row(find_tables("hub", place, options))
    found = _records(name, where, row, lines=True)
    what = f"a data set on the Hub: {found.what}"
    return Recognised(joined(f"hub:{place}", {**options}) if found.kind == "text" else name, found.kind, what)


def _folder(path: str) -> Recognised:
    if os.path.isfile(os.path.join(path, FILE_NAME)):
        manifest = read_manifest(Path(path))
        return Recognised(path, "dataset", f"a dataset of {manifest.train.tokens:,} training tokens")
    if os.path.isfile(os.path.join(path, "config.json")) and glob.glob(glob.escape(path) + "/*.safetensors"):
        raise DataError(f"{path} is the folder of a model, not text; `mlxllm chat --model {path}` talks to it")
    if os.path.isdir(os.path.join(path, *_DOWNLOADED)):
        return _download(path)
    inside = sorted(os.listdir(path))
    if not any(_ends(name, _PLAIN_SUFFIXES) for name in inside) and any(_ends(n, _RECORD_SUFFIXES) for n in inside):
        first = find_record_files([path]).train[0]
        found = _file(str(first))
        if found.kind != "text":
            return Recognised(path, found.kind, f"a folder; {first.name}: {found.what}")
    return Recognised(path, "text", _text_of(path))


def _download(path: str) -> Recognised:
    """What `hf download --local-dir` has left in a folder: data lie in it or in one below, beside their description."""
    files = [
        file
        for file in sorted(Path(path).rglob("*"))
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
        and _ends(file.name, (*_RECORD_SUFFIXES, ".txt"))
        and not _DESCRIPTION.match(file.name)
        and file.is_file()
    ]
    if not files:
        raise DataError(
            f"{path} was fetched from the Hub, and no .txt, JSON lines, JSON or parquet file is in it that could be read"
        )
    found = _file(str(files[0]))
    if len(files) == 1:
        return found
    place, suffixes = files[0].parent, {file.suffix for file in files}
    if {file.parent for file in files} == {place} and len(suffixes) == 1:
        if found.kind == "text":
            pattern = os.path.join(glob.escape(str(place)), f"*{suffixes.pop()}")
            return Recognised(pattern, "text", _text_of(pattern))
        return Recognised(str(place), found.kind, f"a folder; {files[0].name}: {found.what}")
    some = ", ".join(str(file.relative_to(path)) for file in files[:4])
    more = f" and {len(files) - 4:,} more" if len(files) > 4 else ""
    raise DataError(
        f"{path} holds several kinds of data: {some}{more}; add one of these files, or a folder of one kind"
    )


def _file(path: str) -> Recognised:
    begin = _beginning(path)
    if not begin.strip():
        raise DataError(f"{path} is empty")
    if not (begin[:4] == b"PAR1" or begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")):
        _check_text(path, begin)
        return Recognised(path, "text", _text_of(path))
    lines = _ends(path, (".jsonl", ".ndjson")) or begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"
    try:
        where, raw = next(raw_records(Path(path), Problems()), ("", None))
    except DataError:
        if _ends(path, _RECORD_SUFFIXES) or begin[:4] == b"PAR1":
            raise
        return Recognised(path, "text", _text_of(path))  # a text may begin with a bracket
    return _records(path, where, raw, lines)


def _records(path: str, where: str, raw: Any, lines: bool) -> Recognised:
    """What the first record says of the file."""
    if not isinstance(raw, dict):
        if _ends(path, _RECORD_SUFFIXES):
            raise DataError(f"{where or path}: a record should be a JSON object with keys")
        return Recognised(path, "text", _text_of(path))
    problem = ""
    try:
        conversation = parse_conversation(raw, where)
        if isinstance(conversation, Text):
            if lines:
                return Recognised(path, "text", "texts, one a line")
            return Recognised(
                path, "conversations", "texts as records, which sft can learn from; pre-training wants JSON lines"
            )
        return Recognised(path, "conversations", f"conversations ({', '.join(map(repr, list(raw)[:3]))})")
    except UnusableRecordError:
        return Recognised(path, "conversations", "conversations")
    except MalformedRecordError as error:
        problem = str(error)
    try:
        parse_preference(raw, where)
    except UnusableRecordError:
        pass
    except MalformedRecordError:
        if lines and any(isinstance(raw.get(key), str) for key in TEXT_FIELDS):
            return Recognised(path, "text", "texts, one a line")
        raise DataError(f"{where}: {problem}") from None
    return Recognised(path, "preferences", "pairs of a better and a worse answer")


def _text_of(path: str) -> str:
    """How much text there is.

    Raises:
        DataError: there is none.
    """
    source = TextSource(path)
    files = len(source.files)
    size = source.extent().bytes or 0
    told = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"
    return f"{files:,} file{'s' if files != 1 else ''} of text, {told}"


def _beginning(path: str) -> bytes:
    try:
        for chunk in read_chunks(Path(path)):
            return chunk[:_LOOKED_AT]
    except DamagedFileError as error:
        raise DataError(f"{path} is damaged: {error}; fetch or write it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return b""


def _check_text(path: str, begin: bytes) -> None:
    if begin[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16 says what it is
        return
    try:
        begin.decode()
    except UnicodeDecodeError as error:
        if len(begin) < _LOOKED_AT or error.start < len(begin) - 3:  # the last character may have been cut in two
            raise DataError(
                f"{path} is not text: byte {error.start:,} is not UTF-8; convert it to plain text, or save it as UTF-8"
            ) from None
    if b"\0" in begin:
        raise DataError(f"{path} is not text: it holds zero bytes; convert it to plain text first")


def _ends(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().removesuffix(".gz").removesuffix(".zst").endswith(suffixes)
