"""The quality and repetition rules of MassiveText (Rae et al. 2021, "Scaling Language Models: ... Gopher", appendix A.1).

The paper leaves open what a word is; here it is what stands between white space, as in Dolma. FineWeb's program splits
punctuation off and counts it as words, and so drops prose with many commas and numbers for having too few words with a
letter. The thresholds are those of the paper's text and of its table A1. An n-gram that comes once repeats nothing.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlxllm.config import Section
from mlxllm.data.clean.prepared import Finding, Prepared, above, below, share

STOP_WORDS = {"en": frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})}
"""Words of which a real text has some, by language; where a language has none here, they are not asked for."""

Share = Annotated[float, Field(ge=0, le=1)]

_ELLIPSES = ("...", "…")
_BULLETS = ("•", "-")
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHORTEST = 5
"""Repeated n-grams are looked for from this n on; every longer one that is repeated lies inside of repeated ones of it."""


class GopherQuality(Section):
    """Is it text at all? Words, symbols, bullets, stop words."""

    min_words: int = Field(50, ge=0)
    """Fewest words of a document."""
    max_words: int = Field(100_000, gt=0)
    """Most words of a document."""
    min_mean_word_length: float = Field(3.0, ge=0)
    """Characters of a word in the mean, at least."""
    max_mean_word_length: float = Field(10.0, gt=0)
    """Characters of a word in the mean, at most."""
    max_symbols_a_word: float = Field(0.1, ge=0)
    """Hash signs a word, and ellipses a word, at most."""
    max_bullet_lines: Share = 0.9
    """Share of lines that begin with a bullet point."""
    max_ellipsis_lines: Share = 0.3
    """Share of lines that end in an ellipsis."""
    min_words_with_letter: Share = 0.8
    """Share of words that have a letter."""
    min_stop_words: int = Field(2, ge=0)
    """How many different ones of the, be, to, of, and, that, have, with; English only."""


class GopherRepetition(Section):
    """Does it say the same again and again? Lines, paragraphs, n-grams of words."""

    max_duplicate_lines: Share = 0.3
    """Share of lines that stood there before."""
    max_duplicate_paragraphs: Share = 0.3
    """Share of paragraphs that stood there before."""
    max_duplicate_line_chars: Share = 0.2
    """Share of characters in such lines."""
    max_duplicate_paragraph_chars: Share = 0.2
    """Share of characters in such paragraphs."""
    max_top_2_gram: Share = 0.2
    """Share of characters in the most frequent 2-gram."""
    max_top_3_gram: Share = 0.18
    """Share of characters in the most frequent 3-gram."""
    max_top_4_gram: Share = 0.16
    """Share of characters in the most frequent 4-gram."""
    max_duplicate_5_grams: Share = 0.15
    """Share of characters in 5-grams that stood there before, each character counted once."""
    max_duplicate_6_grams: Share = 0.14
    """Of 6-grams."""
    max_duplicate_7_grams: Share = 0.13
    """Of 7-grams."""
    max_duplicate_8_grams: Share = 0.12
    """Of 8-grams."""
    max_duplicate_9_grams: Share = 0.11
    """Of 9-grams."""
    max_duplicate_10_grams: Share = 0.1
    """Of 10-grams."""


def gopher_quality(prepared: Prepared, settings: GopherQuality) -> Finding | None:
    """Keep, or the first of the quality rules that says no."""
    return next((finding for finding in _quality(prepared, settings) if finding), None)


def _quality(prepared: Prepared, settings: GopherQuality) -> Iterator[Finding | None]:
    rule, text, words, lines = "gopher", prepared.text, prepared.words, prepared.lines
    if prepared.has_words:
        yield below(rule, "too few words", len(words), settings.min_words)
        yield above(rule, "too many words", len(words), settings.max_words)
    if not words:
        return
    if prepared.has_words:
        mean = prepared.word_chars / len(words)
        yield below(rule, "words too short", mean, settings.min_mean_word_length)
        yield above(rule, "words too long", mean, settings.max_mean_word_length)
        yield above(rule, "too many hash signs", text.count("#") / len(words), settings.max_symbols_a_word)
        ellipses = sum(text.count(mark) for mark in _ELLIPSES)
        yield above(rule, "too many ellipses", ellipses / len(words), settings.max_symbols_a_word)
    bullets = sum(line.startswith(_BULLETS) for line in lines)
    yield above(rule, "too many bullet lines", bullets / len(lines), settings.max_bullet_lines)
    ellipsis_lines = sum(line.endswith(_ELLIPSES) for line in lines)
    yield above(rule, "too many ellipsis lines", ellipsis_lines / len(lines), settings.max_ellipsis_lines)
    if prepared.has_words:
        # Most words are all letters, which is found out at once.
        others = [word for word in words if not word.isalpha()]
        with_letter = len(words) - len(others) + sum(any(map(str.isalpha, word)) for word in others)
        yield below(rule, "too few words with a letter", with_letter / len(words), settings.min_words_with_letter)
    stop_words = STOP_WORDS.get(prepared.language or "en")
    if stop_words is not None:
        found = _stop_words(prepared, stop_words, settings.min_stop_words)
        yield below(rule, "too few stop words", found, settings.min_stop_words)


def _stop_words(prepared: Prepared, stop_words: frozenset[str], enough: int) -> int:
    """How many different ones there are, in whatever case and punctuation; counting may end at `enough`."""
    found = len(stop_words & prepared.distinct_words)
    if found < enough:
        bare = {word.strip(".,;:!?()[]\"'“”‘’").lower() for word in prepared.distinct_words}
        found = len(stop_words & bare)
    return found


def gopher_repetition(prepared: Prepared, settings: GopherRepetition) -> Finding | None:
    """Keep, or the first of the repetition rules that says no."""
    return next((finding for finding in _repetition(prepared, settings) if finding), None)


def duplicates(parts: list[str]) -> tuple[int, int]:
    """How many parts stood there before, and their characters."""
    distinct = set(parts)
    return len(parts) - len(distinct), sum(map(len, parts)) - sum(map(len, distinct))


def _repetition(prepared: Prepared, settings: GopherRepetition) -> Iterator[Finding | None]:
    rule, size = "gopher repetition", len(prepared.text)
    for name, parts, most, most_chars in (
        ("paragraphs", prepared.paragraphs, settings.max_duplicate_paragraphs, settings.max_duplicate_paragraph_chars),
        ("lines", prepared.lines, settings.max_duplicate_lines, settings.max_duplicate_line_chars),
    ):
        number, chars = duplicates(parts)
        yield above(rule, f"duplicate {name}", share(number, len(parts)), most)
        yield above(rule, f"characters in duplicate {name}", share(chars, size), most_chars)
    if not prepared.has_words or len(prepared.words) < 2:
        return
    grams = _Grams(prepared)
    for n in (2, 3, 4):
        # Occurrences may overlap (a a a), so that their sum may be more than the text.
        top = min(1.0, share(grams.top_chars(n), size))
        yield above(rule, f"top {n}-gram", top, getattr(settings, f"max_top_{n}_gram"))
    most_of = {n: getattr(settings, f"max_duplicate_{n}_grams") for n in range(_SHORTEST, 11)}
    least = min(most_of.values())
    for n, most in most_of.items():
        repeated = share(grams.repeated_chars(n), size)
        yield above(rule, f"duplicate {n}-grams", repeated, most)
        if repeated <= least:
            return  # longer ones hold no character that these do not hold


class _Grams:
    """The n-grams of words of a text, each as one number.

    Those of different n-grams are the same once in 2^64. Python's own hash of a word will do, though it differs from
    process to process, since all that is asked of the numbers is which are equal.
    """

    def __init__(self, prepared: Prepared) -> None:
        words = prepared.words
        self._lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._words = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
        self._hashes, self._n = self._words, 1

    def _hashes_of(self, n: int) -> NDArray[np.uint64]:
        """A number for each n-gram, (words - n + 1,); n does not go down from call to call."""
        while self._n < n:
            self._n += 1
            self._hashes = self._hashes[:-1] * _BASE + self._words[self._n - 1 :]
        return self._hashes

    def top_chars(self, n: int) -> int:
        """Characters in all occurrences of the most frequent n-gram (of equally frequent ones the longest).

        The spaces inside count; it is 0 if none occurs twice.
        """
        if len(self._lengths) <= n:
            return 0
        hashes = self._hashes_of(n)
        order = hashes.argsort()
        ordered = hashes[order]
        begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        counts = np.diff(begins, append=len(ordered))
        count = int(counts.max())
        if count < 2:
            return 0
        firsts = order[begins[counts == count]]
        upto = np.concatenate(([0], self._lengths.cumsum()))
        return count * (int((upto[firsts + n] - upto[firsts]).max()) + n - 1)

    def repeated_chars(self, n: int) -> int:
        """Characters of words that lie in an n-gram which stood there before."""
        if len(self._lengths) <= n:
            return 0
        hashes = self._hashes_of(n)
        order = hashes.argsort(kind="stable")
        ordered = hashes[order]
        again = order[1:][ordered[1:] == ordered[:-1]]
        if not len(again):
            return 0
        edges = np.zeros(len(self._lengths) + 1, np.int64)
        edges[again] += 1
        edges[again + n] -= 1  # no two n-grams of one n begin at the same word
        return int(self._lengths[edges.cumsum()[:-1] > 0].sum())
