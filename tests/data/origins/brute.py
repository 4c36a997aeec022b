"""Where a text was taken from, found by looking at everything: what the index is held to."""

import itertools
import re
from collections.abc import Sequence

BLANK = re.compile(r"[\s\x00-\x1f\x7f]")

Unit = tuple[str, bool, bool]
"""As it stands, whether it is a word, whether it is glued to what stands before."""


def units(text: str) -> list[Unit]:
    """The words and signs of a text, where blanks part words."""
    return [
        (m[0], m[0][0].isalnum(), m.start() > 0 and not BLANK.match(text[m.start() - 1]))
        for m in re.finditer(r"\w+(?:['’]\w+)*|[^\w\s\x00-\x1f\x7f]", text)
    ]


def stands_at(part: Sequence[Unit], document: Sequence[Unit], at: int) -> bool:
    """Whether a stretch stands in a document at a unit of it; what stands before the stretch does not count."""
    there = document[at : at + len(part)]
    return (
        len(there) == len(part)
        and [u[:2] for u in there] == [u[:2] for u in part]
        and [u[2] for u in there[1:]] == [u[2] for u in part[1:]]
    )


def stretch(text: Sequence[Unit], first: int, count: int) -> list[Unit]:
    """Words `first` to `first + count` of a text with the signs between them."""
    places = [n for n, unit in enumerate(text) if unit[1]]
    return list(text[places[first] : places[first + count - 1] + 1])


def places_of(part: Sequence[Unit], documents: Sequence[Sequence[Unit]]) -> list[tuple[int, int]]:
    """Document and unit of all places where a stretch stands."""
    return [(d, at) for d, doc in enumerate(documents) for at in range(len(doc)) if stands_at(part, doc, at)]


def copied(text: str, documents: Sequence[str], least: int) -> list[tuple[int, int, int]]:
    """(first word, words, places) of all maximal copied spans."""
    mine, theirs = units(text), [units(each) for each in documents]
    size = sum(unit[1] for unit in mine)
    spans = [
        (first, count, len(found))
        for first in range(size)
        for count in range(least, size - first + 1)
        if (found := places_of(stretch(mine, first, count), theirs))
    ]
    return [
        (a, n, places)
        for a, n, places in spans
        if not any((b, m) != (a, n) and b <= a and a + n <= b + m for b, m, _ in spans)
    ]


def near(text: str, documents: Sequence[str], least: int, window: int = 8, seed: int = 4) -> set[int]:
    """The words in any near copy."""
    mine = units(text)
    my_words = [unit[0].lower() for unit in mine if unit[1]]
    found: set[int] = set()
    for document in documents:
        doc = units(document)
        places = [n for n, unit in enumerate(doc) if unit[1]]
        their_words = [doc[n][0].lower() for n in places]
        for shift in range(-len(my_words), len(their_words)):
            shared = [n for n in range(len(my_words)) if 0 <= n + shift < len(their_words)]
            differs = {n for n in shared if my_words[n] != their_words[n + shift]}
            seeds = [
                n for n in shared
                if n + seed - 1 in shared and stands_at(stretch(mine, n, seed), doc, places[n + shift])
            ]  # fmt: skip
            for first in shared:
                for end in range(first + least, (shared[-1] + 2) if shared else 0):
                    inside = sorted(n for n in differs if first <= n < end)
                    if (
                        first not in differs
                        and end - 1 not in differs
                        and all(b - a >= window for a, b in itertools.pairwise(inside))
                        and any(first <= n and n + seed <= end for n in seeds)
                    ):
                        found.update(range(first, end))
    return found
