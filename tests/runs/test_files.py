import json
import math
import threading
from pathlib import Path

import pytest

from mlxllm.errors import UserError
from mlxllm.runs import read_json, sha256_of_file, write_json_atomic


def test_round_trip_leaves_nothing_else_behind(tmp_path: Path) -> None:
    value = {"text": "ünï 😀", "n": [1, 2.5, None, True]}
    write_json_atomic(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    versions = [{"n": n, "padding": "x" * (n * 5000)} for n in range(4)]
    write_json_atomic(path, versions[0])
    done = threading.Event()

    def write() -> None:
        for i in range(300):
            write_json_atomic(path, versions[i % 4], durable=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        assert read_json(path) in versions
        reads += 1
    writer.join()
    assert reads > 10


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, {"old": 1})
    with pytest.raises(ValueError):
        write_json_atomic(path, {"new": math.nan})
    with pytest.raises(UserError, match=r"cannot write .*missing"):
        write_json_atomic(tmp_path / "missing" / "a.json", {})
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": }', "line 2, column 7"),
        (b"", "line 1, column 1"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"1" * 10_000, "not valid JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_json(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300 + len(str(path))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json is missing"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path)


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # The example of FIPS 180-2, B.1.
    assert sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_text_is_strict_json(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"x": 1e-7})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1e-7}
