"""Which runs need a checkpoint of another for their adapters."""

import json
from pathlib import Path
from typing import Any

from mlxllm.runs import RunDirectory, dependents


def write(path: Path, **config: Any) -> None:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"lora": {"rank": 2}, "base_model": "", **config}))


def test_runs_are_found_by_name_and_by_path(mlxllm_home: Path, tmp_path: Path) -> None:
    runs = mlxllm_home / "runs"
    for name, config in {
        "base": {"lora": None},
        "by-name": {"base_model": "base@4"},
        "by-path": {"base_model": f"{runs / 'base'}@4"},
        "on-top": {"base_model": "other@9", "base_adapter": "base@7"},
        "all-weights": {"base_model": "base@5", "lora": None},
        "of-another": {"base_model": "base2@4"},
        "of-a-folder": {"base_model": str(tmp_path / "base")},
        "at-best": {"base_model": "base@best"},
        "odd": {"base_model": 7, "base_adapter": None},
    }.items():
        write(runs / name, **config)
    (runs / "damaged").mkdir()
    (runs / "damaged/config.json").write_text("{")
    assert dependents(RunDirectory(runs / "base")) == {4: ["by-name", "by-path"], 7: ["on-top"]}
    assert dependents(RunDirectory(runs / "by-name")) == {}


def test_runs_beside_it_count_wherever_it_lies(mlxllm_home: Path, tmp_path: Path) -> None:
    write(tmp_path / "place/base", lora=None)
    write(tmp_path / "place/beside", base_model=f"{tmp_path}/place/base@3")
    write(mlxllm_home / "runs/at-home", base_model=f"{tmp_path}/place/base@8")
    write(mlxllm_home / "runs/namesake", base_model="base@1")
    found = dependents(RunDirectory(tmp_path / "place/base"))
    assert found == {3: [str(tmp_path / "place/beside")], 8: ["at-home"]}
