"""A trainer that was started and gives up before its run begins: the sentence that it left."""

import asyncio
import time

from mlxllm.errors import UserError
from mlxllm.runs import RunDirectory, explain, read_launch

_LOOK_SECONDS = 0.25


async def failed_start(run: RunDirectory, patience: float = 120.0) -> str:
    """Wait until a run has begun or its trainer has given up.

    Args:
        run: just started detached, by this process.
        patience: seconds after which it counts as begun.

    Returns:
        What the trainer said as it gave up; "" where the run has begun.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = await asyncio.to_thread(_look, run)
        if found is not None:
            return found
        await asyncio.sleep(_LOOK_SECONDS)
    return ""


def _look(run: RunDirectory) -> str | None:
    """None as long as nothing is decided."""
    if run.config.exists():
        return ""
    launch = read_launch(run)
    if launch is None or launch.returncode is None:
        return None
    if launch.returncode == 0:
        return ""
    try:
        told = explain(run, launch.returncode).sentence
    except UserError as error:
        return str(error)
    return told.removeprefix("training did not start: ").removeprefix("error: ")
