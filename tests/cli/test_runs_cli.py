"""`mlxllm runs` on real run folders, with real trainer processes where one must be alive."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlxllm.cli.run_view import HEADER
from mlxllm.cli.runs import app
from mlxllm.errors import ConfigError, RunError, UserError
from mlxllm.runs import Recorder, RunDirectory, effective_status, read_events, read_launch, start_detached

REPOSITORY = Path(__file__).parents[2]
TINY_TRAINER = str(REPOSITORY / "tests" / "runs" / "tiny_trainer.py")


@pytest.fixture(autouse=True)
def _children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def ok(*arguments: str) -> Result:
    result = invoke(*arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result


def ok_json(*arguments: str) -> dict[str, Any]:
    result = ok(*arguments, "--json")
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def refused(kind: type[UserError], *arguments: str) -> str:
    error = invoke(*arguments).exception
    assert isinstance(error, kind)
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture
def finished(mlxllm_home: Path) -> RunDirectory:
    run = RunDirectory.create(mlxllm_home / "runs" / "done")
    about = {"method": "pretrain", "preset": "char-tiny", "dataset": "shakespeare", "parameters": 107_000}
    with run.lock(), Recorder(run, step=0, max_steps=2000, about=about) as recorder:
        recorder.write("train", 2000, loss=1.5, tokens=1_536_000, tok_per_sec=9000.0)
        recorder.write("val", 1000, loss=1.8, bits_per_byte=2.6)
        recorder.write("val", 2000, loss=1.9, bits_per_byte=2.7)
        recorder.finish("finished")
    for step in (1000, 2000):
        folder = run.checkpoints / f"step-{step:08}"
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
    (run.checkpoints / "step-00003000").mkdir()  # without a manifest: never completed
    return run


@pytest.fixture
def running(mlxllm_home: Path) -> Iterator[RunDirectory]:
    run = RunDirectory(mlxllm_home / "runs" / "live")
    process = start_detached([sys.executable, TINY_TRAINER, str(run.path), "100000"], run)
    until(lambda: effective_status(run) == "running")
    yield run
    process.kill()
    until(lambda: not (run.path.exists() and run.is_locked()))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def on_a_terminal(arguments: list[str], **environment: str) -> str:
    """What a command shows on a pty; 200 columns unless $COLUMNS says otherwise."""
    main, side = pty.openpty()
    env = {"COLUMNS": "200", **os.environ, "TERM": "xterm-256color", **environment}
    program = f"from mlxllm.cli.runs import app; app({arguments!r})"
    subprocess.run([sys.executable, "-c", program], stdout=side, env=env, check=True)
    os.close(side)
    output = b""
    try:
        while chunk := os.read(main, 65536):
            output += chunk
    except OSError:  # Linux reports the end of a terminal so
        pass
    os.close(main)
    return output.decode().replace("\r\n", "\n")


# Looking


def test_ls_of_nothing() -> None:
    result = ok("ls")
    assert result.stdout == ""
    assert "mlxllm quickstart" in result.stderr
    assert ok("ls", "--json").stdout == ""


def test_ls_is_an_aligned_plain_table(finished: RunDirectory, running: RunDirectory) -> None:
    header, first, second = ok("ls").stdout.splitlines()
    assert header.split()[:3] == ["run", "status", "step"]
    assert first.startswith("live")
    assert second.split()[:7] == ["done", "finished", "2,000/2,000", "1.5000", "1.9000", "2.7000", "1.5M"]
    for word in ("status", "step", "val", "tokens"):
        assert second[header.index(word) - 1] == " "
        assert second[header.index(word)] != " "


def test_ls_json_is_one_object_a_line(finished: RunDirectory, running: RunDirectory) -> None:
    objects = [json.loads(line) for line in ok("ls", "--json").stdout.splitlines()]
    assert [o["name"] for o in objects] == ["live", "done"]
    assert [o["status"] for o in objects] == ["running", "finished"]
    done = objects[1]
    assert (done["step"], done["tokens"], done["dataset"]) == (2000, 1_536_000, "shakespeare")
    assert done["val"] == {"step": 2000, "loss": 1.9, "bits_per_byte": 2.7}
    assert done["best_val"]["loss"] == 1.8


def test_a_damaged_run_does_not_hide_the_others(finished: RunDirectory, mlxllm_home: Path) -> None:
    broken = RunDirectory.create(mlxllm_home / "runs" / "broken")
    broken.state.write_text("{")
    statuses = {o["name"]: o["status"] for o in map(json.loads, ok("ls", "--json").stdout.splitlines())}
    assert statuses == {"done": "finished", "broken": "damaged"}
    assert "broken" in ok("ls").stdout
    assert "is damaged" in refused(RunError, "show", "broken")
    ok("rm", "broken", "--yes")


def test_show_preferences(mlxllm_home: Path) -> None:
    run = RunDirectory.create(mlxllm_home / "runs" / "aligned")
    with run.lock(), Recorder(run, step=0, max_steps=2, about={"method": "dpo"}) as recorder:
        recorder.write("train", 2, loss=0.6, **{"rewards/accuracies": 0.75, "rewards/margins": 0.25})
        recorder.write("val", 2, loss=0.65, bits_per_byte=None, **{"rewards/accuracies": 0.5, "rewards/margins": 0.125})
        recorder.finish("finished")
    lines = dict(line.split("  ", 1) for line in ok("show", "aligned").stdout.splitlines())
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    assert fields["train loss"] == "0.6000, pairs right 75 %, margin 0.25"
    assert fields["val loss"] == fields["best val loss"] == "0.6500, pairs right 50 %, margin 0.12 at step 2"
    assert fields["next"] == "mlxllm chat --model aligned"
    shown = ok_json("show", "aligned")
    assert shown["val"]["rewards/accuracies"] == 0.5
    assert shown["rewards"] == {"rewards/accuracies": 0.75, "rewards/margins": 0.25}


def test_show_the_validation_of_each_source(mlxllm_home: Path) -> None:
    run = RunDirectory.create(mlxllm_home / "runs" / "mixed")
    with run.lock(), Recorder(run, step=0, max_steps=2, about={"method": "pretrain"}) as recorder:
        sources = {"web": {"loss": 1.0, "bits_per_byte": 1.25}, "code": {"loss": None, "bits_per_byte": None}}
        recorder.write("val", 2, loss=0.65, bits_per_byte=1.5, sources=sources)
        recorder.finish("finished")
    lines = ok("show", "mixed").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  by source"))
    assert lines[at - 1].split() == "val loss 0.6500 (1.5000 bits a byte) at step 2".split()
    assert lines[at].split() == "by source web: 1.2500 bits a byte".split()
    assert lines[at + 1].split() == ["code:", "-"]
    assert ok_json("show", "mixed")["val_sources"] == {"web": 1.25, "code": None}


def test_show(finished: RunDirectory) -> None:
    lines = dict(line.split("  ", 1) for line in ok("show", "done").stdout.splitlines())
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    assert fields["best val loss"] == "1.8000 (2.6000 bits a byte) at step 1,000"
    assert fields["checkpoints"] == "1,000, 2,000"
    assert fields["parameters"] == "107,000"
    assert fields["next"].startswith("mlxllm sample --model done")
    shown = ok_json("show", "done")
    assert shown["checkpoints"] == [1000, 2000]
    assert shown["exit"]["reason"] == "finished"
    assert ok_json("show", str(finished.path))["name"] == "done"


def test_ls_on_a_narrow_terminal_does_without_columns_but_cuts_no_name(
    finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a-rather-long-name-of-a-run-that-says-what-it-is"
    finished.path.rename(finished.path.with_name(name))
    RunDirectory.create(finished.path.with_name("short")).state.write_text("{")
    for columns, header in (
        (80, ["run", "status", "step", "val"]),
        (120, ["run", "status", "step", "val", "bits/byte", "time", "created"]),
        (160, list(HEADER)),
    ):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = on_a_terminal(["ls"]).splitlines()
        assert lines[0].split() == header
        assert max(map(len, lines)) < columns
        assert {line.split()[0] for line in lines[1:]} == {name, "short"}
        assert any("finished" in line for line in lines)
    assert list(HEADER) == ok("ls").stdout.split("\n")[0].split()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGSEGV, "SIGSEGV (segmentation fault), a fault in native code"),
        (signal.SIGKILL, "SIGKILL (killed)"),
    ],
)
def test_show_names_the_signal_that_ended_a_detached_run(running: RunDirectory, number: int, told: str) -> None:
    os.kill(ok_json("show", "live")["pid"], number)
    until(lambda: (launch := read_launch(running)) is not None and launch.returncode is not None)
    fields = dict(line.split("  ", 1) for line in ok("show", "live").stdout.splitlines())
    fields = {key: value.strip() for key, value in fields.items()}
    assert fields["status"] == "crashed"
    assert fields["signal"].startswith(told)
    assert ("mlxllm doctor --selftest" in fields["signal"]) is (number == signal.SIGSEGV)
    assert fields["next"] == "mlxllm resume live"
    assert fields["log"] == str(running.log)
    assert ok_json("show", "live")["exit"]["signal"] == fields["signal"]


def test_show_of_what_is_not_there(finished: RunDirectory, tmp_path: Path) -> None:
    assert "done" in refused(ConfigError, "show", "dome")
    assert "is not a run folder" in refused(RunError, "show", str(tmp_path))


def test_colours_on_a_terminal_only(finished: RunDirectory) -> None:
    coloured = on_a_terminal(["ls"], NO_COLOR="")
    assert "\x1b[" in coloured
    assert "finished" in coloured
    plain = on_a_terminal(["ls"])
    assert "\x1b" not in plain
    assert "finished" in plain


# Steering


def test_pause_resume_stop(running: RunDirectory) -> None:
    assert ok_json("pause", "live")["requested"] == "pause"
    until(lambda: effective_status(running) == "paused")
    assert ok_json("show", "live")["status"] == "paused"
    step = ok_json("show", "live")["step"]
    time.sleep(0.1)
    assert ok_json("show", "live")["step"] == step
    assert "goes on" in ok("resume", "live").stderr
    until(lambda: effective_status(running) == "running")
    stopped = ok_json("stop", "live", "--wait")
    assert stopped["status"] == "stopped"
    assert stopped["step"] > step
    # The lock is free: what comes next need not wait.
    ok("rename", "live", "later")
    assert ok_json("show", "later")["exit"]["next_command"] == "mlxllm resume later"


def test_an_ended_run_cannot_be_steered(finished: RunDirectory) -> None:
    for command in ("pause", "resume", "stop", "checkpoint"):
        assert "(finished); `mlxllm resume done` continues it" in refused(RunError, command, "done")
    assert list(finished.control.iterdir()) == []


def test_sample_asks_the_trainer(running: RunDirectory) -> None:
    assert ok("sample", "live", "--prompt", "Once ").stdout == "Once ONCE \n"
    event = ok_json("sample", "live", "--prompt", "a", "--seed", "3")
    assert (event["kind"], event["text"]) == ("sample", "A")
    assert list(running.control.iterdir()) == []


def test_an_answer_that_does_not_come(running: RunDirectory) -> None:
    ok("pause", "live")
    os.kill(ok_json("show", "live")["pid"], signal.SIGSTOP)  # it answers nobody
    assert "gave no answer within 1 s" in refused(RunError, "sample", "live", "--prompt", "x", "--timeout", "1")
    assert not list(running.control.glob("sample*"))


def test_checkpoint_waits_for_its_own(running: RunDirectory) -> None:
    event = ok_json("checkpoint", "live", "--wait")
    assert event["kind"] == "checkpoint_saved"
    assert event in read_events(running.events)


# Deleting and renaming


def test_rm_asks_for_yes_where_nobody_can_answer(finished: RunDirectory) -> None:
    assert "repeat with --yes" in refused(ConfigError, "rm", "done")
    assert finished.exists
    ok("rm", "done", "--yes")
    assert list(finished.path.parent.iterdir()) == []


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", True), (b"y\n", False)])
def test_rm_asks_on_a_terminal(finished: RunDirectory, answer: bytes, left: bool) -> None:
    main, side = pty.openpty()
    program = "from mlxllm.cli.runs import app; app(['rm', 'done'])"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=side, stdout=side, stderr=side)
    os.close(side)
    asked = b""
    while b"?" not in asked:
        asked += os.read(main, 1000)
    os.write(main, answer)
    assert (process.wait() != 0) is left
    os.close(main)
    assert finished.exists is left


def test_a_running_run_is_neither_deleted_nor_renamed(running: RunDirectory) -> None:
    assert "not deleted; stop it first" in refused(RunError, "rm", "live", "--yes")
    assert "not renamed; stop it first" in refused(RunError, "rename", "live", "other")
    assert effective_status(running) == "running"


def test_a_run_that_somebody_holds_is_not_deleted(finished: RunDirectory) -> None:
    with finished.lock():
        assert "in use by process" in refused(RunError, "rm", "done", "--yes")
    assert finished.exists


def test_a_folder_that_is_no_run_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "is not a run folder" in refused(RunError, "rm", str(tmp_path / "photos"), "--yes")
    assert (tmp_path / "photos").is_dir()


def test_a_link_to_a_run_is_removed_and_the_run_left(finished: RunDirectory, mlxllm_home: Path) -> None:
    (mlxllm_home / "runs" / "link").symlink_to(finished.path)
    assert "is still there" in ok("rm", "link", "--yes").stderr
    assert ok_json("show", "done")["status"] == "finished"


def test_rename(finished: RunDirectory, mlxllm_home: Path, tmp_path: Path) -> None:
    before = ok_json("show", "done")
    ok("rename", "done", "kept")
    after = ok_json("show", "kept")
    assert {**after, "name": "done", "path": before["path"], "exit": before["exit"]} == before
    assert not finished.path.exists()
    RunDirectory.create(mlxllm_home / "runs" / "taken")
    assert "already" in refused(ConfigError, "rename", "kept", "taken")
    assert "not usable" in refused(ConfigError, "rename", "kept", "a b")
    ok("rename", "kept", str(tmp_path / "elsewhere"))
    assert ok_json("show", str(tmp_path / "elsewhere"))["name"] == "elsewhere"


def test_the_command_group_imports_nothing_heavy() -> None:
    program = (
        "import sys; import mlxllm.cli.runs; "
        "print([m for m in ('mlx', 'numpy', 'pydantic', 'sentencepiece', 'textual') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--temp", "-1"), "--temp is -1.0; it should be greater than or equal to 0"),
        (("--top-p", "2"), "--top-p is 2.0; it should be less than or equal to 1"),
        (("--max-tokens", "0"), "--max-tokens is 0; it should be greater than 0"),
        (("--timeout", "0"), "--timeout is 0; it should be a number of seconds above 0"),
    ],
)
def test_sample_refuses_what_no_trainer_could_do(options: tuple[str, str], said: str) -> None:
    assert refused(ConfigError, "sample", "live", "--prompt", "x", *options) == said


# Side by side


def test_diff_and_samples(mlxllm_home: Path) -> None:
    for number, name in enumerate(("one", "two")):
        run = RunDirectory.create(mlxllm_home / "runs" / name)
        train = {"seed": number, "sample_prompt": "a\x1b", "max_steps": 9}
        run.config.write_text(json.dumps({"train": train, "base_fingerprint": "ab" * 32 if number else ""}))
        with run.lock(), Recorder(run, step=0, max_steps=9, about={}) as recorder:
            recorder.write("sample", 0, prompt="Once", text=f"early {name}")
            recorder.write("sample", 9, prompt="Once", text=f"late {name}")
            recorder.finish("finished")
    assert [line.split() for line in ok("diff", "one", "two").stdout.splitlines()] == [
        ["setting", "one", "two"],
        ["train.seed", "0", "1"],
        ["base_fingerprint", '""', "abababababab"],
    ]
    assert ok_json("diff", "one", "two") == {
        "runs": ["one", "two"],
        "differences": {"train.seed": {"one": 0, "two": 1}, "base_fingerprint": {"one": "", "two": "ab" * 32}},
    }
    assert "alone" in refused(ConfigError, "diff", "one", str(mlxllm_home / "runs" / "one"))
    (mlxllm_home / "runs/two/config.json").write_text((mlxllm_home / "runs/one/config.json").read_text())
    assert "one and two have the same settings" in ok("diff", "one", "two").stderr
    said = ok("samples", "one", "two").stdout
    assert said == "> Once\n[one, step 9] late one\n[two, step 9] late two\n\n"
    shown = ok_json("samples", "one", "two")
    assert shown["prompt"] == "Once"
    assert shown["answers"]["two"] == [{"step": 0, "text": "early two"}, {"step": 9, "text": "late two"}]
    (mlxllm_home / "runs/two/config.json").unlink()
    assert "the settings of run 'two' cannot be read" in refused(RunError, "diff", "one", "two")


def test_samples_where_nothing_was_asked(finished: RunDirectory) -> None:
    assert "train.sample_every" in ok("samples", "done").stderr
