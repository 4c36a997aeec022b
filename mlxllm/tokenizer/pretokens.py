"""How training text is cut into the stretches that BPE learns pieces from.

A piece never reaches across such a stretch, which keeps pieces meaningful: a word with the space before it;
one digit (so that numbers are spelled alike everywhere); punctuation with the line end and indentation
behind it; line ends with the indentation behind them; runs of spaces or tabs. Encoding does not cut: it can
only use pieces learned here.

Letters are told by ranges that are spelled out here: Python's word class leaves combining marks out and
follows the Unicode version of each Python.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

# ASCII and Latin-1 punctuation and controls, punctuation and symbol blocks, emoji; no white space, no digits.
_SYMBOL = (
    r"\x00-\x08\x0e-\x1b!-/:-@\[-`{-\x84\x86-\x9f\xa1-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7"
    r"\u200b-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u206f\u20a0-\u2bff\u2e00-\u2e7f\u3001-\u303f"
    r"\ufe00-\ufe1f\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufff9-\uffff"
    r"\U0001f000-\U0001faff"
)
_LETTER = rf"[^\s\d{_SYMBOL}]"
_PRETOKEN = re.compile(
    rf"['\u2019](?:[sdmt]|ll|ve|re)(?!{_LETTER})"  # don't -> don 't
    rf"|[ _]?{_LETTER}{{1,48}}"
    r"|\d"
    r"|(?:\r?\n)+[ \t]*"
    rf"| ?[{_SYMBOL}]{{1,48}}(?:(?:\r?\n)+[ \t]*)?"
    r"|  +|\t+|\s"
)
_CHUNK_CHARS = 1 << 16


def count_pretokens(texts: Iterable[str]) -> Counter[str]:
    """How often each stretch occurs in `texts`. Joined in order the stretches are the text."""
    counts: Counter[str] = Counter()
    for text in texts:
        for chunk in _chunks(text):
            counts.update(_PRETOKEN.findall(chunk))
    return counts


def sample_texts(texts: Iterable[str], max_chars: int, seed: int) -> list[str]:
    """A uniform sample of at most about `max_chars` characters; all of `texts` where that is less.

    Memory stays at the size of the sample. Texts longer than 65,536 characters are drawn in parts. The same
    texts and seed give the same sample.
    """
    # Each part draws a number; the parts with the smallest numbers stay. heapq keeps the smallest on top,
    # hence `-`.
    rng = random.Random(seed)
    heap: list[tuple[float, int, str]] = []
    total = 0
    for index, part in enumerate(part for text in texts for part in _chunks(text)):
        heappush(heap, (-rng.random(), index, part))
        total += len(part)
        while total > max_chars and len(heap) > 1:
            total -= len(heappop(heap)[2])
    return [part for _, _, part in heap]


def _chunks(text: str) -> Iterator[str]:
    """`text` in parts of about _CHUNK_CHARS, cut before a space where one is near."""
    start = 0
    while len(text) - start > _CHUNK_CHARS:
        end = text.find(" ", start + _CHUNK_CHARS, start + _CHUNK_CHARS + 1000)
        if end < 0:
            end = start + _CHUNK_CHARS
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
