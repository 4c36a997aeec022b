"""Which runs are being trained now."""

from mlxllm.errors import RunError
from mlxllm.runs import ACTIVE, all_runs, effective_status


def active_runs() -> list[str]:
    """What to type for each run whose trainer lives; reads a small file of every run."""
    found = []
    for run in all_runs():
        try:
            if effective_status(run) in ACTIVE:
                found.append(run.address)
        except RunError:  # damaged: it says nothing, and other screens tell of it
            continue
    return found
