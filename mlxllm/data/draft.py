"""A dataset that is being built: a hidden folder beside its place, held by one build at a time.

    .<name>.building/lock             held by the build; the kernel frees it however that ends
                     progress.json    the command, and how far it has come: replaced atomically
                     dataset/         what becomes the dataset

What stands in the files behind the positions of progress.json is cut off when the build goes on.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict, ValidationError

from mlxllm.data.manifest import SourceEntry
from mlxllm.data.sources import Source, open_source
from mlxllm.data.writer import WriterPosition
from mlxllm.errors import DataError, UserError
from mlxllm.runs.files import fsync_directory, read_json, write_json_atomic
from mlxllm.tokenizer import Tokenizer, TokenizerRecipe, load_tokenizer

_PREFIX, _SUFFIX = ".", ".building"
_PROGRESS = "progress.json"
_LOCK_PATIENCE = 0.5
"""Seconds for which a build tries: who asks whether a draft is held holds its lock for an instant."""
_FORMAT_VERSION = 1


class StartOverError(Exception):
    """An interrupted build cannot be continued; the text says why."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildCommand(_Frozen):
    """All that decides what a build writes; a draft goes on only where it is the same."""

    sources: tuple[tuple[str, float], ...]
    """Specification and weight of each."""
    tokenizer: str
    """A recipe such as `bpe:4096`, or the kind of a tokenizer that was there before."""
    tokenizer_fingerprint: str | None
    """Of a tokenizer that was there before; None where the build makes one."""
    val_split: float
    """Fraction held out."""
    shard_tokens: int
    """Ids a file."""


class BuildState(_Frozen):
    """How far a build has come."""

    format_version: int = _FORMAT_VERSION
    """Drafts of other versions are started over."""
    command: BuildCommand
    """What is being built."""
    writers: dict[str, WriterPosition]
    """By split: where its writer stands."""
    entries: dict[str, SourceEntry]
    """The sources that are finished."""
    pieces: int = 0
    """Pieces of text of the source that comes next that have been dealt with."""
    digest: str = ""
    """Of these pieces: another one means that the source has changed."""

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
        """Whether an interrupted build is to be continued."""
        self._folder = draft_folder(directory)
        self._lock = self._take()

    @property
    def files(self) -> Path:
        """The folder that becomes the dataset."""
        return self._folder / "dataset"

    @property
    def _progress(self) -> Path:
        return self._folder / _PROGRESS

    def __enter__(self) -> "Draft":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        if not (self.keep and interrupted and self._progress.is_file()):
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
        folder = self.files / "tokenizer"
        return load_tokenizer(folder) if folder.is_dir() else None

    def clear(self) -> None:
        """Begin with nothing."""
        self._progress.unlink(missing_ok=True)
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir()

    def finish(self) -> None:
        """Rename the files into their place; a dataset that they replace is moved aside first and removed last."""
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


def interrupted_build(
    directory: Path,
) -> tuple[list[tuple[Source, float]], Tokenizer | TokenizerRecipe, float] | None:
    """Sources with weights, tokenizer and validation share of the interrupted build of `directory`; None if there is none.

    Raises:
        UserError: its sources or its tokenizer are no longer there.
    """
    folder = draft_folder(directory)
    if (state := _read_state(folder)) is None:
        return None
    command = state.command
    sources = [(open_source(spec), weight) for spec, weight in command.sources]
    if command.tokenizer_fingerprint is None:
        return sources, TokenizerRecipe.parse(command.tokenizer), command.val_split
    return sources, load_tokenizer(folder / "dataset" / "tokenizer"), command.val_split


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
