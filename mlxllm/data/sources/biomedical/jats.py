"""Articles of PubMed Central as documents: title, abstracts and body of a JATS (NISO Z39.96) file, as one reads them.

Left out: references, tables, figures and their captions, supplementary material, acknowledgements and the rest of the
back matter, footnotes, abstracts that are pictures or in other languages, sub-articles (reviews, translations) and
responses. Headings are Markdown's.
"""

import re
from typing import Any

from mlxllm.data.sources.base import Document, Dropped
from mlxllm.data.sources.biomedical.jats_inline import formula, line, line_and_blocks
from mlxllm.data.sources.biomedical.licences import licence_of
from mlxllm.data.sources.biomedical.xml_text import clean, local

NO_TEXT = "no text"
_LEFT_OUT = frozenset(
    "ack alternatives app app-group bio caption chem-struct-wrap fig fig-group fn fn-group floats-group glossary graphic "
    "label media notes object-id ref-list related-article related-object sec-meta supplementary-material table "
    "table-wrap table-wrap-foot table-wrap-group array title subtitle kwd-group permissions attrib".split()
)
_LEFT_OUT_SECTIONS = re.compile(
    r"(?:\d+\.?\s*)?(?:acknowledge?ments?|references|literature cited|supplementa(?:ry|l) (?:materials?|information|data)"
    r"|supporting information|additional files?)[\s.:]*",
    re.IGNORECASE,
)
_OTHER_ABSTRACTS = frozenset(("graphical", "toc", "teaser", "video", "web-summary", "stereochemical", "ASCII"))
_NUMBERED = frozenset(("order", "arabic", "roman-lower", "roman-upper", "alpha-lower", "alpha-upper"))
_BLOCKS = frozenset(
    "p sec list def-list disp-formula disp-formula-group disp-quote boxed-text statement verse-group speech code "
    "preformat fig fig-group table-wrap table-wrap-group supplementary-material media array chem-struct-wrap".split()
)
_DEEPEST_HEADING = 6


def article_document(article: Any, where: str, source: str) -> Document | Dropped:
    """The document of an `article` element.

    Args:
        article: the parsed element.
        where: its place, the id of the document.
        source: name of the source.
    """
    meta = _child(_child(article, "front"), "article-meta")
    titles = _child(meta, "title-group")
    title = ": ".join(filter(None, (line(_child(titles, name)) for name in ("article-title", "subtitle"))))
    text = _Text()
    for abstract in _children(meta, "abstract"):
        if abstract.get("abstract-type") not in _OTHER_ABSTRACTS:
            text.section(abstract, 2, "Abstract")
    body = _child(article, "body")
    if body is not None:
        before = len(text.parts)
        text.blocks(body, 1)
        if before and text.parts[before:] and not text.parts[before].startswith("#"):
            text.parts.insert(before, "## Main text")  # else it would read on from the last heading of the abstract
    if not text.parts:
        return Dropped(NO_TEXT, where, "neither an abstract nor a body", text=title[:500])
    ids = {e.get("pub-id-type", ""): clean(e.text or "") for e in _children(meta, "article-id")}
    number = (ids.get("pmcid") or ids.get("pmc") or "").upper().removeprefix("PMC")
    metadata = {
        "title": title,
        # The document types of JATS have English as the default value of this attribute.
        "language": article.get("{http://www.w3.org/XML/1998/namespace}lang", "en").lower(),
        "licence": licence_of(meta),
        "category": article.get("article-type", ""),
        "pmc": f"PMC{number}" if number else "",
        "pmid": ids.get("pmid", ""),
        "doi": ids.get("doi", ""),
    }
    whole = "\n\n".join((f"# {title}", *text.parts) if title else text.parts)
    return Document(whole, where, source, metadata={key: value for key, value in metadata.items() if value})


class _Text:
    """Paragraphs and headings as they come; `level` is that of the heading above."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def blocks(self, element: Any, level: int) -> None:
        """What is inside an element that holds paragraphs and sections."""
        for child in element:
            self.block(child, level)

    def block(self, element: Any, level: int) -> None:
        """One paragraph, section, list or what else stands between two paragraphs."""
        tag = local(element)
        if tag in _LEFT_OUT:
            return
        if tag in ("sec", "boxed-text"):
            self.section(element, level + 1)
        elif tag in ("list", "def-list"):
            self._add(_list_text(element))
        elif tag in ("disp-quote", "disp-formula-group", "speech", "verse-group", "statement"):
            self._labelled(element, level)
        elif tag in ("code", "preformat"):
            self._add("".join(element.itertext()).strip("\n"))
        elif tag == "disp-formula":
            self._add(" ".join(filter(None, (formula(element), line(_child(element, "label"))))))
        else:
            for part in line_and_blocks(element, _BLOCKS):
                if isinstance(part, str):
                    self._add(part)
                else:
                    self.block(part, level)

    def section(self, element: Any, level: int, heading: str = "") -> None:
        """A section with its heading, unless there is nothing below it."""
        title = _child(element, "title")
        if title is None:
            title = _child(_child(element, "caption"), "title")
        named = line(title)
        if _LEFT_OUT_SECTIONS.fullmatch(named) or element.get("sec-type") == "supplementary-material":
            return
        heading = " ".join(filter(None, (line(_child(element, "label")), named))) or heading
        before = len(self.parts)
        if heading:
            self.parts.append(f"{'#' * min(level, _DEEPEST_HEADING)} {heading}")
        self.blocks(element, level)
        if heading and len(self.parts) == before + 1:
            self.parts.pop()

    def _labelled(self, element: Any, level: int) -> None:
        """A theorem, a quotation, a speech: its label or title in front of its first paragraph."""
        head = " ".join(filter(None, (line(_child(element, name)) for name in ("speaker", "label", "title"))))
        before = len(self.parts)
        self.blocks(element, level)
        if head and len(self.parts) > before:
            self.parts[before] = f"{head.rstrip('.:')}. {self.parts[before]}"

    def _add(self, text: str) -> None:
        if text.strip():
            self.parts.append(text)


def _list_text(element: Any) -> str:
    lines = [title] if (title := line(_child(element, "title"))) else []
    if local(element) == "def-list":
        for item in _children(element, "def-item"):
            meaning = "; ".join(filter(None, map(_flat, _children(item, "def"))))
            lines.append(": ".join(filter(None, (line(_child(item, "term")), meaning))))
        return "\n".join(lines)
    numbered = element.get("list-type") in _NUMBERED
    for number, item in enumerate(_children(element, "list-item"), 1):
        label = line(_child(item, "label"))
        marker = label if any(map(str.isalnum, label)) else f"{number}." if numbered else "-"
        inner = "\n".join(_flat_parts(item)).replace("\n", "\n  ")
        if inner:
            lines.append(f"{marker} {inner}")
    return "\n".join(lines)


def _flat(element: Any) -> str:
    return " ".join(_flat_parts(element))


def _flat_parts(element: Any) -> list[str]:
    text = _Text()
    text.blocks(element, _DEEPEST_HEADING)
    return text.parts


def _children(element: Any, name: str) -> list[Any]:
    return [] if element is None else [child for child in element if local(child) == name]


def _child(element: Any, name: str) -> Any:
    return next(iter(_children(element, name)), None)
