"""Models with a tokenizer and a chat template of others, from the command line: looked at, asked, tuned and resumed."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from typer.testing import CliRunner

from mlxllm.cli.app import app
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.records import Message
from mlxllm.data.shards import TokenDataset
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.loading import load_model
from mlxllm.tokenizer import load_tokenizer
from tests.conversation.templates import CHATML, INSTRUCTIONS
from tests.inference.tiny import tiny
from tests.tokenizer import foreign
from tests.training.tiny import call, json_lines, sentence, succeeded

TALK = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello world"}]}\n'
SHORT = ("--max-steps", 2, "--batch-size", 2, "--max-seq-len", 48, "--set", "train.warmup_steps=0")
QUIET = ("--set", "train.eval_every=0", "--set", "train.sample_every=0")
ASKED = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "eos_token_id": [2]}


def model_folder(kind: str, folder: Path, rows: int | None = None, **config: Any) -> Path:
    """A tiny random model with a tokenizer of `kind`; it has more rows than ids, as many have."""
    foreign.write(kind, folder, **config)
    size = rows or load_tokenizer(folder).vocab_size + 7
    model = tiny(vocab_size=size, max_position_embeddings=128)
    (folder / "config.json").write_text(json.dumps(config_to_hf(model.config)))
    weights = weights_to_hf(model.config, dict(tree_flatten(model.parameters())))
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = model_folder("qwen", tmp_path_factory.mktemp("models") / "qwen", chat_template=CHATML)
    ends = [load_tokenizer(folder).special_ids[token] for token in ("<|im_end|>", "</s>")]
    (folder / "generation_config.json").write_text(json.dumps({**ASKED, "eos_token_id": ends}))
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = model_folder("llama2", tmp_path_factory.mktemp("models") / "llama")
    (folder / "chat_template.jinja").write_text(INSTRUCTIONS.replace("\n{", "{"))
    return folder


def test_a_text_is_continued_behind_the_beginning_of_text(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    [told] = json_lines(
        succeeded(call("sample", "--model", llama, "--prompt", "the quick", "--max-tokens", 3, "--json")).stdout
    )
    assert told["prompt_tokens"] == len(tokenizer.encode("the quick")) + 1
    assert tokenizer.decode_continued(told["token_ids"]).startswith(told["text"])


def test_generation_config_counts_where_no_flag_does(qwen: Path) -> None:
    asked = succeeded(call("sample", "--model", qwen, "--prompt", "the", "--max-tokens", 4))
    assert "as its generation_config.json asks: --temp 0.6 --top-p 0.9 --top-k 20; a flag of yours wins" in asked.stderr
    flags = ("--temp", 0.6, "--top-p", 0.9, "--top-k", 20)
    typed = succeeded(call("sample", "--model", qwen, "--prompt", "the", "--max-tokens", 4, *flags))
    assert typed.stdout == asked.stdout
    assert "generation_config" not in typed.stderr
    greedy = succeeded(call("sample", "--model", qwen, "--prompt", "the", "--max-tokens", 4, "--temp", 0))
    assert "generation_config" not in greedy.stderr, "the likeliest token needs no other setting"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"do_sample": False, "temperature": 0.6, "repetition_penalty": 1.1}, "--temp 0 --repetition-penalty 1.1;"),
        ({"do_sample": True}, "asks: --temp 1;"),
        ({"temperature": -1, "top_p": "high", "top_k": None, "repetition_penalty": True}, ""),
        ({"eos_token_id": 2}, ""),
        ([], ""),
    ],
)
def test_what_generation_config_says(tmp_path: Path, said: object, told: str) -> None:
    folder = model_folder("gpt2", tmp_path / "m")
    if isinstance(said, list):
        (folder / "tokenizer_config.json").unlink()  # what else is damaged is told where it is needed
        (folder / "generation_config.json").write_text("[]")
        assert "generation_config.json is damaged" in sentence(call("sample", "--model", folder), 1)
        return
    (folder / "generation_config.json").write_text(json.dumps(said))
    done = succeeded(call("sample", "--model", folder, "--prompt", "the", "--max-tokens", 2))
    assert told in done.stderr
    assert bool(told) == ("generation_config" in done.stderr)


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_an_instruct_folder_chats(request: pytest.FixtureRequest, name: str) -> None:
    folder = request.getfixturevalue(name)
    options = ["--temp", "0", "--max-tokens", "5"]
    done = CliRunner().invoke(app, ["chat", "--model", str(folder), *options], input="hello\n/text\n")
    assert done.exit_code == 0, done.stderr
    assert "came with a chat template: it is your turn" in done.stderr
    assert "user: hello\n\nassistant: " in done.stdout


def test_tokenizer_commands(llama: Path) -> None:
    shown = json.loads(succeeded(call("tokenizer", "encode", llama, "hello <s>", "--json")).stdout)
    assert shown["pieces"][0].startswith(" ")
    assert load_tokenizer(llama).special_ids["<s>"] not in shown["ids"]
    ids = " ".join(map(str, shown["ids"]))
    assert json.loads(succeeded(call("tokenizer", "decode", llama, ids, "--json")).stdout) == {"text": "hello <s>"}
    about = succeeded(call("tokenizer", "show", llama)).stdout
    assert "(hub)" in about
    assert "<s> 1" in about
    hole = sentence(call("tokenizer", "decode", llama, "99999"), 1)
    assert "token id 99999 is not in the vocabulary of this hub tokenizer" in hole


def test_data_is_built_with_it(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("hello world\n<|endoftext|>\nthe quick brown fox\n<|endoftext|>\n" * 20)
    where = tmp_path / "data"
    succeeded(call("data", "build", where, "--source", f"text:{tmp_path}/texts.txt", "--tokenizer", llama, "--json"))
    dataset = TokenDataset.open(where)
    tokenizer = dataset.tokenizer
    assert tokenizer.fingerprint == load_tokenizer(llama).fingerprint
    ids = dataset.train.read(0, 12).tolist()
    assert ids[0] == tokenizer.special_ids["<s>"]
    end = ids.index(tokenizer.special_ids["</s>"])
    assert tokenizer.decode(ids[1:end]) in ("hello world", "the quick brown fox")
    assert ids[end + 1] == tokenizer.special_ids["<s>"]


def test_a_run_takes_the_tokenizer_along_and_not_the_weights(qwen: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text(TALK * 6)
    run = tmp_path / "run"
    succeeded(call("sft", "--model", qwen, "--data", tmp_path / "talk.jsonl", "--run", run, *SHORT, *QUIET))
    copied = {path.name: path.read_bytes() for path in (run / "tokenizer").iterdir()}
    assert copied == {name: (qwen / name).read_bytes() for name in copied}
    assert set(copied) == {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}
    loaded = load_model(str(run))
    assert loaded.tokenizer.fingerprint == load_tokenizer(qwen).fingerprint
    assert loaded.tokenizer.stop_ids == load_tokenizer(qwen).stop_ids
    assert loaded.history == ("base", "instruct", "sft")
    done = succeeded(call("sample", "--model", run, "--prompt", "hi", "--max-tokens", 3))
    assert "--temp 0.6" in done.stderr
    succeeded(call("resume", run, "--max-steps", 3))


def test_the_ends_of_a_config_go_along(tmp_path: Path) -> None:
    folder = model_folder("gpt2", tmp_path / "m", chat_template=CHATML)
    raw = json.loads((folder / "config.json").read_text())
    tokenizer = load_tokenizer(folder)
    assert tokenizer.stop_ids == (tokenizer.special_ids["</s>"],)
    end = tokenizer.special_ids["<|im_end|>"]
    (folder / "config.json").write_text(json.dumps({**raw, "eos_token_id": [end]}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.stop_ids == (end, tokenizer.special_ids["</s>"])
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").stop_ids == tokenizer.stop_ids
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint


def test_a_tokenizer_that_is_larger_than_the_model(tmp_path: Path) -> None:
    folder = model_folder("gpt2", tmp_path / "m", rows=100)
    assert "they do not belong together" in sentence(call("sample", "--model", folder), 1)


def test_a_base_model_without_template_learns_plain_turns(tmp_path: Path) -> None:
    folder = model_folder("gpt2", tmp_path / "m")
    (tmp_path / "talk.jsonl").write_text(TALK * 6)
    run = tmp_path / "run"
    longer = ("--max-steps", 60, "--learning-rate", 0.01)
    done = succeeded(
        call("sft", "--model", folder, "--data", tmp_path / "talk.jsonl", "--run", run, *SHORT, *QUIET, *longer)
    )
    assert "has no chat template, so turns are written plainly (User:, Assistant:)" in done.stderr
    tokenizer = load_tokenizer(run / "tokenizer")
    asked = chat_format_of(tokenizer, run / "tokenizer").generation_prompt([Message("user", "hi")])
    assert tokenizer.decode(asked) == "User:\nhi\n\nAssistant:\n"
    # It leaves with what it was taught with, and goes on from there.
    succeeded(call("export", "--model", run, "--out", tmp_path / "out"))
    asking = ("--prompt", "hi", "--max-tokens", 8, "--temp", 0, "--json")
    [told] = json_lines(succeeded(call("compare", run, tmp_path / "out", *asking)).stdout)
    assert [each["text"] for each in told["answers"]] == ["hello world"] * 2
    assert (tmp_path / "out/chat_template.jinja").read_text() == (run / "chat_template.jinja").read_text()
