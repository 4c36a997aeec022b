"""Texts as words and signs, spelled so that two stretches are equal bytes exactly where they are the same word for word.

A word is a run of letters, digits and underscores, with apostrophes inside; in scripts that put no space between words
each character is one. Everything else that is no blank is a sign by itself. Case counts, signs count, and whether there
is a blank between two of them; which blanks, and how many, does not, and control characters are blanks.

Spelling: a word ends with NUL and a sign with ETX; what follows without a blank begins with SOH; a document ends with STX.
So no word is the beginning of another one, and equal bytes up to a NUL are whole words.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

WORD_END, GLUED, DOCUMENT_END, SIGN_END = b"\x00", b"\x01", b"\x02", b"\x03"
_WORD_END, _GLUED, _SIGN_END = (byte.decode() for byte in (WORD_END, GLUED, SIGN_END))

_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, kana, Han."""
_LAST_MARK = 0x1F000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_WORD_IN_SPELLING = re.compile("([^\x00-\x03]+)\x00")
_MOST_REMEMBERED = 1 << 20


@cache
def _pattern() -> re.Pattern[str]:
    """One word, as `word`, or one sign."""
    marks = "".join(_ranges(p for p in range(0x300, _LAST_MARK) if unicodedata.category(chr(p))[0] == "M"))
    letter = rf"[^\W{_ALONE}][{marks}]*"
    return re.compile(rf"(?P<word>{letter}(?:['’]?{letter})*|(?!\W)[{_ALONE}][{marks}]*)|[^\w\s\x00-\x1f\x7f]")


def _ranges(points: Iterable[int]) -> Iterator[str]:
    """Code points in order, as ranges of a character class."""
    first = last = -2
    for point in points:
        if point != last + 1:
            if first >= 0:
                yield f"{chr(first)}-{chr(last)}"
            first = point
        last = point
    if first >= 0:
        yield f"{chr(first)}-{chr(last)}"


class Speller(dict[str, str]):
    """Texts in the spelling of the index; what stands between two blanks is remembered, up to a million of them."""

    def __missing__(self, between_blanks: str) -> str:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        units = (m[0] + (_WORD_END if m["word"] else _SIGN_END) for m in _pattern().finditer(between_blanks))
        spelled = self[between_blanks] = _GLUED.join(units)
        return spelled

    def spell(self, text: str) -> bytes:
        """`text`, without an end of the document."""
        # str.split() parts at just what the pattern's \s is.
        return "".join(map(self.__getitem__, _CONTROLS.sub(" ", text).split())).encode("utf-8", "surrogatepass")


@dataclass
class Words:
    """The words of one text, with their places in it and in its spelling."""

    text: str
    spelled: bytes = b""
    starts: list[int] = field(default_factory=list)
    """Of each word, in characters of `text`."""
    ends: list[int] = field(default_factory=list)
    """Behind each word, in characters of `text`."""
    offsets: list[int] = field(default_factory=list)
    """Of each word, in bytes of `spelled`."""
    behind: list[int] = field(default_factory=list)
    """Behind the NUL of each word, in bytes of `spelled`."""

    def __post_init__(self) -> None:
        parts, size, end = [], 0, -1
        for match in _pattern().finditer(self.text):
            glue = GLUED if match.start() == end else b""
            end = match.end()
            unit = match[0].encode("utf-8", "surrogatepass") + (WORD_END if match["word"] else SIGN_END)
            parts += [glue, unit]
            size += len(glue) + len(unit)
            if match["word"]:
                self.starts.append(match.start())
                self.ends.append(end)
                self.offsets.append(size - len(unit))
                self.behind.append(size)
        self.spelled = b"".join(parts)

    def __len__(self) -> int:
        return len(self.starts)

    def stretch(self, first: int, count: int) -> bytes:
        """The spelling of `count` words from word `first` on, with the signs between them."""
        return self.spelled[self.offsets[first] : self.behind[first + count - 1]]

    def lower(self) -> list[str]:
        """The words in lower case."""
        return [self.text[a:b].lower() for a, b in zip(self.starts, self.ends, strict=True)]


def words_of_spelling(spelled: bytes) -> list[str]:
    """The words of a spelling in lower case, without its signs; a word whose NUL is missing is left out."""
    return _WORD_IN_SPELLING.findall(spelled.decode("utf-8", "replace").lower())
