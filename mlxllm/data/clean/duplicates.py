"""The index that tells which documents of a build are duplicates of earlier ones, across all its sources.

Documents are shown in order, and the first of a kind is kept. Every document is remembered, those that are duplicates
too: what is like a near-duplicate goes as well, even where it is less like the document that was kept. So a chain of
documents, each like the one before, leaves its first one, as the clusters of FineWeb do; only where a later document
ties together two that were kept already, both of these stay.

Chances of a false alarm: two documents are exact duplicates by 128 bits, and share a band by 64 bits on top of what
MinHash means; with n documents remembered, 196 n / 2^64 for each next one (1e-9 at 100 million).

Memory: 171 to 256 bytes a document with keys, and up to 427 for the moments in which a table grows.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.clean.near_duplicates import BANDS
from mlxllm.data.clean.seen import SeenHashes
from mlxllm.errors import DataError
from mlxllm.runs.files import fsync_file

Duplicate = Literal["exact duplicate", "near duplicate"]
EXACT: Duplicate = "exact duplicate"
NEAR: Duplicate = "near duplicate"

_PLACE_BYTES = 95
_RECORD = np.dtype(
    [("exact", "<u8", (2,)), ("keys", "<u8", (BANDS,)), ("has_keys", "?"), ("place", f"S{_PLACE_BYTES}")]
)
"""What the file holds of a document, 224 bytes, one behind another; of its place the end, if it is a long one."""
_READ_RECORDS = 1 << 14


class DuplicateIndex:
    """Remembers documents; used by one process, which shows it all of them in order.

    With a file it can be restored after the process was killed: what had been shown by the last `flush` is in it.
    """

    def __init__(self, path: Path | None = None) -> None:
        """An empty index, which begins the file `path` anew."""
        self._exact, self._near = SeenHashes(2), SeenHashes(1)
        self._path = path
        self._file: BinaryIO | None = None if path is None else open(path, "wb")  # noqa: SIM115 - stays open
        self.count = 0
        """Documents that it was shown; their records are in the file only after `flush`."""

    @classmethod
    def restore(cls, path: Path, count: int) -> "DuplicateIndex":
        """The index after the first `count` documents of the file `path`; what follows them there is cut off.

        Raises:
            DataError: the file holds fewer.
        """
        size = count * _RECORD.itemsize
        if not path.is_file() or path.stat().st_size < size:
            raise DataError(f"{path} holds less than was written to it")
        index = cls()
        index._exact.reserve(count)
        index._near.reserve(count * BANDS)
        with open(path, "rb") as file:
            while index.count < count:
                records = np.fromfile(file, _RECORD, min(_READ_RECORDS, count - index.count))
                index.look_batch(records["exact"], records["keys"], records["has_keys"])
        os.truncate(path, size)
        index._path, index._file = path, open(path, "ab")  # noqa: SIM115 - stays open
        return index

    def look(self, exact: NDArray[np.uint64], keys: NDArray[np.uint64] | None) -> Duplicate | None:
        """What one document is, None where it is new; it is remembered. Use `look_batch` for many."""
        given = np.zeros((1, BANDS), np.uint64) if keys is None else keys[None]
        return self.look_batch(exact[None], given, np.array([keys is not None]))[0]

    def look_batch(
        self,
        exact: NDArray[np.uint64],
        keys: NDArray[np.uint64],
        has_keys: NDArray[np.bool_],
        places: Sequence[str] = (),
    ) -> list[Duplicate | None]:
        """What documents are that were not shown before; the same as one after another, also within the batch.

        Args:
            exact: of `exact_hashes`, (N, 2).
            keys: of `band_keys_of`, (N, 14).
            has_keys: (N,); documents without keys are compared exactly alone.
            places: where each of them lies, for `like`.
        """
        same = self._exact.add(exact)
        # An exact duplicate has the keys of a document that was shown, so they tell nothing new.
        compared = np.flatnonzero(has_keys & ~same)
        similar = self._near.add(keys[compared].reshape(-1, 1)).reshape(-1, BANDS).any(axis=1)
        found: list[Duplicate | None] = [EXACT if is_same else None for is_same in same.tolist()]
        for number in compared[similar].tolist():
            found[number] = NEAR
        if self._file is not None:
            records = np.zeros(len(exact), _RECORD)
            records["exact"], records["keys"], records["has_keys"] = exact, keys, has_keys
            if places:
                records["place"] = [place.encode(errors="replace")[-_PLACE_BYTES:] for place in places]
            self._file.write(records.tobytes())
        self.count += len(exact)
        return found

    def like(self, what: Duplicate, exact: NDArray[np.uint64], keys: NDArray[np.uint64]) -> str:
        """Where the first document lies of which this one, shown already, is a duplicate; empty if that is not known.

        Reads the file from its beginning, which takes about a second for ten million documents.
        """
        if self._path is None or self._file is None:
            return ""
        self._file.flush()
        with open(self._path, "rb") as file:
            while len(records := np.fromfile(file, _RECORD, _READ_RECORDS)):
                if what == EXACT:
                    same = (records["exact"] == exact).all(axis=1)
                else:
                    same = (records["keys"] == keys).any(axis=1) & records["has_keys"]
                if same.any():
                    return bytes(records["place"][int(np.argmax(same))]).decode(errors="ignore")
        return ""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it fills."""
        return self._exact.nbytes + self._near.nbytes

    def flush(self) -> None:
        """Have the first `count` records on the disk."""
        if self._file is not None:
            self._file.flush()
            fsync_file(self._file.fileno())

    def close(self) -> None:
        """Close the file; flushes nothing to the disk."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "DuplicateIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
