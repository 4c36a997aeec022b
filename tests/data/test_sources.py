import gzip
import hashlib
import http.server
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxllm.data import download
from mlxllm.data.sources import list_sources, open_source, shakespeare
from mlxllm.data.sources.pydocs import PydocsSource, docstrings
from mlxllm.data.sources.stories import SIMPLEST_PLOTS, story, tell
from mlxllm.data.sources.stories_source import StoriesSource
from mlxllm.data.sources.telling import kind_of_path
from mlxllm.data.weights import Weight, parse_source
from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import train_tokenizer


def test_every_listed_source_opens_by_its_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.json").write_text('{"text": "a"}')
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    (tmp_path / "web.parquet").write_bytes(b"PAR1")
    (tmp_path / "pubmed25n0001.xml.gz").touch()
    (tmp_path / "snapshot.json").write_text("{}")
    for kind in list_sources():
        source = open_source(kind.example)
        assert source.spec.partition(":")[0] == kind.kind
        assert open_source(source.spec).spec == source.spec


@pytest.mark.parametrize("argument", ["./a@2/b@3.txt", "a@2", "b c.txt"])
def test_a_bare_path_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / argument
    path.parent.mkdir(exist_ok=True)
    path.write_text("a")
    for prefix in ("", "text:"):
        source, weight = parse_source(prefix + argument)
        assert (source.spec, weight) == (f"text:{argument}", None)
        assert parse_source(f"{prefix}{argument}@0.25")[1] == Weight(0.25)
    assert parse_source("text:*@3x")[1] == Weight(3.0, times=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("storys", "did you mean 'stories'"),
        ("storys:5", "did you mean 'stories'"),
        ("x", "known kinds: stories, pydocs, text, jsonl, shakespeare"),
        ("stories@0", "weight '0' is not a number above 0"),
        ("stories@-1", "weight '-1'"),
        ("stories@nan", "weight 'nan'"),
        ("stories@", "weight ''"),
        ("stories@inf", "weight 'inf'"),
        ("stories:0", "tells nothing"),
        ("stories:count=x", "does not know 'count=x'"),
        ("stories:plots=99", "has no 99 simplest plots"),
        ("stories:questions=2", "takes questions=1 for a reading book"),
        ("stories:size=3", "does not know 'size=3'"),
        ("stories:-3", "does not know '-3'"),
        ("pydocs:x", "takes no options; found 'x'"),
        ("text:", "needs a file, a folder or a glob"),
    ],
)
def test_arguments_that_are_not_understood(argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_source(argument)


def test_a_missing_path_is_not_taken_for_a_kind() -> None:
    with pytest.raises(DataError, match=r"there is no file or folder 'no/such\.txt'"):
        open_source("no/such.txt")


def test_stories_are_numbered() -> None:
    documents = list(StoriesSource.parse("count=3,seed=7,start=2").documents())
    assert [d.text for d in documents] == [story(7, i).text for i in (2, 3, 4)]
    assert [d.id for d in documents] == ["stories:7:2", "stories:7:3", "stories:7:4"]
    assert open_source("stories").spec == "stories:count=20000,seed=0,start=0"
    assert open_source("stories:5").spec == "stories:count=5,seed=0,start=0"


def test_a_smaller_world_tells_the_simplest_plots_in_turn() -> None:
    source = open_source("stories:count=6,seed=3,plots=2")
    assert source.spec == "stories:count=6,seed=3,start=0,plots=2"
    expected = [tell(3, i, plot=SIMPLEST_PLOTS[i % 2], cast=4).text for i in range(6)]
    assert [document.text for document in source.documents()] == expected


@pytest.fixture(scope="module")
def pydocs() -> PydocsSource:
    return PydocsSource()


def test_pydocs_reads_like_documentation(pydocs: PydocsSource) -> None:
    loaded = set(sys.modules)
    documents = {document.id: document.text for document in pydocs.documents()}
    assert not {m for m in set(sys.modules) - loaded if not m.startswith("pydoc_data")}, "modules are parsed only"
    assert 1_500_000 < sum(map(len, documents.values())) < 4_000_000
    assert len(documents) > 1000
    assert max(map(len, documents.values())) < 200_000
    assert documents["topic assert"].startswith('The "assert" statement\n***')
    module = documents["textwrap"]
    assert module.startswith("Module textwrap\n\nText wrapping and filling.\n")
    assert "\n\nfill(text, width=70, **kwargs)\n    Fill a single paragraph of text" in module
    encoder = documents["json.encoder.JSONEncoder"]
    assert encoder.startswith("json.encoder.JSONEncoder\n\nclass JSONEncoder(object)\n    Extensible JSON")
    assert "\n\n    default(self, o)\n        Implement this method" in encoder
    assert not any(name.startswith(("test.", "idlelib", "lib2to3", "pip.")) for name in documents)
    for text in documents.values():
        assert text.strip() and text.endswith("\n") and not text.endswith("\n\n")  # noqa: PT018
        text.encode()


def test_pydocs_is_the_same_every_time(pydocs: PydocsSource) -> None:
    first = [(document.id, document.text) for document in pydocs.documents()]
    assert first == [(document.id, document.text) for document in pydocs.documents()]
    assert len({name for name, _ in first}) == len(first)


def test_docstrings_come_with_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pkg" / "test").mkdir(parents=True)
    (tmp_path / "pkg" / "test" / "x.py").write_text('"""Not this."""')
    (tmp_path / "pkg" / "__init__.py").write_text(
        '"""A package."""\n'
        "if True:\n    def f(a, *, b=1) -> int:\n        '''Doc of f.\n\n        More.\n        '''\n"
        "class C(Base):\n    async def m(self):\n        'Doc of m.'\n    class D:\n        'Doc of D.'\n"
    )
    (tmp_path / "broken.py").write_text("def (")
    monkeypatch.setattr("mlxllm.data.sources.pydocs._library", lambda: tmp_path)
    assert [(d.module, d.name, d.signature, d.text) for d in docstrings()] == [
        ("pkg", "", "", "A package."),
        ("pkg", "f", "f(a, *, b=1) -> int", "Doc of f.\n\nMore."),
        ("pkg", "C.m", "async m(self)", "Doc of m."),
        ("pkg", "C.D", "class D", "Doc of D."),
    ]
    source = PydocsSource()
    texts = {document.id: document.text for document in source.documents()}
    assert source.problems.dropped == {"unreadable module": 1}
    assert texts["pkg"] == "Module pkg\n\nA package.\n\nf(a, *, b=1) -> int\n    Doc of f.\n\n    More.\n"


def test_a_python_without_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mlxllm.data.sources.pydocs._library", lambda: tmp_path)
    with pytest.raises(DataError, match="no sources of its standard library"):
        list(PydocsSource().documents())


PLAY = "First Citizen:\nA text that stands for the real one.\n" + "".join(random.Random(0).choices("ab \n", k=5000))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A real HTTP server on loopback that sends what the test puts into the dictionary."""
    answer: dict[str, object] = {"body": PLAY.encode(), "status": 200, "requests": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["requests"] = int(str(answer["requests"])) + 1
            body = answer["body"]
            assert isinstance(body, bytes)
            self.send_response(int(str(answer["status"])))
            self.send_header("Content-Length", str(answer.get("length", len(body))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as real:
        thread = threading.Thread(target=real.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(shakespeare, "URL", f"http://127.0.0.1:{real.server_port}/input.txt")
        monkeypatch.setattr(shakespeare, "SHA256", hashlib.sha256(PLAY.encode()).hexdigest())
        monkeypatch.setattr(shakespeare, "BYTES", len(PLAY))
        monkeypatch.setattr(download, "PATIENCE", download.Patience(waits=(0.01, 0.01)))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield answer
        real.shutdown()
        thread.join()


def test_shakespeare_is_downloaded_once(server: dict[str, object], mlxllm_home: Path) -> None:
    for _ in range(2):
        source = open_source("shakespeare")
        assert source.single_text
        assert "".join(document.text for document in source.documents()) == PLAY
    assert server["requests"] == 1
    assert [path.name for path in (mlxllm_home / "cache").iterdir()] == ["tinyshakespeare.txt"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 404}, "/input.txt is not there any more (404)"),
        ({"status": 429}, "the server answered 429 Too Many Requests; or download"),
        ({"body": b"<html>log in</html>"}, f"has 19 bytes where {len(PLAY):,} are expected"),
        ({"body": PLAY.encode().swapcase()}, "is not the file it should be"),
    ],
)
def test_a_download_that_fails_says_where_to_put_the_file(
    server: dict[str, object], mlxllm_home: Path, answer: dict[str, object], message: str
) -> None:
    server.update(answer)
    with pytest.raises(DataError) as caught:
        list(open_source("shakespeare").documents())
    text = str(caught.value)
    assert message in text
    assert str(mlxllm_home / "cache" / "tinyshakespeare.txt") in text
    assert "\n" not in text
    assert not list((mlxllm_home / "cache").glob("*"))


def test_shakespeare_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 of loopback: nobody listens there.
    monkeypatch.setattr(shakespeare, "URL", "http://127.0.0.1:9/input.txt")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match=r"could not be downloaded: .*refused.*download http://.* and put it at"):
        list(open_source("shakespeare").documents())


def test_another_text_in_the_cache_is_refused(mlxllm_home: Path) -> None:
    (mlxllm_home / "cache").mkdir()
    (mlxllm_home / "cache" / "tinyshakespeare.txt").write_text("To be")
    with pytest.raises(DataError, match=r"is not tiny Shakespeare as it should be.*delete it"):
        list(open_source("shakespeare").documents())


@pytest.mark.data
def test_the_real_shakespeare(test_data: Path, mlxllm_home: Path) -> None:
    real = (test_data / "text" / "tinyshakespeare.txt").read_bytes()
    (mlxllm_home / "cache").mkdir()
    (mlxllm_home / "cache" / "tinyshakespeare.txt").write_bytes(real)
    (document,) = open_source("shakespeare").documents()
    assert document.text.encode() == real
    assert train_tokenizer("char", [document.text]).vocab_size == 261 + 65


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"WARC/1.0\r\nWARC-Type: warcinfo\r\n", "commoncrawl"),
        (
            b'<?xml version="1.0"?>\n<!DOCTYPE PubmedArticleSet SYSTEM "x">\n<PubmedArticleSet></PubmedArticleSet>',
            "pubmed",
        ),
        (b'\xef\xbb\xbf<?xml version="1.0"?><article article-type="research-article">', "pubmed"),
        (b"<html><body>An article about WARC/1.0", "text"),
        (b"The article begins here.", "text"),
        (b"", "text"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_path_alone_is_told_by_how_the_file_begins(tmp_path: Path, content: bytes, kind: str, packed: bool) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert kind_of_path(str(path)) == kind
    assert kind_of_path(str(tmp_path)) == kind, "a folder is what is in it"
    if kind != "text":
        assert open_source(str(path)).spec == f"{kind}:{path}"


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("arxiv/1911.02782.gz", "arxiv"),
        ("arxiv/arxiv-metadata-oai-snapshot.json", "arxiv"),
        ("arxiv/arxiv_text.jsonl", "text"),
        ("code/stack_v1_columns.parquet", "thestack"),
        ("web/refinedweb_columns.parquet", "parquet"),
        ("pubmed", "pubmed"),
        ("commoncrawl", "commoncrawl"),
        ("text", "text"),
        ("sft/instruction-data.json", "text"),
    ],
)
def test_real_paths_are_told(test_data: Path, path: str, kind: str) -> None:
    assert kind_of_path(str(test_data / path)) == kind
