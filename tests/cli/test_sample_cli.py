"""`mlxllm sample` on a real model folder."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from mlxllm.cli.sample import sample
from mlxllm.cli.sampling import FIELDS, load
from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.inference.length import Length
from mlxllm.runtime import device_info
from tests.inference.tiny import TOKENIZER, tiny, write_folder, writing_letters

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "mlxllm", "sample"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_folder(tmp_path_factory.mktemp("models") / "letters", writing_letters()))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return dict(os.environ)


def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
    app = typer.Typer()
    app.command()(sample)
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    result = invoke(*arguments, stdin=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def run_json(*arguments: object, stdin: str | bytes | None = None) -> list[dict[str, Any]]:
    result = run(*arguments, "--json", stdin=stdin)
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_plain_output_is_prompt_and_continuation(folder: str) -> None:
    result = run("--model", folder, "--prompt", "Once", "--temp", 0, "--max-tokens", 12)
    [found] = run_json("--model", folder, "--prompt", "Once", "--temp", 0, "--max-tokens", 12)
    assert result.stdout == "Once" + found["text"] + "\n"
    assert "4 prompt tokens, 12 tokens" in result.stderr
    assert "tok/s" in result.stderr


def test_json_has_the_continuation_and_its_numbers(folder: str) -> None:
    [found] = run_json("--model", folder, "--prompt", "Once", "--temp", 0, "--max-tokens", 12)
    assert TOKENIZER.decode(found["token_ids"]) == found["text"]
    assert len(found["token_ids"]) == found["tokens"] == 12
    assert found["prompt_tokens"] == 4
    assert found["tok_per_sec"] > 0
    assert found["time_to_first_token"] > 0
    assert found["finish_reason"] == "length"


def test_defaults_come_from_the_config_model(folder: str) -> None:
    no_end = ("--logit-bias", "0=-inf")
    [found] = run_json("--model", folder, *no_end)
    assert found["tokens"] == 200
    assert found["prompt_tokens"] == 0
    assert found["seed"] == 0
    [same] = run_json("--model", folder, *no_end, "--temp", 0.8, "--seed", 0, "--prompt", "")
    assert same["text"] == found["text"]


def test_several_samples_have_seeds_in_a_row(folder: str) -> None:
    options = ("--model", folder, "--prompt", "a", "--temp", 1.5, "--max-tokens", 20)
    three = run_json(*options, "--seed", 6, "--num-samples", 3)
    assert [one["seed"] for one in three] == [6, 7, 8]
    assert len({one["text"] for one in three}) == 3
    assert three[2]["text"] == run_json(*options, "--seed", 8)[0]["text"]
    assert [one["cached_tokens"] for one in three] == [0, 0, 0]  # of a one-token prompt all is computed
    assert [one["prompt_tokens"] for one in three] == [1, 1, 1]
    plain = run(*options, "--seed", 6, "--num-samples", 3).stdout
    assert plain.split("\n<|endoftext|>\n") == ["a" + one["text"] for one in three[:2]] + [
        "a" + three[2]["text"] + "\n"
    ]


def test_prompt_from_stdin_byte_for_byte(folder: str) -> None:
    [found] = run_json("--model", folder, "--prompt", "-", stdin="né\r\n".encode())
    assert found["prompt_tokens"] == 5
    assert found["text"] == run_json("--model", folder, "--prompt", "né\r\n")[0]["text"]
    with pytest.raises(DataError, match=r"stdin is not UTF-8 text: .* at byte 1"):
        run("--model", folder, "--prompt", "-", stdin=b"a\xff")


def test_stop_strings_and_biases(folder: str) -> None:
    options = ("--model", folder, "--prompt", "a", "--temp", 0, "--max-tokens", 30)
    [free] = run_json(*options)
    stop = free["text"][10:12]
    [stopped] = run_json(*options, "--stop", "no such text", "--stop", stop)
    assert stopped["text"] == free["text"][: free["text"].index(stop)]
    assert stopped["finish_reason"] == "stop"
    first = free["token_ids"][0]
    [biased] = run_json(*options, "--logit-bias", f"{first}=-inf", "--logit-bias", "6=-2.5")
    assert first not in biased["token_ids"]


def test_end_of_text_is_not_among_the_ids(folder: str) -> None:
    [found] = run_json("--model", folder, "--logit-bias", "0=1000")
    assert (found["text"], found["token_ids"], found["finish_reason"]) == ("", [], "stop")
    assert run("--model", folder, "--prompt", "abc", "--logit-bias", "0=1000").stdout == "abc\n"


def test_kv_options_reach_the_cache(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "wide", tiny(hidden_size=128))
    options = ("--model", path, "--prompt", "Once upon a time there was", "--temp", 0, "--max-tokens", 20)
    [whole] = run_json(*options)
    [bounded] = run_json(*options, "--max-kv-size", 8)
    [quantised] = run_json(*options, "--kv-bits", 4)
    assert whole["token_ids"] != bounded["token_ids"]
    assert whole["token_ids"] != quantised["token_ids"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temp", "-1"], "--temp is -1.0; it should be greater than or equal to 0"),
        (["--temp", "nan"], "--temp is nan; it should be a finite number"),
        (["--temp", "99999"], "--temp is 99999; it should be from 0 to 100"),
        (["--top-p", "0"], "--top-p is 0.0; it should be greater than 0"),
        (["--top-p", "1.5"], "--top-p is 1.5"),
        (["--top-k", "-1"], "--top-k is -1"),
        (["--min-p", "2"], "--min-p is 2.0"),
        (["--repetition-penalty", "0"], "--repetition-penalty is 0.0"),
        (["--max-tokens", "0"], "--max-tokens is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--seed", str(2**32)], "--seed is 4294967296"),
        (["--num-samples", "0"], "--num-samples is 0"),
        (["--stop", ""], "stop string is empty"),
        (["--logit-bias", "a=1"], "--logit-bias 'a=1' is not ID=V"),
        (["--logit-bias", "5"], "--logit-bias '5' is not ID=V"),
        (["--logit-bias", "261=1"], "no token 261"),
        (["--logit-bias", "5=nan"], "token 5 is nan"),
        (["--device", "tpu"], "tpu"),
        (["--kv-bits", "3"], "cache of 3 bits"),
        (["--max-kv-size", "2"], "cache of 2 positions"),
        (["--model", "nosuch"], "nosuch"),
        (["--model", ""], "'' names no model; give a run"),
    ],
)
def test_bad_values_are_config_errors(folder: str, arguments: list[str], said: str) -> None:
    error = invoke("--model", folder, *arguments).exception
    assert isinstance(error, ConfigError)
    assert said in str(error)
    assert "\n" not in str(error)


def test_a_prompt_that_is_no_text_is_refused(folder: str) -> None:
    error = invoke("--model", folder, "--prompt", "a\udcff").exception
    assert isinstance(error, UserError)
    assert str(error) == "--prompt is not UTF-8 text: byte 0xFF at character 1; convert it first"
    error = invoke("--model", folder, "--prompt", "a", "--stop", "\udc80").exception
    assert isinstance(error, UserError)
    assert str(error).startswith("--stop is not UTF-8 text: byte 0x80")


def test_a_prompt_longer_than_the_model_was_made_for_is_said_once(folder: str) -> None:
    options = ("--model", folder, "--temp", 0, "--max-tokens", 4, "--num-samples", 2)
    told = "the text has 65 tokens and the model was made for 64: it goes on, but"
    assert run(*options, "--prompt", "a" * 65).stderr.count(told) == 1
    assert "was made for" not in run(*options, "--prompt", "a" * 64).stderr


def test_a_prompt_that_memory_cannot_hold_is_refused(folder: str) -> None:
    """2 layers of 2 heads of width 8, keys and values: 256 bytes a token, in float32."""
    loaded = load(folder, "cpu")
    memory = device_info().memory_bytes
    Length(loaded, max_kv_size=None, kv_bits=None).check(memory // 2 // 256)
    with pytest.raises(ConfigError, match=r"alone would take .* GiB of the .* GiB of memory; shorten it, or keep"):
        Length(loaded, max_kv_size=None, kv_bits=None).check(memory // 2 // 256 + 1)
    Length(loaded, max_kv_size=None, kv_bits=8).check(4 * (memory // 2 // 256))
    Length(loaded, max_kv_size=64, kv_bits=None).check(memory)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_streams_that_a_shell_has_closed(folder: str, environment: dict[str, str], closed: str) -> None:
    """The file with the weights must not become standard input, which is closed when Python ends."""
    command = shlex.join([*COMMAND, "--model", folder, "--prompt", "Once", "--temp", "0", "--max-tokens", "12"])
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run("--model", folder, "--prompt", "Once", "--temp", 0, "--max-tokens", 12).stdout


def test_whole_characters_only_reach_a_pipe(tmp_path: Path, environment: dict[str, str]) -> None:
    # The bytes of é and €: what is no character comes as U+FFFD, and never as a byte of its own.
    path = write_folder(tmp_path / "accents", writing_letters(letters="é€".encode()))
    command = [*COMMAND, "--model", str(path), "--max-tokens", "150", "--temp", "1", "--logit-bias", "0=-inf"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        pieces = []
        while piece := os.read(process.stdout.fileno(), 4096):
            pieces.append(piece.decode("utf-8"))  # each write by itself is UTF-8
    assert process.returncode == 0
    assert len(pieces) > 20
    assert "é" in "".join(pieces)


def test_a_closed_pipe_is_quiet(folder: str, environment: dict[str, str]) -> None:
    command = [*COMMAND, "--model", folder, "--max-tokens", "1000000", "--temp", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(20)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_ctrl_c_ends_with_130_and_no_traceback(folder: str, environment: dict[str, str]) -> None:
    command = [*COMMAND, "--model", folder, "--max-tokens", "1000000", "--temp", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == b"interrupted\n"


def test_on_a_terminal_the_prompt_is_dim_and_control_characters_are_signs(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path = write_folder(tmp_path / "bells", writing_letters(letters=b"\x07\x1b\x9b"))
    environment.pop("NO_COLOR", None)
    environment["TERM"] = "xterm"
    command = [*COMMAND, "--model", str(path), "--prompt", "a\x1b[31mb", "--max-tokens", "60", "--temp", "0"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(ours)
    assert process.wait() == 0
    text = seen.decode()
    assert text.startswith("\x1b[2ma␛[31mb\x1b[0m")
    rest = text.removeprefix("\x1b[2ma␛[31mb\x1b[0m")
    assert "␇" in rest or "␛" in rest
    assert not {"\x07", "\x1b", "\x9b"} & set(rest)


def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    check = (
        "import sys, mlxllm.cli.sample, mlxllm.cli.chat;"
        "print([m for m in ('mlx', 'numpy', 'pydantic', 'sentencepiece', 'rich', 'textual') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=environment)
    assert found.stdout.strip() == "[]", found.stderr


def test_sampling_loads_only_what_it_uses(folder: str, environment: dict[str, str]) -> None:
    program = (
        "import sys; from mlxllm.cli.sample import sample\n"
        f"sample({folder!r}, prompt='a', max_tokens=2)\n"
        "names = ('textual', 'rich', 'pyarrow', 'mlx.data', 'sentencepiece', 'mlxllm.presets', 'mlxllm.data',"
        " 'mlxllm.training', 'huggingface_hub', 'jinja2')\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert found.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    "sample,chat,eval,doctor,runs ls,runs show,runs sample,runs stop,runs rm,data build,data inspect,data rm,"
    "tokenizer train,tokenizer encode,tokenizer decode,tokenizer show".split(","),
)
def test_help_fits_a_terminal_and_says_what_is_typed(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    from mlxllm.cli.app import app

    monkeypatch.setenv("COLUMNS", "80")
    page = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    assert max(map(len, page.splitlines())) <= 80
    assert not re.search(r"<(int|float|str)|range|\{|\[\[", page), page
    if command in ("sample", "chat"):
        page = " ".join(page.split())
        for flag, field in FIELDS.items():
            assert re.search(rf"{flag} [A-Z] [^-].*?\[default: {getattr(SampleConfig(), field):g}\]", page), flag
