"""The line that a GGUF file says about where its model comes from."""

from dataclasses import replace
from pathlib import Path

import gguf

from mlxllm.export.gguf import write_gguf
from mlxllm.export.gguf_about import about
from mlxllm.export.modelfile import write_modelfile
from mlxllm.model.loading import load_model
from mlxllm.tokenizer import load_tokenizer
from tests.export.tiny import random_model
from tests.tokenizer import foreign
from tests.training.tiny import config, dataset, train


def test_a_run_and_its_data(tmp_path: Path) -> None:
    """Stages, sources, licences; the file's name is the run's; no folder of this machine."""
    train(tmp_path / "base", config(dataset(tmp_path / "numbers"), max_steps=2))
    loaded = load_model(str(tmp_path / "base"))
    said = about(loaded)
    assert said.startswith("A model of mlxllm: pre-trained on numbers (")
    assert "100%; licences not known)" in said
    assert str(tmp_path) not in said
    write_gguf(loaded, tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    fields = {key: reader.get_field(f"general.{key}").contents() for key in ("description", "name")}
    assert fields == {"description": said, "name": "base (step 2)"}
    assert str(tmp_path).encode() not in (tmp_path / "m.gguf").read_bytes()
    assert "PARAMETER temperature 0.8" in write_modelfile(loaded, tmp_path, "m.gguf")


def test_a_model_of_others_claims_no_training(tmp_path: Path) -> None:
    theirs = load_tokenizer(foreign.write("llama3", tmp_path / "theirs"))
    assert about(replace(random_model("llama"), tokenizer=theirs, path=tmp_path / "theirs")) == "Exported with mlxllm"


def test_a_folder_says_its_stages() -> None:
    assert (
        about(random_model("llama", history=("base", "sft", "dpo"))) == "A model of mlxllm: pre-trained; tuned; aligned"
    )
