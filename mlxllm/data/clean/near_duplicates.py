"""Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997), with the setting of FineWeb.

A document is the set of its 5-grams of words. 112 minima of hashes of them, in 14 bands of 8: two documents whose sets
have the Jaccard similarity s share a band with probability 1 - (1 - s^8)^14, which rises most steeply around
(1/14)^(1/8) = 0.72 (Penedo et al. 2024, "The FineWeb Datasets").

The minima are found with 8 hashes of each 5-gram instead of 112, one for each row. Its first bits part the 5-grams
into 16, one part for each band and two for none, and the smallest hash of a part is a minimum (one permutation hashing,
Li, Owen and Zhang 2012). A part that is empty, as in short documents, has the minimum of a hash function of its own over
all 5-grams, so that each minimum is equal in two documents with probability s (Dahlgaard, Knudsen and Thorup 2017). The
8 minima of a band come from 8 hashes, and so agree with probability s^8; the bands, which share these hashes, seldom
come from the same 5-grams.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.clean.words import Hashes, grouped, mixed, word_hashes, word_hashes_of

NGRAM = 5
"""Words that are compared together."""
BANDS = 14
ROWS = 8
"""Minima of a band; two documents share a band if all of them are equal."""
_SEED = 1
_MOST_PRODUCTS = 1 << 16
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)

Owned = tuple[Hashes, NDArray[np.intp]]
"""Hashes of 5-grams, and the number of the document that each belongs to."""


def _constants(count: int, stream: int) -> Hashes:
    """Odd numbers that look random, the same everywhere and for ever."""
    steps = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(_SEED << 40 | stream << 32)
    return mixed(steps * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)


_WORD_FACTORS, _ROW_FACTORS, _KEY_FACTORS = _constants(NGRAM, 0), _constants(ROWS, 1), _constants(ROWS, 2)
_KEY_OFFSETS = _constants(BANDS, 3)
_OWN_FACTORS = _constants(BANDS * ROWS, 4).reshape(BANDS, ROWS)
_PARTS, _PART_SHIFT = 16, np.uint64(60)
"""The first 4 bits of a hash say which band a 5-gram may be a minimum of."""


def band_keys(text: str) -> Hashes | None:
    """A key for each of the 14 bands; documents that share one are near-duplicates. None below five words.

    Case, punctuation, diacritics and the digits of numbers do not change them. Keys of different bands never mean
    the same, and the keys of a text are the same on every machine. For many texts `band_keys_of` is several times
    as fast.
    """
    keys, has_keys = band_keys_of([text])
    return keys[0] if has_keys[0] else None


def band_keys_of(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.bool_]]:
    """`band_keys` of each text, which do not depend on the other ones.

    Returns:
        Keys (N, 14), and which of the texts have any (N,); zeros where there are none.
    """
    keys = np.zeros((len(texts), BANDS), np.uint64)
    has_keys = np.zeros(len(texts), np.bool_)
    for group in grouped(texts):
        if len(group) == 1:
            minima, has = _minima(partial(_ngrams, texts[group[0]]), 1)
        else:
            block = _ngrams_of([texts[i] for i in group])
            minima, has = _minima(partial(iter, (block,)), len(group))
        found = mixed((minima * _KEY_FACTORS).sum(axis=2, dtype=np.uint64) + _KEY_OFFSETS)
        keys[group] = np.where(has[:, None], found, np.uint64(0))
        has_keys[group] = has
    return keys, has_keys


def _ngrams(text: str) -> Iterator[Owned]:
    """The 5-grams of one text of any length, block by block."""
    before = np.zeros(0, np.uint64)
    for block in word_hashes(text, numbers_alike=True):
        words = np.concatenate((before, block)) if len(before) else block
        before = words[max(0, len(words) - NGRAM + 1) :]
        if len(words) >= NGRAM:
            hashes = _combined(words)
            yield hashes, np.zeros(len(hashes), np.intp)


def _ngrams_of(texts: Sequence[str]) -> Owned:
    """The 5-grams of texts that fit into one block."""
    words, counts = word_hashes_of(texts, numbers_alike=True)
    if len(words) < NGRAM:
        return words[:0], counts[:0]
    owners = np.repeat(np.arange(len(texts)), counts)
    within = owners[: 1 - NGRAM] == owners[NGRAM - 1 :]
    return _combined(words)[within], owners[: 1 - NGRAM][within]


def _combined(words: Hashes) -> Hashes:
    count = len(words) - NGRAM + 1
    hashes = words[:count] * _WORD_FACTORS[0]
    for place in range(1, NGRAM):
        hashes += words[place : place + count] * _WORD_FACTORS[place]
    return mixed(hashes)


def _minima(blocks: Callable[[], Iterable[Owned]], documents: int) -> tuple[Hashes, NDArray[np.bool_]]:
    """The minima of each document (documents, 14, 8), and which of them have any 5-gram; `blocks` may be called twice."""
    lowest = np.full((ROWS, documents * _PARTS), _NONE)
    has = np.zeros(documents, np.bool_)
    for hashes, owners in blocks():
        has[owners] = True
        first = owners * _PARTS
        for row in range(ROWS):
            ordered = hashes * _ROW_FACTORS[row]
            np.minimum.at(lowest[row], (ordered >> _PART_SHIFT).view(np.intp) + first, ordered)
    parts = lowest.reshape(ROWS, documents, _PARTS)[:, :, :BANDS]
    minima = np.ascontiguousarray(parts.transpose(1, 2, 0))
    for document in np.flatnonzero((minima == _NONE).any(axis=(1, 2)) & has):
        empty = minima[document] == _NONE
        own = np.full(np.count_nonzero(empty), _NONE)
        for hashes, owners in blocks():
            of_it = hashes[slice(*np.searchsorted(owners, (document, document + 1)))]
            np.minimum(own, _own_minima(of_it, _OWN_FACTORS[empty]), out=own)
        minima[document][empty] = own
    return minima, has


def _own_minima(hashes: Hashes, factors: Hashes) -> Hashes:
    """The smallest value of each of these hash functions."""
    lowest = np.full(len(factors), _NONE)
    step = max(1, _MOST_PRODUCTS // len(factors))
    for start in range(0, len(hashes), step):
        values = hashes[start : start + step] * factors[:, None]
        np.minimum(lowest, values.min(axis=1), out=lowest)
    return lowest
