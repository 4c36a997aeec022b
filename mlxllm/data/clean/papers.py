"""What makes a scientific text usable, by the published rules of peS2o (Soldaini and Lo 2023), part of Dolma.

Its fewest words are those of an abstract (50); the limit on the most frequent word is that of full texts, and is asked
of texts that are as long as those have to be (500 words), since in an abstract "the" alone may be above it. Its
unigram model, which is a download, is not used.
"""

from collections import Counter

from pydantic import Field

from mlxllm.config import Section
from mlxllm.data.clean.gopher import Share
from mlxllm.data.clean.prepared import Finding, Prepared, above, below

_FULL_TEXT_WORDS = 500


class Papers(Section):
    """Abstracts and papers that are whole and no tables."""

    min_words: int = Field(50, ge=0)
    """Fewest words."""
    max_top_word: Share = 0.075
    """Share of the most frequent word among the words of a text of 500 words or more."""


def papers(prepared: Prepared, settings: Papers) -> Finding | None:
    """Keep, or why not."""
    words = prepared.words
    if not words:
        return below("papers", "too few words", 0, max(1, settings.min_words))
    if not prepared.has_words:
        return None
    if few := below("papers", "too few words", len(words), settings.min_words):
        return few
    if len(words) < _FULL_TEXT_WORDS:
        return None
    word, count = Counter(words).most_common(1)[0]
    found = above("papers", "one word too often", count / len(words), settings.max_top_word)
    return found and Finding(found.reason, f"{word[:40]!r}: {found.detail}")
