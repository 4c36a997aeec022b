"""The other side of a comparison: a script under its own interpreter, which prints one JSON object as its last line."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlxllm.errors import UserError


class WorkerError(UserError):
    """The other side failed."""


def run_worker(
    python: Path, script: Path, arguments: Sequence[object], environment: Mapping[str, str], *, peer: bool
) -> dict[str, Any]:
    """Run a script and return the object that it prints last; nothing is fetched from the Hub.

    Args:
        python: the interpreter.
        script: what it runs.
        arguments: of the script.
        environment: on top of this process's own.
        peer: whether it needs other libraries, which may be missing.

    Raises:
        WorkerError: it failed; the message has its last words.
    """
    env = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    try:
        done = subprocess.run([str(python), str(script), *map(str, arguments)], capture_output=True, text=True, env=env)
    except OSError as error:
        raise WorkerError(f"{python} cannot be run ({error.strerror}); give --peers-python an interpreter") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        result: dict[str, Any] = json.loads(lines[-1])
        return result
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    remedy = ""
    if peer and "ModuleNotFoundError" in last:
        remedy = "; give --peers-python an interpreter that has the peers (`scripts/test "
        remedy += "--peers` puts them into .venv)"
    if os.environ.get("MLXLLM_TRACEBACK"):
        print(done.stderr, file=sys.stderr, flush=True)
    raise WorkerError(f"{script.parent.name}/{script.name} failed: {last}{remedy}")
