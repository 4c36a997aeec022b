"""Readers run in the Python that has them, and what goes wrong there is a sentence here."""

import sys
from pathlib import Path

import pytest

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export.hf import write_hf
from mlxllm.export.readers import running
from mlxllm.export.verification import chosen_readers, question_for, verify
from tests.export.tiny import random_model


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
    verification = verify(tmp_path / "model", source)
    assert [row.status for row in verification.rows] == ["passed", "not installed", "not installed"]
    assert verification.passed
    with pytest.raises(ConfigError, match=r"--readers: mlx-lm is not installed here.*\$MLXLLM_PEERS_PYTHON"):
        chosen_readers(["mlxllm", "mlx-lm"])


@pytest.mark.usefixtures("without_peers")
def test_another_python_may_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.PEERS_PYTHON, script(tmp_path / "python", "exit 0"))
    assert running.python_with("transformers") == str(tmp_path / "python")
    assert running.python_with("mlxllm") == sys.executable
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
        running.ask("transformers", tmp_path / "model", question, cpu=True)
    row = verify(tmp_path / "model", source, ["transformers"]).rows[0]
    assert (row.status, row.note) == ("failed", "transformers ended with code 9: no room for weights")


def test_a_damaged_folder_is_a_failed_row(tmp_path: Path) -> None:
    source = random_model("llama", "byte")
    write_hf(source, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    verification = verify(tmp_path / "model", source, ["mlxllm"])
    assert not verification.passed
    assert "mlxllm cannot read the model: ModelError" in verification.failure()
