"""The memory that a run is told to take, against what MLX's peak was in real runs, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxllm.config import RunConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.estimate import memory
from mlxllm.runs import RunDirectory, read_events, read_json
from mlxllm.settings import parse_config
from tests.training import tiny

WITHIN, RUNS_AT_MOST = 0.15, 3
BUSY = 0.5
"""How much less than told a run may take where other programs use the cores: then MLX cannot hand out far ahead."""
STEPS = ("--max-steps", 3, "--set", "train.eval_every=0", "--set", "train.checkpoint_every=0")

RUNS: dict[str, tuple[Any, ...]] = {
    "char-tiny": ("--preset", "char-tiny"),
    "wide head, adamw": (
        *("--optimizer", "adamw", "--batch-size", 8, "--max-seq-len", 64, "--set", "model.vocab_size=4000"),
        *("--set", "model.hidden_size=128", "--set", "model.intermediate_size=352"),
    ),
    "weights dominate": (
        *("--optimizer", "adamw", "--batch-size", 2, "--max-seq-len", 32, "--set", "model.hidden_size=256"),
        *("--set", "model.num_hidden_layers=8"),
    ),
    "long rows": (
        *("--optimizer", "adamw", "--batch-size", 2, "--max-seq-len", 1024, "--set", "model.hidden_size=64"),
        *("--set", "model.intermediate_size=176"),
    ),
    "checkpointed": (
        *("--optimizer", "adamw", "--batch-size", 8, "--max-seq-len", 256, "--set", "model.hidden_size=128"),
        *("--set", "model.intermediate_size=352", "--set", "model.num_hidden_layers=6"),
        *("--set", "train.gradient_checkpointing=true"),
    ),
    "experts, accumulated": (
        *("--optimizer", "adamw", "--batch-size", 4, "--max-seq-len", 128, "--set", "model.hidden_size=64"),
        *("--set", "model.num_experts=4", "--set", "model.moe_intermediate_size=128", "--grad-accum-steps", 2),
    ),
}
TUNED: dict[str, tuple[Any, ...]] = {
    "qlora": ("sft", "--max-seq-len", 256, "--lora-rank", 8, "--quantize", "affine4"),
    "dpo": ("dpo", "--max-seq-len", 132),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of bytes, a model, conversations and pairs of about equal lengths."""
    folder = tmp_path_factory.mktemp("memory")
    tiny.dataset(folder / "data", tiny.text(3000))
    said = [{"role": "user", "content": tiny.text(8)}, {"role": "assistant", "content": tiny.text(9)}]
    lines = [json.dumps({"messages": said}) for _ in range(40)]
    (folder / "talk.jsonl").write_text("\n".join(lines))
    pair = {"prompt": tiny.text(3), "chosen": tiny.text(5), "rejected": tiny.text(5)[::-1]}
    (folder / "pairs.jsonl").write_text("\n".join([json.dumps(pair)] * 16))
    base = (
        "--set",
        "model.hidden_size=192",
        "--set",
        "model.intermediate_size=512",
        "--set",
        "model.num_hidden_layers=4",
    )
    _trained(folder, "base", "train", "--data", folder / "data", *base, "--max-seq-len", 32, "--batch-size", 2)
    return folder


def _trained(home: Path, name: str, *command: Any) -> tuple[RunConfig, int]:
    """The configuration of a run as it was written down, and the peak that its last event tells."""
    environment = {**os.environ, "MLXLLM_HOME": str(home)}
    arguments = [str(word) for word in (*command, "--run", name, *STEPS)]
    done = subprocess.run([sys.executable, "-m", "mlxllm", *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(home / "runs" / name)
    peaks = [event["peak_memory"] for event in read_events(run.events) if event["kind"] == "train"]
    return parse_config(read_json(run.config), ""), max(peaks)


@pytest.mark.parametrize("name", [*RUNS, *TUNED])
def test_a_run_takes_what_was_told(name: str, home: Path) -> None:
    """The most of up to three runs: how far MLX hands out ahead of its threads, and so the peak, differs from run to run."""
    if name in RUNS:
        method, options = "train", ("--data", home / "data", *RUNS[name])
    else:
        method, *more = TUNED[name]
        records = home / ("pairs.jsonl" if method == "dpo" else "talk.jsonl")
        options = ("--model", "base", "--data", records, "--batch-size", 4, *more)
    val_tokens = TokenDataset.open(home / "data").val.num_tokens if name in RUNS else None
    peaks: list[int] = []
    while len(peaks) < RUNS_AT_MOST:
        words = f"{name.replace(' ', '-').replace(',', '')}-{len(peaks)}"
        config, peak = _trained(home, words, method, *options)
        peaks.append(peak)
        told = memory(config, val_tokens=val_tokens)
        if told.peak <= (1 + WITHIN) * max(peaks):
            break
    alone = os.getloadavg()[0] < 1
    assert (1 - WITHIN) * max(peaks) < told.peak < (1 + (WITHIN if alone else BUSY)) * max(peaks), (told, peaks)
