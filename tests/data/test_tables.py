"""Parquet and JSON records that are here; those of the Hub are in test_hub_source.py."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.data.preview import preview_source
from mlxllm.data.sources import Document, open_source
from mlxllm.data.sources.base import Dropped, Problems
from mlxllm.data.sources.json_rows import json_rows
from mlxllm.errors import ConfigError, DataError


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def read(spec: object) -> tuple[list[Document], Problems]:
    source = open_source(str(spec))
    return list(source.documents()), source.problems


def test_rows_and_their_columns(tmp_path: Path) -> None:
    columns = {
        "content": ["one", None, "  ", "vier\n"],
        "url": ["http://a", "http://b", "", None],
        "lang": ["en", "en", "en", "de"],
        "license": ["MIT"] * 4,
        "score": [1.0] * 4,
        "image_urls": [[["x"]]] * 4,
    }
    path = write(tmp_path / "web.bin", columns)  # told by content, not by suffix
    documents, problems = read(f"parquet:{path}")
    assert [(d.id, d.text, dict(d.metadata)) for d in documents] == [
        (f"{path}#0", "one", {"language": "en", "licence": "MIT", "url": "http://a"}),
        (f"{path}#3", "vier\n", {"language": "de", "licence": "MIT"}),
    ]
    assert problems.dropped == {"empty": 2}
    assert problems.examples == {"empty": [f"{path}#1", f"{path}#2"]}


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_kinds_of_strings(tmp_path: Path, kind: str) -> None:
    texts = pyarrow.array(["ä", "b", "ä"])
    texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(getattr(pyarrow, kind)())
    path = write(tmp_path / "a.parquet", {"text": texts})
    assert [document.text for document in read(f"parquet:{path}")[0]] == ["ä", "b", "ä"]


def test_text_takes_parquet_for_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["one"]})
    for place in (path, tmp_path, tmp_path / "*.parquet"):
        for spec in (str(place), f"text:{place}", f"parquet:{place}"):
            source = open_source(spec)
            assert [d.text for d in source.documents()] == ["one"]
            assert source.spec == f"parquet:{place}"
    (tmp_path / "b.txt").write_text("two")
    documents, problems = read(tmp_path)
    assert [d.text for d in documents] == ["two"]
    assert problems.mended == {"other file type": 1}


def test_what_is_no_parquet_file_is_said_so(tmp_path: Path) -> None:
    for name, data in (("a.parquet", b"\x89PNG\r\n\x1a\n" * 99), ("page.bin", b"<html><p>404</p></html>")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(
            DataError, match=rf"not a parquet file \(.*{name}: it begins with b'.*' and not with b'PAR1'\)"
        ):
            read(f"parquet:{tmp_path / name}")
    (tmp_path / "a.parquet").write_text('{"text": "records after all"}\n')
    assert [document.text for document in read(f"parquet:{tmp_path / 'a.parquet'}")[0]] == ["records after all"]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"body": ["x"], "n": [1], "many": [["a"]]})
    for spec, message in [
        (
            f"parquet:{path}",
            r"no column 'text' or 'content'; its columns are body, n, many; name the column of the text",
        ),
        (f"parquet:{path},column=bdoy", "no column 'bdoy'; its columns are body, n, many"),
        (f"parquet:{path},column=n", "has in column 'n' int64 and no text"),
        (f"parquet:{path},column=many", "has in column 'many' list<element: string> and no text"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            read(spec)
        assert "\n" not in str(caught.value)
    numbers = write(tmp_path / "numbers.parquet", {"content": [1]})
    with pytest.raises(DataError, match="has in column 'content' int64 and no text"):
        read(f"parquet:{numbers}")
    assert read(f"parquet:{path},column=body")[0][0].text == "x"
    with pytest.raises(ConfigError, match=r"has no option 'columm'.*did you mean 'column'"):
        open_source(f"parquet:{path},columm=body")
    with pytest.raises(ConfigError, match="parquet:PATH"):
        open_source("parquet:")
    with pytest.raises(DataError, match="there is no file or folder"):
        open_source(f"parquet:{tmp_path}/no.parquet")


def test_what_is_damaged_is_passed_over(tmp_path: Path) -> None:
    texts = [f"{n:04} " * 2000 for n in range(40)]
    whole = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=10, use_dictionary=False, compression="zstd")
    data = bytearray(whole.read_bytes())
    chunk = pyarrow.parquet.ParquetFile(whole).metadata.row_group(1).column(0)
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    data[middle - 50 : middle + 50] = b"\xff" * 100
    (tmp_path / "b.parquet").write_bytes(data)
    (tmp_path / "c.parquet").write_bytes(whole.read_bytes()[:-200])  # without its footer nothing can be found
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    (tmp_path / "e.parquet").write_bytes(b"")
    source = open_source(f"parquet:{tmp_path}")
    by_part = {part: list(source.records(part)) for part in source.parts()}  # type: ignore[attr-defined]
    found = {Path(part).name: [r.text[:4] for r in rows if isinstance(r, Document)] for part, rows in by_part.items()}
    numbers = [text[:4] for text in texts]
    assert found == {"a.parquet": numbers, "b.parquet": numbers[:10] + numbers[20:]} | {
        k: [] for k in ("c.parquet", "d.parquet", "e.parquet")
    }
    assert source.problems.mended == {"damaged file": 1}
    assert "row group 1" in source.problems.examples["damaged file"][0]
    assert "10 of its rows are lost" in source.problems.examples["damaged file"][0]
    for name in ("c.parquet", "d.parquet"):
        (dropped,) = by_part[str(tmp_path / name)]
        assert isinstance(dropped, Dropped)
        assert dropped.reason == "damaged file"
        assert "no footer that can be read" in dropped.detail
    with pytest.raises(DataError, match=r"holds no usable text: damaged file .*c\.parquet"):
        read(f"parquet:{tmp_path}/c.parquet")
    with pytest.raises(DataError, match="holds no usable text: every file is empty"):
        read(f"parquet:{tmp_path}/e.parquet")


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    raw = pyarrow.array([b"good", b"b\xffd", b"fine"]).view(pyarrow.string())
    documents, problems = read(f"parquet:{write(tmp_path / 'a.parquet', {'text': raw, 'url': raw})}")
    assert [document.text for document in documents] == ["good", "fine"]
    assert problems.dropped == {"undecodable text": 1}


_WRITE = """
import random, sys
import pyarrow.parquet
number = int(sys.argv[2])
text = random.Random(1).randbytes(5000).hex()
table = pyarrow.table({"text": [f"{n}{text}" for n in range(number)]})
pyarrow.parquet.write_table(table, sys.argv[1], row_group_size=number, use_dictionary=False, compression="zstd")
"""
_MEASURE = """
import sys
from mlxllm.data.sources import open_source
from tests.peak import peak_kib
size = sum(len(document.text) for document in open_source(sys.argv[1]).documents())
print(size, peak_kib())
"""


def run(program: str, *arguments: object) -> str:
    # In a process of its own also where it only writes: the peak of this one counts for those that it starts.
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    peaks = []
    for number in (100, 10_000):
        path = tmp_path / f"{number}.parquet"
        run(_WRITE, path, number)
        assert pyarrow.parquet.ParquetFile(path).metadata.num_row_groups == 1
        size, peak = map(float, run(_MEASURE, f"parquet:{path}").split())
        assert size > number * 10_000
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 40, "MiB more for 100 MB in one row group"


def test_a_crafted_dictionary_takes_no_memory(tmp_path: Path) -> None:
    """900 bytes that stand for 100,000 times the same 8 MB."""
    path = tmp_path / "a.parquet"
    program = """
import sys
import pyarrow.parquet
numbers, text = pyarrow.array([0] * 100_000, pyarrow.int32()), pyarrow.array(["x" * (8 << 20)])
table = pyarrow.table({"text": pyarrow.DictionaryArray.from_arrays(numbers, text)})
pyarrow.parquet.write_table(table, sys.argv[1], compression="zstd", dictionary_pagesize_limit=1 << 30)
"""
    run(program, path)
    assert path.stat().st_size < 2000
    size, peak = map(float, run(_MEASURE, f"parquet:{path}").split())
    assert 8 << 20 < size < 4 << 30
    assert peak / 1024 < 300
    documents, problems = read(f"parquet:{path}")
    assert len(documents) <= 256
    assert "unpacks to more than 1,000 times its size" in problems.examples["damaged file"][0]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["x"], "badname": ["y"]}, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"badname", b"bad\xffame"))
    with pytest.raises(DataError, match=r"holds no usable text: damaged file .*no footer that can be read"):
        read(f"parquet:{path}")


def test_large_dictionaries(tmp_path: Path) -> None:
    texts = [None if n % 7 == 0 else f"{n * 37 % 5000} text" for n in range(20_000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=20_000)
    documents, problems = read(f"parquet:{path}")
    assert [d.text for d in documents] == [text for text in texts if text is not None]
    assert problems.dropped["empty"] == texts.count(None)


def test_json_records(tmp_path: Path) -> None:
    rows = [{"text": "one", "url": "http://a"}, {"text": "two\n"}, {"other": 1}, {"text": 5}, {"text": "\ud800"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    (tmp_path / "d.json").write_text("\n".join(json.dumps(row, indent=1) for row in rows))
    for name in ("a.json", "b.json", "c.jsonl.gz", "d.json"):
        documents, problems = read(f"parquet:{tmp_path / name}")
        assert [(d.text, dict(d.metadata)) for d in documents] == [("one", {"url": "http://a"}), ("two\n", {})]
        assert problems.dropped == {"no text column": 2, "undecodable text": 1}


@pytest.mark.parametrize(
    ("content", "texts", "dropped", "mended"),
    [
        (b'{"text": "a"}\n{"text"\n[1]\n\n{"text": "b"}', ["a", "b"], {"bad JSON": 1, "no object": 1}, 0),
        (b'{"text": "a\xff"}\n{"text": "b"}', ["b"], {"undecodable line": 1}, 0),
        (b'[{"text": "a"}, {"text": "b"}, {"te', ["a", "b"], {}, 1),
        (b'[{"text": "a"}, 5, "x", {"text": "b"}]', ["a", "b"], {"no object": 2}, 0),
        (b'[{"text": "a"}, {"text": "\xff"}]', [], {}, 1),
        (b"[" * 100_000, [], {}, 0),
        (b'[{"text": ' + b"[" * 100_000, [], {}, 1),
        (b"\xef\xbb\xbf" + b'[{"text": "a"}]', ["a"], {}, 0),
        (b"not JSON", [], {"bad JSON": 1}, 0),
    ],
)
def test_json_that_is_damaged(content: bytes, texts: list[str], dropped: dict[str, int], mended: int) -> None:
    problems = Problems()
    rows = list(json_rows(io.BytesIO(content), "x", problems))
    assert [row[1]["text"] for row in rows if isinstance(row, tuple)] == texts
    reasons = [row.reason for row in rows if isinstance(row, Dropped)]
    assert {reason: reasons.count(reason) for reason in reasons} == dropped
    assert problems.mended.total() == mended


values = st.dictionaries(st.text(max_size=5), st.text(max_size=50) | st.integers() | st.none(), max_size=3)


@settings(max_examples=60)
@given(rows=st.lists(values, min_size=1, max_size=8), indent=st.none() | st.integers(0, 2))
def test_a_list_is_read_as_json_says(rows: list[dict[str, Any]], indent: int | None) -> None:
    for ensure_ascii in (True, False):
        try:
            content = json.dumps(rows, indent=indent, ensure_ascii=ensure_ascii).encode()
        except UnicodeEncodeError:
            continue
        found = list(json_rows(io.BytesIO(content), "x", Problems()))
        assert [row[1] for row in found if isinstance(row, tuple)] == rows


def test_a_long_list_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with open(path, "w") as file:
        file.write("[" + ",\n".join(json.dumps({"text": f"{n} " * 2000}) for n in range(5000)) + "]")
    source = open_source(f"parquet:{path}")
    assert sum(1 for _ in source.documents()) == 5000
    assert len(preview_source(source, most_bytes=1 << 16).texts) < 20


@pytest.mark.data
def test_refinedweb_columns(test_data: Path) -> None:
    path = test_data / "web" / "refinedweb_columns.parquet"
    expected = pyarrow.parquet.read_table(path).to_pylist()  # the whole table at once, by pyarrow itself
    documents, problems = read(f"refinedweb:{path}")
    assert [(d.text, d.metadata["url"]) for d in documents] == [(row["content"], row["url"]) for row in expected]
    assert len(documents) == 10
    assert not problems.dropped
    assert not problems.mended
    assert documents[0].text.startswith("We will be starting to hold weekly teleconferences")
