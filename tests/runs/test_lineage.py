"""Which runs made one model, told from the settings that each run keeps."""

import json
from pathlib import Path
from typing import Any

from mlxllm.runs import RunDirectory, ancestors, checkpoint_steps, descendants


def write(path: Path, base: Any = "", method: str = "sft", steps: tuple[int, ...] = ()) -> RunDirectory:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"method": method, "base_model": base}))
    for step in steps:
        folder = path / f"checkpoints/step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    return RunDirectory(path)


def test_a_life_is_found_from_either_end(mlxllm_home: Path, tmp_path: Path) -> None:
    runs = mlxllm_home / "runs"
    base = write(runs / "tales", method="pretrain", steps=(5, 10))
    sft = write(runs / "tales-sft", "tales@10", steps=(20,))
    dpo = write(runs / "tales-dpo", f"{runs / 'tales-sft'}@19", "dpo", steps=(3,))
    other = write(runs / "other-sft", "tales@5")
    write(runs / "stranger", "foreign@5")
    found = ancestors(dpo)
    assert [stage.method for stage in found] == ["pretrain", "sft", "dpo"]
    assert [stage.address for stage in found] == ["tales@10", "tales-sft", "tales-dpo"], "step 19 is no more"
    assert descendants(base) == [other, sft, dpo]
    assert descendants(dpo) == []
    assert [stage.run for stage in ancestors(base)] == [base]


def test_a_chain_ends_where_there_is_no_run_and_never_turns_in_circles(mlxllm_home: Path, tmp_path: Path) -> None:
    runs = mlxllm_home / "runs"
    (tmp_path / "hub-model").mkdir()
    for base in (str(tmp_path / "hub-model"), "gone@4", 7, ["x"]):
        run = write(runs / f"run-{hash(str(base))}", base)
        assert [stage.run for stage in ancestors(run)] == [run]
    one, two = write(runs / "one", "two@1"), write(runs / "two", "one@1")
    assert [stage.run for stage in ancestors(one)] == [two, one]
    assert descendants(one) == [two]
    damaged = RunDirectory(runs / "damaged")
    damaged.path.mkdir()
    damaged.config.write_text("{")
    assert [stage.method for stage in ancestors(damaged)] == [""]


def test_checkpoints_by_name(mlxllm_home: Path) -> None:
    run = write(mlxllm_home / "runs/tales", steps=(30, 4))
    (run.checkpoints / "step-00000050").mkdir()
    (run.checkpoints / ".step-00000060.tmp").mkdir()
    (run.checkpoints / "best.json").write_text("{}")
    assert checkpoint_steps(run) == [4, 30], "one without a manifest is not whole"
    assert checkpoint_steps(RunDirectory(mlxllm_home / "runs/gone")) == []
