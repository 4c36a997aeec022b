"""Writing one split: ids go to shards of bounded size, document ends to the index, none stay in memory."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mlxllm.data.manifest import ShardEntry, SplitEntry
from mlxllm.data.shards import (
    HEADER_BYTES,
    INDEX_MAGIC,
    TOKENS_MAGIC,
    index_name,
    pack_header,
    shard_name,
)
from mlxllm.errors import DataError
from mlxllm.runs.files import fsync_file, sha256_of_file


class WriterPosition(BaseModel):
    """Where a writer stands: another one goes on from there with the same files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = 0
    """Token ids written."""
    documents: int = 0
    """Documents that have ended."""
    bytes: int = 0
    """UTF-8 bytes of the text."""
    shards: tuple[ShardEntry, ...] = ()
    """Files that are full."""
    largest_id: int = 0
    """Largest token id in the file that is not full yet."""


class SplitWriter:
    """Appends documents to one split of a dataset that is being built."""

    def __init__(
        self,
        directory: Path,
        split: str,
        dtype: np.dtype[Any],
        shard_tokens: int,
        position: WriterPosition | None = None,
    ) -> None:
        """Open the split's index; shards are opened as they are needed.

        Args:
            directory: of the files.
            split: `train` or `val`.
            dtype: of an id in the files.
            shard_tokens: ids a file.
            position: of an earlier writer, with whose files this one goes on; what stands behind it is cut off.

        Raises:
            DataError: the files hold less than `position` says.
        """
        self._directory, self._split, self._shard_tokens = directory, split, shard_tokens
        self._dtype = dtype.newbyteorder("<")
        at = position or WriterPosition()
        self._shards = list(at.shards)
        self._file: BinaryIO | None = None
        self._file_tokens = at.tokens - sum(shard.tokens for shard in at.shards)
        self._file_largest = at.largest_id
        self.tokens, self.documents = at.tokens, at.documents
        self.bytes = at.bytes
        """UTF-8 bytes of the text; counted by the caller."""
        if position is None:
            self._index = _begin(directory / index_name(split))
            return
        _require(directory / index_name(split), self.documents * 8)
        for shard in self._shards:
            _require(directory / shard.file, shard.tokens * self._dtype.itemsize)
        kept = {shard.file for shard in self._shards}
        if self._file_tokens:
            path = self._path(len(self._shards))
            self._file = _go_on(path, self._file_tokens * self._dtype.itemsize)
            kept.add(path.name)
        for path in directory.glob(f"{split}-[0-9]*.bin"):
            if path.name not in kept:
                path.unlink()
        self._index = _go_on(directory / index_name(split), self.documents * 8)

    @property
    def position(self) -> WriterPosition:
        """Where it stands; on the disk only after `flush`."""
        return WriterPosition(
            tokens=self.tokens,
            documents=self.documents,
            bytes=self.bytes,
            shards=tuple(self._shards),
            largest_id=self._file_largest,
        )

    def flush(self) -> None:
        """Have all that was written on the disk."""
        for file in (self._file, self._index):
            if file is not None and not file.closed:  # a shard that has just been finished is on the disk already
                file.flush()
                fsync_file(file.fileno())

    def append(self, ids: NDArray[np.unsignedinteger[Any]], ends: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        """Write `ids`; documents end behind the places `ends`, counted from the first of these ids."""
        absolute = np.asarray(ends, dtype="<u8") + np.uint64(self.tokens)
        self._index.write(absolute.tobytes())
        self.documents += len(absolute)
        self.tokens += len(ids)
        narrow = ids.astype(self._dtype, copy=False)
        while len(narrow):
            if self._file is None:
                self._file = _begin(self._path(len(self._shards)))
            part = narrow[: self._shard_tokens - self._file_tokens]
            self._file.write(part.tobytes())
            self._file_tokens += len(part)
            self._file_largest = max(self._file_largest, int(part.max()))
            narrow = narrow[len(part) :]
            if self._file_tokens == self._shard_tokens:
                self._close_shard()

    def close(self) -> SplitEntry:
        """Finish and fsync the files."""
        self._close_shard()
        _finish(self._index, pack_header(INDEX_MAGIC, 8, self.documents))
        index_sha256 = sha256_of_file(self._directory / index_name(self._split))
        return SplitEntry(
            tokens=self.tokens,
            documents=self.documents,
            bytes=self.bytes,
            index_sha256=index_sha256,
            shards=tuple(self._shards),
        )

    def abandon(self) -> None:
        """Close the files of a build that failed."""
        self._index.close()
        if self._file is not None:
            self._file.close()

    def _path(self, number: int) -> Path:
        return self._directory / shard_name(self._split, number)

    def _close_shard(self) -> None:
        if self._file is None:
            return
        header = pack_header(TOKENS_MAGIC, self._dtype.itemsize, self._file_tokens)
        _finish(self._file, header)
        path = self._path(len(self._shards))
        self._shards.append(
            ShardEntry(
                file=path.name,
                tokens=self._file_tokens,
                largest_id=self._file_largest,
                header_sha256=hashlib.sha256(header).hexdigest(),
                sha256=sha256_of_file(path),
            )
        )
        self._file, self._file_tokens, self._file_largest = None, 0, 0


def _begin(path: Path) -> BinaryIO:
    file = open(path, "wb")  # noqa: SIM115 - stays open until the shard is full
    file.write(bytes(HEADER_BYTES))
    return file


def _go_on(path: Path, size: int) -> BinaryIO:
    """Open a file behind its header and `size` bytes; what follows is cut off."""
    _require(path, size)
    file = open(path, "r+b")  # noqa: SIM115 - as above
    file.truncate(HEADER_BYTES + size)
    file.seek(0, os.SEEK_END)
    return file


def _require(path: Path, size: int) -> None:
    if not path.is_file() or path.stat().st_size < HEADER_BYTES + size:
        raise DataError(f"{path} holds less than was written to it")


def _finish(file: BinaryIO, header: bytes) -> None:
    file.seek(0)
    file.write(header)
    file.flush()
    fsync_file(file.fileno())
    file.close()
