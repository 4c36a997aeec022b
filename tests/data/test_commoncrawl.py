import gzip
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from mlxllm.data.build import build_dataset
from mlxllm.data.build_progress import BuildProgress
from mlxllm.data.preview import preview_source
from mlxllm.data.sources import Document, Dropped, Record, open_source
from mlxllm.data.sources.commoncrawl import CrawlSource, PathSource
from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import TokenizerRecipe
from tests.data.warc_files import PARAGRAPH, html, http_page, members, page_record, sha1, warc_record
from tests.web_site import Answer, Page, Site, serve_site

WAT = b'{"Container":{"Filename":"a.warc.gz"},"Envelope":{"Format":"WARC/1.0"}}'
INFO = warc_record(b"software: a crawler\r\n", "warcinfo")
JSON = {"Content-Type": "application/json"}


def page(body: bytes | str = b"", url: str = "https://example.org/x", **fields: str) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    return warc_record(http_page(data or html(PARAGRAPH).encode(), **fields), url=url)


def read(path: Path, data: bytes) -> tuple[list[Document], PathSource]:
    path.write_bytes(data)
    source = PathSource(str(path))
    return list(source.documents()), source


def test_a_crawl_file_becomes_documents(tmp_path: Path) -> None:
    request = warc_record(b"GET / HTTP/1.1\r\n\r\n", "request")
    path = tmp_path / "a.warc.gz"
    documents, source = read(
        path, members(INFO, request, page_record(1), warc_record(b"a: b", "metadata"), page_record(2))
    )
    assert [document.id for document in documents] == [f"{path}#3", f"{path}#5"]
    assert documents[0].text.startswith(f"Page 1\n\n{PARAGRAPH} This is page number 1.\n")
    assert documents[0].metadata == {
        "url": "https://example.org/1",
        "title": "Page 1",
        "date": "2024-05-18T01:58:10Z",
    }
    assert (source.name, source.spec) == ("a.warc.gz", f"commoncrawl:{path}")
    assert not source.problems.dropped and not source.problems.mended  # noqa: PT018


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    texts = [d.text for d in read(tmp_path / "a.warc.gz", members(page_record(1), page_record(2)))[0]]
    for name, data in (
        ("a.txt", page_record(1) + page_record(2)),
        ("b", gzip.compress(page_record(1) + page_record(2))),
    ):
        assert [document.text for document in read(tmp_path / name, data)[0]] == texts


def test_text_of_a_wet_file_comes_with_its_language(tmp_path: Path) -> None:
    spanish = warc_record(
        "El puente viejo.\nMás texto.\n".encode(), "conversion", fields={"WARC-Identified-Content-Language": "spa,eng"}
    )
    latin = warc_record("Español".encode("latin-1"), "conversion")
    picture = warc_record(b"x", "conversion", fields={"Content-Type": "image/png"})
    documents, source = read(
        tmp_path / "a.wet", members(INFO, spanish, latin, picture, warc_record(b" \n", "conversion"))
    )
    assert [document.text for document in documents] == ["El puente viejo.\nMás texto."]
    assert documents[0].metadata["language"] == "spa,eng"
    assert source.problems.dropped == {"undecodable page": 1, "not text": 1, "empty": 1}


def test_what_is_no_page_is_dropped_with_its_reason(tmp_path: Path) -> None:
    block = http_page(html(PARAGRAPH).encode())
    records = [
        page_record(1),
        page(content_type="application/pdf"),
        page(content_type="text/plain", url="https://example.org/robots.txt"),
        warc_record(
            b"20240518 example.org 60 IN A 192.0.2.1", url="dns:example.org", fields={"Content-Type": "text/dns"}
        ),
        warc_record(block, fields={"WARC-Identified-Payload-Type": "application/xml"}),
        page(status="404 Not Found"),
        page(status="301 Moved"),
        warc_record(block, digest=sha1(b"other")),
        warc_record(block, digest=None, fields={"WARC-Payload-Digest": sha1(b"other")}),
        page(b"<nav><ul><li><a href=/>Home</a></li></ul></nav>"),
        page(b"\x0b\x02\x80text\x03", Content_Encoding="br"),
        page(bytes(range(256)) * 9),
        page("<div>" * 9000),
        page(b"<p>" + b"a " * (5 << 20)),
        warc_record(b"", "revisit"),
        warc_record(b"x", "resource"),
        warc_record(block, length="5", digest=None),
        page_record(2),
    ]
    documents, source = read(tmp_path / "a.warc.gz", members(*records))
    assert [document.metadata["title"] for document in documents] == ["Page 1", "Page 2"]
    assert source.problems.dropped == {
        "not HTML": 4,
        "HTTP status is not 200": 2,
        "bad digest": 2,
        "no main text": 1,
        "undecodable page": 3,
        "page too large": 1,
        "broken record": 1,
    }
    assert source.problems.mended == {"record without a page": 2}
    assert source.problems.examples["not HTML"][0].endswith("a.warc.gz#2: 'application/pdf' (https://example.org/x)")
    empty = [
        d for d in map(source.extract, records_of(source)) if isinstance(d, Dropped) and d.reason == "no main text"
    ]
    assert [dropped.text for dropped in empty] == ["• Home"]


def records_of(source: PathSource) -> list[Record]:
    return [record for part in source.parts() for record in source.records(part) if isinstance(record, Record)]


def test_pages_that_are_sent_in_other_ways_are_pages(tmp_path: Path) -> None:
    text = html(PARAGRAPH).encode()
    in_chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
    block = http_page(in_chunks, Transfer_Encoding="chunked")
    records = [
        page(gzip.compress(text), Content_Encoding="gzip"),
        warc_record(block),
        warc_record(block, digest=None, fields={"WARC-Payload-Digest": sha1(text)}),
        warc_record(block, digest=None, fields={"WARC-Payload-Digest": sha1(in_chunks)}),
        warc_record(block, digest="crc32:123"),
        page(content_type=""),
        page(content_type="application/xhtml+xml"),
    ]
    documents, source = read(tmp_path / "a.warc", b"".join(records))
    assert [document.text for document in documents] == [f"A page\n\n{PARAGRAPH}"] * 7, source.problems


def test_damage_is_counted_and_costs_no_other_page(tmp_path: Path) -> None:
    packed = [members(page_record(number)) for number in range(5)]
    hurt = packed[1][:-8] + bytes(8)
    cut = packed[4][:-60]
    documents, source = read(tmp_path / "a.warc.gz", b"".join([packed[0], hurt, packed[2], packed[3], cut]))
    # The check of the second is wrong, but its digest proves it.
    assert [document.metadata["title"] for document in documents] == ["Page 0", "Page 1", "Page 2", "Page 3"]
    assert source.problems.dropped == {"cut-off record": 1}
    assert source.problems.mended == {"damaged file": 2}
    assert "gzip data ends early" in source.problems.examples["damaged file"][1]


def test_records_are_read_here_and_extracted_elsewhere(tmp_path: Path) -> None:
    expected, source = read(tmp_path / "a.warc.gz", members(page_record(1), page_record(2)))
    sent = pickle.dumps((source, records_of(source)))
    elsewhere, records = pickle.loads(sent)
    assert [elsewhere.extract(record) for record in records] == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (members(INFO, warc_record(WAT, "metadata", fields=JSON)), r"\(WAT file\): it holds what is known of pages"),
        (
            gzip.compress(b"crawl-data/CC-MAIN-2023-50/segments/1/wet/a.warc.wet.gz\ncrawl-data/b.gz\n", mtime=0),
            r"\(list of files\): .* commoncrawl:CC-MAIN-2023-50,files=1,kind=wet$",
        ),
        (b"part-00000-4dd7.c000.gz.parquet\n", r"\(list of files\): it lists files that hold no pages"),
        (b"", r"\(empty file\)"),
        (b"<!DOCTYPE html><html>", r"\(not a WARC file\): it begins with '<!DOCTYPE html><html'; a WARC"),
        (gzip.compress(b'{"text": "a"}', mtime=0), r"\(not a WARC file\)"),
        (gzip.compress(b"filedesc://a.arc.gz 0.0.0.0 2010", mtime=0), r"\(ARC file\)"),
        (random.Random(5).randbytes(1000), r"\(not a WARC file\)"),
    ],
)
def test_a_file_without_pages_is_refused_with_its_reason(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        open_source(f"commoncrawl:{path}")
    # Beside others it is passed over.
    (tmp_path / "b.warc.gz").write_bytes(members(page_record(1)))
    (tmp_path / "notes.txt").write_text("other")
    source = open_source(f"commoncrawl:{tmp_path}")
    for _ in range(2):
        assert [document.metadata["title"] for document in source.documents()] == ["Page 1"]
        assert source.problems.mended.total() == 2
        assert source.problems.mended["other file type"] == 1


def test_a_folder_without_pages_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a.wat.gz", "b.wat.gz"):
        (tmp_path / name).write_bytes(members(INFO, warc_record(WAT, "metadata", fields=JSON)))
    with pytest.raises(DataError, match="holds no usable text: WAT file"):
        list(open_source(f"commoncrawl:{tmp_path}").documents())
    with pytest.raises(DataError, match="no file or folder"):
        open_source("commoncrawl:nowhere.warc.gz")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "needs a file, a folder or a glob"),
        ("CC-MAIN-2024", "which looks like CC-MAIN-2024-22"),
        ("CC-NEWS-2024-01", "which looks like CC-MAIN-2024-22"),
        ("CC-MAIN-2024-22,kind=wat", "give kind=warc"),
        ("CC-MAIN-2024-22,files=0", "'files' of source 'commoncrawl' is '0'; wanted a number from 1"),
        ("CC-MAIN-2024-22,start=-1", "'start'"),
        ("CC-MAIN-2024-22,filez=1", "did you mean 'files'"),
        ("some.warc.gz,files=2", "'some.warc.gz' is a path"),
    ],
)
def test_specifications_that_are_not_understood(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(f"commoncrawl:{spec}")


def test_the_specification_of_a_crawl_names_everything() -> None:
    source = open_source("commoncrawl:CC-MAIN-2024-22")
    assert source.spec == "commoncrawl:CC-MAIN-2024-22,files=1,start=0,kind=warc"
    assert source.name == "CC-MAIN-2024-22/warc"
    wet = open_source("commoncrawl:CC-MAIN-2024-22,kind=wet,files=3,start=2")
    assert wet.spec == "commoncrawl:CC-MAIN-2024-22,files=3,start=2,kind=wet"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A data host with a crawl of four files, of which the third is damaged."""
    with serve_site() as site:
        monkeypatch.setenv("MLXLLM_COMMONCRAWL_URL", f"{site.address}/")
        names = [f"crawl-data/CC-MAIN-2024-22/segments/17/warc/CC-MAIN-{number}.warc.gz" for number in range(4)]
        site.pages["/crawl-data/CC-MAIN-2024-22/warc.paths.gz"] = Page(gzip.compress("\n".join(names).encode()))
        for number, name in enumerate(names):
            data = members(INFO, *(page_record(10 * number + n) for n in range(3)))
            site.pages[f"/{name}"] = Page(data[:-30] if number == 2 else data)
        yield site


def cached(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "cache").rglob("*") if path.is_file())


def test_files_of_a_crawl_are_fetched_one_at_a_time(site: Site, mlxllm_home: Path) -> None:
    source = open_source("commoncrawl:CC-MAIN-2024-22,files=2,start=1")
    assert not site.requests, "nobody is asked before it is read"
    there = []
    titles = []
    for document in source.documents():
        titles.append(document.metadata["title"])
        there.append(cached(mlxllm_home))
    assert titles == ["Page 10", "Page 11", "Page 12", "Page 20", "Page 21"]
    assert there[0] == ["CC-MAIN-1.warc.gz", "warc.paths.gz"]
    assert there[-1] == ["CC-MAIN-2.warc.gz", "warc.paths.gz"]
    assert cached(mlxllm_home) == ["warc.paths.gz"]
    assert source.problems.dropped == {"cut-off record": 1}
    assert document.id == "crawl-data/CC-MAIN-2024-22/segments/17/warc/CC-MAIN-2.warc.gz#3"


def test_a_build_tells_how_much_of_a_file_has_come(site: Site, tmp_path: Path) -> None:
    told: list[BuildProgress] = []
    source = open_source("commoncrawl:CC-MAIN-2024-22,files=2")
    build_dataset(tmp_path / "d", [(source, None)], TokenizerRecipe("char"), val_split=0.0, progress=told.append)
    fetched = [(each.phase, each.file, each.fetched) for each in told if each.file and each.fetched == each.file_bytes]
    sizes = {name.rpartition("/")[2]: len(page.body) for name, page in site.pages.items()}
    names = ["warc.paths.gz", "CC-MAIN-0.warc.gz", "CC-MAIN-1.warc.gz"]
    # What the tokenizer has learned from is fetched once more.
    assert fetched == [
        *(("tokenizer", name, sizes[name]) for name in names),
        *(("writing", name, sizes[name]) for name in names[1:]),
    ]


def test_a_file_that_was_not_read_to_its_end_is_not_fetched_again(site: Site, mlxllm_home: Path) -> None:
    source = open_source("commoncrawl:CC-MAIN-2024-22")
    documents = source.documents()
    next(documents)
    documents.close()  # type: ignore[attr-defined]
    assert cached(mlxllm_home) == ["CC-MAIN-0.warc.gz", "warc.paths.gz"]
    asked = len(site.requests)
    assert len(list(open_source("commoncrawl:CC-MAIN-2024-22").documents())) == 3
    assert len(site.requests) == asked


def test_a_preview_fetches_only_a_beginning(site: Site, mlxllm_home: Path) -> None:
    site.pages["/crawl-data/CC-MAIN-2024-22/segments/17/warc/CC-MAIN-0.warc.gz"].body += members(
        *(page_record(number) for number in range(2000))
    )
    preview = preview_source(open_source("commoncrawl:CC-MAIN-2024-22,files=2"), most_bytes=20_000)
    assert 5 < len(preview.texts) < 25
    assert not preview.complete
    assert preview.expected_documents == 60_000
    assert not preview.problems.dropped and not preview.problems.mended  # noqa: PT018
    assert cached(mlxllm_home) == ["warc.paths.gz"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_crawl_that_is_not_there_is_said_so(site: Site, status: int) -> None:
    site.answers = [Answer(status)]
    with pytest.raises(
        DataError, match=r"there is no crawl CC-MAIN-2031-01 with warc files at http://127.* are listed at"
    ):
        list(open_source("commoncrawl:CC-MAIN-2031-01").documents())


def test_more_files_than_there_are_and_lists_that_are_none(site: Site, mlxllm_home: Path) -> None:
    with pytest.raises(DataError, match="has 4 warc files, and files=3 from start=2 goes beyond the last"):
        list(open_source("commoncrawl:CC-MAIN-2024-22,files=3,start=2").documents())
    for data in (
        b"crawl-data/../../secret.gz\n",
        b"/etc/passwd\n",
        b"<html>",
        gzip.compress(b"crawl-data/a/b.gz")[:-9],
    ):
        path = mlxllm_home / "cache" / "commoncrawl" / "CC-MAIN-2024-22" / "warc.paths.gz"
        path.write_bytes(data)
        with pytest.raises(DataError, match="is not the list of a crawl's files as it should be"):
            CrawlSource("CC-MAIN-2024-22").parts()


def test_a_host_that_is_not_reached(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("commoncrawl:CC-MAIN-2024-22")
    assert isinstance(source, CrawlSource)
    source.parts()
    head = source.head(1000)
    site.forever = Answer(503)
    with pytest.raises(DataError, match="the server answered 503"):
        list(head.documents())
    monkeypatch.setenv("MLXLLM_COMMONCRAWL_URL", "http://127.0.0.1:9")
    for unreachable in (head, open_source("commoncrawl:CC-MAIN-2024-22,kind=wet")):
        with pytest.raises(DataError, match="cannot be reached"):
            list(unreachable.documents())


@pytest.mark.data
def test_the_real_files(test_data: Path) -> None:
    """Counts and first words are warcio's and those of a reader of the pages; languages are of the files' heads."""
    folder = test_data / "commoncrawl"
    source = open_source(f"commoncrawl:{folder}")
    documents = list(source.documents())
    pages = Counter[str]()
    urls = []
    for path in sorted(folder.glob("*.gz")):
        if ".wat." in path.name or ".paths." in path.name:
            continue
        with open(path, "rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type in ("response", "conversion"):
                    pages[path.name] += 1
                    urls.append(record.rec_headers.get_header("WARC-Target-URI"))
    assert pages == {"dolma-sample-0000.warc.gz": 22, "whirlwind.warc.gz": 1, "whirlwind.warc.wet.gz": 1}
    assert [document.metadata["url"] for document in documents] == urls
    assert not source.problems.dropped
    assert source.problems.mended == {"WAT file": 1, "list of files": 1, "record without a page": 2}

    by_url = {document.metadata["url"]: document.text for document in documents[:22]}
    facts = by_url["https://soldaini.net/facts/"]
    assert facts.startswith("Facts\n\nIn no particular order, here are some facts about me:\n\n  • My last name is")
    assert facts.count("•") == 9
    assert "Publications" not in facts, "the menu"
    biography = by_url["https://www.cs.washington.edu/people/faculty/weld"]
    assert "Daniel S. Weld is Professor Emeritus at the Paul G. Allen School" in biography
    for menu in ("Skip to main content", "Outreach", "Support #UWAllen", "MyCSE"):
        assert menu not in biography
    mastodon = by_url["https://maria-antoniak.github.io/2023/07/04/notes-on-mastodon.html"]
    assert mastodon.startswith("Some things to know about Mastodon\n\nThis is a list of things I think are important")
    assert mastodon.endswith("July 04, 2023\n\nUpdated: July 24, 2023")

    warc, wet = documents[22:]
    assert (wet.metadata["language"], warc.metadata["title"]) == ("spa", "Escopete - Biquipedia, a enciclopedia libre")
    assert "Escopete ye un municipio d'a provincia de Guadalachara" in warc.text
    assert "[editar" not in warc.text and "[editar" in wet.text  # noqa: PT018
    assert len(warc.text) < len(wet.text) / 2, "without navigation"

    for name, why in (("whirlwind.warc.wat.gz", "WAT file"), ("CC-MAIN-2024-22.warc.paths.gz", "list of files")):
        with pytest.raises(DataError, match=why):
            open_source(f"commoncrawl:{folder / name}")
