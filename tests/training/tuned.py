"""Fine-tuning of a small model: its base, conversations and pairs of unequal lengths, and runs on them."""

import json
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from mlxllm.config import RunConfig
from mlxllm.conversation.own_format import OwnFormat
from mlxllm.conversation.preferences import Pair
from mlxllm.model.checkpoint_files import checkpoint_path
from mlxllm.runs import Event
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.training.dpo import DpoData, open_dpo_data
from tests.training import tiny

ROW = 64
"""Tokens of a row, of bytes."""

LORA: dict[str, dict[str, Any] | None] = {
    "full": None,
    "lora": {"rank": 2},
    "dora": {"rank": 2, "method": "dora"},
    "qlora": {"rank": 2, "quantize": "affine4"},
}
"""Every way to train: all weights, or adapters."""

TRAIN: dict[str, Any] = {
    "batch_size": 2,
    "max_steps": 12,
    "checkpoint_every": 6,
    "eval_every": 0,
    "warmup_steps": 2,
    "schedule": "linear",
    "betas": (0.9, 0.999),
    "weight_decay": 0.0,
    "learning_rate": 1e-3,
    "keep_checkpoints": 100,
}


def base(data: Path, folder: Path) -> Path:
    """A run of a few steps of pre-training: what fine-tuning begins with."""
    shape = {"hidden_size": 64, "intermediate_size": 96}
    tiny.train(folder, tiny.config(data, shape, max_steps=4, checkpoint_every=0, schedule="constant"))
    return folder


def conversations(path: Path, count: int = 24) -> Path:
    """Long questions with short answers and short ones with long answers: rows differ much in what is trained."""
    words = "yes no perhaps "
    rows = [
        {"prompt": words * (n % 3 + 1), "completion": f"{n}"}
        if n % 2
        else {"prompt": f"{n}?", "completion": words * (n % 4 + 1)}
        for n in range(count)
    ]
    return _written(path, rows)


def preferences(path: Path, count: int = 12) -> Path:
    """Pairs whose prompts and answers differ in length, in two buckets of lengths."""
    rows = [
        {"prompt": "ab" * (n % 4 + 1), "chosen": "yes" * (n % 3 + 1), "rejected": "no " * (n * 5 % 9 + 1)}
        for n in range(count)
    ]
    return _written(path, rows)


def _written(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(
    method: Literal["sft", "dpo"],
    records: Path,
    lora: dict[str, Any] | None = None,
    *,
    dpo: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **train: Any,
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "method": method,
            "data": {"records": [str(records)], "max_seq_len": ROW, **(data or {})},
            "train": {**TRAIN, **train},
            "lora": lora,
            "dpo": (dpo or {}) if method == "dpo" else None,
        }
    )


def events(base: Path, run: Path, settings: RunConfig) -> list[Event]:
    """The training events of a run that is made now."""
    listener = tiny.Listener()
    tiny.train(run, settings, listener, model_name=str(base))
    return listener.of("train")


def dpo_data(settings: RunConfig) -> DpoData:
    return open_dpo_data(settings, OwnFormat(ByteTokenizer()))


def pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> Pair:
    return Pair(*(np.array(ids, dtype=np.uint32) for ids in (prompt, chosen, rejected)))


def files(run: Path, step: int) -> dict[str, bytes]:
    """Everything that a checkpoint holds."""
    return {p.name: p.read_bytes() for p in checkpoint_path(run, step).iterdir()}


def assert_same_files(run: Path, other: Path, step: int) -> None:
    ours, theirs = files(run, step), files(other, step)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def arrays(parameters: dict[str, mx.array]) -> dict[str, bytes]:
    """Copies of the bytes, which later steps cannot touch."""
    return {name: bytes(np.array(p.view(mx.uint8))) for name, p in parameters.items()}
