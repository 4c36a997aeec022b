"""Where the words of a text stand in an index: the longest match from each word on, and all places of a span."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.origins.files import Piece
from mlxllm.data.origins.units import WORD_END, Words

_HEAD = 256
"""Bytes that are compared first; few texts agree any further."""


@dataclass(frozen=True, slots=True)
class Match:
    """A word of the text, and how far the training text goes on alike from one place on."""

    words: int
    """How many words, the signs between them included; 0 where not even the first stands there."""
    piece: int
    """Number of the piece."""
    rank: int
    """Where the text from this word on would stand in the order of the piece."""


def rank(piece: Piece, query: bytes, *, behind: bool = False) -> int:
    """How many words of a piece begin a text that sorts before `query`; with `behind`, or that begins with it."""
    text, order = piece.text, piece.order
    head, long = query[:_HEAD], len(query) > _HEAD
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        at = int(order[middle])
        found, wanted = text[at : at + len(head)], head
        if long and found == head:
            found, wanted = text[at : at + len(query)], query
        if found < wanted or (behind and found == wanted):
            low = middle + 1
        else:
            high = middle
    return low


def places_of(piece: Piece, query: bytes) -> NDArray[np.uint32]:
    """All places of a piece where words begin that are spelled `query`, in no particular order."""
    return piece.order[rank(piece, query) : rank(piece, query, behind=True)]


def longest_match(piece: Piece, number: int, words: Words, word: int) -> Match:
    """The most words from `word` on that stand anywhere in a piece.

    The text that agrees furthest stands directly before or behind the place where the query would stand in the order.
    """
    start = words.offsets[word]
    query = words.spelled[start:]
    at = rank(piece, query)
    longest = 0
    for neighbour in (at - 1, at):
        if 0 <= neighbour < len(piece.order):
            longest = max(longest, _alike(piece, int(piece.order[neighbour]), query))
    return Match(words.spelled.count(WORD_END, start, start + longest), number, at)


def _alike(piece: Piece, at: int, query: bytes) -> int:
    """How many bytes agree."""
    size = _HEAD
    while size < len(query) and piece.text[at : at + size] == query[:size]:
        size *= 2
    found, query = piece.text[at : at + size], query[:size]
    low, high = 0, min(len(found), len(query))
    while low < high:
        middle = (low + high + 1) // 2
        if found[:middle] == query[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def copied_spans(lengths: list[int], least: int) -> list[tuple[int, int]]:
    """The maximal spans as (first word, words), none of them within another one; spans may overlap.

    Args:
        lengths: the longest match from each word on, in words.
        least: words of a span.
    """
    spans, end = [], 0
    for word, length in enumerate(lengths):
        if length >= least and word + length > end:
            spans.append((word, length))
        end = max(end, word + length)
    return spans


def covered(spans: list[tuple[int, int]], size: int) -> NDArray[np.bool_]:
    """(size,) which words lie in a span of (first word, words)."""
    inside = np.zeros(size + 1, np.int32)
    for first, count in spans:
        inside[first] += 1
        inside[first + count] -= 1
    return np.cumsum(inside)[:-1] > 0
