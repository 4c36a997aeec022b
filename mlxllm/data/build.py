"""Building a dataset: read the sources one after another, split, tokenize in batches, write shards, then the
manifest.

Everything is written to a draft beside the target (draft.py), and renamed when it is whole. A build that was
interrupted goes on from its draft, and what it writes is the same to the bit.
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlxllm.data.build_progress import BuildProgress, Dealt, Meter
from mlxllm.data.draft import BuildCommand, BuildState, Draft, StartOverError
from mlxllm.data.filling import fill
from mlxllm.data.manifest import FILE_NAME, Manifest, SourceEntry, SourceRange, TokenizerEntry
from mlxllm.data.sources.base import Source
from mlxllm.data.split import Split
from mlxllm.data.writer import SplitWriter, WriterPosition
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.runs.files import write_json_atomic
from mlxllm.tokenizer import Tokenizer, TokenizerRecipe

SHARD_TOKENS = 1 << 26
SAVE_SECONDS = 5.0
"""How often a build notes how far it is; a killed one does no more than this again."""
_ANOTHER = {
    "sources": "other sources",
    "tokenizer": "another tokenizer",
    "tokenizer_fingerprint": "another tokenizer",
    "val_split": "another --val-split",
    "shard_tokens": "files of another size",
}
_SPLITS: tuple[Split, Split] = ("train", "val")

Tell = Callable[[str], None]
Progress = Callable[[BuildProgress], None]


def build_dataset(
    directory: Path,
    sources: Sequence[tuple[Source, float]],
    tokenizer: Tokenizer | TokenizerRecipe,
    *,
    val_split: float = 0.01,
    shard_tokens: int = SHARD_TOKENS,
    replace: bool = False,
    keep_draft: bool = False,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Manifest:
    """Tokenize `sources` into the dataset `directory`; memory does not grow with the amount of text.

    The weight of a source repeats or thins out its training documents: 2 writes them twice, 0.3 keeps three
    in ten (chosen by a hash of the text), 1.3 writes all and then three in ten again. Repetitions follow
    after the whole source, never right behind the original. Validation documents always stand once. A single
    text takes a whole-number weight only.

    Args:
        directory: where the dataset is to be; its tokenizer is copied to `tokenizer/` in it.
        sources: each with its weight.
        tokenizer: makes the ids, and gives the id that ends each document; a recipe is made from the training text.
        val_split: fraction held out for validation, in [0, 1).
        shard_tokens: ids a file.
        replace: take the place of an existing dataset.
        keep_draft: if it is interrupted or killed, the same call goes on where it was; otherwise an interrupted
            build leaves nothing.
        progress: called now and then.
        tell: called with sentences for people, such as that an earlier build is continued.

    Returns:
        The manifest, with `warnings` to be shown.

    Raises:
        ConfigError: `val_split`, or a weight that does not fit its source.
        DataError: the target exists or is being built, a source has nothing to read, or the disk is full.
    """
    directory = Path(directory)
    check_build(directory, sources, val_split, replace=replace)
    command = BuildCommand(
        sources=tuple((source.spec, weight) for source, weight in sources),
        tokenizer=str(tokenizer) if isinstance(tokenizer, TokenizerRecipe) else tokenizer.kind,
        tokenizer_fingerprint=None if isinstance(tokenizer, TokenizerRecipe) else tokenizer.fingerprint,
        val_split=val_split,
        shard_tokens=shard_tokens,
    )
    tell = tell or (lambda _: None)
    try:
        with Draft(directory, keep=keep_draft) as draft:
            state = _earlier(draft, command, tell) if keep_draft else None
            if state is not None:
                try:
                    return _Build(draft, sources, tokenizer, state, progress, tell).run()
                except StartOverError as error:
                    tell(f"{error}, so the build starts over")
            draft.clear()
            state = BuildState(command=command, writers={}, entries={})
            return _Build(draft, sources, tokenizer, state, progress, tell).run()
    except OSError as error:
        raise DataError(
            f"dataset '{directory.name}' could not be written to {directory.parent}: {error.strerror}"
        ) from error


def check_build(directory: Path, sources: Sequence[tuple[Source, float]], val_split: float, *, replace: bool) -> None:
    """Refuse at once what would fail later, or write over what is not a dataset.

    Raises:
        ConfigError: no source, `val_split` out of range, or a weight that does not fit its source.
        DataError: `directory` exists, and is not a dataset or may not be replaced.
    """
    if not sources:
        raise ConfigError("a dataset needs at least one source; `mlxllm data sources` lists the kinds")
    if not 0.0 <= val_split < 1.0:
        raise ConfigError(f"val_split is {val_split}; it must be at least 0 and below 1, such as 0.01")
    for source, weight in sources:
        if not weight > 0.0:
            raise ConfigError(f"source {source.name!r} has weight {weight}; it must be above 0")
        if source.single_text and weight % 1.0:
            raise ConfigError(
                f"source {source.name!r} is one text and has weight {weight}; "
                f"one text can only be repeated whole, so give a whole number"
            )
    if not directory.exists():
        return
    if not (directory / FILE_NAME).is_file() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"{directory} exists and is not a dataset; choose another name")
    if not replace:
        raise DataError(f"dataset '{directory.name}' exists already in {directory.parent}; --force replaces it")


def _earlier(draft: Draft, command: BuildCommand, tell: Tell) -> BuildState | None:
    """How far an interrupted build of the same command is."""
    state = draft.state()
    if state is None:
        return None
    if state.command != command:
        differing = [
            name for name in BuildCommand.model_fields if getattr(state.command, name) != getattr(command, name)
        ]
        tell(f"an interrupted build of this name had {_ANOTHER[differing[0]]}, so this one starts over")
        return None
    tell(f"an interrupted build is continued: {state.documents:,} documents are there already")
    return state


class _Build:
    """One life of a build: from nothing, or from where an earlier one was interrupted."""

    def __init__(
        self,
        draft: Draft,
        sources: Sequence[tuple[Source, float]],
        tokenizer: Tokenizer | TokenizerRecipe,
        state: BuildState,
        progress: Progress | None,
        tell: Tell,
    ) -> None:
        self._draft, self._sources, self._wanted, self._tell = draft, sources, tokenizer, tell
        self._state = state
        self._meter = Meter([source for source, _ in sources], progress)
        self._writers: dict[Split, SplitWriter] = {}
        self._saved = -math.inf

    def run(self) -> Manifest:
        """Build what is missing.

        Raises:
            StartOverError: what an earlier build left cannot be continued.
        """
        tokenizer = self._tokenizer()
        dtype: np.dtype[Any] = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        try:
            for split in _SPLITS:
                self._writers[split] = self._writer(split, dtype)
            finished = list(self._state.entries.values())
            for entry in finished:
                self._meter.finished(entry.bytes)
            self._note(self._state.entries, Dealt(self._state.pieces, self._state.digest))
            for source, weight in self._sources[len(finished) :]:
                self._add(source, weight, tokenizer)
            manifest = self._manifest(tokenizer, dtype)
        except (KeyboardInterrupt, SystemExit):
            with contextlib.suppress(OSError, UserError):  # then it goes on from what was saved before
                self._save()
            raise
        finally:
            for writer in self._writers.values():
                writer.abandon()
        write_json_atomic(self._draft.files / FILE_NAME, manifest.model_dump(mode="json"))
        self._draft.finish()
        return manifest

    def _tokenizer(self) -> Tokenizer:
        """The one that an earlier build kept, else the one that is wanted."""
        try:
            kept = self._draft.tokenizer()
        except UserError as error:
            raise StartOverError(f"the tokenizer of the interrupted build is damaged ({error})") from None
        if kept is not None:
            return kept
        made = self._wanted
        if isinstance(made, TokenizerRecipe):
            made = made.make(self._meter.texts(self._state.command.val_split))
            self._tell(f"tokenizer: {made.kind} of {made.vocab_size:,} ids, from the training text")
        made.save(self._draft.files / "tokenizer")
        return made

    def _writer(self, split: Split, dtype: "np.dtype[Any]") -> SplitWriter:
        shard_tokens = self._state.command.shard_tokens
        try:
            return SplitWriter(self._draft.files, split, dtype, shard_tokens, self._state.writers.get(split))
        except DataError as error:
            raise StartOverError(f"the files of the interrupted build are damaged ({error})") from None

    def _add(self, source: Source, weight: float, tokenizer: Tokenizer) -> None:
        """Read one source to its end."""
        entries = self._state.entries
        began = {split: _end(entries.values(), split) for split in _SPLITS}
        before = began["train"].documents + began["val"].documents, began["train"].bytes + began["val"].bytes
        earlier = Dealt(self._state.pieces, self._state.digest)
        read = 0

        def passed(dealt: Dealt) -> None:
            self._meter.say("passing", dealt, before[0] + dealt.documents, before[1] + dealt.bytes, self._tokens)

        def written(dealt: Dealt) -> None:
            nonlocal read
            read = dealt.bytes
            self._note(entries, dealt)
            size = sum(position.bytes for position in self._state.writers.values())
            self._meter.say("writing", dealt, self._state.documents, size, self._tokens)

        val_split = self._state.command.val_split
        entry = fill(source, weight, val_split, tokenizer, self._writers, began, earlier, passed, written)
        self._note(entries | {_free_name(source.name, entries): entry}, Dealt())
        self._meter.finished(read)

    @property
    def _tokens(self) -> int:
        return sum(position.tokens for position in self._state.writers.values())

    def _note(self, entries: dict[str, SourceEntry], dealt: Dealt) -> None:
        """Remember where the build stands, all that it says being with the writers; now and then on the disk, too."""
        self._state = BuildState(
            command=self._state.command,
            writers={split: writer.position for split, writer in self._writers.items()},
            entries=entries,
            pieces=dealt.pieces,
            digest=dealt.digest,
        )
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        if self._draft.keep and self._state.writers:
            for writer in self._writers.values():
                writer.flush()
            self._draft.save(self._state)
        self._saved = time.monotonic()

    def _manifest(self, tokenizer: Tokenizer, dtype: "np.dtype[Any]") -> Manifest:
        manifest = Manifest(
            fingerprint="",
            dtype=dtype.name,
            val_split=self._state.command.val_split,
            tokenizer=TokenizerEntry(
                kind=tokenizer.kind, fingerprint=tokenizer.fingerprint, vocab_size=tokenizer.vocab_size
            ),
            train=self._writers["train"].close(),
            val=self._writers["val"].close(),
            sources=self._state.entries,
        )
        warnings = tuple(_warnings(manifest))
        return manifest.model_copy(update={"fingerprint": manifest.content_fingerprint(), "warnings": warnings})


def _end(entries: Iterable[SourceEntry], split: Split) -> WriterPosition:
    """Where a split ends behind these sources."""
    ranges: list[SourceRange] = [getattr(entry, split) for entry in entries]
    return WriterPosition(
        tokens=ranges[-1].end if ranges else 0,
        documents=sum(part.documents for part in ranges),
        bytes=sum(part.bytes for part in ranges),
    )


def _free_name(name: str, taken: Collection[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _warnings(manifest: Manifest) -> Iterator[str]:
    for name, split, remedy in (
        ("train", manifest.train, "give more text or a smaller --val-split"),
        ("validation", manifest.val, "give more text or a larger --val-split"),
    ):
        if not split.tokens:
            yield f"the {name} split is empty, so `mlxllm train` will refuse this dataset; {remedy}"
    for name, source in manifest.sources.items():
        lost = sum(count for reason, count in source.dropped.items() if reason != "weight below 1")
        if lost:
            of = f"{lost:,} of {source.documents_read:,} records"
            yield f"source {name!r}: {of} left out ({_reasons(source)})"
        if source.mended:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in source.mended.items())
            first = source.examples[next(iter(source.mended))][0]
            yield f"source {name!r}: {reasons}; first: {first}"


def _reasons(source: SourceEntry) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in source.dropped.items())
    first = next((places[0] for reason in source.dropped if (places := source.examples.get(reason))), None)
    return f"{reasons}; first: {first}" if first else reasons
