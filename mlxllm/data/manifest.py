"""The manifest of a dataset: what lies in its folder, from which sources, and the hashes that prove it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mlxllm.errors import DataError

FILE_NAME = "manifest.json"
LABEL_FILE = "label.json"
DROPPED_FILE = "dropped.jsonl"
"""Examples of what was left out, with the beginning of their text."""
FORMAT = "mlxllm-dataset"
FORMAT_VERSION = 2
_READ_VERSIONS = (1, FORMAT_VERSION)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardEntry(_Frozen):
    """One file of token ids."""

    file: str
    """File name within the dataset folder."""
    tokens: int
    """Number of token ids in it."""
    largest_id: int
    """Largest token id in it."""
    header_sha256: str
    """Hash of its header alone: checked whenever the dataset is opened."""
    sha256: str
    """Hash of the whole file: checked by `data inspect --verify`."""


class SplitEntry(_Frozen):
    """The train or the validation side."""

    tokens: int
    """Token ids, the <|endoftext|> of each document included."""
    documents: int
    """Documents; each repetition counts."""
    bytes: int
    """UTF-8 bytes of their text."""
    index_sha256: str
    """Hash of the file of document ends."""
    shards: tuple[ShardEntry, ...]
    """Token files in order."""


class SourceRange(_Frozen):
    """The stretch of a split that came from one source."""

    start: int
    """First token."""
    end: int
    """Behind the last token."""
    documents: int
    """Documents in it; each repetition counts."""
    bytes: int
    """UTF-8 bytes of their text."""


class SourceEntry(_Frozen):
    """One source: what was read, what was kept, what was left out and why."""

    spec: str
    """KIND:SPEC that reads it again."""
    weight: str | None
    """What was asked for: `0.3`, its share of the tokens, or `2x`, how often it is read; None where nothing was."""
    epochs: float = 1.0
    """How often its training tokens stand in the dataset."""
    recipe: str = "none"
    """How its documents were cleaned."""
    rules: dict[str, Any] = {}
    """The rules of that recipe that ran, with all their settings."""
    documents_read: int
    """Records met, usable or not."""
    documents_kept: int
    """Documents in the dataset, each counted once."""
    dropped: dict[str, int]
    """Records left out, by reason."""
    dropped_bytes: dict[str, int] = {}
    """UTF-8 bytes of their text, by reason; of the record itself where it never came to a text."""
    bytes_read: int = 0
    """Bytes of all records, before anything was made of them."""
    text_bytes_read: int = 0
    """UTF-8 bytes of all text that was made of them, before anything was cleaned or left out."""
    languages: dict[str, int] = {}
    """Documents kept, by language, where that is known."""
    licences: dict[str, int] = {}
    """Documents kept, by licence, where that is known."""
    mended: dict[str, int]
    """Files used in part or passed over, by reason."""
    examples: dict[str, list[str]]
    """The first places of each reason."""
    tokens: int
    """Token ids of the kept documents, each document counted once."""
    bytes: int
    """UTF-8 bytes of the kept documents, each document counted once."""
    train: SourceRange
    """Where it stands in the train split."""
    val: SourceRange
    """Where it stands in the validation split."""

    @field_validator("weight", mode="before")
    @classmethod
    def _of_version_1(cls, weight: object) -> object:
        """A number was how often a source was read."""
        return (None if weight == 1 else f"{weight}x") if isinstance(weight, (int, float)) else weight


class TokenizerEntry(_Frozen):
    """The tokenizer that made the ids; a copy lies in the dataset's folder `tokenizer`."""

    kind: str
    """char, byte, bpe or loaded."""
    fingerprint: str
    """Fingerprint of the tokenizer directory."""
    vocab_size: int
    """Every id is below it."""
    recipe: str = ""
    """What the build made it by, from the training text (`bpe:4096`); empty for one that was there before."""


class Manifest(_Frozen):
    """Everything about a dataset but its tokens. Holds no name and no time: equal data gives equal bytes."""

    format: str = FORMAT
    """Always `mlxllm-dataset`."""
    format_version: int = FORMAT_VERSION
    """Raised when older programs could misread the files."""
    fingerprint: str
    """Hash over the tokenizer's fingerprint, the hashes of all files, and the ranges of the sources."""
    dtype: str
    """uint16 or uint32, little-endian."""
    val_split: float
    """Fraction that was asked to be held out."""
    tokenizer: TokenizerEntry
    """What made the ids."""
    train: SplitEntry
    """The train side."""
    val: SplitEntry
    """The validation side."""
    sources: dict[str, SourceEntry]
    """By source name, in the order of their tokens."""
    evaluation_files: tuple[str, ...] = ()
    """Files of evaluation sets that the documents were compared with."""
    warnings: tuple[str, ...] = ()
    """What the build had to say."""

    def content_fingerprint(self) -> str:
        """The fingerprint that the hashes of this manifest give."""
        digest = hashlib.sha256()
        parts: list[object] = [FORMAT, self.format_version, self.dtype, self.tokenizer.fingerprint]
        for split in (self.train, self.val):
            parts += [split.tokens, split.documents, split.bytes, split.index_sha256]
            parts += [field for shard in split.shards for field in (shard.tokens, shard.header_sha256, shard.sha256)]
        # Names are left out: a folder of texts that has been moved is still the same data.
        parts += [
            [list(s.train.model_dump().values()), list(s.val.model_dump().values())] for s in self.sources.values()
        ]
        digest.update(json.dumps(parts).encode())
        return digest.hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the dataset in `directory`.

    Raises:
        DataError: there is none, or it is damaged or of a later version.
    """
    path = directory / FILE_NAME
    remedy = "rebuild it with `mlxllm data build`"
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{directory} is not a dataset: it has no {FILE_NAME}; build one with `mlxllm data build`"
        ) from None
    except OSError as error:
        raise DataError(f"dataset '{directory.name}': {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"dataset '{directory.name}': {path} is damaged ({error}); {remedy}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise DataError(f"{path} is not the manifest of a dataset; build one with `mlxllm data build`")
    if raw.get("format_version") not in _READ_VERSIONS:
        raise DataError(
            f"dataset '{directory.name}' has format version {raw.get('format_version')!r}, "
            f"this program reads versions up to {FORMAT_VERSION}; {remedy}"
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"dataset '{directory.name}': {path} is damaged at {place} ({first['msg']}); {remedy}"
        ) from None
    if manifest.content_fingerprint() != manifest.fingerprint:
        raise DataError(
            f"dataset '{directory.name}': {path} was changed: its hashes do not give its fingerprint; {remedy}"
        )
    return manifest
