"""The command line as a whole: help is quick, mistakes end in a sentence, programs read JSON and nothing else."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.tiny import REPOSITORY, call, json_lines, run_cli, sentence

COMMANDS = ("quickstart", "doctor", "train", "resume", "sample", "chat", "eval", "tokenizer", "data", "runs")
HEAVY = ("mlx", "numpy", "sentencepiece", "tokenizers", "pyarrow", "huggingface_hub", "textual", "safetensors")

_HELP = """
import sys
sys.argv = ["mlxllm", *sys.argv[1:], "--help"]
from mlxllm.cli.main import main
try:
    main()
except SystemExit as stop:
    loaded = [name for name in {heavy!r} if name in sys.modules]
    print("loaded", *loaded, file=sys.stderr)
    sys.exit(stop.code)
"""


@pytest.mark.parametrize("command", ["", "train", "sample", "chat", "quickstart", "data", "runs"])
def test_help_loads_nothing_heavy(command: str) -> None:
    arguments = [sys.executable, "-c", _HELP.format(heavy=HEAVY), *command.split()]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "loaded\n"
    assert "Usage" in done.stdout
    assert "\x1b" not in done.stdout


def test_help_is_quick() -> None:
    """The best of three: a loaded machine is not the program's fault. Loading MLX and numpy alone takes longer."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        assert run_cli("--help").returncode == 0
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 1.5


def test_all_commands_are_there() -> None:
    shown = call("--help").stdout
    assert [command for command in COMMANDS if command not in shown] == []


def test_without_a_command_it_shows_help_and_fails() -> None:
    process = call()
    assert process.returncode == 2
    assert "quickstart" in process.stdout
    assert process.stderr == ""


def test_version() -> None:
    from mlxllm import __version__

    process = call("--version")
    assert (process.returncode, process.stdout) == (0, f"mlxllm {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trian"], "trian"),
        (["train", "--lerning-rate", "1"], "--lerning-rate"),
        (["train", "--max-steps", "many"], "--max-steps"),
        (["train", "--max-steps"], "--max-steps"),
        (["train", "extra"], "extra"),
        (["eval", "--model", "x"], "--data"),
        (["resume"], "RUN"),
        (["data", "biuld"], "biuld"),
        (["train", "--minutes", "0"], "--minutes"),
        (["train", "--minutes", "-3"], "--minutes"),
    ],
)
def test_usage_mistakes(arguments: list[str], named: str) -> None:
    process = call(*arguments)
    assert process.returncode == 2
    assert process.stdout == ""
    assert named in process.stderr
    assert "Traceback" not in process.stderr
    assert "\x1b" not in process.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", "--preset", "char-tiny"], ["no dataset is named", "--data NAME"]),
        (["train", "--preset", "nope", "--data", "d"], ["preset 'nope' does not exist", "char-tiny"]),
        (["train", "--data", "nope"], ["there is no dataset 'nope'", "holds none yet"]),
        (["train", "--data", "./nope"], ["there is no dataset './nope'"]),
        (["train", "--data", "d", "--minutes", "1", "--max-steps", "2"], ["--minutes", "--max-steps", "one of them"]),
        (["train", "--data", "d", "--set", "train.seed=x"], ["train.seed is 'x'", "--set train.seed=x"]),
        (["train", "--data", "d", "--batch-size", "0"], ["train.batch_size is 0", "--batch-size 0"]),
        (["train", "--data", "d", "--optimizer", "sgd"], ["'sgd'", "--optimizer sgd", "'muon'"]),
        (["train", "--data", "d", "--config", "none.toml"], ["there is no file none.toml", "--config"]),
        (["train", "--data", "d", "--device", "tpu"], ["device 'tpu'", "cpu or gpu"]),
        (["train", "--data", "d", "--device", "cpu", "--run", "a b"], ["run name 'a b' is not usable"]),
        (["resume", "nope"], ["there is no run 'nope'"]),
        (["resume", "nope", "--minutes", "1", "--max-steps", "2"], ["--minutes", "--max-steps"]),
        (["eval", "--model", "nope", "--data", "nope"], ["there is no dataset 'nope'"]),
        (["train", "--dry-run", "--data", "nope"], ["there is no dataset 'nope'"]),
    ],
)
def test_bad_settings_end_in_one_sentence(arguments: list[str], parts: list[str]) -> None:
    process = call(*arguments)
    told = sentence(process, 2)
    assert process.stdout == ""
    assert len(process.stderr.strip().splitlines()) == 1
    assert [part for part in parts if part not in told] == [], told


def test_a_folder_that_is_no_run() -> None:
    assert "is not a run folder" in sentence(call("resume", REPOSITORY / "tests"), 1)


def test_a_closed_pipe_is_no_traceback() -> None:
    """`mlxllm train --dry-run | head -1`."""
    pipeline = f"{sys.executable} -m mlxllm train --preset char-tiny --dry-run | head -1"
    done = subprocess.run(pipeline, shell=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize(
    "command", [["train", "--data", "d"], ["resume", "r"], ["eval", "--model", "r", "--data", "d"]]
)
def test_a_home_that_is_no_folder(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path / "file"))
    sentence(call(*command), 2)


def test_a_process_ends_with_the_same_sentence_and_code() -> None:
    arguments = ("train", "--data", "nope")
    process, called = run_cli(*arguments), call(*arguments)
    assert (process.returncode, process.stdout) == (called.returncode, called.stdout) == (2, "")
    assert sentence(process, 2).split("(")[0] == sentence(called, 2).split("(")[0]


def test_json_of_a_dry_run_is_one_object() -> None:
    process = call("train", "--preset", "char-tiny", "--dry-run", "--json")
    assert process.stderr == ""
    [shown] = json_lines(process.stdout)
    assert shown["config"]["preset"] == "char-tiny"
