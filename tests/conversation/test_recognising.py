"""What a path is, told by its content."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlxllm.conversation.recognising import recognise
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.errors import DataError
from mlxllm.tokenizer import train_tokenizer
from tests.data.conftest import ListSource

TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
PAIR = {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.txt", "Once upon a time.", "text"),
        ("a", "No suffix at all.", "text"),
        ("a.md", "[link](x) and {braces}", "text"),
        ("a.txt", "{once} upon", "text"),
        ("a.txt", "\ufeff[1] a list of sorts", "text"),
        ("a.jsonl", lines({"text": "one"}, {"text": "two"}), "text"),
        ("a.jsonl", lines({"content": "one"}), "text"),
        ("a.jsonl", lines(TALK), "conversations"),
        ("talk.txt", lines(TALK), "conversations"),
        ("a.json", json.dumps([TALK, TALK], indent=1), "conversations"),
        ("a.json", json.dumps([{"instruction": "a", "output": "b"}]), "conversations"),
        ("a.jsonl", lines(PAIR), "preferences"),
        ("a.json", json.dumps([PAIR]), "preferences"),
        ("a.json", json.dumps([{"text": "one"}]), "conversations"),
    ],
)
def test_files(tmp_path: Path, name: str, content: str, kind: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = recognise(str(tmp_path / name))
    assert (found.kind, found.path) == (kind, str(tmp_path / name))
    assert found.what
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    assert recognise(str(packed)).kind == kind


def test_parquet_and_utf16(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([PAIR]), tmp_path / "a.parquet")
    assert recognise(str(tmp_path / "a.parquet")).kind == "preferences"
    (tmp_path / "b.txt").write_bytes("Windows wrote this.".encode("utf-16"))
    assert recognise(str(tmp_path / "b.txt")).kind == "text"


def test_folders_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "train.jsonl").write_text(lines(TALK))
    assert recognise(str(tmp_path / "records")).kind == "conversations"
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "notes" / "deep" / "a.md").write_text("A note.")
    (tmp_path / "notes" / "b.txt").write_text("Another.")
    (tmp_path / "notes" / "package.json").write_text("{}")
    found = recognise(str(tmp_path / "notes"))
    assert (found.kind, found.what) == ("text", "2 files of text, 15 bytes")
    assert recognise(str(tmp_path / "notes" / "**" / "*.md")).kind == "text"
    build_dataset(tmp_path / "d", [(ListSource(["words " * 20]), None)], train_tokenizer("byte", []))
    assert recognise(str(tmp_path / "d")).kind == "dataset"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert recognise(" ~/notes ").path == str(tmp_path / "notes")


def test_what_hf_download_has_left_is_its_data_and_not_its_description(tmp_path: Path) -> None:
    def fetched(name: str, files: dict[str, str]) -> Path:
        for inside, content in {".cache/huggingface/x.json": "{}", "README.md": "About it.", **files}.items():
            (tmp_path / name / inside).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / inside).write_text(content)
        return tmp_path / name

    one = fetched("one", {"data/train.jsonl": lines(TALK), "dataset_infos.json": "{}"})
    assert recognise(str(one)).path == str(one / "data" / "train.jsonl")
    talks = fetched("talks", {"train.jsonl": lines(TALK), "test.jsonl": lines(TALK)})
    assert (recognise(str(talks)).kind, recognise(str(talks)).path) == ("conversations", str(talks))
    texts = fetched("texts", {"data/a.jsonl": '{"text": "A."}\n', "data/b.jsonl": '{"text": "B."}\n'})
    found = recognise(str(texts))
    assert (found.kind, found.what) == ("text", "2 files of text, 30 bytes")
    assert sorted(document.text for document in open_source(f"text:{found.path}").documents()) == ["A.", "B."]
    mixed = fetched("mixed", {"a/train.jsonl": lines(TALK), "b/train.jsonl": '{"text": "B."}\n'})
    with pytest.raises(DataError, match="several kinds of data: a/train"):
        recognise(str(mixed))
    with pytest.raises(DataError, match=r"no \.txt, JSON lines"):
        recognise(str(fetched("none", {"image.png": "x"})))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.pdf", b"%PDF-1.4 \xe2\xe3\xcf\xd3", "is not text: byte 9 is not UTF-8"),
        ("a.bin", b"text\0\0more", "zero bytes"),
        ("a.jsonl", b'{"question": "a"}\n', r"a\.jsonl:1: no known format has the keys 'question'"),
        ("a.jsonl", b'{"text": \n', "is not JSON"),
        ("a.jsonl", b"[1, 2]\n", "should be a JSON object"),
        ("a.parquet", b"PAR1 nothing else", "damaged"),
        ("a.txt.gz", gzip.compress(b"words " * 100)[:-20], ""),
    ],
    ids=range(8),
)
def test_what_cannot_be_used(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    if not message:
        assert recognise(str(tmp_path / name)).kind == "text", "what comes before the damage is used"
        return
    with pytest.raises(DataError, match=message) as caught:
        recognise(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the path"):
        recognise("  ")
    with pytest.raises(DataError, match=f"there is no file or folder {tmp_path}/none/x.txt; {tmp_path} is there"):
        recognise(f"{tmp_path}/none/x.txt")
    with pytest.raises(DataError, match="cannot fetch the data set some/data from the Hub"):
        recognise("some/data:train")
    with pytest.raises(DataError, match="no file matches"):
        recognise(f"{tmp_path}/*.txt")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_text("")
    with pytest.raises(DataError, match="is the folder of a model"):
        recognise(str(tmp_path / "model"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds nothing to read"):
        recognise(str(tmp_path / "empty"))
