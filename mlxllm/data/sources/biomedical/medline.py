"""PubMed's citations as documents: title, then the abstract by its sections.

The text is that of the citation and not of the cataloguer: brackets around a translated title, copyright lines and notes
about a shortened abstract are left out.
"""

import re
from typing import Any

from mlxllm.data.sources.base import Document, Dropped
from mlxllm.data.sources.biomedical.xml_text import clean, inline_text

NO_ABSTRACT = "no abstract"
_UNTITLED = {"not available", "in process citation"}
_UNLABELLED = {"", "UNLABELLED", "UNASSIGNED"}
_ENDING_CHARS = 240
"""In which notes behind an abstract are looked for."""
_SHORTENED = re.compile(r"\s*\(ABSTRACT TRUNCATED[^)]*\)\s*$")
_COPYRIGHT = re.compile(
    r"(?:^|(?<=[.!?\])]))\s*(?:(?:Crown )?Copyright|\([cC]\)|©)\s*(?:\([cC]\)|©)?\s*(?:19|20)\d\d\b.{0,150}$"
)
_LANGUAGES = {
    "chi": "zh", "cze": "cs", "dan": "da", "dut": "nl", "eng": "en", "fin": "fi", "fre": "fr", "ger": "de", "gre": "el",
    "heb": "he", "hun": "hu", "ita": "it", "jpn": "ja", "kor": "ko", "nor": "no", "pol": "pl", "por": "pt", "rum": "ro",
    "rus": "ru", "spa": "es", "swe": "sv", "tur": "tr", "ukr": "uk",
}  # fmt: skip
"""ISO 639-2/B, which PubMed uses, to ISO 639-1 for the languages it has most of."""


def citation_document(record: Any, where: str, source: str, *, any_abstract: bool) -> Document | Dropped:
    """The document of a `PubmedArticle`, `PubmedBookArticle` or `MedlineCitation`.

    The abstract is `Abstract`; where there is none, the first `OtherAbstract` stands in (PubMed keeps those of
    translators and of other institutions there). A title that was not translated is the vernacular one.

    Args:
        record: the parsed element.
        where: its place, the id of the document.
        source: name of the source.
        any_abstract: whether a title alone is a document.
    """
    citation = _first(record, "MedlineCitation", "BookDocument", own=True)
    article = citation.find("Article") if citation.tag == "MedlineCitation" else citation
    if article is None:
        return Dropped("no article in the record", where, f"<{citation.tag}> without <Article>")
    language = _LANGUAGES.get(code := (article.findtext("Language") or "").strip().lower(), code)
    title, translated = _title(article)
    abstract = article.find("Abstract")
    paragraphs = _abstract(abstract) if abstract is not None else []
    written = "en" if translated or paragraphs else language
    if not paragraphs:
        for other in (*citation.findall("OtherAbstract"), *article.findall("OtherAbstract")):
            if paragraphs := _abstract(other):
                code = other.get("Language", "eng").lower()
                written = _LANGUAGES.get(code, code)
                break
    if not paragraphs and not (any_abstract and title):
        return Dropped(NO_ABSTRACT, where, text=title[:500])
    types = [clean(kind.text or "") for kind in article.iter("PublicationType")]
    metadata = {
        "title": title,
        "language": written,
        "article_language": language if language != written else "",
        "category": "; ".join(filter(None, types)),
        "pmid": clean(citation.findtext("PMID") or ""),
    }
    text = "\n\n".join(filter(None, (title, *paragraphs)))
    return Document(text, where, source, metadata={key: value for key, value in metadata.items() if value})


def _first(record: Any, *tags: str, own: bool) -> Any:
    """The first of these elements, which the record may be itself."""
    if own and record.tag in tags:
        return record
    return next((found for tag in tags if (found := record.find(tag)) is not None), record)


def _title(article: Any) -> tuple[str, bool]:
    """The title, and whether it is in English, which that of PubMed is wherever it was translated."""
    for path in ("ArticleTitle", "Book/BookTitle"):
        element = article.find(path)
        title = clean(inline_text(element)) if element is not None else ""
        inner = title.rstrip(".")
        if inner.startswith("[") and inner.endswith("]"):
            title = inner[1:-1].strip()
        if title and title.rstrip(".").lower() not in _UNTITLED:
            return title, True
    vernacular = article.find("VernacularTitle")
    return (clean(inline_text(vernacular)) if vernacular is not None else ""), False


def _abstract(element: Any) -> list[str]:
    paragraphs = []
    for part in element.iterfind("AbstractText"):
        text = clean(inline_text(part))
        text, end = text[:-_ENDING_CHARS], text[-_ENDING_CHARS:]
        for note in (_SHORTENED, _COPYRIGHT):
            end = note.sub("", end)
        text = (text + end).rstrip()
        label = clean(part.get("Label", ""))
        if text:
            paragraphs.append(f"{label}: {text}" if label.upper() not in _UNLABELLED else text)
    return paragraphs
