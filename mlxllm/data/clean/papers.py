"""What makes a scientific text usable, by the published rules of peS2o (Soldaini and Lo 2023), part of Dolma.

Its fewest words are those of an abstract. The limit on the most frequent word is the one that its program has for short
texts; the 7.5 % that it has for long ones is what "the" alone comes to in one of four well-written papers. That the most
frequent word is of letters is not asked for, since formulas stay in our texts; the unigram model is a download.
"""

from collections import Counter

from pydantic import Field

from mlxllm.config import Section
from mlxllm.data.clean.gopher import Share
from mlxllm.data.clean.prepared import Finding, Prepared, above, below


class Papers(Section):
    """Abstracts and papers that are whole and no tables."""

    min_words: int = Field(50, ge=0)
    """Fewest words."""
    max_top_word: Share = 0.3
    """Share of the most frequent word among the words."""


def papers(prepared: Prepared, settings: Papers) -> Finding | None:
    """Keep, or why not."""
    words = prepared.words
    if not words:
        return below("papers", "too few words", 0, max(1, settings.min_words))
    if not prepared.has_words:
        return None
    if few := below("papers", "too few words", len(words), settings.min_words):
        return few
    word, count = Counter(words).most_common(1)[0]
    found = above("papers", "one word too often", count / len(words), settings.max_top_word)
    return found and Finding(found.reason, f"{word[:40]!r}: {found.detail}")
