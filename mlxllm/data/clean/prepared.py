"""What the rules of cleaning look at: one text, with its lines and words found once for all of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Self

# No space stands between the words of these, so that what `words` holds of them are sentences.
UNSPACED = frozenset({"bo", "dz", "ja", "km", "lo", "my", "th", "yue", "zh"})
"""Languages for which no rule counts words."""
SENTENCE_ENDS = (
    ".",
    "!",
    "?",
    '"',
    "'",
    "”",
    "’",
    "。",
    "！",
    "？",
    "．",
    "」",
    "।",
    "॥",
    "؟",
    "۔",
    "։",
    "።",
    "។",
    "။",
)
"""What a line of prose ends with: the marks of C4 (Raffel et al. 2020), and what stands for them in other scripts."""

_BLANK_LINES = re.compile(r"\n\s*\n")


class Finding(NamedTuple):
    """Why a rule does not keep a text."""

    reason: str
    """The same few words for all texts of which it is true, with the rule before the colon."""
    detail: str
    """What was measured, and the threshold."""


# Without slots: what is computed once is kept in the instance.
@dataclass(eq=False)
class Prepared:
    """A text on its way through the rules; each view of it is computed when the first rule asks, in linear time."""

    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the document."""
    language: str = ""
    """ISO 639-1 where there is such a code; set by the language rule, or by the source where no such rule runs."""

    def with_text(self, text: str) -> Self:
        """The same document with another text."""
        return self if text == self.text else type(self)(text, self.metadata, self.language)

    @property
    def has_words(self) -> bool:
        """Whether `words` are words."""
        return self.language not in UNSPACED

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank, without the white space around them."""
        return [line for raw in self.text.splitlines() if (line := raw.strip())]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between blank lines, without the white space around it."""
        return [paragraph for raw in _BLANK_LINES.split(self.text) if (paragraph := raw.strip())]

    @cached_property
    def words(self) -> list[str]:
        """What stands between white space, with its punctuation."""
        return self.text.split()

    @cached_property
    def word_chars(self) -> int:
        """Characters of all words together."""
        return sum(map(len, self.words))

    @cached_property
    def distinct_words(self) -> set[str]:
        """The words without repetition."""
        return set(self.words)


def share(part: float, whole: float) -> float:
    """`part` of `whole`; nothing of nothing is nothing."""
    return part / whole if whole else 0.0


def above(rule: str, reason: str, measured: float, threshold: float) -> Finding | None:
    """A finding where a measure is above its threshold."""
    return Finding(f"{rule}: {reason}", f"{measured:.4g}, at most {threshold:g}") if measured > threshold else None


def below(rule: str, reason: str, measured: float, threshold: float) -> Finding | None:
    """A finding where a measure is below its threshold."""
    return Finding(f"{rule}: {reason}", f"{measured:.4g}, at least {threshold:g}") if measured < threshold else None
