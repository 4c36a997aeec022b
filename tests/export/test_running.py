"""Readers run in the Python that has them, and what goes wrong there is a sentence here."""

import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export import verification
from mlxllm.export.asking import question_for
from mlxllm.export.hf import write_hf
from mlxllm.export.readers import running
from mlxllm.export.readers.children import Child
from mlxllm.export.readers.limits import why_not
from mlxllm.export.readers.running import Question, Reading, Spelling
from mlxllm.export.verification import chosen_readers, verify
from mlxllm.tokenizer import load_tokenizer
from tests.export.tiny import loaded_with, random_model
from tests.inference.tiny import tiny
from tests.tokenizer import foreign


@pytest.fixture
def without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing but mlxllm is installed."""
    monkeypatch.setattr(running, "find_spec", lambda name: None)
    monkeypatch.delenv(running.PEERS_PYTHON, raising=False)
    running._has.cache_clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.usefixtures("without_peers")
def test_what_is_not_installed_is_said_and_fails_nothing(tmp_path: Path) -> None:
    source = random_model("llama", "byte")
    write_hf(source, tmp_path / "model")
    found = verify(tmp_path / "model", source)
    assert [row.status for row in found.rows] == ["passed", "not installed", "not installed"]
    assert found.passed
    assert found.only_ourselves
    with pytest.raises(ConfigError, match=r"--readers: mlx-lm is not installed here.*\$MLXLLM_PEERS_PYTHON"):
        chosen_readers(["mlxllm", "mlx-lm"])


def test_a_reader_that_lacks_something_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "find_spec", lambda name: name if name == "transformers" else None)
    monkeypatch.delenv(running.PEERS_PYTHON, raising=False)
    assert running.python_with("transformers") is None
    assert (running.lacking("transformers"), running.lacking("mlx-lm")) == ("needs torch", "")
    with pytest.raises(ConfigError, match="--readers: transformers needs torch; install it beside mlxllm"):
        chosen_readers(["transformers"])


@pytest.mark.usefixtures("without_peers")
def test_another_python_may_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.PEERS_PYTHON, script(tmp_path / "python", "exit 0"))
    assert running.python_with("transformers") == str(tmp_path / "python")
    assert running.python_with("mlxllm") == sys.executable
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(running.PEERS_PYTHON, "./python")  # the child runs in another folder
    assert running.python_with("transformers") == str(tmp_path / "python")
    running._has.cache_clear()
    for lacking in (script(tmp_path / "other", "exit 1"), str(tmp_path / "nowhere")):
        monkeypatch.setenv(running.PEERS_PYTHON, lacking)
        assert running.python_with("mlx-lm") is None


@pytest.mark.usefixtures("without_peers")
def test_a_reader_that_dies_is_a_failed_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = 'test "$1" = -c && exit 0; echo "no room for weights" >&2; exit 9'
    monkeypatch.setenv(running.PEERS_PYTHON, script(tmp_path / "python", dying))
    source = random_model("llama", "byte")
    write_hf(source, tmp_path / "model")
    question = question_for(source, "float32", 64)
    with pytest.raises(ModelError, match="transformers ended with code 9: no room for weights"):
        running.ask_ids("transformers", tmp_path / "model", question, cpu=True)
    row = verify(tmp_path / "model", source, ["transformers"]).rows[0]
    assert (row.status, row.note) == ("failed", "transformers ended with code 9: no room for weights")


@pytest.mark.usefixtures("without_peers")
@pytest.mark.parametrize(("free", "met"), [(1e12, True), (1e9, False)])
def test_readers_work_side_by_side_where_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, met: bool
) -> None:
    """Each says where it is, and looks for the other: for long where both should be there, and briefly otherwise."""
    looks = f"""test "$1" = -c && exit 0
touch {tmp_path}/here-"$2"
for i in $(seq {1000 if met else 5}); do
    test $(ls {tmp_path}/here-* | wc -l) = 2 && echo "two of us" >&2 && exit 9
    sleep 0.02
done
rm {tmp_path}/here-"$2"
echo "alone" >&2
exit 9"""
    monkeypatch.setenv(running.PEERS_PYTHON, script(tmp_path / "python", looks))
    monkeypatch.setattr(verification, "free_memory", lambda: free)
    source = random_model("llama", "byte")
    write_hf(source, tmp_path / "model")
    found = verify(tmp_path / "model", source, ["transformers", "mlx-lm"])
    said = "two of us" if met else "alone"
    assert [row.note for row in found.rows] == [f"{row.reader} ended with code 9: {said}" for row in found.rows]


def test_what_is_left_ends_the_readers(tmp_path: Path) -> None:
    command = [script(tmp_path / "program", "cat; echo $$ > id; exec sleep 60")]
    with suppress(KeyboardInterrupt), Child(command, {"a": 1}, os.environ, tmp_path) as child:
        with pytest.raises(TimeoutError):
            child.wait(0.01)
        while not (tmp_path / "id").exists() or not (tmp_path / "id").read_text().strip():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert (tmp_path / "stdout.txt").read_text() == '{"a": 1}'
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


def test_a_damaged_folder_is_a_failed_row(tmp_path: Path) -> None:
    source = random_model("llama", "byte")
    write_hf(source, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    found = verify(tmp_path / "model", source, ["mlxllm"])
    assert not found.passed
    assert "mlxllm cannot read the model: ModelError" in found.failure()


def test_a_reader_may_take_the_original_by_the_same_other_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tokenizer's ids are no fault of the export where the reader has them of the original as well."""
    words = load_tokenizer(foreign.write("llama3", tmp_path / "theirs"))
    source = loaded_with(tiny(vocab_size=words.vocab_size), words, words=tmp_path / "theirs")
    source = replace(source, path=tmp_path / "theirs")
    write_hf(source, tmp_path / "model")
    right, asked = running.ask, []

    def ask(questions: list[tuple[str, Question]], folder: Path, *, cpu: bool, at_once: int) -> list[Reading]:
        [read] = right([("mlxllm", question) for _, question in questions], folder, cpu=cpu, at_once=at_once)
        assert isinstance(read, Reading)
        return [replace(read, ids=[*read.ids[:-1], [7, *read.ids[-1]]])]

    def ask_ids(reader: str, folder: Path, question: Question, *, cpu: bool) -> Spelling:
        asked.append(folder)
        [read] = ask([(reader, question)], folder, cpu=cpu, at_once=1)
        return Spelling(read.ids if len(asked) == 1 else [], read.prompt_ids, read.chat_ids)

    monkeypatch.setattr(verification, "ask", ask)
    monkeypatch.setattr(verification, "ask_ids", ask_ids)
    monkeypatch.setattr(verification, "python_with", lambda reader: sys.executable)
    monkeypatch.setattr(verification, "original_of", lambda loaded: tmp_path / "model")
    row = verify(tmp_path / "model", source, ["mlx-lm"]).rows[0]
    assert (row.status, row.ids_equal) == ("passed", True)
    assert row.note == "mlx-lm reads the original folder by the same other ids"
    row = verify(tmp_path / "model", source, ["mlx-lm"]).rows[0]
    assert row.status == "failed"
    assert re.search(r"text \d+ \('.*\) has other ids from token 1 on \(7, ", row.note)


def test_mlx_lm_does_not_see_rope_parameters() -> None:
    """As transformers 5 writes them, without rope_theta beside them."""
    rope = {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}

    def why(point: str, raw: dict[str, Any], **changes: Any) -> str:
        config = random_model(point, **changes).config
        return why_not("mlx-lm", config, raw, own_tokenizer=False, packed=False)

    assert "does not see rope_parameters" in why("qwen2", rope, rope_theta=10_000)
    assert why("qwen2", rope, rope_theta=1_000_000) == "", "what it takes anyway"
    assert why("qwen2", {**rope, "rope_theta": 10_000.0}, rope_theta=10_000) == ""
    assert why("llama", rope, rope_theta=10_000) == ""
    assert why("qwen3", rope, rope_theta=10_000) == "", "this one it reads"
