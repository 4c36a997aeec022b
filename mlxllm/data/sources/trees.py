"""Trees of files in a folder or in an archive, a file at a time: nothing is unpacked to the disk, nor without bound."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxllm.data.globs import is_inside
from mlxllm.data.sources.archives import is_tar, tar_members
from mlxllm.data.sources.files import DamagedFileError, read_chunks

MOST_RATIO = 100
"""An archive may unpack to so many times its size; packed code takes a tenth to a third."""
FREE_BYTES = 64 << 20
"""To so much it may unpack whatever its size."""
MOST_DIRECTORY_BYTES = 256 << 20
"""Of the list of files at the end of a zip archive, which has to be in memory: about two million files."""
_HEAD_BYTES = 512
_ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")
_ZIP_END, _ZIP_END_BYTES = b"PK\5\6", 22
_ZIP64_END, _ZIP64_LOCATOR_BYTES = b"PK\6\6", 20
_LINK = 0o120000

LINK = "link"
UNSAFE = "name that leads elsewhere"

PassOver = Callable[[str, str], None]
"""Told a reason, and the name of what is passed over."""


class DamagedMemberError(DamagedFileError):
    """One file of an archive cannot be read; the others may be."""


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a tree; it can be read until the next one is asked for."""

    path: str
    """From the top, with / between its parts."""
    read: Callable[[int], bytes]
    """Its first bytes, at most so many. Raises DamagedFileError or OSError."""


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive (plain or packed) or a zip archive, by its content; one without files is."""
    try:
        if is_zip(path):
            return True
        head = _take(read_chunks(path), _HEAD_BYTES)
        return is_tar(head) or head == bytes(_HEAD_BYTES)
    except (OSError, DamagedFileError):
        return False


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip archives do."""
    with open(path, "rb") as file:
        return file.read(4) in _ZIP_MAGIC


def tree_files(place: Path, enter: Callable[[str], bool], pass_over: PassOver) -> Iterator[TreeFile]:
    """The files of a folder (sorted) or of an archive (as they lie there).

    Args:
        place: a folder or an archive.
        enter: whether a folder of a folder is looked into; of an archive everything is.
        pass_over: told of links, and of names that lead out of the tree.

    Raises:
        DamagedFileError: an archive ends early, is corrupt, or unpacks without bound.
        OSError: it cannot be read.
    """
    if place.is_dir():
        return _of_folder(place, enter, pass_over)
    return _of_zip(place, pass_over) if is_zip(place) else _of_tar(place, pass_over)


def _of_folder(top: Path, enter: Callable[[str], bool], pass_over: PassOver) -> Iterator[TreeFile]:
    for parent, folders, files in os.walk(top):
        inside = os.path.relpath(parent, top).replace(os.sep, "/")
        prefix = "" if inside == "." else inside + "/"
        entered = []
        for name in sorted(folders):
            if os.path.islink(os.path.join(parent, name)):
                pass_over(LINK, prefix + name)
            elif enter(prefix + name):
                entered.append(name)
        folders[:] = entered
        for name in sorted(files):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                pass_over(LINK, prefix + name)
            elif os.path.isfile(path):  # a pipe would be waited for without end
                yield TreeFile(prefix + name, lambda most, path=path: _read(path, most))  # type: ignore[misc]


def _read(path: str, most: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(most)


def _of_tar(archive: Path, pass_over: PassOver) -> Iterator[TreeFile]:
    chunks = _bounded(read_chunks(archive), archive.stat().st_size)
    for name, content in tar_members(chunks, lambda name: pass_over(LINK, name)):
        path = name.removeprefix("./")
        if is_inside(path):
            yield TreeFile(path, lambda most, content=content: _take(content, most))  # type: ignore[misc]
        else:
            pass_over(UNSAFE, name)


def _take(chunks: Iterator[bytes], most: int) -> bytes:
    taken = bytearray()
    for chunk in chunks:
        taken += chunk
        if len(taken) >= most:
            break
    return bytes(taken[:most])


def _bounded(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    left = max(FREE_BYTES, MOST_RATIO * size)
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise DamagedFileError(f"it unpacks to more than {MOST_RATIO} times its size, as no code does")
        yield chunk


def _of_zip(archive: Path, pass_over: PassOver) -> Iterator[TreeFile]:
    with open(archive, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if (directory := _directory_bytes(file.fileno(), size)) > MOST_DIRECTORY_BYTES:
            raise DamagedFileError(f"its list of files takes {directory:,} bytes, more than {MOST_DIRECTORY_BYTES:,}")
        left = max(FREE_BYTES, MOST_RATIO * size)
        try:
            with zipfile.ZipFile(file) as members:
                for info in members.infolist():
                    if info.is_dir():
                        continue
                    if (info.external_attr >> 16) & 0o170000 == _LINK:
                        pass_over(LINK, info.filename)
                    elif not is_inside(info.filename):
                        pass_over(UNSAFE, info.orig_filename)
                    else:
                        reader = _ZipReader(members, info)
                        yield TreeFile(info.filename, reader.read)
                        left -= reader.taken
                        if left < 0:
                            raise DamagedFileError(
                                f"it unpacks to more than {MOST_RATIO} times its size, as no code does"
                            )
        except zipfile.BadZipFile as error:
            if _ends_early(file.fileno(), size):
                raise DamagedFileError(
                    "the zip archive ends early, and the list of its files stands at its end; fetch it again, or let "
                    "`zip -FF` save what is there"
                ) from None
            raise DamagedFileError(f"the zip archive is corrupt ({error})") from None
        except ValueError as error:
            raise DamagedFileError(f"the zip archive is corrupt ({error})") from None


class _ZipReader:
    def __init__(self, members: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._members, self._info = members, info
        self.taken = 0

    def read(self, most: int) -> bytes:
        try:
            with self._members.open(self._info) as file:
                data = file.read(most)
        # A password is asked for by a RuntimeError; damage shows in whatever the format of the packing has.
        except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error) as error:
            raise DamagedMemberError(str(error).rstrip(".") or type(error).__name__) from None
        self.taken += len(data)
        return data


def _directory_bytes(descriptor: int, size: int) -> int:
    """Bytes of the list of files, by the record at the end of the archive (APPNOTE.TXT of PKWARE, section 4.3)."""
    tail = _tail(descriptor, size)
    end = tail.rfind(_ZIP_END)
    if end < 0 or len(tail) < end + _ZIP_END_BYTES:
        return 0  # zipfile says what is wrong
    told = int.from_bytes(tail[end + 12 : end + 16], "little")
    if told != 0xFFFFFFFF:
        return told
    where = int.from_bytes(tail[end - 12 : end - 4], "little")
    record = os.pread(descriptor, 56, where) if where < size else b""
    return int.from_bytes(record[40:48], "little") if record.startswith(_ZIP64_END) else 0


def _ends_early(descriptor: int, size: int) -> bool:
    return _ZIP_END not in _tail(descriptor, size)


def _tail(descriptor: int, size: int) -> bytes:
    """Where the record at the end stands, behind which a comment may follow."""
    tail_bytes = min(size, _ZIP_END_BYTES + (1 << 16) + _ZIP64_LOCATOR_BYTES)
    return os.pread(descriptor, tail_bytes, size - tail_bytes)
