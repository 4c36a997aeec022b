"""A run that `mlxllm sft` made, of a tiny model that writes letters and comes to an end, for what uses tuned models."""

import json
from pathlib import Path

from tests.inference.tiny import write_folder, writing_answers
from tests.training.tiny import call, succeeded

SETTINGS = ("--set", "train.eval_every=0", "--set", "train.sample_every=0")


def tuned_run(folder: Path) -> Path:
    """A run at step 1, whose weights are practically those that it began with."""
    base = write_folder(folder / "base", writing_answers())
    talk = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    (folder / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    run, rate = folder / "tuned", "1e-12"
    command = ["sft", "--model", base, "--data", folder / "talk.jsonl", "--run", run, "--max-steps", 1]
    succeeded(call(*command, "--learning-rate", rate, *SETTINGS))
    return run
