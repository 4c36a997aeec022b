"""Which runs made one model: the run that it began with, what was trained on that, and so on; read from config.json."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.files import read_json

_CHECKPOINT = re.compile(r"step-(\d{8,})")
_WHOLE = "manifest.json"
"""Written last into a checkpoint."""


@dataclass(frozen=True)
class Stage:
    """A run, and where the next one of the chain began with it."""

    run: RunDirectory
    method: str
    """`pretrain`, `sft` or `dpo`, as config.json says; empty where it cannot be read."""
    step: int | None = None
    """The checkpoint that the next stage began with; None is the last one."""

    @property
    def address(self) -> str:
        """What to type for its model: that checkpoint as long as it is there, else the run's last."""
        there = self.step is not None and self.step in checkpoint_steps(self.run)
        return f"{self.run.address}@{self.step}" if there else self.run.address


def checkpoint_steps(run: RunDirectory) -> list[int]:
    """The steps of a run's checkpoints, in order; whether each is undamaged is seen when it is loaded."""
    try:
        names = [_CHECKPOINT.fullmatch(path.name) for path in run.checkpoints.iterdir() if (path / _WHOLE).is_file()]
    except OSError:
        return []
    return sorted(int(name[1]) for name in names if name)


def run_settings(run: RunDirectory) -> dict[str, Any]:
    """The config.json of a run as it stands, unchecked; empty where it cannot be read."""
    try:
        raw = read_json(run.config)
    except UserError:
        return {}
    return raw if isinstance(raw, dict) else {}


def ancestors(run: RunDirectory) -> list[Stage]:
    """The stages that made a run's model, the first one first and the run itself last.

    The chain ends where `base_model` is empty, or no run any more.
    """
    settings = run_settings(run)
    chain = [Stage(run, _text(settings.get("method")))]
    known = {_folder(run.path)}
    while (base := _text(settings.get("base_model"))) and (found := _begun_with(base)) is not None:
        folder, step = found
        run = RunDirectory(folder)
        if folder in known or not run.exists:
            break
        known.add(folder)
        settings = run_settings(run)
        chain.append(Stage(run, _text(settings.get("method")), step))
    return chain[::-1]


def descendants(run: RunDirectory) -> list[RunDirectory]:
    """The runs in `<home>/runs`, and beside `run`, that began with a model of `run`, or with one of theirs; by name."""
    own = _folder(run.path)
    began: dict[Path, list[Path]] = {}
    for folder in sorted({_folder(paths.folder("runs")), own.parent}):
        for config in sorted(folder.glob("*/config.json")):
            found = _begun_with(_text(run_settings(RunDirectory(config.parent)).get("base_model")))
            if found is not None:
                began.setdefault(found[0], []).append(_folder(config.parent))
    return [RunDirectory(path) for path in _below(own, began, {own})]


def _below(path: Path, began: dict[Path, list[Path]], known: set[Path]) -> Iterator[Path]:
    for child in began.get(path, ()):
        if child not in known:
            known.add(child)
            yield child
            yield from _below(child, began, known)


def _begun_with(name: str) -> tuple[Path, int | None] | None:
    """The folder and the step behind a `base_model`, which is RUN@STEP or a path; None for none at all."""
    if not name:
        return None
    base, at, step = name.rpartition("@")
    if not at or not step.isdecimal():
        return _folder(paths.folder("runs") / name), None
    return _folder(paths.folder("runs") / base), int(step)  # an absolute path stays itself


def _folder(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
