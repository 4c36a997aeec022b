"""A user's path: somebody else's instruct model, LoRA on a JSONL, DPO on own preferences, exported, served."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxllm.model.loading import load_model
from tests.cli.test_serve_cli import post, served
from tests.training.tiny import call, json_lines, succeeded

pytestmark = [pytest.mark.peers, pytest.mark.slow]

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TALK = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]} for n in "abcdef"
]
PAIRS = [{"prompt": f"{n}?", "chosen": "Yes.", "rejected": "No!"} for n in "abcdef"]
QUIET = ("--set", "train.eval_every=0", "--set", "train.sample_every=0", "--set", "train.warmup_steps=0")


def instruct_model(folder: Path) -> Path:
    """As transformers saves it: a random Llama, a byte-level BPE with special tokens, a chat template."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=280, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(["Yes. No! Yes, it is; no, it is not."], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape |= {"intermediate_size": 64, "max_position_embeddings": 128}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), eos_token_id=1, bos_token_id=None, **shape)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chatted(model: str, said: str) -> str:
    command = [sys.executable, "-m", "mlxllm", "chat", "--model", model, "--max-tokens", "12", "--temp", "0"]
    return subprocess.run(command, input=f"{said}\n", capture_output=True, text=True, check=True).stdout.strip()


def test_from_an_instruct_model_to_an_endpoint(tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    model = instruct_model(tmp_path / "instruct")
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(each) + "\n" for each in TALK))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in PAIRS))
    fast = ("--max-seq-len", 64, "--batch-size", 2, *QUIET)
    lora = ("--lora-rank", 8, "--learning-rate", 0.03, "--max-steps", 60)
    succeeded(call("sft", "--model", model, "--data", tmp_path / "talk.jsonl", "--run", "tuned", *lora, *fast))
    aligned = ("--lora-rank", 4, "--learning-rate", 0.001, "--max-steps", 3)
    succeeded(call("dpo", "--model", "tuned", "--data", tmp_path / "pairs.jsonl", "--run", "aligned", *aligned, *fast))
    assert chatted("aligned", "c?") == "Yes."
    told = succeeded(call("export", "--model", "aligned", "--out", tmp_path / "out", "--readers", "mlx-lm", "--json"))
    [row] = json_lines(told.stdout)[0]["rows"]
    assert (row["reader"], row["status"], row["ids_equal"], row["greedy_equal"]) == ("mlx-lm", "passed", True, True)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()
    assert load_model(str(tmp_path / "out")).history == ("base", "instruct", "sft", "dpo")
    with served(str(tmp_path / "out"), "--no-verify") as address:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "c?"}], "max_tokens": 12, "temperature": 0}
        answer = post(f"{address}/v1/chat/completions", **asked)["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("Yes.", "stop")
