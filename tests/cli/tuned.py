"""What `mlxllm sft` and `dpo` are tried on, and a run that they made, for what uses tuned models."""

import json
from pathlib import Path
from typing import Any

from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import save_folder
from tests.inference.tiny import write_folder, writing_answers
from tests.model.test_hf_folder import quantise
from tests.model.tiny import VARIANTS, tiny_model
from tests.training.tiny import call, succeeded

VOCAB = ByteTokenizer().vocab_size
TALK = [{"prompt": f"What is {n} + 1?", "completion": f"It is {n + 1}."} for n in range(6)]
PAIRS = [{"prompt": f"{n}?", "chosen": "Yes, please.", "rejected": f"No, {n}."} for n in range(6)]
SHORT = ("--max-steps", 2, "--batch-size", 2, "--max-seq-len", 64, "--set", "train.warmup_steps=0")
SETTINGS = ("--set", "train.eval_every=0", "--set", "train.sample_every=0")


def finetuning_files(folder: Path) -> Path:
    """Models and records, right and wrong, to fine-tune with."""
    for name, changes in {
        "base": {"hidden_size": 64, "intermediate_size": 96},
        "odd": {"hidden_size": 40, "num_attention_heads": 2, "intermediate_size": 48},
        "gpt2": {**VARIANTS["gpt2"], "max_position_embeddings": 48},
        "packed": {"hidden_size": 64, "intermediate_size": 96},
        "experts": {**VARIANTS["experts"]},
    }.items():
        save_folder(tiny_model(vocab_size=VOCAB, **changes), ByteTokenizer(), ("base",), folder / name)
    quantise(folder / "packed", {"group_size": 32, "bits": 4})
    contents = {
        "talk.jsonl": _lines(TALK),
        "pairs.jsonl": _lines(PAIRS),
        "one.jsonl": _lines(TALK[:1]),
        "one_pair.jsonl": _lines(PAIRS[:1]),
        "long.jsonl": _lines([{"prompt": "Why? " * 20, "completion": "So."}]),
        "empty.jsonl": "",
        "blank.jsonl": "\n \n",
        "unknown.jsonl": _lines(TALK[:2]) + '{"frage": "Wer?", "antwort": "Ich."}\n',
        "broken.jsonl": _lines(TALK[:1]) + '{"prompt": \n',
        "unanswered.jsonl": _lines([{"messages": [{"role": "user", "content": "Who?"}]}]),
        "ties.jsonl": _lines([{"prompt": "a", "chosen": "same", "rejected": "same"}]),
    }
    contents |= {"folder/train.jsonl": _lines(TALK), "folder/valid.jsonl": "\n"}
    contents |= {"parts/train.jsonl": _lines(TALK), "parts/valid.jsonl": _lines(TALK[:2])}
    (folder / "parts").mkdir()
    (folder / "folder").mkdir()
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def tuned_run(folder: Path) -> Path:
    """A run of a model that writes letters and comes to an end, at step 1: the weights are practically those of its base."""
    base = write_folder(folder / "base", writing_answers())
    talk = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    (folder / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    run, rate = folder / "tuned", "1e-12"
    command = ["sft", "--model", base, "--data", folder / "talk.jsonl", "--run", run, "--max-steps", 1]
    succeeded(call(*command, "--learning-rate", rate, *SETTINGS))
    return run
