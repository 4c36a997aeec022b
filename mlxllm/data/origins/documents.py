"""Which training document a place in an index is of: its source, its number, and its text around there."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mlxllm.data.origins.building import STRETCH_TOKENS, decoded
from mlxllm.data.origins.files import Piece
from mlxllm.data.origins.units import WORD_END, Words
from mlxllm.data.shards import TokenDataset


@dataclass(frozen=True)
class Document:
    """A training document, or the part of a long one around a span."""

    dataset: str
    source: str
    """Name of the source that it came from."""
    spec: str
    """KIND:SPEC that reads that source again."""
    number: int
    """Of the document in the training split, from 1 on."""
    number_in_source: int
    """Of the document among those of its source, from 1 on."""
    documents_in_source: int
    character: int
    """Where in the document the span begins."""
    text: str
    start: int
    """Where in `text` the span begins."""
    end: int
    """Where in `text` it ends."""
    whole: bool
    """`text` is all of the document."""

    def as_dict(self) -> dict[str, Any]:
        """For a program, without the text."""
        names = "dataset source spec number number_in_source documents_in_source character".split()
        return {name: getattr(self, name) for name in names}


def open_document(dataset: TokenDataset, piece: Piece, at: int, before: int, count: int) -> Document:
    """The document of a span.

    Args:
        dataset: that the index is of.
        piece: where the span was found.
        at: a word of the span in the piece's text.
        before: words of the span before that one.
        count: words of the span.

    Raises:
        DataError: the dataset's files cannot be read.
    """
    row = int(np.searchsorted(piece.places["text"], at, side="right")) - 1
    word = _words_before(piece, row, at) - before
    while word < 0 and row > 0 and piece.places["document"][row - 1] == piece.places["document"][row]:
        row -= 1
        word += _words_before(piece, row, int(piece.places["text"][row + 1]))
    place = piece.places[row]
    number, begun = int(place["document"]), int(place["character"])
    ends = dataset.train.document_ends
    first, end = int(ends[number - 1]) if number else 0, int(ends[number])
    token, skip = int(place["token"]), int(place["skip"])
    # Two stretches: a span may begin in one and end in the next.
    size = min(end - token, 2 * STRETCH_TOKENS)
    words = _read(dataset, token, size, skip)
    while len(words) <= word + count and token + size < end:  # stretches were longer when the index was built
        size = min(end - token, 2 * size)
        words = _read(dataset, token, size, skip)
    last = min(word + count, len(words)) - 1
    start = words.starts[max(0, word)]
    name = next((n for n, span in dataset.train.sources.items() if span.start <= first < span.end), "")
    source = dataset.train.sources.get(name)
    before_source = int(np.searchsorted(ends, source.start, side="right")) if source is not None else 0
    return Document(
        dataset=dataset.name,
        source=name,
        spec=dataset.manifest.sources[name].spec if source is not None else "",
        number=number + 1,
        number_in_source=number - before_source + 1,
        documents_in_source=source.documents if source is not None else dataset.train.num_documents,
        character=begun + start,
        text=words.text,
        start=start,
        end=words.ends[last],
        whole=token == first and token + size == end,
    )


@lru_cache(maxsize=8)  # spans often follow each other in one document
def _read(dataset: TokenDataset, token: int, size: int, skip: int) -> Words:
    return Words(decoded(dataset, token, size)[skip:].decode("utf-8", "replace"))


def _words_before(piece: Piece, row: int, at: int) -> int:
    """Words of a stretch before a place in it."""
    return bytes(piece.text[int(piece.places["text"][row]) : at]).count(WORD_END)
