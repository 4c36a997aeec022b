"""Looking into a dataset: token counts, document lengths, and windows of text as a model gets to see them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.label import data_label
from mlxllm.data.shards import TokenDataset, TokenSplit

_BLOCK_TOKENS = 1 << 22


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a split, decoded."""

    split: str
    """`train` or `val`."""
    start: int
    """Its first token."""
    token_ids: list[int]
    """Its ids."""
    pieces: list[str]
    """Each id as a reader would know it."""
    text: str
    """All of it; characters that the edges cut in two show as U+FFFD."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Document lengths in tokens, <|endoftext|> included."""

    shortest: int
    median: int
    mean: float
    longest: int


def token_counts(split: TokenSplit, vocab_size: int, most_tokens: int | None = None) -> NDArray[np.int64]:
    """How often each id occurs, (V,); with `most_tokens`, in blocks of so many tokens that are spread over the split."""
    counts = np.zeros(vocab_size, np.int64)
    starts = range(0, split.num_tokens, _BLOCK_TOKENS)
    size = _BLOCK_TOKENS
    if most_tokens is not None and most_tokens < split.num_tokens:
        size = max(1, most_tokens // len(starts))
    for start in starts:
        block = split.read(start, min(size, split.num_tokens - start))
        counts += np.bincount(block, minlength=vocab_size)[:vocab_size]
    return counts


def document_lengths(split: TokenSplit) -> Lengths | None:
    """Lengths of the split's documents; None where there are none."""
    if not split.num_documents:
        return None
    lengths = np.diff(split.document_ends.astype(np.int64), prepend=0)
    return Lengths(
        shortest=int(lengths.min()),
        median=int(np.median(lengths)),
        mean=float(lengths.mean()),
        longest=int(lengths.max()),
    )


def report(dataset: TokenDataset, *, most_tokens: int | None = None) -> dict[str, Any]:
    """What `data inspect` tells of a dataset: its label, lengths of documents, frequent tokens, ids that never occur.

    Args:
        dataset: read through once.
        most_tokens: count about so many tokens of each split only; `counted` says how many it were.
    """
    described = data_label(dataset.manifest)
    counts = np.zeros(dataset.vocab_size, np.int64)
    for split in (dataset.train, dataset.val):
        lengths = document_lengths(split)
        described[split.name]["document_tokens"] = asdict(lengths) if lengths else None
        counts += token_counts(split, dataset.vocab_size, most_tokens)
    total = int(counts.sum())
    order = (-counts).argsort(kind="stable")
    frequent = [int(i) for i in order[:20] if counts[i]]
    unused = [int(i) for i in (counts == 0).nonzero()[0]]
    return {
        "name": dataset.name,
        "path": str(dataset.directory),
        **described,
        "counted": total,
        "most_frequent": [
            {"id": i, "piece": dataset.tokenizer.piece(i), "count": int(counts[i]), "share": int(counts[i]) / total}
            for i in frequent
        ],
        "never_used": {"count": len(unused), "ids": unused[:50]},
    }


def windows(dataset: TokenDataset, split: TokenSplit, size: int, number: int) -> list[Window]:
    """`number` windows of up to `size` tokens, evenly spread over the split; the same ones every time."""
    size = min(size, split.num_tokens)
    if size == 0:
        return []
    number = min(number, split.num_tokens // size)
    last = split.num_tokens - size
    starts = [last * i // max(1, number - 1) for i in range(number)]
    return [_window(dataset, split, start, size) for start in starts]


def _window(dataset: TokenDataset, split: TokenSplit, start: int, size: int) -> Window:
    ids = [int(token_id) for token_id in split.read(start, size)]
    tokenizer = dataset.tokenizer
    return Window(split.name, start, ids, [tokenizer.piece(i) for i in ids], tokenizer.decode(ids))
