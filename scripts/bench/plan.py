"""What `mlxllm plan` tells of eight different runs, against what they then took: peak memory, seconds of a step.

Each run is planned by a few measured steps (`plan --measure`) and by the machine's speed (`doctor --speed`, taken right
before), and then trained for some dozen steps by the real trainer. No peer: the ratio is the worst of told and taken.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import ROOT, BenchError, machine, mebibytes, mlxllm, parser, run, say

STORIES = ("--data", "tales", "--set", "train.eval_every=0", "--set", "train.checkpoint_every=0")
STORIES += ("--set", "train.sample_every=0", "--set", "train.warmup_steps=1")
SMALL = ("--set", "model.hidden_size=192", "--set", "model.intermediate_size=512", "--set", "model.num_hidden_layers=4")
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "char-tiny": ("train", ("--preset", "char-tiny", *STORIES)),
    "shakespeare-char-cpu": ("train", ("--preset", "shakespeare-char-cpu", *STORIES)),
    "adamw, 16 x 256": (
        "train",
        (*STORIES, *SMALL, "--set", "train.batch_size=16", "--set", "data.max_seq_len=256"),
    ),
    "muon, few tokens": (
        "train",
        (
            *("--preset", "small-10m", *STORIES, "--set", "train.batch_size=2", "--set", "data.max_seq_len=64"),
            *("--set", "model.num_hidden_layers=3"),
        ),
    ),
    "long rows": ("train", (*STORIES, "--set", "train.batch_size=2", "--set", "data.max_seq_len=1024", *SMALL)),
    "checkpointed": (
        "train",
        (*STORIES, *SMALL, "--set", "train.batch_size=16", "--set", "train.gradient_checkpointing=true"),
    ),
    "mixture of experts": (
        "train",
        (
            *(*STORIES, "--set", "model.hidden_size=128", "--set", "model.num_experts=4"),
            *("--set", "model.moe_intermediate_size=192", "--set", "train.batch_size=8"),
        ),
    ),
    "lora": ("sft", ("--preset", "sft-lora", "--model", "base", "--set", "data.max_seq_len=256")),
}


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=30, metavar="N", help="of each run")
    made.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS), metavar="RUN", help="only these")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Plan, train, compare."""
    environment = {"MLXLLM_HOME": str(temporary)}
    mlxllm("data", "build", "tales", "--source", "stories:4000", "--tokenizer", "bpe:1024", environment=environment)
    mlxllm("train", *STORIES, *SMALL, "--run", "base", "--max-steps", 2, environment=environment)
    talk = temporary / "talk.jsonl"
    said = "It was Mia, who lived by the river and had found the lamp. " * 12
    record = {"messages": [{"role": "user", "content": "Who found it?"}, {"role": "assistant", "content": said}]}
    talk.write_text("\n".join([json.dumps(record)] * 200))
    results = {}
    for number, name in enumerate(args.runs):
        method, options = RUNS[name]
        say(f"{name}: planned")
        mlxllm("doctor", "--speed", environment=environment)
        by_speed = _plan(options, environment)
        measured = _plan((*options, "--measure"), environment)
        say(f"{name}: {args.steps} steps")
        extra = ("--data", talk) if method == "sft" else ()
        kept = [word for word in options if word not in ("--preset", "sft-lora")] if method == "sft" else list(options)
        adapters = ("--lora-rank", 8) if method == "sft" else ()
        asked = (*kept, *extra, *adapters, "--max-steps", args.steps, "--run", f"run-{number}")
        mlxllm(method, *asked, environment=environment)
        taken = _taken(temporary / "runs" / f"run-{number}" / "events.jsonl")
        results[name] = {
            "memory": measured["memory"]["peak"] / taken["peak"],
            "time": measured["time"]["seconds_per_step"] / taken["step"],
            "time_by_speed": by_speed["time"]["seconds_per_step"] / taken["step"],
            **taken,
        }
    header = ["run", "peak", "told / taken", "a step", "measured / taken", "by speed / taken"]
    table = [header]
    for name, r in results.items():
        ratios = (f"{r['memory']:.2f}", f"{1e3 * r['step']:,.1f} ms", f"{r['time']:.2f}", f"{r['time_by_speed']:.2f}")
        table.append([name, mebibytes(r["peak"]), *ratios])
    worst = {key: max(abs(r[key] - 1) for r in results.values()) for key in ("memory", "time", "time_by_speed")}
    return {
        "title": "what plan tells, and what runs take",
        "table": table,
        "ratio": 1 / (1 + max(worst["memory"], worst["time"])),
        "worst": worst,
        "runs": results,
        "machine": machine(),
    }


def _plan(options: tuple[str, ...], environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "mlxllm", "plan", *options, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise BenchError(f"`mlxllm plan` failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _taken(events: Path) -> dict[str, float]:
    """Peak memory, and seconds of a step: the median of them."""
    steps = [e for e in map(json.loads, events.read_text().splitlines()) if e["kind"] == "train"]
    gaps = sorted(b["time"] - a["time"] for a, b in pairwise(steps))
    return {"peak": max(e["peak_memory"] for e in steps), "step": gaps[len(gaps) // 2]}


if __name__ == "__main__":
    run(main, arguments())
