"""lm-eval with its own class for models of transformers, on a folder that `mlxllm export` wrote.

Needs nothing of mlxllm. Reads a job (JSON) and prints one object: of each task what every item got, and the metrics.
"""

import contextlib
import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

logging.disable(logging.CRITICAL)


def run(job, folder):
    """The tasks of a job with one model."""
    model = HFLM(folder, device="cpu", dtype="float32", batch_size=job["batch_size"], max_length=job["max_length"])
    result = {}
    for name, path in job["tasks"].items():
        begun = time.monotonic()
        tasks = TaskManager(include_defaults=False).load([path])
        for task in tasks["tasks"].values():
            if task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=1234)
        found = evaluate(model, tasks, limit=job["limit"], bootstrap_iters=0)
        result[name] = {
            "items": [sample["filtered_resps"] for sample in found["samples"][name]],
            "metrics": {key: value for key, value in found["results"][name].items() if not isinstance(value, str)},
            "seconds": time.monotonic() - begun,
        }
    return result


def main(job):
    """All models of a job."""
    versions = {name: version(name) for name in ("lm_eval", "torch", "transformers")}
    return {"models": {name: run(job, folder) for name, folder in job["models"].items()}, "versions": versions}


with contextlib.redirect_stdout(sys.stderr):
    result = main(json.loads(Path(sys.argv[1]).read_text()))
print(json.dumps(result))
