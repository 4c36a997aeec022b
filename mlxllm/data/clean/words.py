"""The words of a text as 64-bit numbers, for all that compares texts by their words.

A word is a run of letters and digits, in lower case and without diacritics; everything else parts words. In scripts
that put no space between words each character is a word. The work is done by numpy over whole blocks of text: a
character becomes a code by a table, and a word the polynomial of its codes, from sums over the block so far (Karp and
Rabin 1987). Memory is bounded by the block, however long the text is.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

BLOCK_CHARS = 1 << 16
"""A text is looked at in blocks of so many characters; a longer word is cut."""
_SEPARATOR, _POINT, _NOTHING, _FIRST_LETTER = 0, 1, 2, 3
# A point or comma parts words too, but not digits of one number. "Nothing" is left out and parts nothing.
_ALONE = 1 << 30
"""Added to the code of a character that is a word by itself."""
_ALONE_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_ZERO, _DIGITS = ord("0"), 10
_PAGE = 256
_NO_PLACES = np.zeros(0, np.intp)
_BASE = 0x9E3779B97F4A7C15
"""Of the polynomial; odd, so that it has an inverse modulo 2^64."""


def _powers(base: int) -> Hashes:
    factors = np.full(BLOCK_CHARS, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


_POWERS, _INVERSES = _powers(_BASE), _powers(pow(_BASE, -1, 1 << 64))


def mixed(hashes: Hashes) -> Hashes:
    """Changed in place so that every bit depends on every bit (the finalizer of SplitMix64, Steele et al. 2014)."""
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes


def word_hashes(text: str, *, numbers_alike: bool) -> Iterator[Hashes]:
    """A number for each word of `text`, in order, block by block.

    Args:
        text: of any length.
        numbers_alike: every number counts as 0, those with points and commas inside as well.
    """
    start = 0
    while start < len(text):
        codes = _codes_of(text[start : start + BLOCK_CHARS])
        end = len(codes)
        if start + end < len(text):
            # The block ends behind a separator, so that no word is cut in two.
            parted = np.flatnonzero(codes <= _POINT)
            end = int(parted[-1]) + 1 if len(parted) else end
        start += end
        yield _hashes_of(codes[:end], numbers_alike, _NO_PLACES)[0]


def word_hashes_of(texts: Sequence[str], *, numbers_alike: bool) -> tuple[Hashes, NDArray[np.intp]]:
    """The same for several texts at once, which together with a character between them are at most a block.

    Returns:
        The numbers of all words, and how many of them are each text's.
    """
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    hashes, upto = _hashes_of(_codes_of("\n".join(texts)), numbers_alike, ends)
    return hashes, np.diff(upto, prepend=0)


def grouped(texts: Sequence[str]) -> Iterator[list[int]]:
    """The numbers of texts for `word_hashes_of`, each once; a text longer than a block stands alone.

    ASCII is grouped by itself, because it needs less work.
    """
    for kind in (True, False):
        group: list[int] = []
        room = BLOCK_CHARS
        for number, text in enumerate(texts):
            if text.isascii() is kind:
                if group and len(text) >= room:
                    yield group
                    group, room = [], BLOCK_CHARS
                group.append(number)
                room -= len(text) + 1
        if group:
            yield group


def _hashes_of(codes: NDArray[Any], numbers_alike: bool, places: NDArray[np.intp]) -> tuple[Hashes, NDArray[np.intp]]:
    """The words of a block, and how many of them begin before each of `places`."""
    wide = codes.dtype != np.uint8
    left_out = codes == _NOTHING if wide else None
    if numbers_alike:
        digit = codes - codes.dtype.type(_ZERO) < _DIGITS
        if digit.any():
            digit[1:-1] |= (codes[1:-1] == _POINT) & digit[:-2] & digit[2:]
            again = digit[1:] & digit[:-1]
            codes[digit] = _ZERO
            left_out = np.zeros(len(codes), np.bool_) if left_out is None else left_out
            left_out[1:] |= again
    if left_out is not None and left_out.any():
        codes = codes[~left_out]
        if len(places):
            places = places - np.searchsorted(np.flatnonzero(left_out), places)
    letter = np.zeros(len(codes) + 2, np.bool_)
    np.greater_equal(codes, _FIRST_LETTER, out=letter[1:-1])
    if wide and (alone := codes >= _ALONE).any():
        joined = letter[1:] & letter[:-1]
        joined[1:] &= ~alone
        joined[:-1] &= ~alone
        starts = np.flatnonzero(letter[1:-1] & ~joined[:-1])
        ends = np.flatnonzero(letter[1:-1] & ~joined[1:]) + 1
    else:
        starts, ends = np.flatnonzero(letter[1:] != letter[:-1]).reshape(-1, 2).T
    sums = np.empty(len(codes) + 1, np.uint64)
    sums[0] = 0
    np.cumsum(codes * _POWERS[: len(codes)], out=sums[1:])
    return mixed((sums[ends] - sums[starts]) * _INVERSES[starts]), np.searchsorted(starts, places)


def _code(point: int) -> int:
    """What a character counts as."""
    character = chr(point)
    category = unicodedata.category(character)
    if category in ("Mn", "Me", "Cf"):  # diacritics; joiners and soft hyphens
        return _NOTHING
    if category == "Nd":
        return _ZERO + unicodedata.digit(character)
    if category[0] not in "LNM":
        return _POINT if character in ".," else _SEPARATOR
    lower = character.lower()
    base = "".join(c for c in unicodedata.normalize("NFD", lower) if unicodedata.category(c) != "Mn")
    point = ord(next((form for form in (base, lower) if len(form) == 1), character))
    return point | _ALONE if any(low <= point <= high for low, high in _ALONE_RANGES) else point


_ASCII_CODES = np.array([_code(point) for point in range(128)], np.uint8)


class _CodeTable:
    """The codes of all characters; a page of it is made when one of its characters turns up."""

    def __init__(self) -> None:
        self.codes = np.zeros(0x110000, np.uint32)
        self.known = np.zeros(0x110000 // _PAGE, np.bool_)

    def look_up(self, points: NDArray[np.uint32]) -> NDArray[np.uint32]:
        pages = points // np.uint32(_PAGE)
        known = self.known[pages]
        if not known.all():
            for page in np.unique(pages[~known]):
                first = int(page) * _PAGE
                self.codes[first : first + _PAGE] = [_code(point) for point in range(first, first + _PAGE)]
                self.known[page] = True
        return self.codes[points]


_TABLE = _CodeTable()


def _codes_of(text: str) -> NDArray[Any]:
    if text.isascii():
        return _ASCII_CODES[np.frombuffer(text.encode(), np.uint8)]
    return _TABLE.look_up(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"))
