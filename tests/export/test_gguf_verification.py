"""A GGUF file is held to the model: by its own numbers, and by llama.cpp where it is installed."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export.formats import Order, export
from mlxllm.export.gguf_folder import GGUF_FILE
from mlxllm.export.gguf_reading import read_model
from mlxllm.export.gguf_types import FULL, TYPES
from mlxllm.export.gguf_verification import GGUF_READERS, chosen_gguf_readers, gguf_file, top_tokens, verify_gguf
from mlxllm.export.llama_cpp_reader import llama_cpp_python
from mlxllm.export.verification import verify
from mlxllm.export.verified import DifferentError, Verification
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.tokenizer import load_tokenizer
from tests.export.test_gguf import REFUSED
from tests.export.tiny import loaded_with, random_model
from tests.inference.tiny import tiny
from tests.model.families_data import POINTS
from tests.tokenizer import foreign

NAMES = [name for name in POINTS if name not in REFUSED]
LLAMA_CPP = ["llama.cpp"] if llama_cpp_python() is not None else []


def written(loaded: LoadedModel, path: Path, **order: str) -> Verification:
    found = export("gguf", Order(loaded, path, **order))  # type: ignore[arg-type]
    assert found.verification is not None
    assert tuple(found.verification.notes) == found.notes
    return found.verification


def status(verification: Verification) -> dict[str, str]:
    return {row.reader: row.status for row in verification.rows}


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_in_a_file_are_the_models(name: str, tmp_path: Path) -> None:
    """Read back, order of rows and fused matrices undone: each weight of a float32 file is the model's."""
    loaded = random_model(name)
    export("gguf", Order(loaded, tmp_path / "out", "f32"), verify=False)
    there = named_parameters(read_model(tmp_path / "out" / GGUF_FILE, loaded.config))
    here = named_parameters(loaded.model)
    assert there.keys() == here.keys()
    assert all(mx.array_equal(there[key], here[key]) for key in here)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("history", [("base",), ("base", "sft")])
def test_every_export_is_verified(kind: str, history: tuple[str, ...], tmp_path: Path) -> None:
    """In float32 by both readers: ids, logits, greedy tokens, and the conversation of a chat model."""
    loaded = random_model("qwen3", kind, history)
    verification = written(loaded, tmp_path / "out", dtype="float32")
    assert verification.passed
    assert (verification.weights, verification.computed_in, verification.max_logit_bound >= 1e-3) == (
        "f32",
        "float32",
        True,
    )
    assert status(verification)["gguf"] == "passed"
    for row in verification.rows:
        if row.status != "not installed":
            assert (row.ids_equal, row.greedy_equal) == (True, True)
            assert row.max_logit_difference is not None
            assert row.max_logit_difference < 1e-4
    stored = json.loads((tmp_path / "out/verification.json").read_text())
    assert stored["passed"] is True
    assert [row["reader"] for row in stored["rows"]] == list(GGUF_READERS)
    again = verify(tmp_path / "out", loaded)
    assert status(again) == status(verification)


@pytest.mark.parametrize("kind", foreign.KINDS)
def test_models_of_others(kind: str, tmp_path: Path) -> None:
    """With their tokenizer; what llama.cpp reads otherwise is left out and told."""
    folder = foreign.write(kind, tmp_path / "m")
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(folder)
    model = tiny(vocab_size=tokenizer.vocab_size, max_position_embeddings=512)
    loaded = replace(loaded_with(model, tokenizer, ("base", "sft"), folder), path=folder)
    verification = written(loaded, tmp_path / "out", dtype="f32")
    assert verification.passed, verification.failure()
    for row in verification.rows[1:]:
        assert ("NFC" in row.note) is (kind == "qwen" and row.status == "passed")


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_half_precision(dtype: str, tmp_path: Path) -> None:
    verification = written(random_model("llama"), tmp_path / "out", dtype=dtype)
    assert verification.passed, verification.failure()
    assert all(row.top_kept is None or row.top_kept > 0.9 for row in verification.rows)
    assert any(row.top_kept is not None for row in verification.rows)


def test_few_bits(tmp_path: Path) -> None:
    """q8_0 has to keep the likeliest token, but for near-ties; q4_0 is told."""
    loaded = random_model("llama", hidden_size=64, intermediate_size=96)
    eight = written(loaded, tmp_path / "q8", quantize="q8_0")
    four = written(loaded, tmp_path / "q4", quantize="q4_0")
    assert eight.passed, eight.failure()
    assert [row.status for row in four.rows] == [row.status for row in eight.rows]
    for better, worse in zip(eight.rows, four.rows, strict=True):
        if better.top_kept is not None:
            assert better.top_kept > worse.top_kept
            assert better.kl < worse.kl
            assert "likeliest token stays at" in worse.note
    assert (tmp_path / "q4" / GGUF_FILE).stat().st_size < (tmp_path / "q8" / GGUF_FILE).stat().st_size


@pytest.mark.parametrize("kind", TYPES)
def test_what_rounding_does_to_weights(kind: str, tmp_path: Path) -> None:
    """Stays within the bound of the format; twice the bound is found out."""
    loaded = random_model("llama", hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    path = tmp_path / "m.gguf"
    if kind in FULL:
        export("gguf", Order(loaded, path, kind), verify=False)
    else:
        export("gguf", Order(loaded, path, None, kind), verify=False)
    assert verify_gguf(path, loaded, ["gguf"]).passed
    if kind.startswith("tq"):
        return  # made for weights of three values: nothing can be said of others
    weights = named_parameters(loaded.model)
    name = "model.layers.0.mlp.down_proj.weight"
    noise = mx.random.normal(weights[name].shape, key=mx.random.key(1)) * mx.sqrt(mx.mean(weights[name] ** 2))
    loaded.model.load_weights([(name, weights[name] + (2 * TYPES[kind].rounding + 1e-3) * noise)], strict=False)
    found = verify_gguf(path, loaded, ["gguf"])
    assert f"the weights {name} differ by" in found.failure()


def test_top_tokens() -> None:
    ours = np.array([[0.0, 1.0, 9.0], [0.0, 8.99, 9.0], [0.0, 1.0, 9.0]], np.float32)
    theirs = np.array([[0.0, 1.0, 9.0], [0.0, 9.1, 9.0], [9.5, 1.0, 9.0]], np.float32)
    assert top_tokens(ours, theirs) == pytest.approx((1 / 3, 1 / 3)), "the second is a near-tie"


def test_another_model_is_found_out(tmp_path: Path) -> None:
    """Other weights, another tokenizer, another shape: each is a row that says so; an export of that kind is not kept."""
    loaded, other = random_model("llama"), random_model("llama", seed=5)
    export("gguf", Order(other, tmp_path / "other", "f32"), verify=False)
    found = verify_gguf(tmp_path / "other" / GGUF_FILE, loaded)
    assert not found.passed
    assert "of their size, and f32 moves them by 0.0% at most" in found.failure()

    letters = random_model("llama", "char")
    same_rows = random_model("llama", vocab_size=letters.config.vocab_size)
    export("gguf", Order(letters, tmp_path / "letters", "f32"), verify=False)
    found = verify_gguf(tmp_path / "letters" / GGUF_FILE, replace(letters, tokenizer=same_rows.tokenizer))
    assert "tokens are not those" in found.failure()
    assert all(row.ids_equal is False for row in found.rows if row.status == "failed")

    found = verify_gguf(tmp_path / "other" / GGUF_FILE, random_model("qwen3"))
    assert "'llama', and the model is 'qwen3'" in found.failure()
    found = verify_gguf(tmp_path / "other" / GGUF_FILE, random_model("llama", intermediate_size=48))
    assert "of shape" in found.failure()
    found = verify_gguf(tmp_path / "other" / GGUF_FILE, random_model("llama", num_hidden_layers=5))
    assert "lacks blk." in found.failure()


def test_what_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlxllm.export import gguf

    right = gguf.encoded
    monkeypatch.setattr(gguf, "encoded", lambda values, kind, name: right(values * 2, kind, name))
    with pytest.raises(DifferentError, match=r"was not kept: gguf: the weights model.* differ by 100.0% of their size"):
        export("gguf", Order(random_model("llama"), tmp_path / "out", "f16"))
    assert list(tmp_path.iterdir()) == []


def test_which_file(tmp_path: Path) -> None:
    assert gguf_file(tmp_path) is None
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert gguf_file(tmp_path) == gguf_file(tmp_path / "a.gguf") == tmp_path / "a.gguf"
    with pytest.raises(ModelError, match="is not a usable GGUF file"):
        verify_gguf(tmp_path / "a.gguf", random_model("llama"))
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="holds 2 GGUF files; name the one"):
        gguf_file(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert gguf_file(tmp_path) is None


def test_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_gguf_readers(["llama.cpp", "gguf"][1 - len(LLAMA_CPP) :]) == ["gguf", *LLAMA_CPP]
    with pytest.raises(ConfigError, match=r"'transformers' reads no GGUF file; known are gguf, llama\.cpp"):
        chosen_gguf_readers(["transformers"])
    with pytest.raises(ConfigError, match="none is named"):
        chosen_gguf_readers([])
    monkeypatch.setattr("mlxllm.export.gguf_verification.llama_cpp_python", lambda: None)
    with pytest.raises(ConfigError, match=r"pip install 'mlxllm\[llama-cpp\]'"):
        chosen_gguf_readers(["llama.cpp"])


def test_without_llama_cpp_the_file_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxllm.export.gguf_verification.llama_cpp_python", lambda: None)
    verification = written(random_model("gpt2"), tmp_path / "out.gguf", dtype="f32")
    assert status(verification) == {"gguf": "passed", "llama.cpp": "not installed"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"], "one file, and nothing beside it"
