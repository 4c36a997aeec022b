"""What of a text stands in the training documents, word for word or nearly, and what is its own.

A copied span is a maximal span of at least `least` words of the text that stands in one training document exactly as it is:
the same words and signs in the same order (`units` says what a word is; only the kind and number of blanks do not count).
Copied spans may overlap, where the text goes over from one document to another. What nearly stands there is defined in
`near`; a word that is in a copied span does not count as nearly copied. Shares are of words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlxllm.data.origins.documents import Document, open_document
from mlxllm.data.origins.files import find_index, open_pieces
from mlxllm.data.origins.near import Near, near_copies
from mlxllm.data.origins.searching import Match, copied_spans, covered, longest_match, places_of
from mlxllm.data.origins.units import Words
from mlxllm.data.shards import TokenDataset

Kind = Literal["copied", "near"]

LEAST_WORDS = 8
"""Words of a span, unless it is said."""
MOST_PLACES = 20
"""So many places of a span are told."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span stands; `Origins.document` opens it."""

    piece: int
    at: int
    """A word of it in the piece's text."""
    before: int = 0
    """Words of it before that one."""


@dataclass(frozen=True)
class Span:
    """A stretch of the text that stands in the training documents."""

    kind: Kind
    start: int
    """Its first character in the text."""
    end: int
    """Behind its last character."""
    words: int
    changed: int
    """Words that are others there; 0 in a copied span."""
    count: int
    """In how many places it stands; a near copy is told of one."""
    places: tuple[Place, ...]
    """The first of them."""


@dataclass(frozen=True)
class Trace:
    """What was found about a text."""

    text: str
    words: int
    copied_words: int
    near_words: int
    spans: tuple[Span, ...]
    """In the order of the text; together they have every copied and nearly copied word."""

    @property
    def longest(self) -> int:
        """Words of the longest copied span."""
        return max((span.words for span in self.spans if span.kind == "copied"), default=0)

    def share(self, words: int) -> float:
        """So many words as a share of all; 0 of an empty text."""
        return words / self.words if self.words else 0.0

    @property
    def parts(self) -> list[tuple[str, Kind | None]]:
        """The whole text in stretches, each with what it is; None is its own. What is copied is not also near."""
        kinds: list[Kind | None] = [None] * len(self.text)
        for kind in ("near", "copied"):
            for span in self.spans:
                if span.kind == kind:
                    kinds[span.start : span.end] = [span.kind] * (span.end - span.start)
        runs = groupby(enumerate(kinds), key=lambda each: each[1])
        return [("".join(self.text[at] for at, _ in run), kind) for kind, run in runs]

    @property
    def sentence(self) -> str:
        """The shares in words: "31 % copied, 8 % nearly, the rest its own"."""
        if not self.words:
            return "no words to look for"
        copied, near = (round(100 * self.share(words)) for words in (self.copied_words, self.near_words))
        if not self.copied_words + self.near_words:
            return "all of it its own"
        parts = [f"{copied} % copied" if self.copied_words else "", f"{near} % nearly" if self.near_words else ""]
        own = self.words - self.copied_words - self.near_words
        return ", ".join([*filter(None, parts), *(["the rest its own"] if own else [])])

    def as_dict(self) -> dict[str, Any]:
        """The numbers for a program."""
        own = self.words - self.copied_words - self.near_words
        shares = {"copied": self.copied_words, "nearly": self.near_words, "own": own}
        return {
            "words": self.words,
            **{name: round(self.share(words), 6) for name, words in shares.items()},
            "longest": self.longest,
        }


class Origins:
    """The indexes of some datasets, opened."""

    def __init__(self, datasets: Sequence[Path]) -> None:
        """Map the index of each dataset.

        Raises:
            DataError: one of them has none, or it is stale or damaged.
        """
        self.names = [dataset.name for dataset in datasets]
        self._directories = list(datasets)
        self.pieces, self._owner = [], list[int]()
        for number, dataset in enumerate(datasets):
            folder, about = find_index(dataset)
            found = open_pieces(folder, about)
            self.pieces += found
            self._owner += [number] * len(found)

    @cached_property
    def _datasets(self) -> list[TokenDataset]:
        return [TokenDataset.open(directory) for directory in self._directories]

    def trace(self, text: str, least: int = LEAST_WORDS) -> Trace:
        """Look for a text.

        Args:
            text: of any length; it is looked for word by word, so that some thousand words take a second.
            least: words of a copied span, and of a near copy.
        """
        words = Words(text)
        matches = [
            [longest_match(piece, number, words, word) for word in range(len(words))]
            for number, piece in enumerate(self.pieces)
        ]
        lengths = [max((of_piece[word].words for of_piece in matches), default=0) for word in range(len(words))]
        exact = copied_spans(lengths, least)
        copied = covered(exact, len(words))
        near = _needed(near_copies(self.pieces, words, matches, least), copied.tolist())
        nearly = covered([(each.first, each.words) for each in near], len(words)) & ~copied
        spans = [self._copied(words, first, count, matches) for first, count in exact]
        spans += [_near(words, each) for each in near]
        return Trace(
            text=text,
            words=len(words),
            copied_words=int(copied.sum()),
            near_words=int(nearly.sum()),
            spans=tuple(sorted(spans, key=lambda span: (span.start, span.end))),
        )

    def document(self, span: Span, number: int = 0) -> Document:
        """The document of place `number` of a span.

        Raises:
            DataError: the dataset's files cannot be read.
        """
        place = span.places[number]
        piece = self.pieces[place.piece]
        return open_document(self._datasets[self._owner[place.piece]], piece, place.at, place.before, span.words)

    def _copied(self, words: Words, first: int, count: int, matches: Sequence[Sequence[Match]]) -> Span:
        query = words.stretch(first, count)
        total, places = 0, list[Place]()
        for number, piece in enumerate(self.pieces):
            if matches[number][first].words < count:
                continue
            found = places_of(piece, query)
            total += len(found)
            if len(places) < MOST_PLACES:
                # In the order of the training text.
                places += [Place(number, int(at)) for at in np.sort(found)[: MOST_PLACES - len(places)]]
        start, end = words.starts[first], words.ends[first + count - 1]
        return Span("copied", start, end, count, 0, total, tuple(places))


def _near(words: Words, near: Near) -> Span:
    start, end = words.starts[near.first], words.ends[near.first + near.words - 1]
    place = Place(near.piece, near.at, near.before)
    return Span("near", start, end, near.words, near.changed, 1, (place,))


def _needed(found: Sequence[Near], known: list[bool]) -> list[Near]:
    """Those that tell of words that neither a copied span nor a longer near copy has."""
    needed, known = [], list(known)
    for near in sorted(found, key=lambda each: (-each.words, each.changed, each.first)):
        stretch = slice(near.first, near.first + near.words)
        if not all(known[stretch]):
            known[stretch] = [True] * near.words
            needed.append(near)
    return needed
