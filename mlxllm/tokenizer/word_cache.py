"""BPE word by word, each different word once: the same ids as those of the whole text, many times as fast.

Where no piece holds two neighbouring characters side by side, no merge reaches across them, so that the ids of a text are
the ids of its stretches. Words with the space before them are such stretches, and few of them are new.
"""

import re
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt

_Word = str | tuple[str]
"""A word with the space before it, which is left out here; or the first of a text, which has none."""
TokenArray = npt.NDArray[np.uint32]
Encode = Callable[[Sequence[str]], list[TokenArray]]

_MOST_WORDS = 1 << 17
_MOST_IDS = 1 << 20
"""What is remembered of all words together; beyond either, everything is forgotten, and learned anew."""


class WordCache:
    """Remembers the ids of words."""

    def __init__(self, neighbours: set[tuple[str, str]], encode: Encode) -> None:
        """Nothing is remembered.

        Args:
            neighbours: pairs of characters that stand side by side in a piece.
            encode: gives the ids of each text.
        """
        glued = "".join(re.escape(left) for left, right in sorted(neighbours) if right == " ")
        # Split at a space, unless a piece may begin before it: "fox jumps  far" becomes "fox", "jumps" and " far".
        self._split = re.compile(f"(?<![{glued}]) " if glued else " ").split
        self._encode = encode
        self._lock = Lock()
        self._forget()

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """The ids of each text; may be called by several threads."""
        with self._lock:
            try:
                return self._encode_here(texts) if texts else []
            except BaseException:
                self._forget()  # words may have been numbered and not been learned
                raise

    def _encode_here(self, texts: Sequence[str]) -> list[TokenArray]:
        if len(self._words) > _MOST_WORDS or len(self._ids) > _MOST_IDS:
            self._forget()
        words: list[_Word] = []
        counts = []
        for text in texts:
            first, *rest = self._split(text)
            words.append((first,))
            words += rest
            counts.append(1 + len(rest))
        table = self._words
        numbers = np.array([table[word] for word in words], np.int64)
        if table.new:
            self._learn(table.take_new())
        starts, lengths = self._ends[numbers], np.diff(self._ends)[numbers]
        ends = np.cumsum(lengths)
        ids = self._ids[np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])]
        return np.split(ids, ends[np.cumsum(counts) - 1][:-1])

    def _forget(self) -> None:
        self._words = _Numbers()
        self._ids = np.zeros(0, np.uint32)
        self._ends = np.zeros(1, np.int64)

    def _learn(self, words: Sequence[_Word]) -> None:
        encoded = self._encode([f" {word}" if isinstance(word, str) else word[0] for word in words])
        self._ids = np.concatenate([self._ids, *encoded])
        self._ends = np.append(self._ends, self._ends[-1] + np.cumsum([len(ids) for ids in encoded]))


class _Numbers(dict[_Word, int]):
    """Numbers words as they come, and remembers which are new."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[_Word] = []

    def __missing__(self, word: _Word) -> int:
        self[word] = number = len(self)
        self.new.append(word)
        return number

    def take_new(self) -> list[_Word]:
        """What has come since it was asked for last."""
        new, self.new = self.new, []
        return new
