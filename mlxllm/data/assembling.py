"""The end of a build: documents that stand once are mixed by their weights, and all becomes a dataset."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlxllm.data.build_progress import Meter
from mlxllm.data.clean.recipes import Recipe, recipe_name
from mlxllm.data.draft import BuildState, Draft, OnceEntry
from mlxllm.data.label import data_label
from mlxllm.data.manifest import (
    DROPPED_FILE,
    FILE_NAME,
    LABEL_FILE,
    Manifest,
    SourceEntry,
    SourceRange,
    SplitEntry,
    TokenizerEntry,
)
from mlxllm.data.mixing import write_mixture
from mlxllm.data.preparing import token_dtype
from mlxllm.data.shards import TokenSplit
from mlxllm.data.split import Split
from mlxllm.data.weights import Weight, epochs
from mlxllm.data.writer import SplitWriter
from mlxllm.runs.files import write_json_atomic
from mlxllm.tokenizer import Tokenizer

_REASONS_TOLD = 3


def assemble(
    draft: Draft, state: BuildState, tokenizer: Tokenizer, writers: Mapping[Split, SplitWriter], meter: Meter
) -> Manifest:
    """Make the dataset of what stands in `draft.once`; done again from the beginning if it is interrupted.

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
            kind=tokenizer.kind, fingerprint=tokenizer.fingerprint, vocab_size=tokenizer.vocab_size
        ),
        train=writers["train"].close(),
        val=writers["val"].close(),
        sources={},
    )
    shutil.rmtree(draft.files, ignore_errors=True)
    draft.files.mkdir()
    entries = state.entries
    ranges = [entry.train for entry in entries.values()]
    tokens = [part.end - part.start for part in ranges]
    weights = [weight for _, weight in state.command.sources]
    times = epochs(tokens, [Weight.parse(weight) if weight else None for weight in weights], state.command.max_epochs)
    if all(often == 1.0 for often in times):
        train, mixed = once.train, ranges
        _take(draft, "train")
    else:
        train, mixed = _mix(draft, state, once, times, tokenizer, meter)
    _take(draft, "val")
    tokenizer.save(draft.files / "tokenizer")
    sources = {
        name: _source_entry(entry, recipe, weight, often, part)
        for (name, entry), recipe, weight, often, part in zip(
            entries.items(), state.command.recipes, weights, times, mixed, strict=True
        )
    }
    manifest = once.model_copy(update={"train": train, "sources": sources})
    warnings = tuple(_warnings(manifest))
    manifest = manifest.model_copy(update={"fingerprint": manifest.content_fingerprint(), "warnings": warnings})
    _write_dropped(draft.files / DROPPED_FILE, entries)
    write_json_atomic(draft.files / LABEL_FILE, data_label(manifest))
    write_json_atomic(draft.files / FILE_NAME, manifest.model_dump(mode="json"))
    return manifest


def _mix(
    draft: Draft, state: BuildState, once: Manifest, times: Sequence[float], tokenizer: Tokenizer, meter: Meter
) -> tuple[SplitEntry, list[SourceRange]]:
    ranges = [entry.train for entry in state.entries.values()]
    total = sum(often * (part.end - part.start) for often, part in zip(times, ranges, strict=True))
    writer = SplitWriter(draft.files, "train", token_dtype(tokenizer), state.command.shard_tokens)
    try:
        split = TokenSplit(draft.once, "train", once, {})
        mixed = write_mixture(
            split,
            ranges,
            times,
            writer,
            tokenizer.byte_lengths(),
            lambda written: meter.mixing(min(1.0, written / total), written),
        )
        return writer.close(), mixed
    finally:
        writer.abandon()


def _take(draft: Draft, split: Split) -> None:
    """The files of a split as they are: under a second name, so that the first stays for a build that goes on."""
    for path in draft.once.glob(f"{split}-*.bin"):
        try:
            os.link(path, draft.files / path.name)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, draft.files / path.name)


def _source_entry(
    entry: OnceEntry, recipe: Recipe, weight: str | None, often: float, train: SourceRange
) -> SourceEntry:
    tally = entry.tally
    return SourceEntry(
        spec=entry.spec,
        weight=weight,
        epochs=often,
        recipe=recipe_name(recipe),
        rules=recipe.model_dump(mode="json", exclude_none=True),
        documents_read=tally.read,
        documents_kept=tally.kept,
        dropped=tally.dropped,
        dropped_bytes=tally.dropped_bytes,
        mended=tally.mended,
        examples={reason: [str(example) for example in shown] for reason, shown in tally.examples.items()},
        languages=tally.languages,
        licences=tally.licences,
        bytes_read=entry.bytes_read,
        tokens=sum(part.end - part.start for part in (entry.train, entry.val)),
        bytes=entry.train.bytes + entry.val.bytes,
        train=train,
        val=entry.val,
    )


def _write_dropped(path: Path, entries: Mapping[str, OnceEntry]) -> None:
    """The examples with their text, an object a line."""
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        for name, entry in entries.items():
            for reason, shown in entry.tally.examples.items():
                for example in shown:
                    file.write(json.dumps({"source": name, "reason": reason, **example.model_dump()}) + "\n")


def _warnings(manifest: Manifest) -> Iterator[str]:
    for name, split, remedy in (
        ("train", manifest.train, "give more text or a smaller --val-split"),
        ("validation", manifest.val, "give more text or a larger --val-split"),
    ):
        if not split.tokens:
            yield f"the {name} split is empty, so `mlxllm train` will refuse this dataset; {remedy}"
    for name, source in manifest.sources.items():
        if manifest.val.tokens and source.documents_kept and not source.val.documents:
            yield (
                f"source {name!r}: none of its {source.documents_kept:,} documents is held out, so validation tells nothing "
                f"of it; a larger --val-split would"
            )
        if lost := sum(source.dropped.values()):
            of = f"{lost:,} of {source.documents_read:,} records"
            yield f"source {name!r}: {of} left out ({_reasons(source)})"
        if source.mended:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in source.mended.items())
            first = source.examples[next(iter(source.mended))][0]
            yield f"source {name!r}: {reasons}; first: {first}"


def _reasons(source: SourceEntry) -> str:
    """The most frequent reasons, and the first place."""
    ordered = sorted(source.dropped.items(), key=lambda item: -item[1])
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in ordered[:_REASONS_TOLD])
    if len(ordered) > _REASONS_TOLD:
        reasons += f" and {len(ordered) - _REASONS_TOLD} more reasons"
    first = next((places[0] for reason, _ in ordered if (places := source.examples.get(reason))), None)
    return f"{reasons}; first: {first}" if first else reasons
