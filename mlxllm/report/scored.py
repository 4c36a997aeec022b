"""What evaluations found about the checkpoints of a run, by the fingerprints of their weights; no weights are loaded."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm.errors import UserError
from mlxllm.model.checkpoint_files import MANIFEST_FILE, MODEL_FILE, TRAINABLE_FILE, checkpoint_path
from mlxllm.runs import RunDirectory, checkpoint_steps, read_json, run_of, run_settings
from mlxllm.scores import STDERR, Result, results_of

PARTS = ("copied", "nearly", "own", "held_out_copied", "held_out_nearly")
"""Metrics between 0 and 1 of which more is neither better nor worse; they are told in per cent, and not drawn."""
_DEEPEST = 16
"""Adapters on adapters: so many runs at most."""
SHARES = (
    *"acc acc_norm exact_match pass@1 answers words kind brief likeness accuracy rewards/accuracies".split(),
    *"win_rate length_controlled_win_rate".split(),
)
"""Metrics between 0 and 1, of which more is better."""


@dataclass(frozen=True)
class Found:
    """A result, and of which checkpoint it is."""

    step: int
    result: Result


def results_of_run(run: RunDirectory, step: int | None = None) -> list[Found]:
    """The kept results of a run's checkpoints, or of that of one step, by step and time."""
    steps = [step] if step is not None else checkpoint_steps(run)
    prints = {at: print_ for at in steps if (print_ := fingerprint_at(run, at))}
    return [Found(at, result) for at, print_ in prints.items() for result in results_of(print_)]


def fingerprint_at(run: RunDirectory, step: int) -> str:
    """The fingerprint of a checkpoint's weights, as `LoadedModel.fingerprint` has it; empty where it cannot be told.

    It is read off manifests. An adapter's takes in the weights below it: those of a run by their manifests, those of
    somebody else's model, where they are one file, by what the run has noted.
    """
    hashes = _hashes(run, step, _DEEPEST)
    if len(hashes) < 2:
        return hashes[0] if hashes else ""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _hashes(run: RunDirectory, step: int, deepest: int) -> list[str]:
    """Of each weight file its SHA-256, in the order of `LoadedModel.weight_files`; empty where one is not known."""
    files = _files(checkpoint_path(run.path, step) / MANIFEST_FILE)
    if MODEL_FILE in files:
        return [files[MODEL_FILE]]
    settings = run_settings(run)
    if TRAINABLE_FILE not in files or settings.get("base_adapter") or not deepest:
        return []
    base = _below(settings, deepest - 1)
    return [files[TRAINABLE_FILE], *base] if base else []


def _below(settings: Mapping[str, Any], deepest: int) -> list[str]:
    name = str(settings.get("base_model") or "")
    run = run_of(name)
    if run is not None and (step := name.rpartition("@")[2]).isdecimal():
        return _hashes(run, int(step), deepest)
    path = Path(name)
    weights = sorted(path.glob("*.safetensors")) if name and path.is_dir() else []
    known = settings.get("base_fingerprint")
    return [known] if len(weights) == 1 and isinstance(known, str) and known else []


def _files(manifest: Path) -> dict[str, str]:
    try:
        raw = read_json(manifest)
    except UserError:
        return {}
    files = raw.get("files") if isinstance(raw, dict) else None
    entries = files.items() if isinstance(files, dict) else ()
    return {name: entry["sha256"] for name, entry in entries if isinstance(entry, dict) and "sha256" in entry}


def is_share(metric: str, value: float | None) -> bool:
    """Whether a metric is a share of all items, to be told in per cent."""
    name = metric.partition(",")[0]
    return value is not None and 0 <= value <= 1 and (name in SHARES or name.startswith(("acc", "pass@", "exact")))


def told(result: Result, metric: str) -> str:
    """A metric's value with its standard error: `58.0 % ± 4.9`, or `0.272`."""
    value, error = result.metrics.get(metric), result.error_of(metric)
    if value is None:
        return "–"
    if is_share(metric, value) or metric in PARTS:
        return f"{100 * value:.1f} %" + (f" ± {100 * error:.1f}" if error else "")
    return f"{value:.4g}" + (f" ± {error:.2g}" if error else "")


def metrics_of(result: Result) -> list[str]:
    """The names of its metrics without the standard errors."""
    return [name for name in result.metrics if not name.endswith(STDERR)]
