"""`mlxllm doctor`, in process and as a process."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from mlxllm import runtime
from mlxllm.cli.doctor import doctor
from mlxllm.diagnostics import facts
from mlxllm.diagnostics.facts import Check
from mlxllm.errors import ConfigError

import mlx.core as mx  # isort: skip  (after the runtime)

app = typer.Typer()
app.command()(doctor)
CHECK = Check("mlx", "ok", "MLX 1.2.3")


class Terminal(io.StringIO):
    """Written text, as on a terminal."""

    def isatty(self) -> bool:
        return True


def run_with(monkeypatch: pytest.MonkeyPatch, checks: list[Check], out: io.StringIO) -> str:
    """What `doctor` shows of these checks; the last one is a problem."""
    monkeypatch.setattr(facts, "examine", lambda device: checks)
    with contextlib.redirect_stdout(out), pytest.raises(typer.Exit) as left:
        doctor()
    assert left.value.exit_code == 1
    return out.getvalue()


@pytest.fixture(autouse=True)
def same_device() -> Iterator[None]:
    device = mx.default_device()
    yield
    mx.set_default_device(device)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def one_object(text: str) -> Any:
    assert text.count("\n") == 1
    return json.loads(text)


def test_each_line_begins_with_its_mark_in_words() -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "problem"}
    assert [line.split()[1] for line in lines][:5] == ["platform", "python", "mlx", "device", "memory"]
    assert "\x1b" not in result.output


def test_on_a_narrow_terminal_nothing_is_cut_and_text_goes_on_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Check("device", "problem", "many words about it " * 8, "and what to do")
    plain = run_with(monkeypatch, [CHECK, long], io.StringIO())
    assert plain.splitlines()[1] == f"problem device    {long.text}; {long.remedy}"
    monkeypatch.setenv("COLUMNS", "60")
    first, *below = run_with(monkeypatch, [CHECK, long], Terminal()).splitlines()[1:]
    assert first.startswith("problem device    many words")
    assert len(below) > 2
    assert all(line.startswith(" " * 18) and line[18] != " " for line in below)
    assert max(map(len, [first, *below])) < 60
    assert " ".join(" ".join([first, *below]).split()) == " ".join(plain.splitlines()[1].split())


def test_json_holds_all_that_is_printed(mlxllm_home: Path) -> None:
    report = one_object(run("--json", "--device", "cpu").stdout)
    assert report["ok"] is True
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["device"]["values"]["device"] == "cpu"
    assert checks["home"]["values"]["home"] == str(mlxllm_home)
    assert checks["disk"]["values"]["free_bytes"] > 0
    assert {"terminal", "compiler", "memory", "python"} <= set(checks)


def test_what_makes_training_impossible_is_exit_code_1(mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mlxllm_home / "note").write_text("")
    monkeypatch.setenv("MLXLLM_HOME", str(mlxllm_home / "note" / "home"))
    result = run()
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("problem")]
    assert "is not a folder; move that file away" in line
    assert one_object(run("--json").stdout)["ok"] is False


def test_selftest_passes_here() -> None:
    result = run("--selftest", "--device", "cpu")
    assert result.exit_code == 0, result.output
    table, summary = result.stdout.split("\n\n")
    assert all(len(line) == 79 for line in table.splitlines() if line.startswith("pass")), "aligned, in 80 columns"
    assert {line.split()[0] for line in table.splitlines()[1:]} == {"pass", "skip"}
    assert "0 failed" in summary
    assert f"MLX {runtime.device_info().mlx_version}" in " ".join(summary.split())
    for kernel in ("rms_norm", "layer_norm", "rope", "attention, window", "cross-entropy", "resumed", "cache"):
        assert kernel in table


def test_a_broken_kernel_is_exit_code_1_and_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mx.fast.layer_norm
    monkeypatch.setattr(mx.fast, "layer_norm", lambda *a: real(*a) + 0.1)
    result = run("--selftest", "--json", "--device", "cpu")
    assert result.exit_code == 1
    report = one_object(result.stdout)
    assert report["ok"] is False
    failed = [test["name"] for test in report["tests"] if test["status"] == "fail"]
    assert "layer_norm, float32" in failed
    assert all(name.startswith("layer_norm") for name in failed)
    assert all(name in report["summary"] for name in failed)
    assert report["machine"]["device"] == "cpu"


@pytest.mark.skipif(runtime.has_gpu(), reason="there is a GPU")
@pytest.mark.parametrize("arguments", [("--device", "gpu"), ("--selftest", "--device", "gpu")])
def test_a_gpu_that_is_not_there_is_one_sentence(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert "finds no GPU here" in str(result.exception)
    assert result.stdout == ""


def test_an_unknown_device() -> None:
    assert str(run("--device", "tpu").exception) == "--device 'tpu' is not known; use cpu or gpu"


def test_a_broken_mlx_ends_neither_report_nor_self_test_in_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").write_text("raise ImportError('no such library')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import typer; from mlxllm.cli.doctor import doctor; from mlxllm.errors import UserError\n"
        "app = typer.Typer(); app.command()(doctor)\n"
        "try: app(standalone_mode=False)\n"
        "except UserError as error: print('error:', error)\n"
    )
    plain = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "problem mlx       MLX cannot be loaded: ImportError: no such library; run `" in plain.stdout
    assert "ok      home" in plain.stdout
    tested = subprocess.run([sys.executable, "-c", program, "--selftest"], capture_output=True, text=True)
    assert tested.stdout.startswith("error: MLX cannot be loaded: ImportError: no such library; run `")
    assert "Traceback" not in plain.stderr + tested.stderr


def test_help_loads_neither_mlx_nor_numpy() -> None:
    program = "import sys; import mlxllm.cli.doctor; sys.exit(bool({'mlx', 'mlx.core', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_speed_is_measured_kept_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlxllm import speed
    from mlxllm.diagnostics.device import speed as measuring

    monkeypatch.setattr(measuring, "_WIDTHS", {"cpu": (64,), "gpu": (64,)})
    told = one_object(run("--speed", "--json", "--device", "cpu").stdout)
    kept = speed.read_speed()
    assert kept.measured
    assert told["points"][0]["flops"] == kept.points[0].flops
    assert told["file"] == str(speed.file())
    assert told["seconds_per_step"]["char-tiny"] < told["seconds_per_step"]["base-124m"]
    table = run("--speed").stdout
    assert "GFLOP/s" in table
    assert "char-tiny" in table


def test_speed_and_selftest_are_two_commands() -> None:
    assert "two commands" in str(run("--speed", "--selftest").exception)
