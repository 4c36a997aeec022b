"""PubMed's citations as text: labels, titles, languages, and what is left out of an abstract."""

import pytest

from mlxllm.data.sources.base import Document
from mlxllm.data.sources.biomedical.medline import citation_document
from mlxllm.data.sources.biomedical.xml_text import parse_xml


def of(xml: str, *, any_abstract: bool = False) -> Document | None:
    made = citation_document(parse_xml(xml.encode()), "here", "pubmed", any_abstract=any_abstract)
    return made if isinstance(made, Document) else None


def abstract(*texts: str, title: str = "<ArticleTitle>T.</ArticleTitle>", more: str = "", language: str = "eng") -> str:
    return (
        f"<PubmedArticle><MedlineCitation><PMID>5</PMID><Article>{title}<Abstract>{''.join(texts)}<CopyrightInformation>"
        f"LEFT OUT</CopyrightInformation></Abstract><Language>{language}</Language><PublicationTypeList><PublicationType>"
        f"Journal Article</PublicationType><PublicationType>Review</PublicationType></PublicationTypeList></Article>{more}"
        f"</MedlineCitation></PubmedArticle>"
    )


@pytest.mark.parametrize(
    ("xml", "read"),
    [
        (abstract('<AbstractText Label="AIM" NlmCategory="OBJECTIVE">To see.</AbstractText>',
                  '<AbstractText Label="UNLABELLED">We saw.</AbstractText>', "<AbstractText/>"),
         "T.\n\nAIM: To see.\n\nWe saw."),
        (abstract("<AbstractText>CO<sub>2</sub> at\n  10<sup>-3</sup> <i>M</i> &lt; &alpha;.</AbstractText>"),
         "T.\n\nCO₂ at 10⁻³ M < α."),
        (abstract("<AbstractText>Short. (ABSTRACT TRUNCATED AT 250 WORDS)</AbstractText>"), "T.\n\nShort."),
        (abstract("<AbstractText>It is so. Copyright 2003 Wiley-Liss, Inc.</AbstractText>"), "T.\n\nIt is so."),
        (abstract("<AbstractText>It is so. © 2011 The Authors. Journal © 2011 Society.</AbstractText>"), "T.\n\nIt is so."),
        (abstract("<AbstractText>Copyright law changed in 1976. We ask why (see 1998).</AbstractText>"),
         "T.\n\nCopyright law changed in 1976. We ask why (see 1998)."),
        (abstract("<AbstractText>A.</AbstractText>", title="<ArticleTitle>[On <i>this</i>].</ArticleTitle>"
                  "<VernacularTitle>Davon.</VernacularTitle>", language="ger"), "On this\n\nA."),
        (abstract("<AbstractText>A.</AbstractText>", title="<ArticleTitle>[Not Available].</ArticleTitle>"
                  "<VernacularTitle>Davon.</VernacularTitle>", language="ger"), "Davon.\n\nA."),
        (abstract("<AbstractText>A.</AbstractText>", more='<OtherAbstract Type="Publisher" Language="spa"><AbstractText>'
                  "Uno.</AbstractText></OtherAbstract>"), "T.\n\nA."),
        (abstract(more='<OtherAbstract Type="Publisher" Language="spa"><AbstractText>Uno.</AbstractText></OtherAbstract>'),
         "T.\n\nUno."),
        ("<PubmedBookArticle><BookDocument><PMID>3</PMID><Book><BookTitle>Book</BookTitle></Book><ArticleTitle>Gene"
         "</ArticleTitle><Abstract><AbstractText>A.</AbstractText></Abstract></BookDocument></PubmedBookArticle>",
         "Gene\n\nA."),
        ("<MedlineCitation><PMID>3</PMID><Article><ArticleTitle>Old.</ArticleTitle><Abstract><AbstractText>A.</AbstractText>"
         "</Abstract></Article></MedlineCitation>", "Old.\n\nA."),
    ],
)  # fmt: skip
def test_citations_read_like_their_abstracts(xml: str, read: str) -> None:
    made = of(xml)
    assert made is not None
    assert made.text == read


def test_metadata_tells_language_and_kinds() -> None:
    made = of(abstract("<AbstractText>A.</AbstractText>", language="ger"))
    assert made is not None
    assert made.metadata == {
        "title": "T.", "language": "en", "article_language": "de", "category": "Journal Article; Review", "pmid": "5",
    }  # fmt: skip
    spanish = of(
        abstract(more='<OtherAbstract Language="spa"><AbstractText>Uno.</AbstractText></OtherAbstract>', language="spa")
    )
    assert spanish is not None
    assert spanish.metadata["language"] == "es"
