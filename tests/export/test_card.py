"""What the model card of a run tells, and what it must not tell."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlxllm.export.card import bytes_text, model_card
from mlxllm.export.hf import write_hf
from mlxllm.export.hf_files import model_config
from mlxllm.export.provenance import nameless, stages_of
from mlxllm.export.quantized import write_quantized
from mlxllm.model.loading import LoadedModel, load_model
from tests.cli.tuned import SHORT
from tests.export.tiny import random_model
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
