"""Lines of text in a JATS article: formulas, and citations whose numbers would point to a list that is left out.

A citation by number disappears with its brackets, `shown before [3,4].` becoming `shown before.`, unless the sentence
needs it (`as in [3]`); a citation by name and year stays.
"""

import re
from typing import Any

from mlxllm.data.sources.biomedical.mathml import latex_text, math_text
from mlxllm.data.sources.biomedical.xml_text import clean, inline_text

_OPEN, _CLOSE, _BLOCK = "\x01", "\x02", "\x03"  # characters that no XML document can hold
_NUMBERS = re.compile(
    r"[\s\[(]*(?:[A-Za-z]?\d{1,3}[a-z]?|\d{4})(?:[\s,;\u2013\u2014\-–—]+[A-Za-z]?\d{1,4}[a-z]?)*[\s\])]*"
)
_YEAR = re.compile(r"[\s\[(]*(?:1[89]|20)\d\d[a-z]?[\s\])]*")
_MARKED = rf"{_OPEN}[^{_CLOSE}]*{_CLOSE}"
_BETWEEN = r"\s*(?:[,;\-–—‐−]|and|&|to)?\s*"
_RUN = rf"{_MARKED}(?:{_BETWEEN}{_MARKED})*+"
_ALONE = rf"[\[(]\s*{_RUN}\s*[\])]"
_WITH_PAGES = rf"\[\s*(?:{_ALONE}|{_RUN})[^\[\]{_OPEN}]{{0,60}}\]"  # [3, pp. 5-9]
_BRACKETED = rf"(?:{_ALONE}|{_WITH_PAGES})"
_CITATIONS = re.compile(
    rf"(?P<space>\s*)(?P<cited>(?:{_BRACKETED}|{_RUN})(?:{_BETWEEN}(?:{_BRACKETED}|{_RUN}))*+)(?P<stop>\.?)"
)
_NEEDED_BY = re.compile(
    r"(?:^|[\s(\[])(?:as in|by|cf|e\.g|from|i\.e|in|of|per|refs?|references?|see|than|to|under|via|with)[.,:]?\s*\Z",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[\s,;\[\]()\-–—‐−]*")
_MARKS = frozenset(("fn", "table-fn", "aff", "corresp", "author-notes", "contrib"))
_LEFT_OUT = frozenset(
    ("fn", "supplementary-material", "fig", "table-wrap", "graphic", "media", "object-id", "label", "def")
)


def line(element: Any) -> str:
    """All text of an element as one line; nothing for None."""
    return "" if element is None else _tidy(inline_text(element, _inline))


def line_and_blocks(element: Any, blocks: frozenset[str]) -> list[Any]:
    """A paragraph cut where an element stands that is one of `blocks`: lines of text and those elements, in order."""
    found: list[Any] = []

    def inline(child: Any, tag: str) -> str | None:
        if tag in blocks:
            found.append(child)
            return _BLOCK
        return _inline(child, tag)

    first, *rest = inline_text(element, inline).split(_BLOCK)
    parts: list[Any] = [_tidy(first)]
    for block, text in zip(found, rest, strict=True):
        parts += [block, _tidy(text)]
    return parts


def formula(element: Any) -> str:
    """A formula in LaTeX between dollar signs where the article brings it, else as its MathML or its text reads."""
    for found in element.iter("{*}tex-math"):
        if latex := latex_text("".join(found.itertext())):
            return latex
    for found in element.iter("{*}math"):
        if text := math_text(found).strip():
            return text
    return clean(inline_text(element, _inside_formula))


def _inside_formula(element: Any, tag: str) -> str | None:
    return "" if tag == "label" or tag in _LEFT_OUT else None


def _inline(element: Any, tag: str) -> str | None:
    if tag == "xref":
        return _reference(element)
    if tag in ("inline-formula", "disp-formula", "alternatives", "tex-math"):
        return formula(element)
    if tag == "sup":
        text = inline_text(element, _inline)
        if _OPEN in text and _SEPARATORS.fullmatch(re.sub(_MARKED, "", text)):
            return text
        return None
    return "" if tag in _LEFT_OUT else None


def _reference(element: Any) -> str | None:
    kind = element.get("ref-type", "")
    if kind in _MARKS:
        return ""
    if kind != "bibr":
        return None
    text = "".join(element.itertext())
    if not text.strip():
        return ""
    if _YEAR.fullmatch(text) or not _NUMBERS.fullmatch(text):
        return None
    return f"{_OPEN}{clean(text)}{_CLOSE}"


def _tidy(text: str) -> str:
    text = clean(text)
    if _OPEN not in text:
        return text
    text = re.sub(rf"[,;]\s*(?:{_BRACKETED}|{_RUN})(?=\s*[\])])", "", text)  # (Table 1; 12)
    text = re.sub(rf"(?<=\(){_RUN}\s*[,;]\s*", "", text)  # (12; Table 1)
    return clean(_CITATIONS.sub(_without, text))


def _without(match: re.Match[str]) -> str:
    before, after = match.string[: match.start()], match.string[match.end() : match.end() + 1]
    if _NEEDED_BY.search(before[-20:] + match["space"]):
        return match[0].replace(_OPEN, "").replace(_CLOSE, "")
    if match["stop"]:
        return "" if before.endswith(".") else "."  # by Amir et al. [3].
    return " " if match["space"] and after.isalnum() else ""
