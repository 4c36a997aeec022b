"""What the model card of a run tells, and what it must not tell."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest

from mlxllm.data.provenance import data_of, nameless
from mlxllm.export.card import bytes_text, model_card
from mlxllm.export.hf import write_hf
from mlxllm.export.hf_files import model_config
from mlxllm.export.modelfile import write_modelfile
from mlxllm.export.provenance import stages_of
from mlxllm.export.quantized import write_quantized
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.module import named_parameters
from mlxllm.tokenizer import load_tokenizer
from tests.cli.tuned import SHORT
from tests.export.tiny import random_model
from tests.inference.tiny import tiny
from tests.tokenizer import foreign
from tests.training.tiny import call, config, dataset, sentence, succeeded, train


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a run that learned it, and one that was tuned after it."""
    folder = tmp_path_factory.mktemp("life")
    train(folder / "base", config(dataset(folder / "numbers"), max_steps=4, eval_every=2))
    talk = '{"prompt": "Who?", "completion": "Me."}\n'
    (folder / "talk.jsonl").write_text(talk)
    where = ("--model", folder / "base", "--data", folder / "talk.jsonl", "--run", folder / "tuned")
    succeeded(call("sft", *where, *SHORT, "--lora-rank", 4, "--set", "train.eval_every=0"))
    return folder


def card_of(loaded: LoadedModel) -> str:
    raw = model_config(loaded.config, loaded.model.model.norm.weight.dtype, loaded.tokenizer, loaded.history)
    return model_card(loaded, raw, 1_234_567)


def test_the_stages_and_their_data_are_told(life: Path, tmp_path: Path) -> None:
    loaded = load_model(str(life / "tuned"))
    assert [stage.method for stage in stages_of(loaded)] == ["pretrain", "sft"]
    card = card_of(loaded)
    assert card.startswith("---\nlibrary_name: transformers\n")
    for told in (
        "# tuned",
        "| architecture | Qwen3ForCausalLM |",
        "| weights | float32, 1.2 MB |",
        "| pre-training | numbers | 4 |",
        "| fine-tuning on conversations | talk.jsonl | 2 |",
        "lora method lora, lora rank 4",
        "| source | documents | tokens | share | licences |",
        "mlxllm chat --model ./DIR",
        "## Licence",
    ):
        assert told in card, told
    assert str(life) not in card
    assert "/tmp" not in card
    write_hf(loaded, tmp_path / "out")
    assert (tmp_path / "out/README.md").read_text() == card_of(loaded).replace("1.2 MB", _size(tmp_path / "out"))


def _size(folder: Path) -> str:
    line = next(line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| weights |"))
    return line.split(", ")[1].removesuffix(" |")


def test_a_base_model_has_its_scores(life: Path) -> None:
    [stage] = stages_of(load_model(str(life / "base")))
    assert stage.val_loss is not None
    assert stage.bits_per_byte is not None
    card = card_of(load_model(str(life / "base")))
    assert f"| {stage.val_loss:.4f} | {stage.bits_per_byte:.4f} |" in card
    assert "mlx_lm.generate --model DIR --ignore-chat-template" in card


def test_each_stage_has_its_own_steps(life: Path) -> None:
    """Of the checkpoint that the next one began with; tokens and scores that are of later steps are left out."""
    where = ("--model", f"{life / 'base'}@2", "--data", life / "talk.jsonl", "--run", life / "early")
    succeeded(call("sft", *where, *SHORT, "--set", "train.eval_every=0", "--max-steps", 1))
    where = ("--model", life / "early", "--data", life / "talk.jsonl", "--run", life / "third")
    succeeded(call("sft", *where, *SHORT, "--set", "train.eval_every=0", "--max-steps", 3))
    first, *others = stages_of(load_model(str(life / "third")))
    assert [stage.steps for stage in (first, *others)] == [2, 1, 3]
    assert first.tokens is None
    assert first.val_loss is None or first.val_loss > 0
    assert others[-1].tokens


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody else, and a run that was tuned after it."""
    folder = tmp_path_factory.mktemp("theirs")
    words = load_tokenizer(foreign.write("llama3", folder / "their-model"))
    model = tiny(vocab_size=words.vocab_size)
    raw = model_config(model.config, mx.float32, words, ("base",))
    del raw["mlxllm"]
    (folder / "their-model/config.json").write_text(json.dumps(raw))
    weights = weights_to_hf(model.config, named_parameters(model))
    mx.save_safetensors(str(folder / "their-model/model.safetensors"), weights)
    (folder / "their-model/generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_k": 7}')
    (folder / "talk.jsonl").write_text('{"prompt": "Who?", "completion": "Me."}\n')
    where = ("--model", folder / "their-model", "--data", folder / "talk.jsonl", "--run", folder / "tuned")
    succeeded(call("sft", *where, *SHORT, "--set", "train.eval_every=0"))
    return folder


def test_a_base_of_others_is_named_and_its_licence_holds(theirs: Path) -> None:
    tuned = load_model(str(theirs / "tuned"))
    assert [(stage.method, stage.base_model) for stage in stages_of(tuned)] == [("sft", "their-model")]
    card = card_of(tuned)
    for told in (
        "tuned with mlxllm.",
        "| base model | their-model |",
        "The first stage began with their-model.",
        "The licence of the base model, their-model, holds for these weights as well.",
    ):
        assert told in card, told
    assert "|  |" not in card
    assert "- : " not in card
    assert str(theirs) not in card
    untouched = card_of(load_model(str(theirs / "their-model")))
    assert "exported with mlxllm." in untouched
    assert "trained with" not in untouched
    assert "| base model | their-model |" in untouched


def test_ollama_draws_as_the_maker_asks(theirs: Path, tmp_path: Path) -> None:
    """The folder itself, and a run that was tuned after it: both as `sample` does."""
    for name in ("their-model", "tuned"):
        said = write_modelfile(load_model(str(theirs / name)), tmp_path, "m.gguf").splitlines()
        assert {"PARAMETER temperature 0.6", "PARAMETER top_k 7"} <= set(said), name


def test_a_packed_model_is_not_for_transformers() -> None:
    loaded = random_model("llama")
    raw = model_config(loaded.config, mx.float32, loaded.tokenizer, loaded.history)
    card = model_card(loaded, {**raw, "quantization": {"bits": 4, "group_size": 64}}, 1000)
    assert card.startswith("---\nlibrary_name: mlx\n")
    assert "from transformers import" not in card
    assert "mlx_lm.generate" in card


def test_the_stories_have_a_licence(tmp_path: Path) -> None:
    """Their label names none, the source does."""
    succeeded(call("data", "build", tmp_path / "tales", "--source", "stories:60", "--tokenizer", "byte"))
    train(tmp_path / "run", config(tmp_path / "tales", max_steps=1))
    [stage] = stages_of(load_model(str(tmp_path / "run")))
    data = data_of(stage)
    assert data is not None
    assert [source.licences for source in data.sources] == [("MIT",)]


def test_without_a_run_it_tells_of_none() -> None:
    card = card_of(random_model("llama", "bpe"))
    assert "## How it was made" not in card
    assert "| tokenizer | 420 ids, byte-pair encoding" in card


def test_only_who_computes_it_is_recommended(tmp_path: Path) -> None:
    plain = card_of(random_model("qwen3"))
    assert "mlx_lm.generate" in plain
    assert "from transformers" in plain
    assert "Not with" not in plain
    gelu = card_of(random_model("llama", hidden_act="gelu"))
    assert "mlx_lm.generate" not in gelu
    assert "from transformers" in gelu
    assert "\nNot with mlx-lm: mlx-lm computes silu where this model has gelu.\n" in gelu
    assert "mlx_lm.generate" not in card_of(random_model("gpt2", tie_word_embeddings=False))
    window = card_of(random_model("mistral", sliding_window=40))
    assert "mlx_lm.generate" in window
    assert "it is right up to 40 tokens" in window
    assert "sliding window" not in card_of(random_model("mistral", sliding_window=512))
    write_quantized(random_model("qwen3", hidden_size=64, intermediate_size=64), tmp_path / "packed")
    packed = (tmp_path / "packed/README.md").read_text()
    assert "mlx_lm.generate" in packed
    assert "from transformers" not in packed
    assert "library_name: mlx\n" in packed


def test_a_base_of_the_hub_is_named() -> None:
    card = card_of(replace(random_model("llama"), name="owner/small-model@main"))
    assert 'base_model: "owner/small-model"\n' in card
    assert "\n# small-model\n" in card
    assert "base_model" not in card_of(random_model("llama"))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(life: Path, tmp_path: Path) -> None:
    from tests.training.tiny import run_cli

    done = run_cli("export", "--model", life / "base", "--out", tmp_path / "out", "--no-verify", largest_file=20_000)
    assert "cannot write the model to" in sentence(done, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("/home/me/data/talk.jsonl", "talk.jsonl"),
        ("text:/home/me/books", "text:books"),
        ("owner/name", "owner/name"),
        ("run@3", "run@3"),
        ("~/x/y", "y"),
        ("C:\\data\\x.txt", "C:x.txt"),
    ],
)
def test_names_lose_their_folders(name: str, short: str) -> None:
    assert nameless(name) == short


def test_sizes() -> None:
    assert [bytes_text(n) for n in (0, 999, 12_345, 5e9)] == ["0.0 kB", "1.0 kB", "12.3 kB", "5.0 GB"]
