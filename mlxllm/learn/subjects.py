"""What the user has to experiment on: the newest model, its tokenizer and data, and the newest of each kind."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.ablation.record import all_runs
from mlxllm.errors import UserError
from mlxllm.runs import RunDirectory, RunSummary, list_runs, read_json
from mlxllm.runs.lineage import checkpoint_steps, run_settings

_TOKENIZER = "tokenizer"
_TOKENIZER_CONFIG = "tokenizer_config.json"

Subjects = Mapping[str, str]
"""Placeholder of an experiment -> what is typed for it; what there is none of is left out.

Runs of ablations are passed over: they are models with something taken away.
`model` the newest model; `dpo` the newest that learned from preferences, and `pairs` what it learned from; `dataset` the
newest that a model was trained on and that is still there; `char` and `bpe` the newest tokenizer of the kind, those of
models before others. `lesson` is a file of pairs that comes along. `new`, `liked`, `letters` and `pieces` are free names for
runs and tokenizers.
"""

LESSON = Path(__file__).with_name("pairs.jsonl")
"""A few preferences, kind endings before unkind ones, for whoever has none."""


def find_subjects() -> Subjects:
    """Look at runs, tokenizers and datasets of the home; reads a few small files of each."""
    found: dict[str, str] = {"new": _free("stories", "runs", "datasets"), "liked": _free("liked", "runs")}
    found["lesson"] = str(LESSON)
    found |= {name: _free(name, "tokenizers") for name in ("letters", "pieces")}
    altered = all_runs()
    models = [run for run in list_runs() if run.name not in altered and _is_model(run)]
    if models:
        found["model"] = _directory(models[0]).address
    for run in models:
        _add(found, "dataset", _dataset(_settings(run)))
        if run.method == "dpo" and "dpo" not in found and (pairs := _pairs(_settings(run))):
            found |= {"dpo": _directory(run).address, "pairs": pairs}
    for kind, address in _tokenizers(models):
        _add(found, kind, address)
    return found


def _free(name: str, *kinds: paths.Kind) -> str:
    """`name` with the first number that nothing of these kinds has."""
    number = 1
    while any((paths.folder(kind) / f"{name}-{number}").exists() for kind in kinds):
        number += 1
    return f"{name}-{number}"


def _add(found: dict[str, str], name: str, value: str) -> None:
    """Keep the first of each name."""
    if value:
        found.setdefault(name, value)


def _directory(run: RunSummary) -> RunDirectory:
    return RunDirectory(Path(run.path))


def _settings(run: RunSummary) -> Mapping[str, Any]:
    return run_settings(_directory(run))


def _is_model(run: RunSummary) -> bool:
    """Whether it has weights that can be loaded."""
    return bool(run.step) and bool(checkpoint_steps(_directory(run)))


def _data(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    data = settings.get("data")
    return data if isinstance(data, dict) else {}


def _dataset(settings: Mapping[str, Any]) -> str:
    """The dataset of a run, as one types it; "" where it is gone."""
    name = _data(settings).get("dataset")
    if not isinstance(name, str) or not name:
        return ""
    path = Path(name) if paths.is_path(name) else paths.folder("datasets") / name
    if not path.is_dir():
        return ""
    own = os.path.abspath(path.parent) == os.path.abspath(paths.folder("datasets"))
    return path.name if own else str(path)


def _pairs(settings: Mapping[str, Any]) -> str:
    """A file of preferences that a run was held out or learned from; "" where none is there any more."""
    data = _data(settings)
    for key in ("val_records", "records"):
        names = data.get(key)
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str) and Path(name).is_file():
                return name
    return ""


def _tokenizers(models: list[RunSummary]) -> Iterator[tuple[str, str]]:
    """Kind and address of every tokenizer: those of the models first, then those of the home, the newest first."""
    for run in models:
        folder = Path(run.path) / _TOKENIZER
        yield _kind(folder), str(folder)
    home = paths.folder("tokenizers")
    made = [path for path in home.iterdir() if not path.name.startswith(".")] if home.is_dir() else []
    for folder in sorted(made, key=lambda path: (-path.stat().st_mtime, path.name)):
        yield _kind(folder), folder.name


def _kind(folder: Path) -> str:
    """`char`, `byte` or `bpe`; "" for a tokenizer of somebody else's, or none."""
    try:
        config = read_json(folder / _TOKENIZER_CONFIG)
    except UserError:
        return ""
    kind = config.get("kind") if isinstance(config, dict) else None
    return kind if isinstance(kind, str) else ""
