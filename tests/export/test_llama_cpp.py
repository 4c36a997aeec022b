"""llama.cpp computes what we do; skipped where llama-cpp-python is not installed ($MLXLLM_LLAMA_CPP_PYTHON)."""

import os
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export import llama_cpp_reader
from mlxllm.export.gguf import write_gguf
from mlxllm.export.llama_cpp_reader import PYTHON_VARIABLE, llama_cpp_python, read_with_llama_cpp
from mlxllm.model.transformer import Transformer
from tests.export.test_gguf import REFUSED, loaded_as, tiny
from tests.model.families_data import POINTS

needs_llama_cpp = pytest.mark.skipif(llama_cpp_python() is None, reason="needs llama-cpp-python")


def greedy(model: Transformer, prompt: list[int], number: int) -> list[int]:
    ids = list(prompt)
    for _ in range(number):
        ids.append(int(mx.argmax(model(mx.array([ids]))[0, -1])))
    return ids[len(prompt) :]


@needs_llama_cpp
@pytest.mark.parametrize("name", [name for name in POINTS if name not in REFUSED])
def test_logits_and_greedy_tokens(name: str, tmp_path: Path) -> None:
    """In float32; with a window as far as the window reaches. llama.cpp takes gelu from a table in half precision."""
    model = tiny(name)
    write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf", dtype="f32")
    window = model.config.sliding_window
    ids = np.random.default_rng(3).integers(0, 261, window or 40).tolist()
    count = 2 if window else 16
    read = read_with_llama_cpp(tmp_path / "m.gguf", sequences=[ids], prompt=ids[:3], max_tokens=count)
    ours = np.array(model(mx.array([ids])))[0]
    assert read.logits[0].shape == ours.shape
    assert np.abs(read.logits[0] - ours).max() < (1e-3 if name == "gpt2" else 5e-5)
    assert read.greedy == greedy(model, ids[:3], count)
    assert read.greedy_logits.shape == (count, 261)


@needs_llama_cpp
def test_names_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child works in another folder: paths of the file and of its Python are those of ours."""
    write_gguf(loaded_as(tiny("llama"), tmp_path / "m"), tmp_path / "m.gguf", dtype="f32")
    python = llama_cpp_python()
    assert python is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PYTHON_VARIABLE, os.path.relpath(python))
    assert read_with_llama_cpp(Path("m.gguf"), ["x"]).ids


@needs_llama_cpp
def test_layers_that_do_not_rotate(tmp_path: Path) -> None:
    """SmolLM3: every fourth."""
    model = tiny("llama", num_hidden_layers=5, no_rope_layers=(1, 1, 1, 0, 1))
    assert write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf", dtype="f32").architecture == "smollm3"
    ids = np.random.default_rng(3).integers(0, 261, 40).tolist()
    read = read_with_llama_cpp(tmp_path / "m.gguf", sequences=[ids])
    assert np.abs(read.logits[0] - np.array(model(mx.array([ids])))[0]).max() < 5e-5


@needs_llama_cpp
def test_files_that_are_none(tmp_path: Path) -> None:
    """A crash of llama.cpp is a sentence here."""
    with pytest.raises(ModelError, match=r"llama\.cpp cannot use .*none\.gguf: "):
        read_with_llama_cpp(tmp_path / "none.gguf")
    write_gguf(loaded_as(tiny("llama"), tmp_path / "m"), tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"llama\.cpp cannot use .*cut\.gguf: "):
        read_with_llama_cpp(tmp_path / "cut.gguf")


def test_without_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(llama_cpp_reader, "find_spec", lambda _: None)
    assert llama_cpp_python() is None
    with pytest.raises(ConfigError, match=r"pip install 'mlxllm\[llama-cpp\]'"):
        read_with_llama_cpp(tmp_path / "m.gguf")
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="which is not there"):
        llama_cpp_python()
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    assert llama_cpp_python() == sys.executable


def test_a_python_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    with pytest.raises(ConfigError, match="cannot start"):
        read_with_llama_cpp(tmp_path / "m.gguf", python=str(tmp_path / "python"))
