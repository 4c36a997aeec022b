"""Near copies: stretches that stand in the training text but for a word here and there.

A near copy is a stretch of at least so many words that stands in one training document word by word, where of any eight
words in a row at most one is another one. Signs, blanks and case do not count here. It begins and ends with a word that is
the same, and four words in a row of it, with their signs, stand there exactly: these are the seeds by which it is found.
Where a word was put in or left out, what lies before and behind it are two stretches.

Of the places of a seed the SEED_PLACES are looked at that go on most like the text; so none is missed as long as
no seed stands in more places.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

from mlxllm.data.origins.files import Piece
from mlxllm.data.origins.searching import Match
from mlxllm.data.origins.units import DOCUMENT_END, SIGN_END, WORD_END, Words, words_of_spelling

WINDOW = 8
"""Of so many words in a row one may differ."""
SEED_WORDS = 4
SEED_PLACES = 64
_FIRST_READ = 512


@dataclass(frozen=True, slots=True)
class Near:
    """A near copy."""

    first: int
    """Its first word."""
    words: int
    changed: int
    """How many of them are others in the training text."""
    piece: int
    """Number of the piece."""
    at: int
    """Where a word of it stands in the piece's text."""
    before: int
    """How many words of it stand before that."""


def near_copies(pieces: Sequence[Piece], words: Words, matches: Sequence[Sequence[Match]], least: int) -> list[Near]:
    """All near copies of at least `least` words, some of them within others.

    Args:
        pieces: of the index.
        words: of the text.
        matches: for each piece the longest match from each word on.
        least: words of a near copy.
    """
    mine, found = words.lower(), set[Near]()
    for piece, of_piece in zip(pieces, matches, strict=True):
        run: dict[int, int] = {}  # difference of the offsets -> the last word with a seed there
        for match, word in zip(of_piece, range(len(words) - SEED_WORDS + 1), strict=False):
            if match.words < SEED_WORDS:
                continue
            for at in _seed_places(piece, match.rank, words.stretch(word, SEED_WORDS)):
                aligned = at - words.offsets[word]
                seen, run[aligned] = run.get(aligned), word
                if seen == word - 1:  # the seed before was of the same exact run
                    continue
                found.update(_around(piece, match.piece, at, mine, word, least))
    return sorted(found, key=lambda near: (near.first, -near.words, near.piece, near.at))


def _seed_places(piece: Piece, rank: int, seed: bytes) -> list[int]:
    """Places of a seed, from `rank` outwards: what sorts next to the text goes on most like it."""
    found: list[int] = []
    for step, start in ((-1, rank - 1), (1, rank)):
        at = start
        while 0 <= at < len(piece.order) and abs(at - start) < SEED_PLACES // 2:
            place = int(piece.order[at])
            if piece.text[place : place + len(seed)] != seed:
                break
            found.append(place)
            at += step
    return found


def _around(piece: Piece, number: int, at: int, mine: list[str], word: int, least: int) -> list[Near]:
    """The longest near copies that hold the seed at `word`, aligned with the training text at `at`."""
    right = _differences(_Reader(piece, at, forward=True), mine[word:])
    left = _differences(_Reader(piece, at, forward=False), mine[:word][::-1])
    # Differences as numbers of words; the last of each is where the stretch ends.
    behind, before = [word + n for n in right], [word - 1 - n for n in left]
    inner_right, inner_left = behind[:-1], before[:-1]
    if inner_right and inner_left and inner_right[0] - inner_left[0] < WINDOW:
        stretches = [(before[-1] + 1, behind[0], inner_left), (before[0] + 1, behind[-1], inner_right)]
    else:
        stretches = [(before[-1] + 1, behind[-1], inner_left + inner_right)]
    return [
        Near(first, end - first, len(changed), number, at, word - first)
        for first, end, changed in stretches
        if end - first >= least
    ]


def _differences(theirs: "_Reader", mine: Sequence[str]) -> list[int]:
    """Where words differ, as far as a near copy can go, and at last where it ends."""
    found: list[int] = []
    for n, word in enumerate(mine):
        other = theirs.word(n)
        if other == word:
            continue
        if other is None or (found and n - found[-1] < WINDOW):
            return _ended(found, n)
        found.append(n)
    return _ended(found, len(mine))


def _ended(found: list[int], end: int) -> list[int]:
    """`found` and the end, which does not come directly behind a difference."""
    if found and found[-1] == end - 1:
        return found
    return [*found, end]


class _Reader:
    """The words of a document from a place on, or backwards from there, read as far as they are asked for."""

    def __init__(self, piece: Piece, at: int, *, forward: bool) -> None:
        self._piece, self._at, self._forward = piece, at, forward
        self._words: list[str] = []
        self._size, self._ended = 0, False

    def word(self, number: int) -> str | None:
        """Word `number` in lower case; None where the document does not go so far."""
        while number >= len(self._words) and not self._ended:
            self._size = self._size * 4 or _FIRST_READ
            read = self._read_on if self._forward else self._read_back
            self._words = read(self._piece.text, self._at)
        return self._words[number] if number < len(self._words) else None

    def _read_on(self, text: mmap.mmap | bytes, at: int) -> list[str]:
        read = bytes(text[at : at + self._size])
        end = read.find(DOCUMENT_END)
        self._ended = end >= 0 or len(read) < self._size
        return words_of_spelling(read[:end] if end >= 0 else read)

    def _read_back(self, text: mmap.mmap | bytes, at: int) -> list[str]:
        begin = max(0, at - self._size)
        read = bytes(text[begin:at])
        start = read.rfind(DOCUMENT_END) + 1
        self._ended = bool(start) or begin == 0
        if not self._ended:  # the first word may be cut
            ends = [end for end in (read.find(WORD_END), read.find(SIGN_END)) if end >= 0]
            start = min(ends, default=len(read)) + 1
        return words_of_spelling(read[start:])[::-1]
