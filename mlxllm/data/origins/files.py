"""The files of an index of origins: where they lie, whose they are, and how they are opened."""

import mmap
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from mlxllm import paths
from mlxllm.data.manifest import read_manifest
from mlxllm.errors import DataError, UserError
from mlxllm.runs.files import read_json

FOLDER = "origins"
"""In `<home>/cache`."""
ABOUT_FILE = "index.json"
_VERSION = 1
_PRINT_LENGTH = 16

PLACE = np.dtype([("text", "<u4"), ("document", "<u8"), ("character", "<u8"), ("token", "<u8"), ("skip", "<u4")])
"""A stretch of a document: byte of `.text` where it begins, number of the document in the training split, characters of
it before the stretch, and where to read it: the token to begin with, and how many bytes of its text to pass over."""


class PieceEntry(BaseModel):
    """What one piece holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    """Of `.text`."""
    own_bytes: int
    """Words that begin before here are in `.order`; what follows is the beginning of the next piece, to read on in."""
    words: int
    """Places in `.order`."""
    places: int
    """Rows of `.places`."""


class About(BaseModel):
    """All about an index but its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = _VERSION
    """Of the files' form."""
    dataset: str
    """Name of the dataset, as it was called then."""
    fingerprint: str
    """Of the dataset's content."""
    documents: int
    """Training documents, each repetition counted."""
    seconds: float
    """How long it took to build."""
    pieces: tuple[PieceEntry, ...]
    """In the order of their documents."""

    @property
    def words(self) -> int:
        """Words of the training text."""
        return sum(piece.words for piece in self.pieces)


@dataclass(frozen=True)
class Piece:
    """One piece, mapped."""

    text: mmap.mmap | bytes
    """Documents in the spelling of the index."""
    order: NDArray[np.uint32]
    """(words,) where words begin, sorted by the text from there on."""
    places: NDArray[Any]
    """(places,) of `PLACE`."""


def folder_of(name: str, fingerprint: str) -> Path:
    """Where the index of a dataset lies, or is to be."""
    return paths.folder("cache") / FOLDER / f"{name}-{fingerprint[:_PRINT_LENGTH]}"


def find_index(dataset: Path) -> tuple[Path, About]:
    """The folder of a dataset's index, whatever the dataset was called when that was built, and what is in it.

    Raises:
        DataError: there is none, it is of what the dataset was before, or it is damaged; the message says what to do.
    """
    fingerprint, name = read_manifest(dataset).fingerprint, dataset.name
    remedy = f"build it with `mlxllm data index {name}`"
    others = False
    for folder in _folders():
        if not folder.name.endswith(f"-{fingerprint[:_PRINT_LENGTH]}"):
            others |= folder.name[: -_PRINT_LENGTH - 1] == name
            continue
        try:
            about = About.model_validate(read_json(folder / ABOUT_FILE))
        except (UserError, ValidationError):
            raise DataError(f"the index of dataset '{name}' in {folder} is damaged; {remedy}") from None
        if about.version == _VERSION and about.fingerprint == fingerprint:
            return folder, about
    if others:
        raise DataError(f"the index of dataset '{name}' is stale: the dataset was changed since it was built; {remedy}")
    raise DataError(f"dataset '{name}' has no index of its words yet; {remedy}")


def has_index(dataset: Path) -> bool:
    """Whether `find_index` finds one that can be used."""
    try:
        find_index(dataset)
    except UserError:
        return False
    return True


def fingerprint_of(dataset: Path) -> str:
    """Of a dataset's content; "" where its manifest cannot be read."""
    try:
        return read_manifest(dataset).fingerprint
    except DataError:
        return ""


def remove_indexes(name: str, fingerprint: str = "", *, but: Path | None = None) -> int:
    """Delete the indexes of a dataset, those of what it was before as well; returns how many.

    Args:
        name: of the dataset.
        fingerprint: of its content, where that is known.
        but: this one stays.
    """
    removed = 0
    for folder in _folders():
        mine = folder.name[: -_PRINT_LENGTH - 1] == name
        mine |= bool(fingerprint) and folder.name.endswith(f"-{fingerprint[:_PRINT_LENGTH]}")
        if mine and folder != but:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def open_pieces(folder: Path, about: About) -> list[Piece]:
    """Map the files of an index.

    Raises:
        DataError: one of them is missing or cut off.
    """
    return [_open(folder, number, entry, about.dataset) for number, entry in enumerate(about.pieces)]


def piece_file(number: int, kind: str) -> str:
    """Name of a piece's file; `kind` is text, order or places."""
    return f"piece-{number:05d}.{kind}"


def _folders() -> list[Path]:
    parent = paths.folder("cache") / FOLDER
    return sorted(p for p in parent.iterdir() if not p.name.startswith(".")) if parent.is_dir() else []


def _open(folder: Path, number: int, entry: PieceEntry, name: str) -> Piece:
    sizes = {"text": entry.bytes, "order": 4 * entry.words, "places": PLACE.itemsize * entry.places}
    for kind, size in sizes.items():
        path = folder / piece_file(number, kind)
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            told = "is missing" if found is None else f"has {found:,} bytes and not {size:,}"
            raise DataError(
                f"the index of dataset '{name}' is damaged: {path} {told}; build it with `mlxllm data index {name}`"
            )
    return Piece(
        _map(folder / piece_file(number, "text")),
        np.frombuffer(_map(folder / piece_file(number, "order")), "<u4"),
        np.frombuffer(_map(folder / piece_file(number, "places")), PLACE),
    )


def _map(path: Path) -> mmap.mmap | bytes:
    if not path.stat().st_size:  # which cannot be mapped
        return b""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
