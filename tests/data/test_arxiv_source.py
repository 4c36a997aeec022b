import gzip
import io
import json
import pickle
import random
import tarfile
from pathlib import Path

import pytest

from mlxllm.data.sources import Document, Dropped, Record, open_source
from mlxllm.data.sources.arxiv import ArxivSource
from mlxllm.data.sources.latex import LatexError, project, read_paper
from mlxllm.data.sources.latex.symbols import plain_title
from mlxllm.errors import ConfigError, DataError

PAPER = b"\\documentclass{article}\n\\title{T}\n\\begin{document}\nSome text.\n\\end{document}\n"


def tar(files: dict[str, bytes], *, links: dict[str, str] | None = None, kind: int = tarfile.GNU_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return packed.getvalue()


def eprint(files: dict[str, bytes], **options: object) -> bytes:
    return gzip.compress(tar(files, **options))  # type: ignore[arg-type]


def document(body: str, preamble: str = "") -> bytes:
    return f"\\documentclass{{article}}{preamble}\\begin{{document}}{body}\\end{{document}}".encode()


def read(spec: str) -> tuple[list[Document], dict[str, int]]:
    source = open_source(spec)
    documents = list(source.documents())
    return documents, dict(source.problems.dropped)


def metadata(number: str, **fields: object) -> str:
    whole = {
        "id": number,
        "title": "A\n  title",
        "abstract": "  One\ntwo.\n",
        "categories": "cs.LG stat.ML",
        "license": None,
    }
    return json.dumps(whole | fields)


# -- metadata


def test_an_abstract_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    abstract = "  First line\nsecond with $x_1\n+ y$ and Erd\\H{o}s.\n  New paragraph: 5% of ~10.\n"
    path.write_text(
        metadata(
            "0704.0001",
            title="Caf\\'{e} na\\\"{\\i}ve\n  {\\L}\\'od\\'z",
            abstract=abstract,
            license="L",
            update_date="2008-11-26",
        )
    )
    (found,), dropped = read(f"arxiv:{path}")
    assert found.text == "Café naïve Łódź\n\nFirst line second with $x_1 + y$ and Erdős.\n\nNew paragraph: 5% of ~10."
    assert found.metadata == {
        "id": "0704.0001",
        "url": "https://arxiv.org/abs/0704.0001",
        "title": "Café naïve Łódź",
        "category": "cs.LG",
        "licence": "L",
        "date": "2008-11-26",
    }
    assert (found.id, found.source, dropped) == (f"{path}:1", "snapshot", {})


def test_categories_match_by_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    kinds = ["math.AG", "math-ph", "cs.LG math.CO", "hep-th", "cs.LO", "astro-ph.CO", "math"]
    path.write_bytes(
        gzip.compress("\n".join(metadata(str(i), categories=kind) for i, kind in enumerate(kinds)).encode())
    )

    def numbers(category: str) -> list[str]:
        return [found.metadata["id"] for found in read(f"arxiv:{path},category={category}")[0]]

    assert numbers("math") == ["0", "2", "6"]
    assert numbers("cs.LG+hep-th") == ["2", "3"]
    assert numbers("astro-ph") == ["5"]
    source = open_source(f"arxiv:{path},category=math")
    assert source.spec == f"arxiv:{path},category=math"
    assert len(list(source.documents())) == 3
    assert source.problems.mended == {"other category": 4}
    with pytest.raises(DataError, match="other category"):
        read(f"arxiv:{path},category=econ")


def test_bad_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    lines = [
        metadata("1"),
        '{"broken',
        '{"id": "2"}',
        "[1]",
        metadata("3", abstract=" "),
        "",
        '{"title": "\\ud800", "abstract": "x"}',
    ]
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    documents, dropped = read(f"arxiv:{path}")
    assert len(documents) == 1
    assert dropped == {"bad JSON": 2, "no title or abstract": 2, "no abstract": 1, "undecodable line": 1}


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Poincar\\'e and {\\'E}tale {\\'ecole}", "Poincaré and Étale {école}"),
        ('\\"Uber $\\alpha$-{\\it Sobolev} \\& \\textbf{x}', "Über $\\alpha$-Sobolev & x"),
        ("100% of C# ~ _a_ 1--2", "100% of C# ~ _a_ 1--2"),
        ('\\o{}re \\ss \\c{c} \\v{s} \\aa ngstr\\"om', "øre ß ç š ångström".replace("ß ", "ß")),
        ("on $\\'x$ and \\foo", "on $\\'x$ and \\foo"),
    ],
)
def test_titles_in_unicode(title: str, shown: str) -> None:
    assert plain_title(title) == shown


# -- e-prints


def test_forms_of_an_eprint_are_told_by_content(tmp_path: Path) -> None:
    forms = {
        "2001.00001.gz": gzip.compress(PAPER),
        "2001.00002v3.pdf": eprint({"sub/p.tex": PAPER, "sub/fig.png": b"\x89PNG"}),
        "2001.00003": tar({"p.tex": PAPER}),
        "math0101001.txt": PAPER,
        "2001.00005.gz": gzip.compress(b"%PDF-1.5 ..."),
        "2001.00006": b"%PDF-1.5 ...",
        "2001.00007.gz": eprint({"x.pdf": b"%PDF-1.5"}),
        "2001.00008.gz": gzip.compress(b"%auto-ignore\nwithdrawn"),
        "2001.00009.gz": gzip.compress(b"%!PS-Adobe"),
        "2001.00010.gz": gzip.compress(bytes(1000)),
        "2001.00011.gz": gzip.compress(PAPER * 50)[:100],
        "2001.00012.gz": b"",
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
    documents, dropped = read(f"arxiv:{tmp_path}")
    assert [(found.metadata["id"], found.text) for found in documents] == [
        (number, "# T\n\nSome text.") for number in ("2001.00001", "2001.00002", "2001.00003", "math/0101001")
    ]
    assert dropped == {"PDF only": 3, "withdrawn": 1, "PostScript only": 1, "no LaTeX": 2, "damaged e-print": 1}


def test_a_bulk_archive_holds_many(tmp_path: Path) -> None:
    files = {
        "2001/2001.00001.gz": gzip.compress(PAPER),
        "2001/2001.00002.pdf": b"%PDF-1.4",
        "2001/hep-th2001003.gz": eprint({"a.tex": PAPER}),
    }
    bulk = tmp_path / "arXiv_src_2001_001.tar"
    bulk.write_bytes(tar(files, links={"2001/2001.00009.gz": "/etc/passwd"}))
    documents, dropped = read(f"arxiv:{bulk}")
    assert [found.id for found in documents] == [f"{bulk}:2001/2001.00001.gz", f"{bulk}:2001/hep-th2001003.gz"]
    assert dropped == {"PDF only": 1}
    documents, dropped = read(f"arxiv:{bulk},category=hep-th")
    assert [found.metadata["id"] for found in documents] == ["hep-th/2001003"]
    assert dropped == {"category not known": 2}
    whole = bulk.read_bytes()
    bulk.write_bytes(whole[: whole.index(b"2001/hep-th2001003.gz") + 600])
    source = open_source(f"arxiv:{bulk}")
    assert len(list(source.documents())) == 1
    assert source.problems.mended == {"damaged file": 1}


def test_records_are_cheap_and_can_be_sent(tmp_path: Path) -> None:
    path = tmp_path / "2001.00001.gz"
    path.write_bytes(gzip.compress(PAPER))
    source = ArxivSource(str(path))
    (record,) = source.records(source.parts()[0])
    assert isinstance(record, Record)
    made = pickle.loads(pickle.dumps(source)).extract(pickle.loads(pickle.dumps(record)))
    assert isinstance(made, Document)
    assert made.metadata["title"] == "T"


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        ({"a.tex": document("A"), "b.tex": b"part of it"}, "A"),
        ({"supplement.tex": document("S " * 99), "paper.tex": document("\\maketitle P")}, "P"),
        ({"x.tex": document("X"), "y.tex": document("Y"), "y.bbl": b"\\bibitem{a}"}, "Y"),
        ({"a.tex": document("A" * 99), "b.tex": document("B"), "00README.XXX": b"b.tex toplevelfile\n"}, "B"),
        (
            {
                "s/a.tex": document("A" * 99),
                "s/b.tex": document("B"),
                "s/00README.json": b'{"sources": [{"usage": "toplevel", "filename": "b.tex"}]}',
            },
            "B",
        ),
        (
            {"fig.tex": b"\\documentclass{standalone}\\begin{document}no no no\\end{document}", "m.tex": document("M")},
            "M",
        ),
        ({"._a.tex": document("junk"), "__MACOSX/a.tex": document("junk" * 9), "a.tex": document("A")}, "A"),
        (
            {
                "../out.tex": document("out" * 9),
                "/abs.tex": document("abs" * 9),
                "a.tex": document("\\input{../out}A\\input{/abs}"),
            },
            "A",
        ),
        ({"plain": b"Hello \\bf plain.\\bye", "notes.txt": b"nothing"}, "Hello plain."),
        (
            {"d/main.tex": document("A \\input{parts/one} \\input{d/two}"), "d/parts/one.tex": b"1", "d/two.tex": b"2"},
            "A 1 2",
        ),
        ({"a.tex": b"%\\documentclass{no}\\begin{document}", "b.tex": document("B")}, "B"),
    ],
)
def test_the_main_file_is_found(files: dict[str, bytes], shown: str) -> None:
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert read_paper(eprint(files, kind=kind, links={"a.tex.lnk": "/etc/passwd"}))[1] == shown


def test_encodings() -> None:
    assert read_paper(gzip.compress(document("Café €")))[1] == "Café €"
    assert read_paper(gzip.compress(document("Café ü").decode().encode("latin-1")))[1] == "Café ü"
    cyrillic = document("Привет", "\\usepackage[cp1251]{inputenc}").decode().encode("cp1251")
    assert read_paper(gzip.compress(cyrillic))[1] == "Привет"
    assert read_paper(gzip.compress(document("a\r\nb\r\rc \x01\x00d").replace(b"\x00", b"")))[1] == "a b\n\nc d"


def test_archives_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(LatexError, match="unpacked"):
        read_paper(eprint({"a.tex": PAPER, "zeros.png": bytes(1 << 20)}))
    monkeypatch.setattr(project, "MOST_TEXT", 1000)
    with pytest.raises(LatexError, match="of text"):
        read_paper(eprint({"a.tex": PAPER, "b.tex": b"x" * 2000}))
    monkeypatch.setattr(project, "_MOST_MEMBERS", 10)
    with pytest.raises(LatexError, match="10 files"):
        read_paper(eprint({f"{i}.tex": b"x" for i in range(11)}))


def test_damage_anywhere_is_a_paper_or_a_reason() -> None:
    body = (
        "\\section{A} $x$ \\begin{align}a&=b\\\\c\\end{align}\\footnote{n}\\begin{itemize}\\item i\\end{itemize}\\cite{k}"
        * 5
    )
    whole = document(body, "\\newcommand{\\R}[2][x]{#1#2}")
    draw = random.Random(5)
    pieces = [
        "{",
        "}",
        "$",
        "\\",
        "%",
        "#1",
        "\\begin{figure}",
        "\\end{align}",
        "\\def\\R#1{",
        "\\fi",
        "\\else",
        "[",
        "&",
        "\n\n",
    ]
    read_to_end = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(damaged))
            if draw.random() < 0.5:
                del damaged[at : at + draw.randint(1, 20)]
            else:
                damaged[at:at] = draw.choice(pieces).encode()
        try:
            read_to_end += bool(read_paper(bytes(damaged)))
        except LatexError:
            continue
    assert read_to_end > 100
    packed = eprint({"a.tex": whole})
    for cut in range(0, len(packed) * 9 // 10, 7):
        with pytest.raises(LatexError):
            read_paper(packed[:cut])


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("arxiv:", ConfigError, "needs a file"),
        ("arxiv:FILE,category=C++", ConfigError, "no category"),
        ("arxiv:FILE,categories=cs", ConfigError, "did you mean 'category'"),
        ("arxiv:missing.json", DataError, "there is no file"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, spec: str, error: type[Exception], said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(metadata("1"))
    with pytest.raises(error, match=said):
        open_source(spec.replace("FILE", str(path)))


# -- the real thing


@pytest.mark.data
def test_the_metadata_snapshot(test_data: Path) -> None:
    path = test_data / "arxiv/arxiv-metadata-oai-snapshot.json"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    documents, dropped = read(f"arxiv:{path}")
    assert len(documents) == len(records) == 200
    assert not dropped
    for found, fields in zip(documents, records, strict=True):
        assert found.metadata["id"] == fields["id"]
        assert found.metadata.get("licence") == fields["license"]
        # Nothing is lost but layout: each plain word is there (a single letter may carry an accent in the text).
        assert {word for word in fields["abstract"].split() if word.isalnum() and len(word) > 1} <= set(
            found.text.split()
        )
    mathematics = [record for record in records if any(c.split(".")[0] == "math" for c in record["categories"].split())]
    assert len(read(f"arxiv:{path},category=math")[0]) == len(mathematics) > 20


@pytest.mark.data
def test_the_paper(test_data: Path) -> None:
    """Read from beginning to end against its LaTeX; the counts below were made by grep over main.tex."""
    (paper,), dropped = read(f"arxiv:{test_data / 'arxiv/1911.02782.gz'}")
    assert not dropped
    blocks = paper.text.split("\n\n")
    headings = [block for block in blocks if block.startswith("#")]
    assert len([block for block in headings if block.startswith("## ")]) == 1 + 8 + 1 + 7  # abstract, thanks, appendix
    assert len([block for block in headings if block.startswith("### ")]) == 6
    assert len([block for block in headings if block.startswith("##### ")]) == 5
    assert len([block for block in blocks if block.startswith("Figure ")]) == 4
    assert len([block for block in blocks if block.startswith("Table ")]) == 9
    assert len([block for block in blocks if block.startswith("[^")]) == 20
    assert len([block for block in blocks if block.startswith("$$")]) == 3
    assert len(set(blocks)) == len(blocks)
    for debris in (
        "\\gorc",
        "\\cite",
        "\\ref",
        "\\label",
        "\\textsc",
        "??",
        "gorc_refs",
        "tabular",
        "~",
        "  ",
        "()",
        "[]",
    ):
        assert debris not in paper.text
    assert "links to the full set" not in paper.text  # a word of the source in an order it has not
    assert "Saier and Färber (2019) introduce a corpus built using 1.0M arXiv publications." in paper.text
    assert "(see Figure 2), such that biomedical (42.7%)" in paper.text


@pytest.mark.data
def test_text_of_papers_as_json_lines_is_for_the_text_source(test_data: Path) -> None:
    path = test_data / "arxiv/arxiv_text.jsonl"
    documents, dropped = read(f"text:{path}")
    assert len(documents) == sum(1 for line in path.read_bytes().splitlines() if line.strip())
    assert not dropped
    with pytest.raises(DataError, match="an arXiv record is"):
        read(f"arxiv:{path}")


def test_dropped_records_have_reasons_of_a_few_words(tmp_path: Path) -> None:
    path = tmp_path / "2001.00001.gz"
    path.write_bytes(gzip.compress(document("\\def\\a{\\a\\a}\\a")))
    source = ArxivSource(str(path))
    (record,) = source.records(str(path))
    assert isinstance(record, Record)
    made = source.extract(record)
    assert isinstance(made, Dropped)
    assert (made.reason, made.where) == ("macros without end", str(path))
