"""What evaluations found: one small JSON file for each result in `<home>/evaluations/`, for whoever tells of a model later.

A result belongs to weights, told by their fingerprint, and not to a name: renaming a run or exporting it again loses none.
"""

import hashlib
import json
import math
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs.files import read_json, write_json_atomic

STDERR = "_stderr"
"""`acc_stderr` is the standard error of `acc`."""

_SLUG = re.compile(r"[^A-Za-z0-9._-]+")


class Measured(Protocol):
    """What is needed of a model that was evaluated."""

    @property
    def address(self) -> str:
        """Its lasting name."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its weights."""
        ...

    @property
    def step(self) -> int | None:
        """Of the checkpoint; None for a folder."""
        ...


@dataclass(frozen=True)
class Result:
    """What one evaluation of one model found."""

    task: str
    """What was measured: `arc_easy`, `data:NAME`, `preferences:FILE`, ..."""
    metrics: dict[str, float | None]
    """Metric -> value; a metric's standard error stands beside it, under its name with `_stderr`. None is not a number."""
    samples: int
    """Items (questions, windows, pairs) that were scored."""
    model: str
    """The model's lasting name, as it was called then."""
    fingerprint: str
    """SHA-256 of its weights (`LoadedModel.fingerprint`)."""
    step: int | None = None
    """Of the checkpoint; None for a folder."""
    meanings: dict[str, str] = field(default_factory=dict)
    """Metric -> what it is in words, where its name does not say it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What decides the numbers: few-shot examples, limit, window, hashes of the files, ..."""
    seconds: float | None = None
    """How long it took."""
    time: float = field(default_factory=time.time)
    """When it ended, unix seconds."""
    machine: str = field(default_factory=lambda: f"{platform.system()} {platform.machine()}")
    versions: dict[str, str] = field(default_factory=lambda: {"mlxllm": version("mlxllm"), "mlx": version("mlx")})

    @classmethod
    def of(
        cls,
        measured: Measured,
        task: str,
        metrics: Mapping[str, float | None],
        samples: int,
        *,
        settings: Mapping[str, Any],
        seconds: float | None,
        meanings: Mapping[str, str] | None = None,
    ) -> "Result":
        """What an evaluation of this model has just found; the values are those of the fields."""
        return cls(
            task=task,
            metrics=dict(metrics),
            samples=samples,
            model=measured.address,
            fingerprint=measured.fingerprint,
            step=measured.step,
            meanings=dict(meanings or {}),
            settings=dict(settings),
            seconds=seconds,
        )

    def error_of(self, metric: str) -> float | None:
        """The standard error of a metric; None where there is none."""
        return self.metrics.get(metric + STDERR)


def keep(result: Result) -> Path:
    """Write a result; one of the same weights, task and settings is replaced. Returns the file.

    Raises:
        UserError: it cannot be written.
    """
    path = _folder(result.fingerprint) / f"{_slug(result.task)}-{_hash(result)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    metrics = {key: value if value is None or math.isfinite(value) else None for key, value in result.metrics.items()}
    write_json_atomic(path, {**asdict(result), "metrics": metrics})
    return path


def results_of(fingerprint: str) -> list[Result]:
    """All results of these weights, the oldest first; files that are damaged are passed over."""
    found = []
    for path in sorted(_folder(fingerprint).glob("*.json")):
        try:
            result = TypeAdapter(Result).validate_python(read_json(path))
        except (UserError, ValidationError):
            continue
        if result.fingerprint == fingerprint:
            found.append(result)
    return sorted(found, key=lambda result: result.time)


def _folder(fingerprint: str) -> Path:
    return paths.folder("evaluations") / fingerprint[:16]


def _slug(task: str) -> str:
    return _SLUG.sub("-", task).strip("-")[:60] or "task"


def _hash(result: Result) -> str:
    told: Mapping[str, Any] = {"task": result.task, "settings": result.settings}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
