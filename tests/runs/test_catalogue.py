"""The list of runs that is kept up to date: it must always say what reading everything anew would say."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxllm.runs import Recorder, RunCatalogue, RunDirectory, list_runs
from mlxllm.runs import catalogue as module


def make(home: Path, name: str, **about: Any) -> RunDirectory:
    run = RunDirectory.create(home / "runs" / name)
    with run.lock(), Recorder(run, step=0, max_steps=2, about=about) as recorder:
        recorder.write("train", 1, loss=2.0, tokens=10)
        recorder.finish("finished")
    return run


def names(pages: Any) -> set[str]:
    return {run.name for page in pages for run in page}


def test_it_says_what_a_list_made_anew_says(home: Path) -> None:
    catalogue = RunCatalogue()
    assert list(catalogue.refresh()) == []
    runs = [make(home, f"run-{n}") for n in range(5)]
    (home / "runs" / "no-run").mkdir()
    (home / "runs" / ".hidden").mkdir()
    only_config = RunDirectory.create(home / "runs" / "begun")
    only_config.config.write_text("{}")
    assert names(catalogue.refresh()) == {"begun", *(f"run-{n}" for n in range(5))}
    assert catalogue.sorted() == list_runs()
    runs[0].state.write_text("{")  # damaged
    shutil.rmtree(runs[1].path)
    runs[2].path.rename(runs[2].path.with_name("renamed"))
    make(home, "new")
    assert names(catalogue.refresh()) == {"run-0", "renamed", "new"}
    assert catalogue.sorted() == list_runs()
    assert catalogue.runs["run-0"].status == "damaged"


def test_pages_hold_the_last_written_first(home: Path) -> None:
    for n in range(5):
        state = make(home, f"run-{n}").state
        os.utime(state, (1000 + n, 1000 + n))
    pages = [[run.name for run in page] for page in RunCatalogue().refresh(page=2)]
    assert pages == [["run-4", "run-3"], ["run-2", "run-1"], ["run-0"]]


def test_what_has_not_changed_is_not_read_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        make(home, f"run-{n}")
    catalogue = RunCatalogue()
    assert len(names(catalogue.refresh())) == 3
    read: list[str] = []
    real = module.summarise_anyhow
    monkeypatch.setattr(module, "summarise_anyhow", lambda run: read.append(run.name) or real(run))
    assert list(catalogue.refresh()) == []
    assert catalogue.refresh_active() == []
    assert read == []
    raw = json.loads((home / "runs/run-1/state.json").read_text())
    (home / "runs/run-1/state.json").write_text(json.dumps({**raw, "step": 77}))
    [[changed]] = list(catalogue.refresh())
    assert (changed.name, changed.step, read) == ("run-1", 77, ["run-1"])


def test_a_trainer_that_dies_without_a_word(
    home: Path, run: RunDirectory, start_trainer: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None]
) -> None:
    catalogue = RunCatalogue()
    process = start_trainer(100000)
    until(lambda: "running" in [run.status for page in catalogue.refresh() for run in page])
    step = catalogue.runs["first"].step
    until(lambda: any(found.step > step for found in catalogue.refresh_active()))
    process.kill()
    process.wait()
    [crashed] = catalogue.refresh_active()
    assert crashed.status == catalogue.runs["first"].status == "crashed"
    assert catalogue.refresh_active() == []
    shutil.rmtree(run.path)
    assert list(catalogue.refresh()) == []
    assert catalogue.runs == {}


def test_an_active_run_that_is_deleted(home: Path) -> None:
    run = RunDirectory.create(home / "runs" / "live")
    with run.lock(), Recorder(run, step=0, max_steps=2, about={}):
        catalogue = RunCatalogue()
        list(catalogue.refresh())
        shutil.rmtree(run.path)
        assert catalogue.refresh_active() == []
        assert catalogue.runs == {}
        run.path.mkdir()  # for the recorder's last words


@pytest.mark.slow
def test_ten_thousand_runs(home: Path) -> None:
    state = make(home, "model").state.read_text()
    for n in range(10_000):
        folder = home / "runs" / f"run-{n:05}"
        folder.mkdir()
        (folder / "state.json").write_text(state)
    catalogue = RunCatalogue()
    began = time.perf_counter()
    pages = catalogue.refresh()
    assert len(next(pages)) == 50
    first = time.perf_counter() - began
    assert len(names(pages)) == 10_001 - 50
    began = time.perf_counter()
    assert list(catalogue.refresh()) == []
    again = time.perf_counter() - began
    assert first < 1.5, f"the first page took {first:.2f} s"
    assert again < 1.0, f"a look at unchanged runs took {again:.2f} s"
