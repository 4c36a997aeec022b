"""The `pubmed` source: real formats written here, versions and deletions across files, archives, damage."""

import gzip
import io
import pickle
import re
import tarfile
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from mlxllm.data.sources import open_source
from mlxllm.data.sources.archives import tar_members
from mlxllm.data.sources.base import Document, Record, Source
from mlxllm.data.sources.biomedical.medline import citation_document
from mlxllm.data.sources.biomedical.revisions import MOST_NUMBER, Numbers, newest_first
from mlxllm.data.sources.biomedical.xml_text import parse_xml
from mlxllm.data.sources.files import DamagedFileError
from mlxllm.data.sources.pubmed import PubmedSource
from mlxllm.errors import ConfigError, DataError

HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January '
    '2025//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">\n'
)


def citation(pmid: int, text: str = "An abstract.", version: int = 1) -> str:
    abstract = f"<Abstract><AbstractText>{text}</AbstractText></Abstract>" if text else ""
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="{version}">{pmid}</PMID><Article>'
        f"<ArticleTitle>Title {pmid}.</ArticleTitle>{abstract}<Language>eng</Language></Article><CommentsCorrectionsList>"
        f'<CommentsCorrections RefType="Cites"><PMID Version="1">77</PMID></CommentsCorrections></CommentsCorrectionsList>'
        f"</MedlineCitation></PubmedArticle>\n"
    )


def deletion(*pmids: int) -> str:
    return "<DeleteCitation>" + "".join(f'<PMID Version="1">{n}</PMID>\n' for n in pmids) + "</DeleteCitation>"


def citations(*records: str) -> bytes:
    return f"{HEAD}<PubmedArticleSet>\n{''.join(records)}</PubmedArticleSet>\n".encode()


def full_article(number: int, text: str = "A paragraph.") -> bytes:
    return (
        '<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving v1.0//EN" "JATS-archivearticle1.dtd">\n'
        '<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta><article-id pub-id-type="pmc">'
        f"{number}</article-id></article-meta></front><body><p>{text}</p></body></article>"
    ).encode()


def packed(*members: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def bodies(source: Source) -> list[str]:
    """The last paragraph of each document."""
    return [document.text.rpartition("\n")[2] for document in source.documents()]


Write = Callable[..., PubmedSource]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Files in a folder, and the source that reads it."""

    def _write(options: str = "", **files: bytes) -> PubmedSource:
        for name, data in files.items():
            place = tmp_path / "files" / name.replace("__", "/")
            name = place.name + (".gz" if place.name.startswith("pubmed") else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            (place.parent / name.replace("_", ".")).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        source = open_source(f"pubmed:{tmp_path / 'files'}{options}")
        assert isinstance(source, PubmedSource)
        return source

    return _write


def test_later_files_replace_and_delete_what_earlier_ones_hold(write: Write) -> None:
    source = write(
        base__pubmed25n0001_xml=citations(*(citation(n, f"old {n}") for n in range(1, 7))),
        base__pubmed25n0002_xml=citations(citation(7, "old 7"), deletion(6)),
        update__pubmed25n1275_xml=citations(citation(2, "new 2"), citation(3, ""), deletion(4, 5, 99)),
        update__pubmed25n1276_xml=citations(citation(2, "newest 2"), citation(8, "was here"), deletion(8)),
        # Deleted above and put back later.
        update__pubmed25n1277_xml=citations(citation(5, "back 5")),
    )
    expected = ["back 5", "newest 2", "old 7", "old 1"]
    assert bodies(source) == expected
    dropped = {"deleted": 4, "replaced by a later version": 3, "no abstract": 1}  # 4, 5, 6, 8; 2, 2, 3; 3
    assert source.problems.dropped == dropped
    # Again, in another process, and by its own specification: the same.
    assert bodies(source) == expected
    assert bodies(pickle.loads(pickle.dumps(source))) == expected
    again = open_source(source.spec)
    assert bodies(again) == expected
    assert again.problems.dropped == dropped


def test_of_one_file_the_highest_version_counts_and_then_the_last(write: Write) -> None:
    source = write(
        a_xml=citations(
            citation(1, "1 a"),
            citation(1, "1 b"),
            citation(2, "2 v2", version=2),
            citation(2, "2 v1"),
            citation(3, "3 v1"),
            citation(3, "3 v3", version=3),
            citation(3, "3 v2", version=2),
            citation(4, "4"),
        )
    )
    assert bodies(source) == ["1 b", "2 v2", "3 v3", "4"]
    assert source.problems.dropped == {"replaced by a later version": 4}


def test_later_articles_of_pubmed_central_replace_earlier_ones(write: Write) -> None:
    source = write(
        **{
            "oa.PMC000xxxxxx.baseline.2024-06-18.tar": packed(
                ("PMC1/PMC1.xml", full_article(1, "old")), ("PMC2.xml", full_article(2)), ("PMC2.jpg", b"\xff\xd8\xff")
            ),
            "oa.incr.2024-06-19.tar": packed(("PMC1.xml", full_article(1, "new"))),
            # The number of a citation is another one.
            "pubmed25n0001.xml": citations(citation(2, "of PMID 2")),
        }
    )
    assert sorted(bodies(source)) == ["A paragraph.", "new", "of PMID 2"]
    assert source.problems.dropped == {"replaced by a later version": 1}
    assert not source.problems.mended


def test_files_are_read_newest_first() -> None:
    names = [
        "a/pubmed25n0002.xml.gz", "b/pubmed25n0010.xml.gz", "a/pubmed24n1300.xml.gz", "medline98n0500.xml",
        "oa.incr.2024-06-19.tar.gz", "oa.baseline.2024-06-18.tar.gz", "part10.xml", "part9.xml",
    ]  # fmt: skip
    ordered = [
        "b/pubmed25n0010.xml.gz", "a/pubmed25n0002.xml.gz", "a/pubmed24n1300.xml.gz", "medline98n0500.xml",
        "oa.incr.2024-06-19.tar.gz", "oa.baseline.2024-06-18.tar.gz", "part10.xml", "part9.xml",
    ]  # fmt: skip
    Random(0).shuffle(names)
    assert [str(path) for path in newest_first(map(Path, names))] == ordered


def test_a_set_of_numbers_is_a_set_of_numbers() -> None:
    drawn = Random(1).sample(range(3_000_000), 2000)
    numbers = Numbers()
    for number in (*drawn[:1000], 0, MOST_NUMBER - 1):
        numbers.add(number)
    assert [number for number in (*drawn, 0, MOST_NUMBER - 1, 1 << 40) if number in numbers] == [
        *drawn[:1000],
        0,
        MOST_NUMBER - 1,
    ]


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


def test_a_title_alone_is_a_document_only_if_asked_for(write: Write) -> None:
    files = {"a_xml": citations(citation(1, ""), citation(2))}
    source = write(**files)
    assert bodies(source) == ["An abstract."]
    assert source.problems.dropped == {"no abstract": 1}
    source = write(",abstracts=any", **files)
    assert bodies(source) == ["Title 1.", "An abstract."]
    assert source.spec.endswith(",abstracts=any")
    for wrong in (",abstracts=some", ",abstract=any"):
        with pytest.raises(ConfigError, match="abstracts"):
            write(wrong, **files)


MANY = [citation(n, f"text {n} {Random(n).randbytes(200).hex()}") for n in range(1, 300)]


@pytest.mark.parametrize("size", [0.3, 0.9, 0.999])
def test_a_truncated_gzip_is_read_up_to_its_end(tmp_path: Path, size: float) -> None:
    zipped = gzip.compress(citations(*MANY))
    (tmp_path / "pubmed25n0001.xml.gz").write_bytes(zipped[: int(len(zipped) * size)])
    source = open_source(f"pubmed:{tmp_path}")
    read = [text.split()[1] for text in bodies(source)]
    assert read == [str(n) for n in range(1, len(read) + 1)]
    assert size * 299 - 12 <= len(read) <= 299  # a kilobyte or so is with the decompressor, and one citation is cut
    assert source.problems.mended == {"damaged file": 1}
    assert source.problems.dropped in ({}, {"cut-off article": 1})
    found = len(read) + source.problems.dropped.total()
    assert f"gzip data ends early; {found} records found before that" in source.problems.examples["damaged file"][0]


def test_damage_inside_a_file_costs_the_citations_that_it_touches(write: Write) -> None:
    records = MANY[:9]
    records[2] = records[2].replace("</ArticleTitle>", "</Article")  # not well-formed
    records[4] = records[4][:300]  # cut, and the next one follows
    records[6] = records[6].replace("text", "te\x00xt")
    source = write(a_xml=citations(*records))
    assert [text.split()[1] for text in bodies(source)] == ["1", "2", "4", "6", "8", "9"]
    assert source.problems.dropped == {"bad XML": 2, "cut-off article": 1}
    assert not source.problems.mended
    assert "#PMID3: " in source.problems.examples["bad XML"][0]


def test_damaged_archives_are_read_up_to_the_damage(tmp_path: Path) -> None:
    rng = Random(3)
    whole = packed(*((f"PMC{n}.xml", full_article(n, rng.randbytes(3000).hex())) for n in range(1, 40)))
    zipped = gzip.compress(whole)
    for name, data, told in (
        ("plain.tar", whole[:100_000], "the tar archive ends early"),
        ("packed.tar.gz", zipped[: len(zipped) // 2], "gzip data ends early"),
        ("corrupt.tar", whole.replace(b"PMC20.xml", b"PMC2O.xml"), "the tar archive is corrupt"),
    ):
        (tmp_path / name).write_bytes(data)
        source = open_source(f"pubmed:{tmp_path / name}")
        assert 10 <= len(bodies(source)) <= 20
        assert source.problems.mended == {"damaged file": 1}
        assert told in source.problems.examples["damaged file"][0]


def test_what_is_not_read_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "page.xml").write_text("<html><body>hello</body></html>")
    (tmp_path / "none.xml").write_text("")
    (tmp_path / "empty.xml").write_bytes(citations())
    (tmp_path / "notes.txt").write_text("x")
    refusals = {
        "page.xml": "not PubMed or JATS .*found XML with the root element <html>; read are PubmedArticleSet",
        "none.xml": "not PubMed or JATS .*found an empty file",
        "empty.xml": "file without articles",
        "notes.txt": "found no XML: it begins with 'x'",
        "*.nxml": "no file matches",
        "nothing": "there is no file or folder",
    }
    for name, message in refusals.items():
        with pytest.raises(DataError, match=message):
            list(open_source(f"pubmed:{tmp_path / name}").documents())
    with pytest.raises(ConfigError, match="needs a file"):
        open_source("pubmed:")
    # Beside a good one they are counted.
    (tmp_path / "good.xml").write_bytes(citations(citation(1)))
    source = open_source(f"pubmed:{tmp_path}")
    assert bodies(source) == ["An abstract."]
    assert source.problems.mended == {"not PubMed or JATS": 2, "file without articles": 1, "other file type": 1}


def test_a_file_that_cannot_be_read_is_counted(write: Write) -> None:
    source = write(a_xml=citations(citation(1)), b_xml=citations(citation(2)))
    source.files[0].unlink()
    assert len(bodies(source)) == 1
    assert source.problems.mended == {"unreadable file": 1}


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    sets = b"<pmc-articleset>" + b"".join(full_article(n).partition(b"\n")[2] for n in (1, 2)) + b"</pmc-articleset>"
    other = b"<OAI-PMH><ListRecords><record><metadata>" + (
        b'<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/"><body><p>In a namespace.</p></body></article>'
        b"</metadata></record></ListRecords></OAI-PMH>"
    )
    for name, data, expected in (
        ("a.dat", gzip.compress(citations(citation(1))), ["An abstract."]),
        (
            "b.txt",
            gzip.compress(packed(("x", full_article(1)), ("y", citations(citation(2))))),
            ["A paragraph.", "An abstract."],
        ),
        ("c", sets, ["A paragraph."] * 2),
        ("d", other, ["In a namespace."]),
        ("e", citations(citation(1)).decode().replace("utf-8", "utf-16").encode("utf-16"), ["An abstract."]),
    ):
        (tmp_path / name).write_bytes(data)
        assert bodies(open_source(f"pubmed:{tmp_path / name}")) == expected


def test_a_preview_reads_the_beginning_and_complains_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "pubmed25n0001.xml.gz").write_bytes(gzip.compress(citations(*map(citation, range(1, 3000)))))
    source = open_source(f"pubmed:{tmp_path}")
    assert isinstance(source, PubmedSource)
    beginning = source.head(300_000)
    assert 100 < len(bodies(beginning)) < 2000
    assert not beginning.problems.mended
    assert not beginning.problems.dropped


def test_records_can_be_made_text_in_another_process(write: Write) -> None:
    source = write(a_xml=citations(*MANY[:3], citation(9, "")), b_nxml=full_article(5))
    worker: PubmedSource = pickle.loads(pickle.dumps(source))
    records = [pickle.loads(pickle.dumps(record)) for part in source.parts() for record in source.records(part)]
    assert all(isinstance(record, Record) for record in records)
    made = [worker.extract(record) for record in records]
    assert [document for document in made if isinstance(document, Document)] == list(source.documents())
    assert [document.id for document in made if isinstance(document, Document)][-1].endswith("a.xml#PMID3")


def test_archives_are_streams_of_members() -> None:
    long = "d" * 120 + "/" + "n" * 120 + ".xml"
    rng = Random(2)
    members = [(long, b"<a/>"), ("empty.xml", b""), ("big.bin", rng.randbytes(700_001)), ("last.xml", b"x" * 512)]
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        data = packed(*members, format=format)
        for size in (1000, len(data)):
            chunks = [data[at : at + size] for at in range(0, len(data), size)]
            assert [(name, b"".join(member)) for name, member in tar_members(iter(chunks))] == members
            # A member that nobody reads is passed over.
            assert [name for name, _ in tar_members(iter(chunks))] == [name for name, _ in members]
        for cut in (100, 700, 5000, 600_000):
            with pytest.raises(DamagedFileError, match="ends early"):
                [b"".join(member) for _, member in tar_members(iter([data[:cut]]))]
        broken = data.replace(b"big.bin", b"bug.bin")
        with pytest.raises(DamagedFileError, match="wrong checksum"):
            list(tar_members(iter([broken])))


# What follows reads real files. ElementTree is the independent reader.


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
