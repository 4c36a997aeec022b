"""The data label: what a dataset is made of, read off its manifest."""

from typing import Any

from mlxllm.data.cautions import cautions
from mlxllm.data.clean.duplicates import EXACT, NEAR
from mlxllm.data.clean.overlap import OVERLAP
from mlxllm.data.manifest import Manifest, SourceEntry, SplitEntry


def data_label(manifest: Manifest) -> dict[str, Any]:
    """The label as plain JSON values.

    Of each source: records and bytes read, kept, dropped by reason and mended by reason with the first places of each;
    tokens and UTF-8 bytes of its documents, each counted once; their languages and licences; how often it is read, and
    its share of the train split's tokens, where repetitions count. Then both splits, what overlaps evaluation sets and how
    many of that are kept all the same, the tokenizer, the fingerprint, and what one should know before training.
    What is dropped was mostly never tokenized, so that its tokens are told about, by the bytes a token of what is kept.
    """
    sources = {
        name: {
            "spec": source.spec,
            "weight": source.weight,
            "epochs": source.epochs,
            "recipe": source.recipe,
            "rules": source.rules,
            "documents_read": source.documents_read,
            "documents_kept": source.documents_kept,
            "bytes_read": source.bytes_read,
            "text_bytes_read": source.text_bytes_read,
            "dropped": dict(source.dropped),
            "dropped_bytes": dict(source.dropped_bytes),
            "dropped_tokens": _tokens_about(source),
            "duplicates": sum(source.dropped.get(kind, 0) for kind in (EXACT, NEAR)),
            "mended": dict(source.mended),
            "examples": {reason: list(places) for reason, places in source.examples.items()},
            "languages": dict(source.languages),
            "licences": dict(source.licences),
            "tokens": source.tokens,
            "bytes": source.bytes,
            "bytes_per_token": _ratio(source.bytes, source.tokens - source.documents_kept),
            "train_tokens": source.train.end - source.train.start,
            "val_tokens": source.val.end - source.val.start,
            "train_share": _ratio(source.train.end - source.train.start, manifest.train.tokens),
        }
        for name, source in manifest.sources.items()
    }
    return {
        "sources": sources,
        "train": split_totals(manifest.train),
        "val": split_totals(manifest.val),
        "val_split": manifest.val_split,
        "evaluation_overlap": {
            "files": list(manifest.evaluation_files),
            "documents": sum(
                counts.get(OVERLAP, 0) for each in manifest.sources.values() for counts in (each.dropped, each.mended)
            ),
            "documents_kept": sum(each.mended.get(OVERLAP, 0) for each in manifest.sources.values()),
        },
        "tokenizer": manifest.tokenizer.model_dump(),
        "fingerprint": manifest.fingerprint,
        "cautions": list(cautions(manifest)),
        "warnings": list(manifest.warnings),
    }


def split_totals(split: SplitEntry) -> dict[str, Any]:
    """Tokens, documents and bytes of a split, and how many bytes of text a token stands for."""
    # The <|endoftext|> of each document stands for no text.
    text_tokens = split.tokens - split.documents
    return {
        "tokens": split.tokens,
        "documents": split.documents,
        "bytes": split.bytes,
        "bytes_per_token": _ratio(split.bytes, text_tokens),
    }


def _tokens_about(source: SourceEntry) -> dict[str, int]:
    """What was left out in tokens, by reason, if it had as many a byte as what was kept: most of it was never tokenized."""
    per_byte = _ratio(source.tokens, source.bytes)
    return {reason: round(size * per_byte) for reason, size in source.dropped_bytes.items()} if per_byte else {}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
