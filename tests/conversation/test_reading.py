"""JSON, JSON lines and parquet, however they are written and packed, and what is said about damaged ones."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from mlxllm.conversation import Report, find_record_files, read_conversations, read_preferences
from mlxllm.errors import DataError

RECORDS = [{"prompt": f"Question {i}: é", "completion": f"Answer\n{i}"} for i in range(5)]
LINES = [json.dumps(record, ensure_ascii=False) for record in RECORDS]


def read(path: Path, report: Report | None = None) -> list[tuple[str, str]]:
    records = read_conversations([path], report or Report())
    return [(record.messages[0].content, record.messages[1].content) for record in records]


WHOLE = [(record["prompt"], record["completion"]) for record in RECORDS]
JSONL = "\n".join(LINES)

WRITTEN = {
    "lines": JSONL.encode() + b"\n",
    "no line break at the end": JSONL.encode(),
    "CRLF": JSONL.replace("\n", "\r\n").encode(),
    "blank lines": ("\n\n" + JSONL.replace("\n", "\n  \n\r\n") + "\n\n").encode(),
    "a byte-order mark": b"\xef\xbb\xbf" + JSONL.encode(),
    "UTF-16": JSONL.encode("utf-16"),
    "a list": json.dumps(RECORDS).encode(),
    "a list with a byte-order mark": b"\xef\xbb\xbf" + json.dumps(RECORDS).encode(),
    "an indented list": json.dumps(RECORDS, indent=2).encode(),
    "an indented list with CRLF": json.dumps(RECORDS, indent=2).replace("\n", "\r\n").encode(),
    "a list of lines": ("[\n" + ",\n".join(LINES) + "\n]\n").encode(),
    "a wrapper": json.dumps({"data": RECORDS}).encode(),
    "an indented wrapper": json.dumps({"version": 1, "train": RECORDS}, indent=1).encode(),
    "indented objects": "\n".join(json.dumps(record, indent=2) for record in RECORDS).encode(),
}


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstandard.ZstdCompressor().compress], ids=["", "gz", "zst"])
@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN.keys())
def test_however_it_is_written(tmp_path, content, packed):
    path = tmp_path / "data.txt"  # told by content, not by suffix
    path.write_bytes(packed(content))
    report = Report()
    assert read(path, report) == WHOLE
    assert report.read == 5
    assert report.sentences() == []


def test_one_record_over_several_lines(tmp_path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(RECORDS[0], indent=2))
    assert read(path) == WHOLE[:1]


def test_parquet(tmp_path):
    path = tmp_path / "data.bin"
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Q", "name": None},
                {"role": "assistant", "content": "A", "name": "x"},
            ],
            "text": None,
        },
        {"messages": None, "text": "T"},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    conversation, text = read_conversations([path], Report())
    assert [message.as_dict() for message in conversation.messages] == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A", "name": "x"},
    ]
    assert text.text == "T"
    assert text.where == f"{path}: row 1"


def test_places(tmp_path):
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n" + JSONL.replace("\n", "\n\n"))
    assert [r.where for r in read_conversations([lines], Report())] == [f"{lines}:{n}" for n in (2, 4, 6, 8, 10)]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(RECORDS, indent=2))
    assert [r.where for r in read_conversations([listed], Report())] == [f"{listed}:{n}" for n in (2, 6, 10, 14, 18)]


def test_several_files_of_several_formats(tmp_path):
    (tmp_path / "a.jsonl").write_text(LINES[0] + "\n" + json.dumps({"text": "T"}))
    (tmp_path / "b.json").write_text(json.dumps([{"instruction": "I", "output": "O"}]))
    report = Report()
    records = list(read_conversations([tmp_path / "a.jsonl", tmp_path / "b.json"], report))
    assert [type(r).__name__ for r in records] == ["Conversation", "Text", "Conversation"]
    assert report.read == 3


BAD = {
    "not JSON": (LINES[0] + "\n{'prompt': 'x'}\n", ":2: the line is not JSON (Expecting property name"),
    "cut off": (LINES[0] + "\n" + LINES[1][:20], ":2: the line is not JSON ("),
    "a bad first line": ('{"prompt": "x", }x\n' + LINES[0], ":1: the line is not JSON ("),
    "plain text": (
        "Once upon a time\nthere was\n",
        ":1: the line is not JSON (Expecting value at character 1); it begins 'Once",
    ),
    "unknown keys": (LINES[0] + '\n\n{"question": "x"}', ":3: no known format has the keys 'question'; known are"),
    "not an object": (LINES[0] + "\n5\n", ":2: it is a number, and a record is a JSON object"),
    "a list of texts": ('["a", "b"]', ":1: it is a text, and a record is a JSON object"),
    "an open list": (
        "[\n" + LINES[0] + ",\n" + LINES[1],
        ":3: the file is not JSON from here on (',' or ']' is missing)",
    ),
    "a bad list": ("[\n" + LINES[0] + ",\n{x}]", ":3: the file is not JSON from here on (Expecting property name"),
    "nested too deep": ('{"text": ' + "[" * 100_000, "nested too deep"),
}


@pytest.mark.parametrize(("content", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_files(tmp_path, content, sentence):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(LINES[0].encode() + b'\n{"text": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r":2: byte 14 of the line is not UTF-8; save the file as UTF-8"):
        read(path)
    path.write_bytes(b'[{"text": "caf\xe9"}]')
    with pytest.raises(DataError, match=r"byte 14 is not utf-8"):
        read(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"is damaged: .*; fetch or write it again"):
        read(path)
    many = "\n".join(json.dumps({"text": f"{i} {i * i} {i * 7919 % 10007}"}) for i in range(3000))
    path.write_bytes(gzip.compress(many.encode())[:-2000])
    report = Report()
    assert 0 < len(list(read_conversations([path], report))) < 3000
    assert any(
        sentence.startswith(f"1 file damaged ({path}: gzip data ends early; ") for sentence in report.sentences()
    )
    whole = gzip.compress(many.encode())
    for damaged, what in (
        (whole[:2] + b"nonsense", "corrupt"),
        (whole[:20], "ends early"),
        (whole[:10] + b"\xff" * 9, "corrupt"),
    ):
        path.write_bytes(damaged)
        report = Report()
        assert list(read_conversations([path], report)) == []
        said = report.nothing_left("conversations")
        assert said.startswith(f"no record can be read, for the file is damaged ({path}: gzip data ")
        assert f"{what}" in said
        assert "without records" not in " ".join(report.sentences())
    path.write_bytes(gzip.compress(json.dumps([{"text": f"{i * 7919}"} for i in range(999)]).encode())[:-99])
    with pytest.raises(
        DataError, match=r"bad.parquet: gzip data ends early; the file is damaged, fetch or write it again"
    ):
        read(path)
    path.write_bytes(b"")
    report = Report()
    assert list(read_conversations([path], report)) == []
    assert report.sentences() == [f"1 file without records ({path})"]
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path)


def test_useless_records_are_counted(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": "P", "chosen": "C", "rejected": "R"},
        {"chosen": "yes", "rejected": "no"},
        {"chosen": "a b", "rejected": "a c"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = Report()
    assert len(list(read_preferences([path], report))) == 2
    assert report.as_dict() == {
        "read": 3,
        "used": 0,
        "dropped": {"the two sides answer different prompts": 1},
        "noted": {},
        "examples": {
            "the two sides answer different prompts": [
                f"{path}:2: they have no first word in common, and there is no 'prompt'"
            ]
        },
    }


def test_null_is_nothing(tmp_path):
    path = tmp_path / "nulls.jsonl"
    rows = [
        {"instruction": "P", "input": None, "output": "A"},
        {"instruction": "P", "input": "", "output": None},
        {"messages": None, "text": "words"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = Report()
    assert len(list(read_conversations([path], report))) == 2
    assert report.sentences() == [f"1 record left out: null where something should be ({path}:2: 'output')"]
    path.write_text(json.dumps({"instruction": "P"}))
    with pytest.raises(DataError, match="no known format has the keys 'instruction'"):
        list(read_conversations([path], Report()))
    path.write_text(json.dumps({"prompt": "P", "chosen": None, "rejected": "R"}))
    assert list(read_preferences([path], report)) == []
    assert report.problems.dropped["null where something should be"] == 2


def test_mlx_lm_folders(tmp_path):
    for name in ("train.jsonl", "valid.jsonl", "test.jsonl", "README.md", ".hidden.jsonl"):
        (tmp_path / name).write_text(LINES[0])
    files = find_record_files([str(tmp_path)])
    assert files.train == (tmp_path / "train.jsonl",)
    assert files.val == (tmp_path / "valid.jsonl",)
    assert files.test == (tmp_path / "test.jsonl",)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(
        DataError, match=r"holds only test.jsonl, valid.jsonl, for .* nothing to learn from; name one of"
    ):
        find_record_files([str(tmp_path)])
    (tmp_path / "mine.jsonl").write_text(LINES[0])
    files = find_record_files([str(tmp_path)])
    assert (files.train, files.val) == ((tmp_path / "mine.jsonl",), (tmp_path / "valid.jsonl",))


def test_other_folders_and_globs(tmp_path):
    for name in ("b.jsonl", "a.json.gz", "c.parquet", "notes.txt"):
        (tmp_path / name).write_text("")
    files = find_record_files([str(tmp_path)])
    assert [path.name for path in files.train] == ["a.json.gz", "b.jsonl", "c.parquet"]
    assert files.val == files.test == ()
    assert [p.name for p in find_record_files([str(tmp_path / "*.jsonl"), str(tmp_path / "notes.txt")]).train] == [
        "b.jsonl",
        "notes.txt",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing.jsonl", "there is no file or folder 'nothing.jsonl'; give files, a folder, or owner/name"),
        ("data/train.jsonl", "there is no file or folder 'data/train.jsonl'"),
        ("./owner/name", "there is no file or folder './owner/name'"),
        ("*.jsonl", "there is no file or folder '*.jsonl'"),
    ],
)
def test_names_of_nothing(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        find_record_files([name])
    assert sentence in str(caught.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"holds no \.jsonl, \.ndjson, \.json, \.parquet files"):
        find_record_files([str(tmp_path)])


def test_the_hub_without_a_network(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        find_record_files(["owner/nothing"])
    assert str(caught.value).startswith(
        "cannot fetch the data set owner/nothing from the Hub and it is not in the cache"
    )
    assert "\n" not in str(caught.value)


def test_the_hub_from_its_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    revision = "0123456789abcdef0123456789abcdef01234567"
    store = tmp_path / "cache" / "datasets--owner--pairs"
    snapshot = store / "snapshots" / revision
    (store / "refs").mkdir(parents=True)
    (store / "refs" / "main").write_text(revision)
    (snapshot / "data").mkdir(parents=True)
    for name in ("train_sft-00000-of-00001", "train_prefs-00000-of-00001", "test_prefs-00000-of-00001"):
        pyarrow.parquet.write_table(pyarrow.table({"text": [name]}), snapshot / "data" / f"{name}.parquet")
    (snapshot / "README.md").write_text("")
    files = find_record_files(["owner/pairs:train_prefs"])
    (record,) = read_conversations(files.train, Report())
    assert record.text == "train_prefs-00000-of-00001"
    with pytest.raises(
        DataError, match="has no split train; choose owner/pairs:SPLIT, with one of test_prefs, train_p"
    ):
        find_record_files(["owner/pairs"])
    with pytest.raises(DataError, match=r"has no \.jsonl, .* files of a split 'train'"):
        find_record_files(["owner/pairs:train"])


def test_a_null_in_parquet_costs_one_record_and_not_the_file(tmp_path):
    rows = [{"prompt": "P", "completion": "C"}, {"prompt": "Q", "completion": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    report = Report()
    assert len(list(read_conversations([tmp_path / "a.parquet"], report))) == 1
    (sentence,) = report.sentences()
    assert sentence.startswith("1 record left out: null where something should be")
    assert "'completion'" in sentence


def test_nulls_are_absent_in_parquet_and_values_in_arguments(tmp_path):
    call = {"function": {"name": "f", "arguments": {"a": None}}}
    messages = [
        {"role": "user", "content": "Q", "name": None},
        {"role": "assistant", "tool_calls": [call], "content": None},
    ]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages, "text": None, "chosen": None}))
    (record,) = read_conversations([tmp_path / "a.jsonl"], Report())
    assert [message.as_dict() for message in record.messages] == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": messages}]), tmp_path / "a.parquet")
    (record,) = read_conversations([tmp_path / "a.parquet"], Report())
    assert record.messages[1].extra == {"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}


def test_heavy_libraries_are_loaded_when_used():
    heavy = "('mlx.core', 'pyarrow', 'huggingface_hub', 'sentencepiece', 'tokenizers', 'zstandard')"
    program = f"import sys, mlxllm.conversation; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
