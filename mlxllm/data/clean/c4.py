"""The rules of C4 (Raffel et al. 2020, "Exploring the Limits of Transfer Learning ...", section 2.2).

Lines that are no sentence are taken out, and pages that hold what no prose holds, or too little prose, are dropped.
The numbers are those of the paper's first edition (3 words a line, 5 sentences a page), as FineWeb uses them too; the
limit of 1,000 characters a word and the policy lines are from the program that was published with it.
"""

import re

from pydantic import Field

from mlxllm.config import Section
from mlxllm.data.clean.prepared import SENTENCE_ENDS, Finding, Prepared, below

POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_CITATION = re.compile(r"\[(?:\d{0,9}|edit|citation needed)\]")
# A mark, perhaps with closing quotes or brackets, and then the end of the line or what can begin a sentence.
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]{0,4}(?=\s+[^\sa-z]|\s*$)|[。！？．।॥؟۔։።។။]")


class C4(Section):
    """Lines and pages that are prose."""

    sentence_ends: bool = True
    """Lines that do not end in a mark of the end of a sentence, or end in an ellipsis, are taken out."""
    min_words_a_line: int = Field(3, ge=0)
    """Lines of fewer words are taken out."""
    max_word_length: int = Field(1000, gt=0)
    """Lines with a longer word are taken out."""
    javascript: bool = True
    """Lines that speak of javascript are taken out."""
    policies: bool = True
    """Lines about cookies, privacy policies and terms of use are taken out."""
    citations: bool = True
    """Marks such as [1], [edit] and [citation needed] are taken out of their line."""
    lorem_ipsum: bool = True
    """Pages with "lorem ipsum" are dropped."""
    curly_brackets: bool = True
    """Pages with a { are dropped."""
    min_sentences: int = Field(5, ge=0)
    """Pages on which fewer sentences are left are dropped."""


def c4(prepared: Prepared, settings: C4) -> Finding | Prepared:
    """The text with the lines that stay, or why it does not."""
    # As in the published program, only what stays of the lines before them decides about pages.
    kept: list[str] = []
    sentences = 0
    for line in prepared.lines:
        if settings.citations and "[" in line:
            line = _CITATION.sub("", line).rstrip()
        lowered = line.lower()
        if _is_taken_out(prepared, line, settings):
            continue
        if settings.lorem_ipsum and "lorem ipsum" in lowered:
            return Finding("c4: lorem ipsum", _around(line, lowered.index("lorem ipsum")))
        if settings.javascript and "javascript" in lowered:
            continue
        if settings.curly_brackets and "{" in line:
            return Finding("c4: curly bracket", _around(line, line.index("{")))
        if settings.policies and any(phrase in lowered for phrase in POLICY_PHRASES):
            continue
        sentences += count_sentences(line)
        kept.append(line)
    return below("c4", "too few sentences", sentences, settings.min_sentences) or prepared.with_text("\n".join(kept))


def _is_taken_out(prepared: Prepared, line: str, settings: C4) -> bool:
    if settings.sentence_ends and (not line.endswith(SENTENCE_ENDS) or line.endswith("...")):
        return True
    if not prepared.has_words:
        return False
    words = line.split()
    return len(words) < settings.min_words_a_line or (
        len(line) > settings.max_word_length and max(map(len, words), default=0) > settings.max_word_length
    )


def count_sentences(line: str) -> int:
    """Sentences of a line; what follows the last end of one is a sentence as well."""
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    return len(ends) + bool(line[ends[-1] if ends else 0 :].strip())


def _around(line: str, place: int) -> str:
    return line[max(0, place - 30) : place + 30]
