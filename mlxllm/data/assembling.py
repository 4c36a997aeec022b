"""The end of a build: documents that stand once are mixed by their weights, and all becomes a dataset."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.build_progress import Meter
from mlxllm.data.cautions import cautions
from mlxllm.data.clean.overlap import OVERLAP
from mlxllm.data.clean.recipes import Recipe, recipe_name
from mlxllm.data.draft import BuildCommand, BuildState, Draft, OnceEntry
from mlxllm.data.label import data_label
from mlxllm.data.manifest import (
    DROPPED_FILE,
    FILE_NAME,
    LABEL_FILE,
    Manifest,
    SourceEntry,
    SourceRange,
    TokenizerEntry,
)
from mlxllm.data.mixing import Copier, lengths_of
from mlxllm.data.preparing import token_dtype
from mlxllm.data.shards import TokenSplit
from mlxllm.data.split import Split
from mlxllm.data.tally import Tally
from mlxllm.data.weights import Weight, epochs
from mlxllm.data.writer import SplitWriter
from mlxllm.errors import DataError
from mlxllm.runs.files import write_json_atomic
from mlxllm.tokenizer import Tokenizer
from mlxllm.visible import by_reason, counted

_REASONS_TOLD = 3

Numbers = NDArray[np.int64]
"""Of documents within a split."""


def assemble(
    draft: Draft, state: BuildState, tokenizer: Tokenizer, writers: Mapping[Split, SplitWriter], meter: Meter
) -> Manifest:
    """Make the dataset of what stands in `draft.once`; done again from the beginning if it is interrupted.

    Of a source of which nothing was held out, though it has several documents, the one that comes next is held out, so
    that validation can tell of every source.

    Args:
        draft: holds the files.
        state: of a build whose sources have all been read.
        tokenizer: of the dataset.
        writers: of the files in which each document stands once; they are closed.
        meter: told how much of the mixture is written.
    """
    once = Manifest(
        fingerprint="",
        dtype=token_dtype(tokenizer).name,
        val_split=state.command.val_split,
        tokenizer=TokenizerEntry(
            kind=tokenizer.kind,
            fingerprint=tokenizer.fingerprint,
            vocab_size=tokenizer.vocab_size,
            recipe=state.command.tokenizer if state.command.tokenizer_fingerprint is None else "",
        ),
        train=writers["train"].close(),
        val=writers["val"].close(),
        sources={},
    )
    shutil.rmtree(draft.files, ignore_errors=True)
    draft.files.mkdir()
    entries = list(state.entries.values())
    train, val = (TokenSplit(draft.once, name, once, {}) for name in ("train", "val"))
    moved = [_held_out_after_all(entry, state.command.val_split) for entry in entries]
    learned = [
        np.setdiff1d(numbers, held_out)
        for numbers, held_out in zip(_numbers([entry.train for entry in entries]), moved, strict=True)
    ]
    held_out = _numbers([entry.val for entry in entries])
    weights = [Weight.parse(weight) if weight else None for _, weight in state.command.sources]
    tokens = [int(lengths_of(train, numbers).sum()) for numbers in learned]
    times = epochs(tokens, weights, state.command.max_epochs)

    output = _Output(draft, tokenizer, state.command.shard_tokens)
    train_ranges, val_ranges = [entry.train for entry in entries], [entry.val for entry in entries]
    if any(map(len, moved)):
        parts = [(train, some) if len(some) else (val, own) for some, own in zip(moved, held_out, strict=True)]
        once, val_ranges = output.write(once, "val", parts, [1.0] * len(parts), None)
    else:
        output.take("val")
    if any(map(len, moved)) or any(often != 1.0 for often in times):
        once, train_ranges = output.write(once, "train", [(train, chosen) for chosen in learned], times, meter)
    else:
        output.take("train")
    tokenizer.save(draft.files / "tokenizer")

    sources = {
        name: _source_entry(entry, recipe, weight, often, train_range, val_range)
        for (name, entry), recipe, (_, weight), often, train_range, val_range in zip(
            state.entries.items(),
            state.command.recipes,
            state.command.sources,
            times,
            train_ranges,
            val_ranges,
            strict=True,
        )
    }
    files = tuple(os.path.basename(path) for path in state.command.overlap)
    manifest = once.model_copy(update={"sources": sources, "evaluation_files": files})
    warnings = tuple(_warnings(manifest))
    manifest = manifest.model_copy(update={"fingerprint": manifest.content_fingerprint(), "warnings": warnings})
    _write_dropped(draft.files / DROPPED_FILE, state.entries)
    write_json_atomic(draft.files / LABEL_FILE, data_label(manifest))
    write_json_atomic(draft.files / FILE_NAME, manifest.model_dump(mode="json"))
    return manifest


class _Output:
    """The files of the dataset."""

    def __init__(self, draft: Draft, tokenizer: Tokenizer, shard_tokens: int) -> None:
        self._draft, self._tokenizer, self._shard_tokens = draft, tokenizer, shard_tokens

    def take(self, split: Split) -> None:
        """The files of a split as they are: under a second name, so that the first stays for a build that goes on."""
        for path in self._draft.once.glob(f"{split}-*.bin"):
            try:
                os.link(path, self._draft.files / path.name)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, self._draft.files / path.name)

    def write(
        self,
        manifest: Manifest,
        split: Split,
        parts: Sequence[tuple[TokenSplit, Numbers]],
        times: Sequence[float],
        meter: Meter | None,
    ) -> tuple[Manifest, list[SourceRange]]:
        """A split of documents of other splits, each part so often; the manifest with it, and where each part stands."""
        total = sum(often * int(lengths_of(*part).sum()) for part, often in zip(parts, times, strict=True))

        def told(written: int) -> None:
            if meter is not None:
                meter.mixing(min(1.0, written / total), written)

        writer = SplitWriter(self._draft.files, split, token_dtype(self._tokenizer), self._shard_tokens)
        try:
            lengths = self._tokenizer.byte_lengths()
            ranges = [
                Copier(once, writer, lengths, told).copy(numbers, often)
                for (once, numbers), often in zip(parts, times, strict=True)
            ]
            return manifest.model_copy(update={split: writer.close()}), ranges
        finally:
            writer.abandon()


def _numbers(ranges: Sequence[SourceRange]) -> list[Numbers]:
    """The documents of each source."""
    ends = np.cumsum([0, *(part.documents for part in ranges)])
    return [np.arange(first, last, dtype=np.int64) for first, last in pairwise(ends.tolist())]


def _held_out_after_all(entry: OnceEntry, val_split: float) -> Numbers:
    enough = val_split > 0 and not entry.val.documents and len(entry.nearest) < entry.train.documents
    return np.array(entry.nearest if enough else (), np.int64)


def _source_entry(
    entry: OnceEntry, recipe: Recipe, weight: str | None, often: float, train: SourceRange, val: SourceRange
) -> SourceEntry:
    tally = entry.tally
    return SourceEntry(
        spec=entry.spec,
        weight=weight,
        epochs=often,
        recipe=recipe_name(recipe),
        rules=recipe.rules(),
        documents_read=tally.read,
        documents_kept=tally.kept,
        dropped=tally.dropped,
        dropped_bytes=tally.dropped_bytes,
        mended=tally.mended,
        examples={reason: [str(example) for example in shown] for reason, shown in tally.examples.items()},
        languages=tally.languages,
        licences=tally.licences,
        bytes_read=entry.bytes_read,
        text_bytes_read=tally.text_bytes,
        tokens=sum(part.end - part.start for part in (entry.train, entry.val)),
        bytes=entry.train.bytes + entry.val.bytes,
        train=train,
        val=val,
    )


def _write_dropped(path: Path, entries: Mapping[str, OnceEntry]) -> None:
    """The examples with their text, an object a line."""
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        for name, entry in entries.items():
            for reason, shown in entry.tally.examples.items():
                for example in shown:
                    file.write(json.dumps({"source": name, "reason": reason, **example.model_dump()}) + "\n")


def _warnings(manifest: Manifest) -> Iterator[str]:
    yield from cautions(manifest)
    for name, source in manifest.sources.items():
        lost = sum(source.dropped.values())
        if lost and not source.documents_kept:
            yield (
                f"source {name!r}: NOTHING of it is in the dataset, {_all_of(lost)} left out "
                f"({_reasons(source.dropped, source.examples)})"
            )
        elif lost:
            of = f"{lost:,} of {counted(source.documents_read, 'record')}"
            yield f"source {name!r}: {of} left out ({_reasons(source.dropped, source.examples)})"
        if source.mended:
            reasons = ", ".join(by_reason(count, reason) for reason, count in source.mended.items())
            first = source.examples[next(iter(source.mended))][0]
            yield f"source {name!r}: {reasons}; first: {first}"


def nothing_left(name: str, command: BuildCommand, tallies: Sequence[Tally]) -> DataError:
    """What is raised for a dataset `name` of which all records that were read were left out."""
    dropped: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for tally in tallies:
        dropped.update(tally.dropped)
        for reason, shown in tally.examples.items():
            examples.setdefault(reason, []).extend(map(str, shown))
    recipe = recipe_name(command.recipes[0]).partition(",")[0]
    look = f"mlxllm data preview {command.sources[0][0]}"
    advice = [f"`{look}` shows more of it"]
    if recipe != "none":
        rules = f"`mlxllm data recipes {recipe}` the rules that --set changes"
        advice = [f"`{look} --recipe {recipe}` shows more of it", rules, "--recipe none cleans nothing"]
    if OVERLAP in dropped:
        advice.append("--keep-overlap only counts what overlaps")
    return DataError(
        f"dataset {name!r} would be empty: {_all_of(dropped.total())} left out ({_reasons(dropped, examples)}); "
        f"{', '.join(advice)}"
    )


def _all_of(records: int) -> str:
    return "the only record is" if records == 1 else f"all of its {records:,} records are"


def _reasons(dropped: Mapping[str, int], examples: Mapping[str, Sequence[str]]) -> str:
    """The most frequent reasons, and the first place."""
    ordered = sorted(dropped.items(), key=lambda item: -item[1])
    reasons = ", ".join(by_reason(count, reason) for reason, count in ordered[:_REASONS_TOLD])
    if len(ordered) > _REASONS_TOLD:
        reasons += f" and {counted(len(ordered) - _REASONS_TOLD, 'more reason')}"
    first = next((places[0] for reason, _ in ordered if (places := examples.get(reason))), None)
    return f"{reasons}; first: {first}" if first else reasons
