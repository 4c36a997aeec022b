"""What we write is opened by transformers and by mlx-lm, and is still the same model; tokenizers included."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import SampleConfig
from mlxllm.export.asking import question_for, reference_for, rounded
from mlxllm.export.hf import write_hf
from mlxllm.export.judging import Row, bounds_for, judge
from mlxllm.export.readers.child import LIBRARIES
from mlxllm.export.readers.limits import why_not
from mlxllm.export.readers.running import Reading
from mlxllm.export.verification import verify
from mlxllm.inference.generate import generate
from mlxllm.model.loading import LoadedModel, load_hf_folder, load_model
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import loaded_with, random_model
from tests.model.test_families_peers import CASES

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


def row_of(reader: str, folder: Path, source: LoadedModel, scratch: Path) -> Row:
    """What a reader makes of a folder, without the process of its own that `verify` starts for it."""
    window = source.config.sliding_window if reader == "mlx-lm" else None
    question = question_for(source, "float32", window or source.config.max_position_embeddings)
    asked = asdict(question) | {"folder": str(folder), "cpu": True, "logits": str(scratch / "logits.npy")}
    with redirect_stdout(io.StringIO()):
        answer = LIBRARIES[reader](asked)
    reading = Reading(**answer, logits=np.load(asked["logits"]))
    return judge(reader, reading, reference_for(source, question, bounds_for("float32")))


def rows(folder: Path, source: LoadedModel, scratch: Path) -> dict[str, Row]:
    """What transformers and mlx-lm make of it."""
    return {reader: row_of(reader, folder, source, scratch) for reader in ("transformers", "mlx-lm")}


def by_transformers(name: str, folder: Path) -> LoadedModel:
    """A small random model that transformers made and saved, loaded by us."""
    import torch
    import transformers

    kind, values = CASES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**values, "vocab_size": 264})
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():  # biases and norms start at 0 and 1, where a swapped one would not show
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return loaded_with(load_hf_folder(folder)[0], ByteTokenizer())


@pytest.mark.parametrize("name", CASES)
def test_theirs_here_and_back(name: str, tmp_path: Path) -> None:
    source = by_transformers(name, tmp_path / "theirs")
    write_hf(source, tmp_path / "back")
    again = load_model(str(tmp_path / "back"))
    for reader in ("transformers", "mlx-lm"):
        if why_not(reader, again.config, own_tokenizer=True, packed=False):
            with pytest.raises((ValueError, AssertionError)):
                assert row_of(reader, tmp_path / "back", source, tmp_path).status == "passed"
            continue
        row = row_of(reader, tmp_path / "back", source, tmp_path)
        assert (row.status, row.ids_equal, row.greedy_equal) == ("passed", True, True), row
        assert row.max_logit_difference is not None
        assert row.max_logit_difference < 1e-4, row
    ids = mx.array([[5, 80, 263, 7, 0]])
    assert mx.abs(again.model(ids) - source.model(ids)).max() < 1e-4


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_a_text_is_continued_alike(kind: str, tmp_path: Path) -> None:
    """From text to text: transformers' own generate, with the ends that generation_config.json names."""
    import torch
    import transformers

    source = random_model("qwen3", kind)
    write_hf(source, tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    prompt = "The fox said: «été» 日\n\n  "
    asked = tokenizer(prompt, return_tensors="pt")
    with torch.no_grad():
        written = model.generate(**asked, max_new_tokens=64, do_sample=False)[0].tolist()
    ids = source.tokenizer.encode(prompt)
    sample = SampleConfig(temperature=0.0, max_tokens=64)
    ours = [token.id for token in generate(source.model, source.tokenizer, ids, sample)]
    assert written == [*ids, *ours]
    assert len(ours) == 64 or ours[-1] == source.tokenizer.eot_id
    assert tokenizer.decode(written[len(ids) :]) == source.tokenizer.decode(ours) or kind == "bpe"


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_conversation_has_the_same_ids(kind: str, tmp_path: Path) -> None:
    source = random_model("llama", kind, ("base", "sft"))
    write_hf(source, tmp_path / "model", dtype=mx.bfloat16)
    found = rows(tmp_path / "model", rounded(source, mx.bfloat16, mx.float32), tmp_path)
    assert [(row.status, row.ids_equal, row.greedy_equal) for row in found.values()] == [("passed", True, True)] * 2, (
        found
    )


def test_each_reader_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    source = random_model("llama", "bpe", ("base", "sft"))
    write_hf(source, tmp_path / "model")
    verification = verify(tmp_path / "model", source, ["mlx-lm", "transformers"])
    assert verification.passed, verification
    assert [(row.reader, row.status) for row in verification.rows] == [("transformers", "passed"), ("mlx-lm", "passed")]


def test_a_foreign_template_goes_along_with_its_tokens(tmp_path: Path) -> None:
    words: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>"}
    template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    (tmp_path / "words").mkdir()
    (tmp_path / "words/chat_template.jinja").write_text(template)
    (tmp_path / "words/tokenizer_config.json").write_text(json.dumps(words))
    source = replace(random_model("llama", "byte", ("base", "sft")), tokenizer_directory=tmp_path / "words")
    write_hf(source, tmp_path / "model")
    found = rows(tmp_path / "model", source, tmp_path)
    assert [row.status for row in found.values()] == ["passed"] * 2, found
