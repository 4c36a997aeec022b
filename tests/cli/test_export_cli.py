"""`mlxllm export` and `mlxllm verify`, as they are typed."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from mlxllm.export.hf import write_hf
from mlxllm.model.loading import load_model
from tests.export.tiny import random_model
from tests.training.tiny import call, sentence, succeeded


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one shape, which no test changes."""
    folder = tmp_path_factory.mktemp("files")
    write_hf(random_model("llama", "bpe", ("base", "sft")), folder / "one")
    write_hf(random_model("llama", "bpe", ("base", "sft"), seed=1), folder / "two")
    write_hf(random_model("llama", "bpe", hidden_size=64), folder / "wide")
    return folder


OURS = ("--readers", "mlxllm")


def test_an_export_is_verified_and_says_so(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = succeeded(call("export", "--model", files / "one", "--out", out, "--dtype", "bfloat16", *OURS, "--json"))
    told = json.loads(done.stdout)
    [row] = told["rows"]
    assert (told["passed"], told["weights"], told["computed_in"], told["format"]) == (True, "bfloat16", "float32", "hf")
    assert (row["reader"], row["status"], row["ids_equal"], row["greedy_equal"]) == ("mlxllm", "passed", True, True)
    assert row["max_logit_difference"] < 1e-4
    assert told["bytes"] == sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    noted = json.loads((out / "verification.json").read_text())
    assert noted["rows"] == told["rows"]
    assert str(tmp_path) not in "".join(file.read_text() for file in out.glob("*.json")), "no place of this machine"
    assert load_model(str(out)).model.model.embed_tokens.weight.dtype == mx.bfloat16


def test_verify_tells_models_apart(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    succeeded(call("export", "--model", files / "one", "--out", out, "--no-verify"))
    assert not (out / "verification.json").exists()
    done = succeeded(call("verify", out, "--against", files / "one", *OURS))
    assert "reader" in done.stdout
    assert "equal" in done.stdout
    assert json.loads((out / "verification.json").read_text())["passed"] is True
    other = call("verify", out, "--against", files / "two", *OURS, "--json")
    assert json.loads(other.stdout)["passed"] is False
    assert "is not the model" in sentence(other, 1)
    assert "a logit differs by" in sentence(other, 1)
    assert "was it made from another model? Else export it again" in sentence(other, 1)
    assert "its verification.json was left as it is" in sentence(other, 1)
    assert json.loads((out / "verification.json").read_text())["passed"] is True
    wide = sentence(call("verify", out, "--against", files / "wide", *OURS), 1)
    assert "hidden_size 32" in wide


def test_a_folder_that_differs_is_not_kept(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the writer had a mistake: it leaves the weights of the other model.
    from mlxllm.export import hf

    other = load_model(str(files / "two")).model
    monkeypatch.setattr(hf, "with_any_tokenizer", lambda model, tokenizer: other)
    done = call("export", "--model", files / "one", "--out", tmp_path / "out", *OURS, "--json")
    assert json.loads(done.stdout)["passed"] is False
    assert "the export differs from the model, so it was not kept: mlxllm: a logit differs" in sentence(done, 1)
    assert not list(tmp_path.iterdir())


def test_verify_writes_only_into_exports(files: Path, tmp_path: Path) -> None:
    """Somebody else's folder stays as it is; a reader that cannot open it does not make it another model."""
    foreign = tmp_path / "theirs"
    shutil.copytree(files / "one", foreign)
    raw = json.loads((foreign / "config.json").read_text())
    del raw["mlxllm"]
    (foreign / "config.json").write_text(json.dumps(raw))
    before = sorted(foreign.iterdir())
    succeeded(call("verify", foreign, "--against", foreign, *OURS))
    assert sorted(foreign.iterdir()) == before
    weights = foreign / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    told = sentence(call("verify", foreign, "--against", files / "one", *OURS), 1)
    assert "could not be compared with" in told
    assert "mlxllm cannot read the model" in told
    assert "is not the model" not in told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--format", "onnx"), "--format is 'onnx'; known are hf"),
        (("--dtype", "int8"), "--dtype is 'int8', which --format hf does not have; it has float32, bfloat16, float16"),
        (("--quantize", "q9"), "--quantize is 'q9', which --format hf does not have"),
        (("--readers", "vllm"), "--readers: 'vllm' is not one; known are mlxllm, transformers, mlx-lm"),
        (("--readers", ""), "--readers: none is named"),
        (("--readers", "mlxllm", "--no-verify"), "leave one of the two out"),
    ],
)
def test_wrong_flags(flags: tuple[str, ...], said: str, files: Path, tmp_path: Path) -> None:
    assert said in sentence(call("export", "--model", files / "one", "--out", tmp_path / "out", *flags), 2)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be(files: Path, tmp_path: Path) -> None:
    taken = sentence(call("export", "--model", files / "one", "--out", tmp_path), 2)
    assert "exists already; name a new folder" in taken
    assert "is not a folder" in sentence(call("verify", tmp_path / "no", "--against", files / "one"), 2)
    assert "holds no config.json" in sentence(call("verify", tmp_path, "--against", files / "one"), 1)
