"""Which runs trained adapters on a run's checkpoints: those are of use only for as long as the checkpoint is there."""

import os
from pathlib import Path

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.files import read_json


def dependents(run: RunDirectory) -> dict[int, list[str]]:
    """Step of a checkpoint of `run` -> what to type for each run whose adapters sit on it.

    Looked at are the runs in `<home>/runs` and those beside `run`; one that cannot be read counts as none.
    """
    own = _folder(run.path)
    found: dict[int, list[str]] = {}
    for folder in sorted({_folder(paths.folder("runs")), own.parent}):
        for config in sorted(folder.glob("*/config.json")):
            for step in _needed(config, own) if _folder(config.parent) != own else ():
                found.setdefault(step, []).append(RunDirectory(config.parent).address)
    return found


def _needed(config: Path, run: Path) -> set[int]:
    """The steps of `run` that the run of `config` needs: its model is they and its own adapter."""
    try:
        raw = read_json(config)
    except (UserError, OSError):
        return set()
    if not isinstance(raw, dict) or not raw.get("lora"):
        return set()
    steps = set()
    for name in (raw.get("base_model"), raw.get("base_adapter")):
        base, _, step = name.rpartition("@") if isinstance(name, str) else ("", "", "")
        if base and step.isdecimal() and _folder(paths.folder("runs") / base) == run:  # an absolute path stays itself
            steps.add(int(step))
    return steps


def _folder(path: Path) -> Path:
    return Path(os.path.abspath(path))
