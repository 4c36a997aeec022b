"""What somebody else's instruct model has learned here by LoRA and DPO is what the endpoint says, and where it stops."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlxllm.export.serving import SERVED
from mlxllm.model.loading import load_model
from tests.cli.test_serve_cli import post, served
from tests.training.tiny import call, succeeded

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


def test_from_an_instruct_model_to_an_endpoint(mlxllm_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    model = instruct_model(tmp_path / "instruct")
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(each) + "\n" for each in TALK))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in PAIRS))
    fast = ("--max-seq-len", 64, "--batch-size", 2, *QUIET)
    lora = ("--lora-rank", 8, "--learning-rate", 0.03, "--max-steps", 60)
    succeeded(call("sft", "--model", model, "--data", tmp_path / "talk.jsonl", "--run", "tuned", *lora, *fast))
    aligned = ("--lora-rank", 4, "--learning-rate", 0.001, "--max-steps", 3)
    succeeded(call("dpo", "--model", "tuned", "--data", tmp_path / "pairs.jsonl", "--run", "aligned", *aligned, *fast))
    with served("aligned", "--no-verify") as address:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "c?"}], "max_tokens": 12, "temperature": 0}
        answer = post(f"{address}/v1/chat/completions", **asked)["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("Yes.", "stop")
    [out] = (mlxllm_home / "cache" / SERVED).iterdir()
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (model / name).read_bytes()
    assert load_model(str(out)).history == ("base", "instruct", "sft", "dpo")
