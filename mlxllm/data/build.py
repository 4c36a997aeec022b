"""Building a dataset: read the sources one after another, clean them, leave out duplicates, split, tokenize, write
shards; then mix by the weights, and write the manifest.

What is done with each document by itself is done by several processes, the rest here and in the order of the documents,
so that the result is the same to the bit whatever their number. Everything is written to a draft beside the target
(draft.py), and renamed when it is whole. A build that was interrupted goes on from its draft, to the same bits.
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlxllm.data.assembling import assemble, nothing_left
from mlxllm.data.build_check import check_build
from mlxllm.data.build_progress import BuildProgress, Dealt, Meter
from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.clean.duplicates import DuplicateIndex
from mlxllm.data.clean.overlap import EvaluationOverlap
from mlxllm.data.clean.recipes import Recipe, recipe
from mlxllm.data.crew import Crew, default_workers
from mlxllm.data.download import watched
from mlxllm.data.draft import BuildCommand, BuildState, Draft, OnceEntry
from mlxllm.data.filling import Filled, Group, fill, since, start_reading, start_work, training_texts
from mlxllm.data.going_on import earlier_state, pinned_sources
from mlxllm.data.manifest import Manifest, SourceRange
from mlxllm.data.preparing import Preparer, token_dtype
from mlxllm.data.reading import StartOverError
from mlxllm.data.sources import RecordSource, Source
from mlxllm.data.split import Split
from mlxllm.data.tally import Tally
from mlxllm.data.weights import MAX_EPOCHS, Weight
from mlxllm.data.writer import SplitWriter, WriterPosition
from mlxllm.errors import DataError, UserError
from mlxllm.tokenizer import Tokenizer, TokenizerRecipe

SHARD_TOKENS = 1 << 26
VAL_SPLIT = 0.01
SAVE_SECONDS = 5.0
"""How often a build notes how far it is; a killed one does no more than this again."""
_SPLITS: tuple[Split, Split] = ("train", "val")

Tell = Callable[[str], None]
Progress = Callable[[BuildProgress], None]


def build_dataset(
    directory: Path,
    sources: Sequence[tuple[Source, Weight | None]],
    tokenizer: Tokenizer | TokenizerRecipe,
    *,
    val_split: float = VAL_SPLIT,
    recipes: Sequence[Recipe] | None = None,
    overlap: Sequence[str] = (),
    drop_overlap: bool = True,
    max_epochs: float = MAX_EPOCHS,
    shard_tokens: int = SHARD_TOKENS,
    workers: int | None = None,
    replace: bool = False,
    keep_draft: bool = False,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Manifest:
    """Make the dataset `directory` of `sources`; memory does not grow with the amount of text.

    Memory grows only where duplicates are looked for, with the number of documents (clean/duplicates.py says how much).

    Args:
        directory: where the dataset is to be; its tokenizer is copied to `tokenizer/` in it.
        sources: each with its weight (weights.py); without one it is read once. Validation documents always stand once.
        tokenizer: makes the ids, and gives the id that ends each document; a recipe is made from the training text.
        val_split: fraction held out for validation, in [0, 1).
        recipes: how each source is cleaned; by default nothing is.
        overlap: files of evaluation sets, which training texts should not hold.
        drop_overlap: leave out documents that overlap them; otherwise they are only counted.
        max_epochs: how often a source is repeated at most, to reach its share.
        shard_tokens: ids a file.
        workers: processes that share the work; by default one for each core. The result is the same.
        replace: take the place of an existing dataset.
        keep_draft: if it is interrupted or killed or fails, the same call goes on where it was; otherwise such a build
            leaves nothing.
        progress: called now and then.
        tell: called with sentences for people, such as that an earlier build is continued.

    Returns:
        The manifest, with `warnings` to be shown.

    Raises:
        ConfigError: a number out of its range.
        DataError: the target exists or is being built, a source has nothing to read, cleaning leaves nothing of any, or
            the disk is full.
    """
    directory = Path(directory)
    check_build(directory, sources, val_split, max_epochs, replace=replace)
    command = BuildCommand(
        sources=tuple((source.spec, weight and str(weight)) for source, weight in sources),
        tokenizer=str(tokenizer) if isinstance(tokenizer, TokenizerRecipe) else tokenizer.kind,
        tokenizer_fingerprint=None if isinstance(tokenizer, TokenizerRecipe) else tokenizer.fingerprint,
        val_split=val_split,
        shard_tokens=shard_tokens,
        max_epochs=max_epochs,
        recipes=tuple(recipes or [recipe("none")] * len(sources)),
        overlap=tuple(overlap),
        drop_overlap=drop_overlap,
    )
    tell = tell or (lambda _: None)
    held_out = EvaluationOverlap.load(overlap) if overlap else None
    processes = default_workers() if workers is None else workers
    try:
        with Draft(directory, keep=keep_draft) as draft:

            def run(state: BuildState, fixed: Sequence[Source]) -> Manifest:
                specs = tuple(source.spec for source in fixed)
                state = state.model_copy(update={"command": state.command.model_copy(update={"pinned": specs})})
                meter = Meter(fixed, progress)
                with watched(meter.fetching):
                    return _Build(draft, fixed, tokenizer, state, held_out, processes, meter, tell).run()

            state = earlier_state(draft, command, tell) if keep_draft else None
            if state is not None:
                fixed = pinned_sources(sources, state.command.pinned)
                try:
                    return run(state, fixed)
                except StartOverError as error:
                    tell(f"{error}, so the build starts over")
            draft.clear()
            return run(BuildState(command=command, writers={}, entries={}), pinned_sources(sources))
    except OSError as error:
        raise DataError(
            f"dataset '{directory.name}' could not be written to {directory.parent}: {error.strerror}"
        ) from error


class _Build:
    """One life of a build: from nothing, or from where an earlier one was interrupted."""

    def __init__(
        self,
        draft: Draft,
        sources: Sequence[Source],
        tokenizer: Tokenizer | TokenizerRecipe,
        state: BuildState,
        overlap: EvaluationOverlap | None,
        workers: int,
        meter: Meter,
        tell: Tell,
    ) -> None:
        self._draft, self._sources, self._wanted, self._tell = draft, sources, tokenizer, tell
        self._state, self._overlap, self._workers = state, overlap, workers
        self._meter = meter
        self._writers: dict[Split, SplitWriter] = {}
        self._index: DuplicateIndex | None = None
        self._saved = -math.inf

    def run(self) -> Manifest:
        """Build what is missing.

        Raises:
            StartOverError: what an earlier build left cannot be continued.
        """
        if self._draft.keep:
            self._draft.save(self._state)  # so that it can go on even if it is stopped while a tokenizer is learned
        tokenizer = self._tokenizer()
        dtype = token_dtype(tokenizer)
        try:
            for split in _SPLITS:
                self._writers[split] = self._writer(split, dtype)
            if any(made.dedup != "none" for made in self._state.command.recipes):
                self._index = self._documents_seen()
            finished = list(self._state.entries.values())
            self._meter.begin("writing", [Dealt(entry.tally.read, entry.bytes_read) for entry in finished])
            self._note(self._state.entries, self._state.current)
            for number in range(len(finished), len(self._sources)):
                self._add(number, tokenizer)
            if not self._state.documents:
                tallies = [entry.tally for entry in self._state.entries.values()]
                raise nothing_left(self._draft.directory.name, self._state.command, tallies)
            manifest = assemble(self._draft, self._state, tokenizer, self._writers, self._meter)
        except StartOverError:
            raise
        except BaseException:
            with contextlib.suppress(OSError, UserError):  # then it goes on from what was saved before
                self._save()
            raise
        finally:
            for writer in self._writers.values():
                writer.abandon()
            if self._index is not None:
                self._index.close()
        self._draft.finish()
        return manifest

    def _preparer(self, number: int) -> Preparer:
        """What is done with each record of a source."""
        source, made = self._sources[number], self._state.command.recipes[number]
        return Preparer(
            source=source if isinstance(source, RecordSource) else None,
            cleaner=Cleaner(made) if made != recipe("none") else None,
            exact=made.dedup != "none",
            near=made.dedup == "near",
            overlap=self._overlap,
            drop_overlap=self._state.command.drop_overlap,
        )

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
            made = made.make(self._training_texts())
            self._tell(f"tokenizer: {made.kind} of {made.vocab_size:,} ids, from the training text")
        made.save(self._draft.tokenizer_folder)
        return made

    def _training_texts(self) -> Iterator[str]:
        """Of all sources, cleaned, though duplicates may be among them."""
        self._meter.begin("tokenizer")
        tallies: list[Tally] = []
        for number, source in enumerate(self._sources):
            preparer, tally = self._preparer(number), Tally()
            read = Dealt()

            def told(dealt: Dealt) -> None:
                nonlocal read
                read = dealt
                self._meter.say("tokenizer", dealt)

            crew: Group = Crew(preparer.prepare, start_reading, (preparer,), self._workers)
            with crew:
                yield from training_texts(source, crew, self._state.command.val_split, tally, told)
            self._meter.finished(read)
            tallies.append(tally.with_problems(source.problems))
        if not any(tally.kept for tally in tallies):
            raise nothing_left(self._draft.directory.name, self._state.command, tallies)

    def _writer(self, split: Split, dtype: "np.dtype[Any]") -> SplitWriter:
        shard_tokens = self._state.command.shard_tokens
        try:
            return SplitWriter(self._draft.once, split, dtype, shard_tokens, self._state.writers.get(split))
        except DataError as error:
            raise StartOverError(f"the files of the interrupted build are damaged ({error})") from None

    def _documents_seen(self) -> DuplicateIndex:
        if not self._state.seen:
            return DuplicateIndex(self._draft.seen)
        try:
            return DuplicateIndex.restore(self._draft.seen, self._state.seen)
        except DataError as error:
            raise StartOverError(f"the files of the interrupted build are damaged ({error})") from None

    def _add(self, number: int, tokenizer: Tokenizer) -> None:
        """Read one source to its end."""
        source = self._sources[number]
        entries = self._state.entries
        began = {split: _end(entries.values(), split) for split in _SPLITS}

        def written(filled: Filled, dealt: Dealt) -> None:
            self._note(entries, filled)
            self._meter.say("writing", dealt, self._tokens, self._state.documents)

        def passed(dealt: Dealt) -> None:
            self._meter.say("passing", dealt, self._tokens, self._state.documents)

        preparer = self._preparer(number)
        work = preparer.with_tokenizer(tokenizer).prepare
        crew: Group = Crew(work, start_work, (preparer, self._draft.tokenizer_folder), self._workers)
        with crew:
            val_split = self._state.command.val_split
            tally = fill(source, crew, val_split, self._writers, self._index, self._state.current, passed, written)
        once = {split: since(began[split], writer) for split, writer in self._writers.items()}
        if source.single_text and once["train"].documents and once["val"].documents:
            tally.kept -= 1  # the document in which the cut lies stands on both sides
        read, nearest = self._state.current.bytes_read, self._state.current.nearest.documents
        entry = OnceEntry(spec=source.spec, tally=tally, bytes_read=read, nearest=nearest, **once)
        self._note(entries | {_free_name(source.name, entries): entry}, Filled())
        self._meter.finished(Dealt(tally.read, read))

    @property
    def _tokens(self) -> int:
        return sum(position.tokens for position in self._state.writers.values())

    def _note(self, entries: dict[str, OnceEntry], current: Filled) -> None:
        """Remember where the build stands, all that it says being with the writers; now and then on the disk, too."""
        self._state = BuildState(
            command=self._state.command,
            writers={split: writer.position for split, writer in self._writers.items()},
            entries=entries,
            current=current,
            seen=self._index.count if self._index is not None else 0,
        )
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        if self._draft.keep and self._state.writers:
            for writer in self._writers.values():
                writer.flush()
            if self._index is not None:
                self._index.flush()
            self._draft.save(self._state)
        self._saved = time.monotonic()


def _end(entries: Iterable[OnceEntry], split: Split) -> WriterPosition:
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
