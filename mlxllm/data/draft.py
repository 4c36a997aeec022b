"""A dataset that is being built: a hidden folder beside its place, held by one build at a time.

    .<name>.building/lock             held by the build; the kernel frees it however that ends
                     progress.json    the command, and how far it has come: replaced atomically
                     tokenizer/       of the dataset
                     once/            each document once, before sources are mixed by their weights
                     seen.bin         hashes of the documents so far, for finding duplicates
                     dataset/         what becomes the dataset, made at the very end

What stands in the files behind the positions of progress.json is cut off when the build goes on.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict, ValidationError

from mlxllm.data.clean.recipes import Recipe
from mlxllm.data.filling import Filled
from mlxllm.data.manifest import SourceRange
from mlxllm.data.sources import Source, open_source
from mlxllm.data.tally import Tally
from mlxllm.data.weights import Weight
from mlxllm.data.writer import WriterPosition
from mlxllm.errors import DataError, UserError
from mlxllm.runs.files import fsync_directory, read_json, write_json_atomic
from mlxllm.tokenizer import Tokenizer, TokenizerRecipe, load_tokenizer

_PREFIX, _SUFFIX = ".", ".building"
_PROGRESS = "progress.json"
_TOKENIZER = "tokenizer"
_LOCK_PATIENCE = 0.5
"""Seconds for which a build tries: who asks whether a draft is held holds its lock for an instant."""
_FORMAT_VERSION = 3


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildCommand(_Frozen):
    """All that decides what a build writes."""

    sources: tuple[tuple[str, str | None], ...]
    """Specification and weight of each, None where none was given."""
    pinned: tuple[str, ...] = ()
    """Specifications that stay the same data when what they are fetched from goes on."""
    tokenizer: str
    """A recipe such as `bpe:4096`, or the kind of a tokenizer that was there before."""
    tokenizer_fingerprint: str | None
    """Of a tokenizer that was there before; None where the build makes one."""
    val_split: float
    """Fraction held out."""
    shard_tokens: int
    """Ids a file."""
    max_epochs: float
    """How often a source may be repeated."""
    recipes: tuple[Recipe, ...]
    """How each source is cleaned."""
    overlap: tuple[str, ...]
    """Files of evaluation sets."""
    drop_overlap: bool
    """Whether a document that overlaps them is left out."""


class OnceEntry(_Frozen):
    """A source of which each document stands in the files once."""

    spec: str
    """Reads it again."""
    tally: Tally
    """What became of its records."""
    bytes_read: int
    """Bytes of them, before anything was made of them."""
    train: SourceRange
    """Where its training documents stand."""
    val: SourceRange
    """Where its validation documents stand."""
    nearest: tuple[int, ...]
    """Training documents that are held out after all where none was."""


class BuildState(_Frozen):
    """How far a build has come."""

    format_version: int = _FORMAT_VERSION
    """Drafts of other versions are started over."""
    command: BuildCommand
    """What is being built."""
    writers: dict[str, WriterPosition]
    """By split: where its writer stands."""
    entries: dict[str, OnceEntry]
    """The sources that are finished."""
    current: Filled = Filled()
    """How far the source is that comes next."""
    seen: int = 0
    """Documents among which duplicates are looked for."""

    @property
    def documents(self) -> int:
        """Documents written."""
        return sum(position.documents for position in self.writers.values())


class Draft:
    """Holds a draft; a context manager. Left without `finish`, it is kept or removed as `keep` says."""

    def __init__(self, directory: Path, *, keep: bool) -> None:
        """Take the draft of the dataset `directory`; `keep` leaves it to a later build if this one is interrupted.

        Raises:
            DataError: another build holds it, or it cannot be made.
        """
        self.directory = directory
        self.keep = keep
        """Whether a build that was interrupted or failed is to be continued."""
        self._folder = draft_folder(directory)
        self._lock = self._take()

    @property
    def files(self) -> Path:
        """The folder that becomes the dataset."""
        return self._folder / "dataset"

    @property
    def once(self) -> Path:
        """The folder of the files in which each document stands once."""
        return self._folder / "once"

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer of the dataset lies."""
        return self._folder / _TOKENIZER

    @property
    def seen(self) -> Path:
        """The hashes of the documents so far."""
        return self._folder / "seen.bin"

    @property
    def _progress(self) -> Path:
        return self._folder / _PROGRESS

    def __enter__(self) -> "Draft":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        state = self.state() if kind is not None and self.keep else None
        # What failed before anything was done would fail again.
        if state is None or not (interrupted or state.documents):
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def state(self) -> BuildState | None:
        """How far the build had come that left this draft; None where that cannot be known."""
        return _read_state(self._folder)

    def save(self, state: BuildState) -> None:
        """Note how far the build is; what it counts is on the disk already."""
        write_json_atomic(self._progress, state.model_dump(mode="json"))

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer that lies in the draft."""
        return load_tokenizer(self.tokenizer_folder) if self.tokenizer_folder.is_dir() else None

    def clear(self) -> None:
        """Begin with nothing."""
        self._progress.unlink(missing_ok=True)
        self.seen.unlink(missing_ok=True)
        for folder in (self.files, self.once, self.tokenizer_folder):
            shutil.rmtree(folder, ignore_errors=True)
        self.once.mkdir()

    def finish(self) -> None:
        """Rename the dataset into its place; one that it replaces is moved aside first and removed last."""
        old = self.directory.parent / f".{self.directory.name}.replaced-{os.getpid()}"
        replaced = self.directory.exists()
        if replaced:
            self.directory.rename(old)
        try:
            self.files.rename(self.directory)
        except OSError:
            if replaced:
                old.rename(self.directory)
            raise
        fsync_directory(self.directory.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _take(self) -> int:
        """The lock of the folder that lies there; a build that finishes takes folder and lock away."""
        path = self._folder / "lock"
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(path)):
                    return lock
            except FileNotFoundError:
                pass
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise DataError(
                        f"dataset '{self.directory.name}' is being built by another process in "
                        f"{self.directory.parent}; wait for it, stop it, or choose another name"
                    ) from None
                time.sleep(0.02)
            os.close(lock)


def draft_folder(directory: Path) -> Path:
    """Where the draft of the dataset `directory` lies."""
    return directory.parent / f"{_PREFIX}{directory.name}{_SUFFIX}"


def unfinished(folder: Path) -> Iterator[tuple[str, BuildState, bool]]:
    """The drafts among the datasets of `folder`: name, how far it is, and whether a build is at work on it."""
    for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
        state = _read_state(path)
        if state is not None:
            yield path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX), state, _is_held(path / "lock")


def can_go_on(directory: Path) -> bool:
    """Whether a build of `directory` was interrupted, and none is at work on it."""
    folder = draft_folder(directory)
    return _read_state(folder) is not None and not _is_held(folder / "lock")


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What it takes to go on with an interrupted build."""

    sources: list[tuple[Source, Weight | None]]
    tokenizer: Tokenizer | TokenizerRecipe
    command: BuildCommand


def interrupted_build(directory: Path) -> Interrupted | None:
    """What the interrupted build of `directory` was about; None if there is none.

    Raises:
        UserError: its sources or its tokenizer are no longer there.
    """
    folder = draft_folder(directory)
    if (state := _read_state(folder)) is None:
        return None
    command = state.command
    sources = [(open_source(spec), Weight.parse(weight) if weight else None) for spec, weight in command.sources]
    if command.tokenizer_fingerprint is None:
        return Interrupted(sources, TokenizerRecipe.parse(command.tokenizer), command)
    return Interrupted(sources, load_tokenizer(folder / _TOKENIZER), command)


def remove_draft(directory: Path) -> bool:
    """Remove what an interrupted build of the dataset `directory` left behind; whether there was anything.

    Raises:
        DataError: a build is at work on it.
    """
    if not draft_folder(directory).is_dir():
        return False
    with Draft(directory, keep=False):
        return True


def _read_state(folder: Path) -> BuildState | None:
    with contextlib.suppress(UserError, ValidationError):
        state = BuildState.model_validate(read_json(folder / _PROGRESS))
        if state.format_version == _FORMAT_VERSION:
            return state
    return None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
