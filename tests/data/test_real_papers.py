"""Real citations and articles, against ElementTree as the independent reader."""

import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlxllm.data.sources import open_source


@pytest.mark.data
@pytest.mark.parametrize(("name", "pmids"), [
    ("pubmed1.xml", ["9997"]), ("pubmed2.xml", ["11748933", "11700088"]), ("pubmed5.xml", ["28775130"]),
    ("pubmed6.xml", ["30108519"]),
])  # fmt: skip
def test_real_citations(test_data: Path, name: str, pmids: Sequence[str]) -> None:
    path = test_data / "pubmed" / name
    articles = ElementTree.parse(path).getroot().findall("PubmedArticle")
    wanted = [article for article in articles if article.find(".//Abstract/AbstractText") is not None]
    source = open_source(f"pubmed:{path}")
    documents = list(source.documents())
    assert [document.metadata["pmid"] for document in documents] == pmids
    assert source.problems.dropped.total() == len(articles) - len(wanted) == (name == "pubmed1.xml")
    for article, document in zip(wanted, documents, strict=True):
        paragraphs = [letters("".join(p.itertext())) for p in article.iterfind(".//Abstract/AbstractText")]
        title, *read = document.text.split("\n\n")
        labels = [p.get("Label", "") for p in article.iterfind(".//Abstract/AbstractText")]
        assert [letters(text) for text in read] == [letters(a) + b for a, b in zip(labels, paragraphs, strict=True)]
        assert letters(title) == letters("".join(article.find(".//ArticleTitle").itertext()))  # type: ignore[union-attr]


# Read beside their XML: the licence that each names, and what a citation takes along besides its number.
ARTICLES = {
    "1471-2180-11-174.nxml": (
        "PMC3166277", "CC BY 2.0", {"[[], their figure five]": "", "[[], pp. 57-59.]": "", "Box 7.1 of []": "Box 7.1 of [56]"}
    ),
    "ehp-116-1694.nxml": ("PMC2599765", "public domain", {}),
    "pntd.0002065.nxml": ("PMC3585041", "CC BY", {}),
    "pone.0046493.nxml": ("PMC3460867", "CC BY", {}),
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", ARTICLES)
def test_real_articles_are_whole(test_data: Path, name: str) -> None:
    path = test_data / "pubmed" / "pmc" / name
    [document] = open_source(f"pubmed:{path}").documents()
    number, licence, other = ARTICLES[name]
    assert (document.metadata["pmc"], document.metadata["licence"]) == (number, licence)
    root = ElementTree.parse(path).getroot()
    title = "".join(root.find(".//title-group/article-title").itertext())  # type: ignore[union-attr]
    parts = document.text.split("\n\n")
    paragraphs, headings = [], [title]
    for kind, text in walk(root):
        if kind == "p":
            for before, after in other.items():
                text = text.replace(before, after)
            paragraphs.append(text)
        else:
            headings.append(text)
    assert [words(part) for part in parts if not part.startswith("#")] == [words(text) for text in paragraphs]
    made = ("Abstract", "Main text")  # headings that the XML does not have
    read = [part.lstrip("# ") for part in parts if part.startswith("#")]
    assert [words(part) for part in read if part not in made] == [words(text) for text in headings if text not in made]
    assert not re.search(r"\[[\s,;–-]*\]|\([\s,;–-]*\)| [,.;]|[^\S\n]{2}", document.text)


LEFT_OUT = {"fig", "table-wrap", "supplementary-material", "label", "fn"}


def walk(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """Paragraphs and titles of abstracts and body in order, without citations by number."""

    def text(element: ElementTree.Element) -> str:
        inner = element.text or ""
        for child in element:
            cited = "".join(child.itertext()).strip("[]")
            if child.tag not in LEFT_OUT and not (
                child.get("ref-type") == "bibr" and cited.isdigit() and int(cited) < 1000
            ):
                inner += text(child)
            inner += child.tail or ""
        return inner

    def below(element: ElementTree.Element) -> Iterator[tuple[str, str]]:
        for child in element:
            if child.tag in ("p", "title"):
                yield child.tag, text(child)
            elif child.tag not in LEFT_OUT and child.get("sec-type") != "supplementary-material":
                yield from below(child)

    for path in ("front/article-meta/abstract", "body"):
        for element in root.iterfind(path):
            yield from below(element)


def words(text: str) -> list[str]:
    """Words and numbers, superscripts and subscripts like other digits, the signs between them left out."""
    return re.findall(r"\w+", unicodedata.normalize("NFKD", text))


def letters(text: str) -> str:
    """The words without what is between them, which is where the XML may break its lines."""
    return "".join(words(text))
