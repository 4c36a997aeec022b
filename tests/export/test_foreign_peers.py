"""A model that came from somewhere else leaves with the tokenizer and template that it came with, tuned and merged."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest

from mlxllm.config import LoraConfig
from mlxllm.export.hf import plain_model, write_hf
from mlxllm.export.hf_files import model_config
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.module import named_parameters
from mlxllm.tokenizer import load_tokenizer
from tests.export.test_export_peers import rows
from tests.inference.tiny import tiny
from tests.model.families_data import POINTS
from tests.model.test_hf_folder import adapted
from tests.tokenizer import foreign

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GENERATION = {"eos_token_id": [1], "temperature": 0.6, "do_sample": True, "repetition_penalty": 1.2}


def tuned(folder: Path, kind: str, point: str, *, in_config: bool) -> LoadedModel:
    """A folder as it comes from the Hub, loaded, with adapters on it."""
    template = {"chat_template": TEMPLATE} if in_config else {}
    foreign.write(kind, folder, bos_token="<s>", **template)
    if not in_config:
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    tokenizer = load_tokenizer(folder)
    shape = {"vocab_size": tokenizer.vocab_size + 3, "max_position_embeddings": 256, "intermediate_size": 128}
    model = tiny(3, **{**POINTS[point][1], **shape})
    raw = model_config(model.config, mx.float32, tokenizer, ("base",))
    raw.pop("mlxllm")
    (folder / "config.json").write_text(json.dumps(raw))
    mx.save_safetensors(str(folder / "model.safetensors"), weights_to_hf(model.config, named_parameters(model)))
    loaded = load_model(str(folder))
    adapted(loaded.model, LoraConfig(rank=2))
    return loaded


@pytest.mark.parametrize(
    ("kind", "point", "in_config"),
    [
        ("gpt2", "gpt2", True),
        ("llama3", "llama3", False),
        ("qwen", "qwen3", True),
        ("smollm", "llama", False),
        ("llama2", "llama-untied-biases", True),
        ("metaspace", "mixtral", False),
        ("sentencepiece", "llama", False),
    ],
)
def test_a_tuned_hub_model_leaves_with_its_own_tokenizer(
    kind: str, point: str, in_config: bool, tmp_path: Path
) -> None:
    loaded = tuned(tmp_path / "hub", kind, point, in_config=in_config)
    write_hf(loaded, tmp_path / "out")
    came, left = ({p.name: p for p in (tmp_path / name).iterdir()} for name in ("hub", "out"))
    for name in came.keys() - {"config.json", "model.safetensors", "corpus.txt", "trained.model", "trained.vocab"}:
        if kind == "sentencepiece" and name == "tokenizer_config.json":  # the class that reads its tokenizer.json
            config, said = (json.loads(each[name].read_text()) for each in (left, came))
            assert config == said | {"tokenizer_class": "PreTrainedTokenizerFast"}
        else:
            assert left[name].read_bytes() == came[name].read_bytes(), name
    assert "tokenizer" not in left
    plain = replace(loaded, model=plain_model(loaded))
    for row in rows(tmp_path / "out", plain, tmp_path).values():
        assert (row.status, row.ids_equal, row.greedy_equal) == ("passed", True, True), row
    again = load_model(str(tmp_path / "out"))
    assert again.history == loaded.history
    # A tokenizer.json that was added decides the ids then: the same ones, as the readers above found.
    assert (again.tokenizer.fingerprint == loaded.tokenizer.fingerprint) == (kind != "sentencepiece")
