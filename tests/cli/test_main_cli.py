"""The command line as a whole: help is quick, mistakes end in a sentence, programs read JSON and nothing else."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxllm.cli.app import app
from mlxllm.config import RunConfig
from mlxllm.presets import PRESETS
from tests.training.tiny import REPOSITORY, call, json_lines, run_cli, sentence

COMMANDS = ("quickstart", "doctor", "train", "resume", "sample", "chat", "eval", "tokenizer", "data", "runs")
HEAVY = ("rich", "mlx", "numpy", "sentencepiece", "tokenizers", "pyarrow", "huggingface_hub", "textual", "safetensors")

_HELP = """
import sys
sys.argv = ["mlxllm", *sys.argv[1:], "--help"]
from mlxllm.cli.main import main
try:
    main()
finally:
    loaded = [name for name in {heavy!r} if name in sys.modules]
    print("loaded", *loaded, file=sys.stderr)
"""

# A signal arrives just when a certain module begins to load.
_INTERRUPTED = """
import os, sys
module, number, *sys.argv[1:] = sys.argv[1:]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))
sys.meta_path.insert(0, Finder())
from mlxllm.cli.main import main
main()
"""


@pytest.mark.parametrize("command", ["", "train", "sample", "chat", "quickstart", "data", "runs"])
def test_help_loads_nothing_heavy(command: str) -> None:
    arguments = [sys.executable, "-c", _HELP.format(heavy=HEAVY), *command.split()]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "loaded\n"
    assert done.stdout.startswith("Usage: mlxllm")
    assert "\x1b" not in done.stdout


def pages() -> Iterator[tuple[str, ...]]:
    """The words before --help of every page."""
    from typer.main import get_command

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*words, name))

    yield from below(get_command(app), ())


@pytest.mark.parametrize("width", [80, 100, 160])
def test_help_pages_fit_the_terminal_and_name_no_types(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in pages():
        process = call(*words, "--help")
        assert (process.returncode, process.stderr) == (0, ""), words
        page = process.stdout
        assert max(map(len, page.splitlines())) <= min(width, 100), words
        assert [
            odd for odd in ("╭", "<int", "<float", "<str", "<path", "{", "}", "range", "default: (") if odd in page
        ] == []
        assert "--help" in page


def options(page: str) -> dict[str, str]:
    """What a page says about each option, in one line each."""
    found = re.findall(r"^  (--[\w-]+)(.*?)(?=^  \S|^\S|\Z)", page, re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def test_help_of_train_shows_defaults_choices_and_presets_from_where_they_are_defined() -> None:
    page = call("train", "--help").stdout
    shown, config = options(page), RunConfig()
    for section, name in [("data", "max_seq_len")] + [
        ("train", name)
        for name in "max_steps batch_size grad_accum_steps learning_rate optimizer schedule seed".split()
    ]:
        text = shown[f"--{name.replace('_', '-')}"]
        assert text.endswith(f"[default: {getattr(getattr(config, section), name)}]")
        field = type(getattr(config, section)).model_fields[name]
        assert " ".join(field.description.split()) in text
    assert "One of adamw, muon or lion." in shown["--optimizer"]
    assert "One of constant, cosine, linear or wsd." in shown["--schedule"]
    after = page[page.index("Presets:") :]
    assert re.findall(r"^  (\S+)", after, re.MULTILINE) == list(PRESETS)
    assert "Seconds: a 2-layer model" in after


def test_help_of_quickstart() -> None:
    shown = options(call("quickstart", "--help").stdout)
    assert shown["--minutes"] == "M Time for the whole command, 0.5 or more. [default: 6, or 3 with pre-training only]"
    assert shown["--corpus"].startswith("NAME|PATH What to learn from: stories, shakespeare, pydocs, or")
    assert shown["--corpus"].endswith("[default: stories]")
    assert shown["--seed"].endswith(f"[default: {RunConfig().train.seed}]")


def test_commands_stand_in_the_order_of_use() -> None:
    page = call("--help").stdout
    assert re.findall(r"^(\S.*):$", page, re.MULTILINE) == [
        *("First steps", "Make a model", "Talk to it", "How good is it", "Take it along", "Options")
    ]
    named = [word for word in re.findall(r"^  (\w+) ", page, re.MULTILINE) if word in COMMANDS]
    assert named == "quickstart doctor tokenizer data train resume runs sample chat eval".split()


@pytest.mark.parametrize("group", ["", "data", "runs", "tokenizer"])
def test_a_group_without_a_command_shows_its_help_and_fails(group: str) -> None:
    process = call(*group.split())
    assert (process.returncode, process.stderr) == (2, "")
    assert process.stdout == call(*group.split(), "--help").stdout


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("typer", ["--help"]), ("mlxllm.cli.runs", ["runs", "ls"]), ("mlx.core", ["train", "--data", "d"])],
)
@pytest.mark.parametrize(
    ("number", "code", "told"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
)
def test_a_signal_while_modules_load_is_no_traceback(
    module: str, arguments: list[str], number: int, code: int, told: str
) -> None:
    command = [sys.executable, "-c", _INTERRUPTED, module, str(int(number)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", told)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", [["--help"], ["runs", "ls", "--json"]])
def test_streams_that_a_shell_has_closed(arguments: list[str], closed: str) -> None:
    script = f"{shlex.quote(sys.executable)} -m mlxllm {shlex.join(arguments)} {closed}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (arguments == ["--help"] and closed in ("<&-", "2>&-"))


def test_help_of_arguments_shows_no_python_types() -> None:
    page = call("tokenizer", "train", "--help").stdout
    assert re.search(r"^  FILES +More files", page, re.MULTILINE)


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


def test_version() -> None:
    from mlxllm import __version__

    process = call("--version")
    assert (process.returncode, process.stdout) == (0, f"mlxllm {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["quikstart"], "no such command 'quikstart'; did you mean 'quickstart'?"),
        (["frobnicate"], "no such command 'frobnicate'; `mlxllm --help` says"),
        (
            ["train", "--lerning-rate", "1"],
            "`mlxllm train` has no option --lerning-rate; did you mean --learning-rate?",
        ),
        (["train", "--frobnicate"], "`mlxllm train` has no option --frobnicate; `mlxllm train --help` says"),
        (["train", "--max-steps", "many"], "--max-steps is 'many'; it should be a valid integer"),
        (["train", "--minutes", "soon"], "--minutes is 'soon'; it should be a valid number"),
        (["train", "--max-steps"], "--max-steps"),
        (["train", "extra"], "extra"),
        (["eval", "--model", "x"], "--data"),
        (["resume"], "RUN"),
        (["data", "biuld"], "biuld"),
    ],
)
def test_usage_mistakes(arguments: list[str], named: str) -> None:
    process = call(*arguments)
    assert process.returncode == 2
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1
    assert process.stderr.startswith("error: ")
    assert named in process.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", "--preset", "char-tiny"], ["no dataset is named", "--data NAME"]),
        (["train", "--preset", "nope", "--data", "d"], ["preset 'nope' does not exist", "char-tiny"]),
        (["train", "--data", "nope"], ["there is no dataset 'nope'", "holds none yet"]),
        (["train", "--data", "./nope"], ["there is no dataset './nope'"]),
        (["train", "--data", "d", "--minutes", "1", "--max-steps", "2"], ["--minutes", "--max-steps", "one of them"]),
        (["train", "--data", "d", "--set", "train.seed=x"], ["train.seed is 'x'", "--set train.seed=x"]),
        (["train", "--data", "d", "--run", ""], ["run name '' is not usable"]),
        (["train", "--data", "d", "--max-steps", "-5"], ["--max-steps is -5", "1 or more"]),
        (["train", "--data", "d", "--seed", "-1"], ["train.seed is -1", "--seed -1", "greater than or equal to 0"]),
        (["train", "--data", "d", "--minutes", "nan"], ["--minutes is nan", "at least 0.01"]),
        (["train", "--data", "d", "--minutes", "inf"], ["--minutes is inf", "at most 1,000,000"]),
        (["train", "--data", "d", "--minutes", "0"], ["--minutes is 0", "at least 0.01"]),
        (["resume", "r", "--minutes", "-3"], ["--minutes is -3", "at least 0.01"]),
        (["resume", "r", "--max-steps", "0"], ["--max-steps is 0", "1 or more"]),
        (["quickstart", "--minutes", "0.1"], ["--minutes is 0.1", "at least 0.5"]),
        (["quickstart", "--minutes", "nan"], ["--minutes is nan", "at least 0.5"]),
        (["quickstart", "--run", ""], ["run name '' is not usable"]),
        (["quickstart", "--seed", "-1"], ["train.seed is -1", "--seed -1"]),
        (["quickstart", "--corpus", ""], ["--corpus '' is none of stories"]),
        (["quickstart", "--corpus", "storeis"], ["no file or folder of that name", "did you mean stories?"]),
        (["train", "--preset", "char-tny"], ["--preset 'char-tny' does not exist", "did you mean char-tiny?"]),
        (["train", "--optimizer", "adam"], ["--optimizer 'adam' does not exist", "did you mean adamw?"]),
        (["train", "--schedule", "cosin"], ["--schedule 'cosin' does not exist", "did you mean cosine?"]),
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
    assert "there is no" in sentence(call(*command), 2)


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
