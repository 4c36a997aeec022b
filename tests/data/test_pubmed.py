"""The `pubmed` source: real formats written here, versions and deletions across files, archives, damage."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from mlxllm.data.sources import open_source
from mlxllm.data.sources.base import Document, Record, Source
from mlxllm.data.sources.biomedical.revisions import MOST_NUMBER, Numbers, newest_first
from mlxllm.data.sources.pubmed import PubmedSource
from mlxllm.errors import ConfigError, DataError
from tests.data.tar_files import packed

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
