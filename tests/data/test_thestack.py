import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from mlxllm.data.sources import Document, open_source
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.licences import PERMISSIVE, LicenceChoice
from mlxllm.errors import ConfigError, DataError
from tests.data.hub_server import Hub

ROWS: list[dict[str, Any]] = [
    {"content": "a = 1\n", "lang": "Python", "max_stars_repo_licenses": ["MIT"]},
    {"content": "fn main() {}\n", "lang": "Rust", "max_stars_repo_licenses": ["apache-2.0", "MIT"]},
    {"content": "int a;\n", "lang": "C++", "max_stars_repo_licenses": ["GPL-3.0", "MIT"]},
    {"content": "int b;\n", "lang": "C", "max_stars_repo_licenses": []},
    {"content": "int c;\n", "lang": "C#", "max_stars_repo_licenses": None},
    {"content": "", "lang": "Python", "max_stars_repo_licenses": ["MIT"]},
]
MORE = {
    "max_stars_repo_name": "owner/name",
    "max_stars_repo_path": "src/x",
    "avg_line_length": 6.5,
    "max_line_length": 7,
    "alphanum_fraction": 0.1 + 0.2,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def read(spec: str) -> tuple[list[str], Problems]:
    source = open_source(spec)
    assert open_source(source.spec).spec == source.spec
    return [document.text for document in source.documents()], source.problems


@pytest.mark.parametrize(
    ("options", "texts", "dropped"),
    [
        ("", ["a = 1\n", "fn main() {}\n"], {"other licence": 1, "no licence": 2, "empty": 1}),
        (",licence=any", [row["content"] for row in ROWS[:-1]], {"empty": 1}),
        (",licence=mit", ["a = 1\n"], {"other licence": 2, "no licence": 2, "empty": 1}),
        (",license=MIT+gpl-3.0", ["a = 1\n", "int a;\n"], {"other licence": 1, "no licence": 2, "empty": 1}),
        (",lang=python+rust", ["a = 1\n", "fn main() {}\n"], {"other language": 3, "empty": 1}),
        (",lang=c+++c#,licence=any", ["int a;\n", "int c;\n"], {"other language": 3, "empty": 1}),
    ],
)
def test_by_language_and_licence(tmp_path: Path, options: str, texts: list[str], dropped: dict[str, int]) -> None:
    path = write(tmp_path / "a.parquet", ROWS)
    found, problems = read(f"thestack:{path}{options}")
    assert found == texts
    assert problems.dropped == dropped
    (tmp_path / "data.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read(f"thestack:{tmp_path / 'data.json'}{options}")[0] == texts


def test_metadata(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{**ROWS[1], **MORE}])
    (document,) = open_source(f"thestack:{path}").documents()
    assert isinstance(document, Document)
    assert document.id == f"{path}#0"
    assert document.metadata == {
        "language": "Rust",
        "licence": "MIT, apache-2.0",
        "path": "owner/name/src/x",
        "avg_line_length": "6.5",
        "max_line_length": "7",
        "alphanum_fraction": "0.30000000000000004",
    }
    smol = {"content": "x = 1", "lang": "Python", "licenses": ["MIT"], "repository_name": "o/n", "path": "x.py"}
    (document,) = open_source(f"thestack:{write(tmp_path / 'b.parquet', [smol])}").documents()
    assert document.metadata == {"language": "Python", "licence": "MIT", "path": "o/n/x.py"}


def test_version_2_is_told(tmp_path: Path) -> None:
    rows = [{"blob_id": "0" * 40, "src_encoding": "UTF-8", "language": "Python", "license_type": "permissive"}]
    write(tmp_path / "a.parquet", rows)
    (tmp_path / "b.json").write_text(json.dumps(rows[0]) + "\n")
    for name in ("a.parquet", "b.json"):
        with pytest.raises(DataError, match=r"is of The Stack v2, which holds no text.*take version 1") as caught:
            read(f"thestack:{tmp_path / name}")
        assert "\n" not in str(caught.value)
    write(tmp_path / "c.parquet", [{**rows[0], "content": "x"}])  # fetched by its owner
    assert read(f"thestack:{tmp_path / 'c.parquet'},licence=any")[0] == ["x"]


def test_what_is_not_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"content": "x", "id": "1"}])
    for spec, error, message in [
        (f"thestack:{path}", DataError, "no column of licences.*add ,licence=any if all of it may"),
        (f"thestack:{path},licence=any,lang=c", DataError, "no column 'lang'"),
        (f"thestack:{path},licence=permisive", ConfigError, "did you mean 'permissive'"),
        (f"thestack:{path},lang=+", ConfigError, "option 'lang' of source 'thestack' names nothing"),
        (f"thestack:{path},langs=c", ConfigError, "did you mean 'lang'"),
        ("thestack:nowhere", DataError, "there is no file or folder 'nowhere'"),
    ]:
        with pytest.raises(error, match=message):
            read(spec)


def test_on_the_hub_only_the_folders_of_a_language_are_read(hub: Hub, tmp_path: Path) -> None:
    languages = {"python": 0, "rust": 1, "c++": 2, "c-sharp": 4}
    hub.datasets["bigcode/the-stack-dedup"] = {
        f"data/{folder}/data-00000-of-00001.parquet": write(tmp_path / "x.parquet", [ROWS[number]]).read_bytes()
        for folder, number in languages.items()
    }
    assert read("thestack:lang=rust")[0] == ["fn main() {}\n"]
    assert hub.fetched("rust/data-00000-of-00001.parquet") == 1
    assert hub.fetched("python/data-00000-of-00001.parquet") == 0
    assert read("thestack:lang=c#+c++,licence=any")[0] == ["int a;\n", "int c;\n"]
    assert read("thestack:bigcode/the-stack-dedup/data/python")[0] == ["a = 1\n"]
    assert read("thestack")[0] == ["a = 1\n", "fn main() {}\n"]
    assert open_source("thestack:lang=rust,shards=1").spec == "thestack:bigcode/the-stack-dedup,shards=1,lang=rust"


def test_permissive_licences() -> None:
    assert len(PERMISSIVE) == 224
    permissive = LicenceChoice("x", {}, "permissive")
    assert permissive.takes(["MIT", "Apache-2.0", "bsd-3-clause", "PSF-2.0", "Unlicense"])
    for other in ("GPL-3.0-only", "GPL-2.0", "AGPL-3.0", "LGPL-3.0", "MPL-2.0", "EPL-1.0", "CC-BY-SA-4.0", ""):
        assert not permissive.takes([other])
        assert not permissive.takes(["MIT", other])
    assert not permissive.takes([])
    assert permissive.takes_expression("GPL-2.0 OR MIT")
    assert not permissive.takes_expression("GPL-2.0 AND MIT")
    assert not permissive.takes_expression("")
    assert LicenceChoice("x", {}, "any").takes([])


@pytest.mark.data
def test_stack_columns(test_data: Path) -> None:
    path = test_data / "code" / "stack_v1_columns.parquet"
    expected = pyarrow.parquet.read_table(path).to_pylist()  # the whole table at once, by pyarrow itself
    documents = list(open_source(f"thestack:{path}").documents())
    assert [document.text for document in documents] == [row["content"] for row in expected]
    assert len(documents) == 16
    assert {document.metadata["licence"] for document in documents} == {"PSF-2.0"}
    assert documents[0].metadata["path"] == "python/cpython/Lib/textwrap.py"
    with pytest.raises(DataError, match=r"holds no usable text: other licence \(.*PSF-2\.0\)"):
        read(f"thestack:{path},licence=mit")
