"""Token shards: files of raw little-endian ids behind a small header, and how a dataset of them is opened and
read.

    <dataset>/manifest.json     what is here (manifest.py)
              tokenizer/        a copy of the tokenizer train-00000.bin   header, then uint16 or uint32 ids;
              the split is their concatenation train-index.bin   header, then the end of each document as
              uint64, counted in tokens of the split val-00000.bin ... val-index.bin

Each document is followed by <|endoftext|>; its end lies behind that.
"""

import hashlib
import struct
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.manifest import Manifest, ShardEntry, SourceRange, SplitEntry, read_manifest
from mlxllm.errors import DataError
from mlxllm.runs.files import sha256_of_file
from mlxllm.tokenizer import Tokenizer, load_tokenizer

TokenArray = NDArray[np.uint16] | NDArray[np.uint32]

TOKENS_MAGIC = b"MLXLTOK\0"
INDEX_MAGIC = b"MLXLIDX\0"
HEADER_BYTES = 64
_VERSION = 1
_HEADER = struct.Struct("<8sIIQ")  # magic, version, bytes an item, number of items; zeros up to 64
REBUILD = "rebuild it with `mlxllm data build`"


def pack_header(magic: bytes, item_bytes: int, count: int) -> bytes:
    """The 64 bytes at the beginning of a token or index file."""
    return _HEADER.pack(magic, _VERSION, item_bytes, count).ljust(HEADER_BYTES, b"\0")


def shard_name(split: str, number: int) -> str:
    """File name of a split's token file."""
    return f"{split}-{number:05d}.bin"


def index_name(split: str) -> str:
    """File name of a split's document ends."""
    return f"{split}-index.bin"


class TokenSplit:
    """The train or validation side as one stream of token ids across its files, which stay on disk."""

    def __init__(self, directory: Path, name: str, manifest: Manifest, sources: dict[str, SourceRange]) -> None:
        """Map the files; `TokenDataset.open` has checked them."""
        entry: SplitEntry = getattr(manifest, name)
        self._vocab_size = manifest.tokenizer.vocab_size
        self.name = name
        self.num_tokens = entry.tokens
        self.num_documents = entry.documents
        self.num_bytes = entry.bytes
        """UTF-8 bytes of the text."""
        self.sources = sources
        """The stretch of tokens of each source, in order."""
        self.dtype: np.dtype[Any] = np.dtype(manifest.dtype).newbyteorder("<")
        self._directory = directory
        self._shards = [
            np.memmap(directory / shard.file, self.dtype, "r", HEADER_BYTES, (shard.tokens,)) for shard in entry.shards
        ]
        self._starts = np.cumsum([0, *(shard.tokens for shard in entry.shards)])  # (shards + 1,)

    @cached_property
    def document_ends(self) -> NDArray[np.uint64]:
        """The place behind each document, its <|endoftext|> included; (num_documents,), increasing."""
        path = self._directory / index_name(self.name)
        if not self.num_documents:
            return np.zeros(0, np.uint64)
        return np.memmap(path, np.dtype("<u8"), "r", HEADER_BYTES, (self.num_documents,))

    def read(self, start: int, count: int) -> TokenArray:
        """Token ids [start, start + count) as (count,) uint16 or uint32; a read-only view where one file
        holds them.

        Raises:
            IndexError: the range is not within the split.
            DataError: there is an id that the tokenizer does not have; a model would read out of bounds for it.
        """
        if start < 0 or count < 0 or start + count > self.num_tokens:
            raise IndexError(f"tokens {start} to {start + count} are not within the {self.num_tokens} of {self.name}")
        if count == 0:
            return np.zeros(0, self.dtype)
        shard = int(np.searchsorted(self._starts, start, side="right")) - 1
        parts = []
        while count:
            offset = start - int(self._starts[shard])
            part = self._shards[shard][offset : offset + count]
            parts.append(part)
            start, count, shard = start + len(part), count - len(part), shard + 1
        ids = np.asarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)
        if int(ids.max()) >= self._vocab_size:
            raise DataError(
                f"dataset '{self._directory.name}': the {self.name} split holds token id {int(ids.max()):,}, but its "
                f"tokenizer has {self._vocab_size:,} ids; the file has been changed since it was built; {REBUILD}"
            )
        return ids

    def document(self, number: int) -> TokenArray:
        """The token ids of one document, its <|endoftext|> included."""
        start = int(self.document_ends[number - 1]) if number else 0
        return self.read(start, int(self.document_ends[number]) - start)


class TokenDataset:
    """A dataset folder that has been opened and found sound."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        """Use `open`."""
        self.directory = directory
        self.name = directory.name
        self.manifest = manifest
        self.fingerprint = manifest.fingerprint
        """Of the content: equal for equal tokens from an equal tokenizer."""
        self.vocab_size = manifest.tokenizer.vocab_size
        self.tokenizer_directory = directory / "tokenizer"
        ranges = manifest.sources.items()
        self.train = TokenSplit(directory, "train", manifest, {n: s.train for n, s in ranges})
        self.val = TokenSplit(directory, "val", manifest, {n: s.val for n, s in ranges})

    @classmethod
    def open(cls, directory: Path, *, verify: bool = False) -> "TokenDataset":
        """Check and map the dataset in `directory`.

        Checked are sizes, the hashes of headers and index, the largest id, and that the tokenizer is the one
        that made the ids; with `verify` also every byte and every id.

        Raises:
            DataError: something is missing, damaged or does not fit; the message names it.
        """
        directory = Path(directory)
        manifest = read_manifest(directory)
        for split_name, split in (("train", manifest.train), ("val", manifest.val)):
            if sum(shard.tokens for shard in split.shards) != split.tokens:
                raise DataError(
                    f"dataset '{directory.name}': the {split_name} shards of its manifest do not sum up to "
                    f"{split.tokens:,} tokens; {REBUILD}"
                )
            for shard in split.shards:
                _check_shard(directory, manifest, shard, verify)
            _check_index(directory, split_name, split, verify)
        dataset = cls(directory, manifest)
        found = dataset.tokenizer
        if found.fingerprint != manifest.tokenizer.fingerprint or found.vocab_size != manifest.tokenizer.vocab_size:
            made_by = manifest.tokenizer
            raise DataError(
                f"dataset '{directory.name}': the tokenizer in {dataset.tokenizer_directory} "
                f"({found.fingerprint[:12]}, {found.vocab_size:,} ids) did not make its tokens, that was "
                f"{made_by.fingerprint[:12]} with {made_by.vocab_size:,} ids; put that one back or {REBUILD}"
            )
        return dataset

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids, from the dataset's own copy."""
        return load_tokenizer(self.tokenizer_directory)


def _check_shard(directory: Path, manifest: Manifest, shard: ShardEntry, verify: bool) -> None:
    path = directory / shard.file
    item_bytes = np.dtype(manifest.dtype).itemsize
    header = _checked_header(path, shard.tokens, item_bytes)
    if hashlib.sha256(header).hexdigest() != shard.header_sha256 or header != pack_header(
        TOKENS_MAGIC, item_bytes, shard.tokens
    ):
        raise DataError(f"dataset '{directory.name}': the header of {shard.file} is damaged; {REBUILD}")
    vocab_size = manifest.tokenizer.vocab_size
    if shard.largest_id >= vocab_size:
        raise DataError(
            f"dataset '{directory.name}': {shard.file} holds token id {shard.largest_id:,}, "
            f"but its tokenizer has {vocab_size:,} ids; {REBUILD}"
        )
    if not verify:
        return
    ids = np.memmap(path, np.dtype(manifest.dtype).newbyteorder("<"), "r", HEADER_BYTES, (shard.tokens,))
    for start in range(0, shard.tokens, 1 << 22):
        block = ids[start : start + (1 << 22)]
        if int(block.max()) >= vocab_size:
            offset = start + int(np.argmax(block >= vocab_size))
            raise DataError(
                f"dataset '{directory.name}': {shard.file} holds token id {int(ids[offset]):,} at offset "
                f"{offset:,}, but its tokenizer has {vocab_size:,} ids; {REBUILD}"
            )
    if sha256_of_file(path) != shard.sha256:
        raise DataError(f"dataset '{directory.name}': {shard.file} has been changed since it was built; {REBUILD}")


def _check_index(directory: Path, split_name: str, split: SplitEntry, verify: bool) -> None:
    path = directory / index_name(split_name)
    _checked_header(path, split.documents, 8)
    if sha256_of_file(path) != split.index_sha256:
        raise DataError(f"dataset '{directory.name}': {path.name} has been changed since it was built; {REBUILD}")
    if verify and split.documents:
        ends = np.memmap(path, np.dtype("<u8"), "r", HEADER_BYTES, (split.documents,))
        if int(ends[-1]) != split.tokens or np.any(ends[1:] <= ends[:-1]):
            raise DataError(f"dataset '{directory.name}': the document ends in {path.name} are out of order; {REBUILD}")


def _checked_header(path: Path, count: int, item_bytes: int) -> bytes:
    """The header of a file whose size has been found right."""
    expected = HEADER_BYTES + count * item_bytes
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            header = file.read(HEADER_BYTES)
    except FileNotFoundError:
        raise DataError(f"dataset '{path.parent.name}': {path.name} is missing; {REBUILD}") from None
    except OSError as error:
        raise DataError(f"dataset '{path.parent.name}': {path.name} cannot be read ({error.strerror})") from None
    if size != expected:
        raise DataError(
            f"dataset '{path.parent.name}': {path.name} has {size:,} bytes, its manifest says {expected:,}; {REBUILD}"
        )
    return header
