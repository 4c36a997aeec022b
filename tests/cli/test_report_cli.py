"""`mlxllm report` and `runs compare`, on runs of any kind and in any state."""

import json
from pathlib import Path

import pytest

from mlxllm.runs import Recorder, RunDirectory, checkpoint_steps, find_run
from mlxllm.scores import Result, keep
from tests.cli.tuned import TALK
from tests.training.tiny import call, json_lines, sentence, succeeded

SHORT = ("--max-steps", 4, "--set", "train.eval_every=2", "--set", "train.sample_every=2")
LARGE = json.dumps({"kind": "train", "step": 1, "time": 10**400, "loss": 10**400, "tokens": 10**400}) + "\n"
"""Whole numbers that no floating-point number can hold."""


@pytest.fixture
def trained() -> str:
    """A run with its dataset."""
    succeeded(call("data", "build", "tales", "--source", "stories:60", "--tokenizer", "byte"))
    succeeded(call("train", "--preset", "char-tiny", "--data", "tales", "--run", "first", *SHORT))
    return "first"


def keep_score(run: str, value: float) -> None:
    from mlxllm.report.scored import fingerprint_at

    found = find_run(run)
    step = checkpoint_steps(found)[-1]
    metrics = {"acc": value, "acc_stderr": 0.05, "bits_per_byte": 1.25}
    keep(Result("quiz|<b>", metrics, 80, f"{run}@{step}", fingerprint_at(found, step), step))


def test_a_report_tells_of_every_stage_with_its_scores(trained: str, tmp_path: Path) -> None:
    records = tmp_path / "talk.jsonl"
    records.write_text("".join(json.dumps(record) + "\n" for record in 4 * TALK))
    tuning = ("--batch-size", 2, "--max-seq-len", 64, *SHORT)
    succeeded(call("sft", "--model", trained, "--data", records, "--run", "told", *tuning))
    keep_score(trained, 0.25)
    keep_score("told", 0.75)
    out = tmp_path / "page"
    (told,) = json_lines(succeeded(call("report", "told", "--out", out, "--plots", "--watts", 50, "--json")).stdout)
    assert [stage["stage"] for stage in told["stages"]] == ["base", "sft"]
    assert {str(path) for path in out.rglob("*") if path.is_file()} == {*told["files"]}
    assert {path.stem for path in (out / "plots").glob("*.svg")} == {
        path.stem for path in (out / "plots").glob("*.png")
    }
    text, html = (out / "report.md").read_text(), (out / "report.html").read_text()
    for word in ("25.0 % ± 5.0", "75.0 % ± 5.0", "estimated at 50 W", "SHA-256", "stories", "--preset char-tiny"):
        assert word in text
        assert word in html
    assert "quiz|&lt;b&gt;" in html
    assert "](plots/base-loss.svg)" in text
    assert html.count("<svg") == len(list((out / "plots").glob("*.svg")))
    # What the page says of the machine is what the trainer wrote down.
    assert "MLX " in text
    assert "cores" in text


def test_a_report_is_one_file_where_one_is_named_and_lies_with_its_run_by_default(trained: str, tmp_path: Path) -> None:
    path = tmp_path / "one.html"
    assert succeeded(call("report", trained, "--out", path)).stdout.strip() == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["one.html"]
    succeeded(call("report", trained))
    assert (find_run(trained).path / "report" / "report.html").is_file()


def test_what_names_no_page_or_no_run_is_said(trained: str, tmp_path: Path) -> None:
    assert "give first" in sentence(call("report", f"{trained}@4"), 2)
    assert ".pdf is no kind of page" in sentence(call("report", trained, "--out", tmp_path / "page.pdf"), 2)
    path = tmp_path / "PAGE.HTML"
    assert succeeded(call("report", trained, "--out", path)).stdout.strip() == str(path)
    assert path.read_text().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no drafts stay"


def test_judges_are_told_apart(trained: str) -> None:
    from mlxllm.report.scored import fingerprint_at

    found = find_run(trained)
    step = checkpoint_steps(found)[-1]
    for judge, rate in (("python a.py", 0.25), ("python b.py", 0.75)):
        metrics = {"win_rate": rate, "win_rate_stderr": 0.05}
        print_ = fingerprint_at(found, step)
        keep(Result("versus:other", metrics, 80, trained, print_, step, settings={"judge": judge}))
    succeeded(call("report", trained))
    text = (found.path / "report" / "report.md").read_text()
    for row in ("(by python a.py) | win\\_rate | 80 | 25.0 % ± 5.0", "b.py) | win\\_rate | 80 | 75.0 % ± 5.0"):
        assert row in text
    assert "How it does against other is asked again by mlxllm versus" in text


def test_runs_that_got_nowhere_are_told_about_as_well(mlxllm_home: Path, tmp_path: Path) -> None:
    runs = mlxllm_home / "runs"
    launched = RunDirectory.create(runs / "launched")
    launched.launch.write_text(json.dumps({"pid": 1, "started": 0.0}))
    for name, content in (
        ("cut", '{"kind":"train","step":1,"lo'),
        ("garbage", "\x00\xff\nnot json\n"),
        ("large", LARGE),
    ):
        RunDirectory.create(runs / name).events.write_text(content, encoding="latin-1")
    (RunDirectory.create(runs / "broken").path / "config.json").write_text("{")
    (runs / "broken" / "state.json").write_text("no")
    gone = RunDirectory.create(runs / "gone")
    gone.config.write_text(json.dumps({"method": "pretrain", "base_model": "/nowhere", "data": {"dataset": "lost"}}))
    with gone.lock(), Recorder(gone, step=0, max_steps=9, about={"method": "pretrain"}) as recorder:
        recorder.write("train", step=1, loss=float("nan"), tokens=8)
        recorder.finish("diverged", "the loss was not finite")
    foreign = RunDirectory.create(runs / "foreign")
    foreign.config.write_text(json.dumps({"method": 7, "data": [], "train": "x"}))
    for name in ("launched", "cut", "garbage", "large", "broken", "gone", "foreign"):
        succeeded(call("report", name, "--out", tmp_path / name, "--plots"))
        assert name in (tmp_path / name / "report.md").read_text()
    text = (tmp_path / "gone" / "report.md").read_text()
    assert "lost" in text
    assert "diverged" in text
    succeeded(call("runs", "compare", "cut", "gone", "broken", "--out", tmp_path / "all"))


def test_a_run_is_told_about_while_it_trains(mlxllm_home: Path, tmp_path: Path) -> None:
    run = RunDirectory.create(mlxllm_home / "runs" / "live")
    with run.lock(), Recorder(run, step=0, max_steps=9, about={"method": "pretrain"}) as recorder:
        recorder.write("train", step=1, loss=2.0, tokens=8)
        recorder.flush()
        succeeded(call("report", "live", "--out", tmp_path))
        assert "is running, at step 1 of 9" in (tmp_path / "report.md").read_text()


def test_runs_side_by_side(trained: str, tmp_path: Path) -> None:
    more = ("--set", "train.learning_rate=0.01", "--run", "second")
    succeeded(call("train", "--preset", "char-tiny", "--data", "tales", *SHORT, *more))
    keep_score("second", 0.5)
    table = succeeded(call("runs", "compare", trained, "second")).stdout
    assert table.splitlines()[0].split()[:3] == ["run", "kind", "status"]
    assert "50.0 %" in table
    (told,) = json_lines(succeeded(call("runs", "compare", trained, "second", "--json")).stdout)
    assert [run["name"] for run in told["runs"]] == [trained, "second"]
    assert told["scores"]["second"]["quiz|<b>"]["acc"] == 0.5
    succeeded(call("runs", "compare", trained, "second", "--out", tmp_path, "--plots"))
    text = (tmp_path / "report.md").read_text()
    assert "train.learning\\_rate | 0.003 | 0.01" in text
    assert "first, step 4" in text
    assert (tmp_path / "plots" / "loss-token.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_is_said_in_a_sentence(trained: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert "firts" in sentence(call("report", "firts"), 2)
    assert "ends in .md or .html" in sentence(call("report", trained, "--out", file), 2)
    assert file.read_text() == "mine"
    assert "--watts is -1" in sentence(call("report", trained, "--watts", -1), 2)
    assert "two runs or more" in sentence(call("runs", "compare", trained), 2)
    assert "--out" in sentence(call("runs", "compare", trained, trained, "--plots"), 2)
