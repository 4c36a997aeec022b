"""Configurations checked as training would check them, and the steps of one of them timed; in a process of its own.

Whoever starts many trainers uses this rather than MLX itself, so that it stays free to start processes. It reads a request
as JSON on stdin, and its last line on stdout is the answer.
"""

import json
import sys
from typing import Any

from mlxllm import paths, runtime
from mlxllm.config import RunConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.errors import UserError
from mlxllm.estimate import count_parameters
from mlxllm.runs import RunDirectory
from mlxllm.settings import parse_config
from mlxllm.training.plan import plan_run
from mlxllm.training.pretrain import pretrain_task
from mlxllm.training.trial import run_steps

_NEVER_MADE = ".beforehand"


def look(request: dict[str, Any]) -> dict[str, Any]:
    """What is to be known before anything is trained.

    Args:
        request: `configs`, name -> configuration of a run from scratch; `timed`, the name of one of them or None.

    Returns:
        `tokens_per_step` and the data's `fingerprint`; `parameters` by name; `cost` (seconds of a `step` and of a
        `validation`) where one was timed.
        Or, where a configuration cannot be trained, `name` and `error`, with `exit_code`.
    """
    parameters: dict[str, int] = {}
    answer: dict[str, Any] = {"parameters": parameters}
    for name, raw in request["configs"].items():
        try:
            config, data = _checked(parse_config(raw, ""))
        except UserError as error:
            return {"name": name, "error": str(error), "exit_code": error.exit_code}
        parameters[name] = count_parameters(config.model)
        if len(parameters) == 1:
            answer["fingerprint"] = data.fingerprint
            answer["tokens_per_step"] = pretrain_task(config, data).tokens_per_step
        if name == request["timed"]:
            trial = run_steps(config)
            answer["cost"] = {"step": trial.step, "validation": trial.token_forward * data.val.num_tokens}
    return answer


def _checked(config: RunConfig) -> tuple[RunConfig, TokenDataset]:
    """The configuration as it would be trained, and its data; raises what `train` would."""
    plan = plan_run(RunDirectory(paths.folder("runs") / _NEVER_MADE), config)
    assert isinstance(plan.material.data, TokenDataset)
    pretrain_task(plan.config, plan.material.data)
    return plan.config, plan.material.data


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    try:
        runtime.select_device(asked["device"])
        found = look(asked)
    except UserError as error:
        found = {"name": "", "error": str(error), "exit_code": error.exit_code}
    sys.stdout.write(json.dumps(found) + "\n")
