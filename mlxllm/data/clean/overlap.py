"""Overlap of documents with evaluation sets: 13 words in a row that stand in one of their records, too.

As for GPT-3 (Brown et al. 2020, appendix C), case and punctuation do not count. Each text of a record (question, every
choice, answer) that has 13 words is looked for by itself; where none has, all of them together, in their order. A
record of 8 to 12 words is looked for as a whole, a shorter one not at all. Small numbers do not count as words here: a
row of them stands in many texts. GPT-3 also passed over 13 words that ten documents have; that is not done.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.clean.evaluation_files import Texts, evaluation_files, evaluation_records
from mlxllm.data.clean.words import BLOCK_CHARS, Hashes, grouped, mixed, word_hashes, word_hashes_of
from mlxllm.errors import DataError

OVERLAP = "overlaps an evaluation set"
"""The reason for which a document is left out, or noted."""
MOST_WORDS = 13
"""Words in a row that make an overlap."""
LEAST_WORDS = 8
"""A record of fewer is not looked for."""
_SMALL_NUMBERS = 10_000
_MOST_NGRAMS = 50_000_000
_FILTER_BITS = 32
"""Bits of the filter for each n-gram, at least. Two of them are set, so that one other hash in 16 passes it, or fewer."""
_WORD_FACTORS = mixed(np.arange(101, 101 + MOST_WORDS, dtype=np.uint64)) | np.uint64(1)

_NO_WORDS = np.zeros(0, np.uint64)

Place = tuple[int, int]
"""Number of the file, number of the record in it."""


class EvaluationOverlap:
    """What is looked for of some evaluation files; `find` looks for it. Can be sent to other processes.

    Memory: 16 to 20 bytes for each word of the evaluation files, about.
    """

    def __init__(self, names: Sequence[str], records: Iterable[tuple[Place, Texts]]) -> None:
        """From the records of the files `names`.

        Raises:
            DataError: they hold nothing to look for, or too much.
        """
        self.names = tuple(names)
        """The evaluation files."""
        self.records = 0
        """Records that they hold."""
        self.too_short = 0
        """Records of too few words to be looked for."""
        places: list[Place] = []
        keys, heads, owners = [], [], []
        total = 0
        for block in _blocks(records):
            key, head, owner, short = _ngrams(block)
            keys.append(key)
            heads.append(head)
            owners.append(owner + np.uint32(len(places)))
            places += [place for place, _ in block]
            self.too_short += short
            total += len(key)
            if total > _MOST_NGRAMS:
                raise DataError(
                    f"the evaluation files hold more than {_MOST_NGRAMS:,} words; name those that are to be looked for"
                )
        self.records = len(places)
        if not total:
            raise DataError(
                f"{self.names[0] if self.names else 'no evaluation file'} holds no record of {LEAST_WORDS} words or "
                f"more; is it an evaluation set (.jsonl, .json, .csv, .parquet, .txt)?"
            )
        self._places = np.array(places, np.uint32)
        self._keys, first = np.unique(np.concatenate(keys), return_index=True)
        self._owners = np.concatenate(owners)[first]
        self._filter = _Filter(np.concatenate((*heads, self._keys)))

    @classmethod
    def load(cls, paths: Sequence[str | Path]) -> "EvaluationOverlap":
        """Read evaluation files, and all that lie in folders.

        Raises:
            DataError: one of them cannot be read, or there is nothing to look for.
        """
        files = list(dict.fromkeys(file for path in paths for file in evaluation_files(str(path))))
        short = [file.name for file in files]
        names = [name if short.count(name) == 1 else str(file) for name, file in zip(short, files, strict=True)]
        found = (
            ((number, record), texts) for number, file in enumerate(files) for record, texts in evaluation_records(file)
        )
        return cls(names, found)

    def find(self, text: str) -> str | None:
        """The first record, as FILE:NUMBER, of which `text` has 13 words in a row; None where there is none."""
        return self.find_each([text])[0]

    def find_each(self, texts: Sequence[str]) -> list[str | None]:
        """`find` of each text; several times as fast for many."""
        found: list[str | None] = [None] * len(texts)
        for group in grouped(texts):
            for number, owner in self._in_group([texts[i] for i in group]):
                file, record = self._places[owner].tolist()
                found[group[number]] = f"{self.names[file]}:{record}"
        return found

    def shared(self, text: str) -> str:
        """The words of `text` that make `find` find something in it, as they stand there; nothing where it finds nothing.

        It takes some 40 times as long as `find`.
        """
        if self.find(text) is None:
            return ""
        low, end = 0, len(text)
        while end - low > 1:  # something is found before `end`, and nothing before `low`
            middle = (low + end) // 2
            low, end = (low, middle) if self.find(text[:middle]) else (middle, end)
        start, high = 0, end
        while high - start > 1:  # something is found behind `start`, and nothing behind `high`
            middle = (start + high) // 2
            start, high = (middle, high) if self.find(text[middle:end]) else (start, middle)
        return " ".join(text[start:end].split())

    def _in_group(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Text and record of each text that has one."""
        if len(texts) > 1:
            words, counts = word_hashes_of(texts, numbers_alike=False)
            yield from self._first(words, np.repeat(np.arange(len(texts)), counts)).items()
            return
        before = _NO_WORDS
        for block in word_hashes(texts[0], numbers_alike=False):
            words = np.concatenate((before, block))
            before = words[max(0, len(words) - MOST_WORDS + 1) :]
            if found := self._first(words, np.zeros(len(words), np.intp)):
                yield from found.items()
                return

    def _first(self, words: Hashes, texts: NDArray[np.intp]) -> dict[int, int]:
        """The first record of each text, by the number of the text that every word belongs to."""
        if len(words) < LEAST_WORDS:
            return {}
        heads = _heads(words)
        at = np.flatnonzero(self._filter.may_hold(heads))
        sums = heads[at]
        found: list[tuple[int, int]] = []
        for length in range(LEAST_WORDS, MOST_WORDS + 1):
            if length > LEAST_WORDS:
                inside = at + length <= len(words)
                at = at[inside]
                sums = sums[inside] + words[at + length - 1] * _WORD_FACTORS[length - 1]
            keys = _keys(sums, length)
            likely = np.flatnonzero(self._filter.may_hold(keys) & (texts[at] == texts[at + length - 1]))
            places = np.minimum(np.searchsorted(self._keys, keys[likely]), len(self._keys) - 1)
            same = self._keys[places] == keys[likely]
            found += zip(at[likely[same]].tolist(), self._owners[places[same]].tolist(), strict=True)
        # Of several the last one to be set stays: that which stands first.
        return {int(texts[position]): owner for position, owner in sorted(found, reverse=True)}


class _Filter:
    """A set of hashes by one bit each: it may say yes to others, too."""

    def __init__(self, hashes: Hashes) -> None:
        bits = (len(hashes) // 2 * _FILTER_BITS).bit_length()
        self._shift = np.uint64(64 - bits)
        marked = np.zeros(1 << bits, np.bool_)
        marked[self._bit(hashes)] = True
        self._bits = np.packbits(marked, bitorder="little")

    def may_hold(self, hashes: Hashes) -> NDArray[np.bool_]:
        bit = self._bit(hashes)
        held: NDArray[np.uint8] = self._bits[bit >> np.uint64(3)] >> (bit & np.uint64(7)).astype(np.uint8)
        return (held & np.uint8(1)).view(np.bool_)

    def _bit(self, hashes: Hashes) -> Hashes:
        return mixed(hashes.copy()) >> self._shift


def _heads(words: Hashes) -> Hashes:
    """Sums over the first 8 words from each word on; longer n-grams are sums that go on."""
    count = len(words) - LEAST_WORDS + 1
    sums: Hashes = words[:count] * _WORD_FACTORS[0]
    for place in range(1, LEAST_WORDS):
        sums += words[place : place + count] * _WORD_FACTORS[place]
    return sums


def _keys(sums: Hashes, length: int) -> Hashes:
    return mixed(sums + np.uint64(length))


@cache
def _numbers() -> Hashes:
    return np.sort(np.concatenate(list(word_hashes(" ".join(map(str, range(_SMALL_NUMBERS))), numbers_alike=False))))


def _blocks(records: Iterable[tuple[Place, Texts]]) -> Iterator[list[tuple[Place, Texts]]]:
    """Records that are dealt with at once."""
    block: list[tuple[Place, Texts]] = []
    room = BLOCK_CHARS
    for record in records:
        size = sum(len(text) + 1 for text in record[1])
        if block and size > room:
            yield block
            block, room = [], BLOCK_CHARS
        block.append(record)
        room -= size
    if block:
        yield block


def _ngrams(block: list[tuple[Place, Texts]]) -> tuple[Hashes, Hashes, NDArray[np.uint32], int]:
    """What is looked for of some records: keys, their heads, which record each is of, and the number of short records."""
    texts = [text for _, record in block for text in record]
    record_of = np.repeat(np.arange(len(block)), [len(record) for _, record in block])
    if sum(len(text) + 1 for text in texts) <= BLOCK_CHARS:
        words, counts = word_hashes_of(texts, numbers_alike=False)
    else:  # one record that is longer than a block
        parts = [np.concatenate([_NO_WORDS, *word_hashes(text, numbers_alike=False)]) for text in texts]
        words, counts = np.concatenate(parts), np.array([len(part) for part in parts])
    # The words of a unit stand in a row: a text, or a record of which no text is long enough.
    has_long = np.zeros(len(block), np.bool_)
    np.logical_or.at(has_long, record_of, counts >= MOST_WORDS)
    unit_of_text = np.where(has_long[record_of], np.arange(len(texts)), len(texts) + record_of)
    unit = np.repeat(unit_of_text, counts)
    record = np.repeat(record_of, counts)
    plain = np.cumsum(np.append(0, ~np.isin(words, _numbers())))
    keys, heads, owners = [words[:0]], [words[:0]], [record[:0]]
    if len(words) >= LEAST_WORDS:
        sums = head = _heads(words)
        first = np.append(True, unit[1:] != unit[:-1])
        last = np.append(first[1:], True)
        for length in range(LEAST_WORDS, MOST_WORDS + 1):
            at = np.arange(len(words) - length + 1)
            if length > LEAST_WORDS:
                sums = sums[: len(at)] + words[length - 1 :] * _WORD_FACTORS[length - 1]
            wanted = (unit[at] == unit[at + length - 1]) & (plain[at + length] - plain[at] >= LEAST_WORDS)
            if length < MOST_WORDS:
                wanted &= first[at] & last[at + length - 1] & ~has_long[record[at]]
            chosen = np.flatnonzero(wanted)
            keys.append(_keys(sums[chosen], length))
            heads.append(head[chosen])
            owners.append(record[chosen])
    owner = np.concatenate(owners)
    short = len(block) - len(np.unique(owner))
    return np.concatenate(keys), np.concatenate(heads), owner.astype(np.uint32), short
