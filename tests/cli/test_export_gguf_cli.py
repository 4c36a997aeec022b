"""`mlxllm export --format gguf` and `mlxllm verify` of what it wrote, as they are typed."""

import json
from pathlib import Path

import gguf
import mlx.core as mx
import pytest

from mlxllm.export.hf import write_hf
from mlxllm.tokenizer import load_tokenizer
from tests.export.tiny import random_model
from tests.inference.tiny import tiny
from tests.tokenizer import foreign
from tests.training.tiny import call, run_cli, sentence, succeeded

GGUF = ("--format", "gguf", "--readers", "gguf")
JSON = ("--no-verify", "--json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model, which no test changes."""
    folder = tmp_path_factory.mktemp("files") / "one"
    write_hf(random_model("qwen3", "bpe", ("base", "sft"), hidden_size=64, num_attention_heads=2), folder)
    return folder


def test_a_folder_with_all_that_ollama_wants(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = succeeded(
        call("export", "--model", model, "--out", out, *GGUF, "--quantize", "q8_0", "--modelfile", "--json")
    )
    told = json.loads(done.stdout)
    assert (told["format"], told["passed"], told["weights"]) == ("gguf", True, "q8_0")
    assert told["bytes"] == sum(file.stat().st_size for file in out.iterdir())
    assert sorted(file.name for file in out.iterdir()) == ["Modelfile", "model.gguf", "verification.json"]
    assert "FROM ./model.gguf" in (out / "Modelfile").read_text()
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(out / "model.gguf").tensors}
    assert types == {"Q8_0", "F32"} | ({"F16"} if "F16" in types else set())
    again = json.loads(succeeded(call("verify", out, "--against", model, "--readers", "gguf", "--json")).stdout)
    assert again["rows"] == told["rows"]


def test_ollama_is_told_a_name_and_what_it_cannot_say(model: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "My Model"
    words = load_tokenizer(foreign.write("llama3", theirs))
    save_theirs(theirs, words.vocab_size)
    (theirs / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ loop.index }}] {{ m.content }}\n{% endfor %}"
    )
    done = succeeded(call("export", "--model", theirs, "--out", tmp_path / "out", *GGUF, "--modelfile"))
    assert f"try it: ollama create my-model -f {tmp_path / 'out'}/Modelfile" in done.stderr
    assert "note: its chat template does more than Ollama's templates can" in done.stderr
    assert "# ollama create my-model -f Modelfile" in (tmp_path / "out/Modelfile").read_text()
    done = succeeded(call("export", "--model", model, "--out", tmp_path / "own", *GGUF, "--modelfile"))
    assert "try it: ollama create one " in done.stderr
    assert "chat template" not in done.stderr


def save_theirs(folder: Path, vocab_size: int) -> None:
    """Weights and a config.json beside a tokenizer that is there."""
    from mlxllm.export.hf_files import model_config
    from mlxllm.model.hf_weights import weights_to_hf
    from mlxllm.model.module import named_parameters

    net = tiny(vocab_size=vocab_size)
    raw = model_config(net.config, mx.float32, load_tokenizer(folder), ("base",))
    del raw["mlxllm"]
    (folder / "config.json").write_text(json.dumps(raw))
    mx.save_safetensors(str(folder / "model.safetensors"), weights_to_hf(net.config, named_parameters(net)))


def test_one_file(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.gguf"
    done = succeeded(call("export", "--model", model, "--out", out, *GGUF, "--dtype", "f32"))
    assert "equal" in done.stdout
    assert f"llama-cli -m {out}" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["one.gguf"]
    succeeded(call("verify", out, "--against", model, "--readers", "gguf"))
    assert [file.name for file in tmp_path.iterdir()] == ["one.gguf"]
    assert "--modelfile writes a second file" in sentence(
        call("export", "--model", model, "--out", tmp_path / "b.gguf", *GGUF, "--modelfile"), 2
    )
    assert "exists already" in sentence(call("export", "--model", model, "--out", out, *GGUF), 2)


def test_what_is_otherwise_in_the_file_is_said(tmp_path: Path) -> None:
    """On the terminal, in JSON, beside the file, and by `mlxllm verify` once more."""
    write_hf(random_model("mistral", "bpe", intermediate_size=40), tmp_path / "one")
    flags = ("export", "--model", tmp_path / "one", "--format", "gguf", "--quantize", "q8_0")
    window = "llama.cpp has no sliding window for this architecture: the file says a context of 5 tokens"
    plain = "tensors of this q8_0 file stay f16"
    said = succeeded(call(*flags, "--out", tmp_path / "a", "--no-verify")).stderr
    assert said.count("\nnote: ") == len(
        json.loads(succeeded(call(*flags, "--out", tmp_path / "j", *JSON)).stdout)["notes"]
    )
    assert window in said
    assert plain in said
    told = json.loads(succeeded(call(*flags, "--out", tmp_path / "b", "--readers", "gguf", "--json")).stdout)
    assert plain in told["notes"][0]
    assert window in told["notes"][1]
    assert json.loads((tmp_path / "b" / "verification.json").read_text())["notes"] == told["notes"]
    again = succeeded(call("verify", tmp_path / "b", "--against", tmp_path / "one", "--readers", "gguf"))
    assert f"note: {window}" in again.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((*GGUF, "--quantize", "q4_k_m"), "--quantize is 'q4_k_m', which --format gguf does not have; it has q8_0"),
        ((*GGUF, "--dtype", "q8_0"), "--dtype is 'q8_0', which --format gguf does not have; it has f32, f16, bf16"),
        (
            ("--format", "gguf", "--readers", "transformers"),
            "'transformers' reads no GGUF file; known are gguf, llama.cpp",
        ),
        (
            (*GGUF, "--dtype", "f16", "--quantize", "q8_0"),
            "both say what the matrices of a GGUF file are in",
        ),
        (("--modelfile",), "--modelfile is for Ollama, which reads --format gguf, not hf"),
    ],
)
def test_flags_that_cannot_work(flags: tuple[str, ...], said: str, model: Path, tmp_path: Path) -> None:
    assert said in sentence(call("export", "--model", model, "--out", tmp_path / "out", *flags), 2)
    assert not list(tmp_path.iterdir())


def test_a_full_disk(model: Path, tmp_path: Path) -> None:
    """The system refuses to write more: one sentence, and nothing is left."""
    done = run_cli("export", "--model", model, "--out", tmp_path / "out", *GGUF, largest_file=20_000)
    assert "cannot write the model to" in sentence(done, 1)
    assert "make room there, or choose another folder" in sentence(done, 1)
    assert not list(tmp_path.iterdir())
