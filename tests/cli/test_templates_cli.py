"""Models that came with a chat template, from the command line: tuned, looked at, fused and asked with it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlxllm.cli.app import app
from mlxllm.conversation import OWN_TEMPLATE, ChatFormat, Message, OwnFormat
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.model.loading import load_model
from tests.cli.tuned import SETTINGS
from tests.conversation.templates import CHATML
from tests.inference.tiny import TOKENIZER, write_folder, writing_answers
from tests.training.tiny import call, checkpoint_bytes, json_lines, sentence, succeeded

TEMPLATE = CHATML.replace("<|im_start|>", "<|user|>").replace("<|im_end|>", "<|end|>")
TALK = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
HI = [Message("user", "hi")]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "talk.jsonl").write_text(TALK * 4)
    return write_folder(tmp_path / "base", writing_answers())


def format_of(model: Path) -> ChatFormat:
    loaded = load_model(str(model))
    return chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)


def tune(base: Path, run: Path, *flags: object) -> None:
    data = ("--data", base.parent / "talk.jsonl", "--run", run, "--batch-size", 1)
    succeeded(call("sft", "--model", base, *data, "--learning-rate", 1e-4, *SETTINGS, *flags))


def test_the_template_goes_with_the_model_from_stage_to_stage(base: Path, tmp_path: Path) -> None:
    (base / "chat_template.jinja").write_text("{{ bos_token }}" + TEMPLATE)
    (base / "tokenizer_config.json").write_text('{"bos_token": "<|system|>"}')
    tune(base, tmp_path / "run", "--lora-rank", 2, "--max-steps", 4)
    succeeded(call("fuse", "--model", tmp_path / "run", "--save-path", tmp_path / "fused"))
    rendered = "<|system|><|user|>user\nhi<|end|>\n<|user|>assistant\n"
    for model in (base, tmp_path / "run", tmp_path / "fused"):
        prompt = format_of(model).generation_prompt(HI)
        assert TOKENIZER.decode(prompt) == rendered
        assert prompt.count(TOKENIZER.special_ids["<|user|>"]) == 2, "special tokens are one id each"
    # A run that was stopped goes on with it: the same weights as one that was not.
    tune(base, tmp_path / "half", "--lora-rank", 2, "--max-steps", 4, "--set", "train.checkpoint_every=2")
    for newest in (tmp_path / "half" / "checkpoints").glob("*4"):
        (newest / "manifest.json").unlink()
    succeeded(call("resume", tmp_path / "half"))
    weights = ("trainable.safetensors",)
    assert checkpoint_bytes(tmp_path / "half", 4, *weights) == checkpoint_bytes(tmp_path / "run", 4, *weights)


def test_masks_and_chat_use_it(base: Path, tmp_path: Path) -> None:
    (base / "tokenizer/chat_template.jinja").write_text(TEMPLATE)
    shown = succeeded(call("data", "inspect", "--masks", tmp_path / "talk.jsonl", "--model", base, "--json"))
    [told] = json_lines(shown.stdout)
    record = told["records"][0]
    assert "".join(record["pieces"]).replace("<0x0A>", "\n") == (
        "<|user|>user\nhi<|end|>\n<|user|>assistant\nhello<|end|>\n"
    )
    trained = [piece for piece, mask in zip(record["pieces"], record["loss_mask"], strict=True) if mask]
    assert trained == [*"hello", "<|end|>"]
    tune(base, tmp_path / "run", "--max-steps", 1)
    options = ["--model", str(tmp_path / "run"), "--temp", "0", "--max-tokens", "5"]
    with_template = CliRunner().invoke(app, ["chat", *options], input="hi\n", catch_exceptions=False).stdout
    (tmp_path / "run/tokenizer/chat_template.jinja").unlink()
    (tmp_path / "run/chat_template.jinja").unlink()
    assert CliRunner().invoke(app, ["chat", *options], input="hi\n", catch_exceptions=False).stdout != with_template


def test_our_own_template_is_our_own_format(base: Path) -> None:
    """It is what an export carries along; reserved tokens that a text spells stay text."""
    (base / "chat_template.jinja").write_text(OWN_TEMPLATE)
    assert isinstance(format_of(base), OwnFormat)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ ''.__class__.__mro__ }}", "the chat template of base is stopped: it reaches for '__class__' of a str"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "is stopped: "),
        ("{% if %}", "the chat template of base is not a Jinja template: line 1"),
    ],
)
def test_bad_ones_end_in_a_sentence(base: Path, tmp_path: Path, template: str, message: str) -> None:
    (base / "chat_template.jinja").write_text(template)
    talk = tmp_path / "talk.jsonl"
    assert message in sentence(call("sft", "--model", base, "--data", talk, "--run", tmp_path / "run"), 1)
    assert message in sentence(call("data", "inspect", "--masks", talk, "--model", base), 1)
    assert not (tmp_path / "run").exists()
