"""What the doctor finds, and the remedies that it names."""

import io
import platform
import shutil
import signal
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from mlxllm.diagnostics import facts


def on(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str = "14.5") -> facts.Check:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    return facts.check_platform()


def test_supported_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(monkeypatch, "Darwin", "arm64", "14.0").status == "ok"
    assert on(monkeypatch, "Darwin", "arm64", "26.1").status == "ok"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.39"))
    assert on(monkeypatch, "Linux", "x86_64").status == "ok"


def test_platforms_where_mlx_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    old = on(monkeypatch, "Darwin", "arm64", "13.6.1")
    assert (old.status, old.text, old.remedy) == (
        "problem",
        "macOS 13.6.1 on arm64: MLX needs macOS 14 or later",
        "update macOS",
    )
    monkeypatch.setattr(facts, "_translated", lambda: False)
    intel = on(monkeypatch, "Darwin", "x86_64")
    assert intel.status == "problem"
    assert "needs Apple silicon" in intel.text
    monkeypatch.setattr(facts, "_translated", lambda: True)
    rosetta = on(monkeypatch, "Darwin", "x86_64")
    assert rosetta.status == "problem"
    assert "install a Python for Apple silicon" in rosetta.remedy
    assert on(monkeypatch, "Windows", "AMD64").status == "problem"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert on(monkeypatch, "Linux", "x86_64").status == "problem"


def test_mlx_works_here() -> None:
    check = facts.check_mlx()
    assert check.status == "ok"
    assert check.text.startswith("MLX 0.")


def fake_mlx(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    (folder / "mlx").mkdir()
    (folder / "mlx" / "__init__.py").write_text("")
    (folder / "mlx" / "core.py").write_text(program)
    monkeypatch.syspath_prepend(str(folder))


def test_an_mlx_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mlx(tmp_path, monkeypatch, "raise ImportError('libmlx.so: cannot open shared object file')")
    check = facts.check_mlx()
    assert check.status == "problem"
    assert check.text == "MLX cannot be loaded: ImportError: libmlx.so: cannot open shared object file"
    assert "pip install --force-reinstall" in check.remedy


def test_an_mlx_that_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = int(signal.SIGILL)
    fake_mlx(tmp_path, monkeypatch, f"import os; os.kill(os.getpid(), {number})")
    check = facts.check_mlx()
    assert check.status == "problem"
    assert "ends the process (SIGILL)" in check.text


def test_without_mlx_the_rest_is_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mlx(tmp_path, monkeypatch, "raise ImportError('gone')")
    names = [check.name for check in facts.examine()]
    assert "mlx" in names
    assert "home" in names
    assert "device" not in names


def test_home_is_shown_and_need_not_exist(mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts.check_home().status == "ok"
    monkeypatch.setenv("MLXLLM_HOME", str(mlxllm_home / "a" / "b"))
    check = facts.check_home()
    assert check.status == "ok"
    assert check.text == f"{mlxllm_home / 'a' / 'b'} (from $MLXLLM_HOME), not made yet"
    assert not (mlxllm_home / "a").exists()


def test_home_inside_a_file(mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mlxllm_home / "note").write_text("")
    monkeypatch.setenv("MLXLLM_HOME", str(mlxllm_home / "note" / "home"))
    check = facts.check_home()
    assert check.status == "problem"
    assert f"{mlxllm_home / 'note'} is not a folder" in check.text


def test_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as root every folder can be
    assert facts.check_home().status == "problem"


@pytest.mark.parametrize(("free", "status"), [(50 << 30, "ok"), (3 << 30, "warn"), (100 << 20, "problem")])
def test_disk(free: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, 0, free))
    check = facts.check_disk()
    assert check.status == status
    assert (check.remedy == "") == (status == "ok")


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "16 million colours"),
        ({"TERM": "xterm-256color"}, "256 colours"),
        ({"TERM": "xterm"}, "16 colours"),
        ({"TERM": "dumb"}, "no colours (TERM is dumb)"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "no colours (NO_COLOR is set)"),
    ],
)
def test_terminal_colours(environment: dict[str, str], colours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO(), encoding="utf-8"))
    assert facts.check_terminal().text.startswith(f"{colours}, ")


def test_a_terminal_that_cannot_show_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO(), encoding="latin-1"))
    check = facts.check_terminal()
    assert check.status == "warn"
    assert "UTF-8" in check.remedy
