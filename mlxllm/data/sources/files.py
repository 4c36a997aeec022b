"""Finding text files and reading their bytes: folders, globs, gzip and Zstandard told by content."""

import contextlib
import glob
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mlxllm.data.sources.base import Problems
from mlxllm.errors import DataError

TEXT_SUFFIXES = (".txt", ".md", ".py")
RECORD_SUFFIXES = (".jsonl", ".ndjson")
PACKED_SUFFIXES = (".gz", ".zst")

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 1 << 18
# A Zstandard block of 4 bytes can unfold to 128 KiB and its decompressor takes no output limit, so it is fed
# little at a time: real text comes out in pieces of some 30 KB, and a crafted file cannot fill the memory.
_ZSTD_FEED_BYTES = 8 << 10


class DamagedFileError(Exception):
    """Compressed data ends early or is corrupt; everything before that place has been handed out already."""


def find_files(
    pattern: str, problems: Problems, suffixes: tuple[str, ...] = TEXT_SUFFIXES + RECORD_SUFFIXES
) -> list[Path]:
    """The files that a path, a folder or a glob stands for, sorted, each once.

    Folders are searched to any depth for files of these suffixes, also with .gz or .zst behind;
    hidden files and folders are passed over, and other files are counted in `problems`. A file that is named
    itself is taken whatever its suffix.

    Raises:
        DataError: the path does not exist, or nothing readable is found.
    """
    expanded = os.path.expanduser(pattern)
    if os.path.isfile(expanded):
        return [Path(expanded)]
    if os.path.isdir(expanded):
        starts = [expanded]
    elif glob.has_magic(expanded):
        starts = sorted(glob.glob(expanded, recursive=True))
        if not starts:
            raise DataError(
                f"no file matches {pattern!r}; give a file, a folder or a quoted glob such as 'notes/**/*.md'"
            )
    else:
        raise DataError(f"there is no file or folder {pattern!r}; give a file, a folder or a glob")
    found: dict[str, Path] = {}
    others: Counter[str] = Counter()
    for start in starts:
        # What a glob names file by file is meant, so its suffix is not asked.
        candidates = _walk(start) if os.path.isdir(start) else [start]
        for path in candidates:
            if path == start or _is_called(path, suffixes):
                found.setdefault(os.path.realpath(path), Path(path))
            else:
                others["".join(Path(path).suffixes[-1:]) or "no suffix"] += 1
    if not found:
        seen = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5)) or "no files at all"
        raise DataError(
            f"{pattern!r} holds nothing to read: found {seen}; wanted {_listed(suffixes)} files (also .gz, .zst)"
        )
    if others:
        problems.mended["other file type"] += others.total()
        examples = [f"{count} x {suffix}" for suffix, count in others.most_common(3)]
        examples[0] += "; `mlxllm data sources` lists the kinds that read others"
        problems.examples["other file type"] = examples
    return sorted(found.values(), key=str)


def shown_name(pattern: str) -> str:
    """What a source of the files behind a path or a glob is called."""
    parts = Path(os.path.abspath(os.path.expanduser(pattern))).parts
    return "/".join(parts[-2:]) if glob.has_magic(pattern) else parts[-1]


def name_without_packing(path: Path) -> str:
    """The file name without .gz or .zst."""
    return path.stem if path.suffix.lower() in PACKED_SUFFIXES else path.name


def read_chunks(path: Path | BinaryIO) -> Iterator[bytes]:
    """The bytes of a file in chunks of bounded size, unpacked if they begin as gzip or Zstandard do.

    A file that is open already has to be able to seek; it stays open.

    Raises:
        DamagedFileError: after the last good chunk, when compressed data is cut off or corrupt.
        OSError: the file cannot be read.
    """
    with open(path, "rb") if isinstance(path, Path) else contextlib.nullcontext(path) as file:
        magic = file.read(4)
        file.seek(0)
        if magic.startswith(_GZIP_MAGIC):
            yield from _gunzip(file.read)
        elif magic == _ZSTD_MAGIC:
            yield from _unzstd(file.read)
        else:
            while chunk := file.read(_READ_BYTES):
                yield chunk


def _gunzip(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """All members of a gzip file, at most `_READ_BYTES` at a time."""
    member = zlib.decompressobj(wbits=31)
    begun = False
    while data := read(_READ_BYTES):
        unfinished = True
        while data or unfinished:
            begun = True
            try:
                out = member.decompress(data, _READ_BYTES)
            except zlib.error as error:
                raise DamagedFileError(f"gzip data is corrupt ({str(error).split(': ')[-1]})") from None
            if out:
                yield out
            # A full output may leave more inside the decompressor after its input is used up.
            unfinished = len(out) == _READ_BYTES
            if member.eof:
                # Zero bytes behind the last member are padding (tapes, block devices), not damage.
                data = member.unused_data.lstrip(b"\0")
                member, begun, unfinished = zlib.decompressobj(wbits=31), False, False
            else:
                data = member.unconsumed_tail
    if begun:
        raise DamagedFileError("gzip data ends early")


def _unzstd(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """All frames of a Zstandard file."""
    import zstandard  # only for files that need it

    frame = zstandard.ZstdDecompressor().decompressobj()
    begun = False
    while data := read(_ZSTD_FEED_BYTES):
        while data:
            begun = True
            try:
                out = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise DamagedFileError(f"Zstandard data is corrupt ({error})") from None
            for start in range(0, len(out), _READ_BYTES):
                yield out[start : start + _READ_BYTES]
            if not frame.eof:
                break
            data = frame.unused_data
            frame, begun = zstandard.ZstdDecompressor().decompressobj(), False
    if begun:
        raise DamagedFileError("Zstandard data ends early")


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            path = os.path.join(parent, name)
            if not name.startswith(".") and os.path.isfile(path):  # a pipe would be waited for without end
                yield path


def _is_called(path: str, suffixes: tuple[str, ...]) -> bool:
    name = path.lower()
    for suffix in PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(suffixes)


def _listed(suffixes: tuple[str, ...]) -> str:
    if "" in suffixes:
        return "any"
    named = [suffix for suffix in suffixes if suffix != ".ndjson"]  # another name of .jsonl
    return f"{', '.join(named[:-1])} or {named[-1]}" if len(named) > 1 else named[0]
