"""How exports get to their places: whole or not at all, whatever the disk, the place and a killed process do."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxllm.errors import UserError
from mlxllm.export.hf import write_hf
from mlxllm.export.placing import put_folder
from tests.export.tiny import random_model
from tests.training.tiny import Process, call, run_cli, sentence, succeeded


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, which no test changes."""
    folder = tmp_path_factory.mktemp("files") / "one"
    write_hf(random_model("llama"), folder)
    return folder


def fill(folder: Path) -> None:
    (folder / "weights").write_text("many")


@pytest.fixture
def ended() -> int:
    """The number of a process that has lived."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_what_a_killed_export_left_goes_with_the_next_one(form: str, model: Path, tmp_path: Path) -> None:
    flags = ("export", "--model", model, "--format", form, "--out", tmp_path / "out")
    killed = Process(*flags)
    killed.wait_for(lambda: any(tmp_path.glob(f".out.{killed.popen.pid}.partial/*")), "the hidden folder")
    killed.signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [f".out.{killed.popen.pid}.partial"]
    succeeded(call(*flags, "--no-verify"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_what_nobody_writes_is_taken_away(ended: int, tmp_path: Path) -> None:
    mine, others = (
        f".out.{ended}.partial",
        [f".outer.{ended}.partial", f".out.{os.getppid()}.partial", ".out.x.partial"],
    )
    for name in (mine, f".out.{os.getpid()}.partial", *others):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    (tmp_path / f".out.{ended}0.partial").symlink_to(tmp_path / "elsewhere")
    held = os.open(tmp_path / mine, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as a process of another container does, which has other numbers
    put_folder(tmp_path / "out", fill)
    there = sorted([*others, "out", f".out.{ended}0.partial"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine, *there])
    os.close(held)
    (tmp_path / "out" / "weights").unlink()
    (tmp_path / "out").rmdir()
    put_folder(tmp_path / "out", fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("flags", "name"), [(("--format", "hf"), "sub"), (("--format", "gguf"), "sub"), (("--format", "gguf"), "m.gguf")]
)
def test_no_room(flags: tuple[str, ...], name: str, model: Path, tmp_path: Path) -> None:
    """The folders above go as well, and nobody hears of the hidden one."""
    path = tmp_path / "deep" / "er" / name
    done = run_cli("export", "--model", model, "--out", path, "--no-verify", *flags, largest_file=20_000)
    said = sentence(done, 1)
    assert f"cannot write the model to {path}: there is no room for it; make room there, or choose another" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_a_file_where_a_folder_should_be(form: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text("{}")
    place = tmp_path / "talk.jsonl" / "deep" / "x"
    said = sentence(call("export", "--model", model, "--out", place, "--format", form, "--no-verify"), 1)
    assert (
        f"cannot write the model to {place}: {tmp_path / 'talk.jsonl'} is a file and no folder; choose another" in said
    )


def failing(error: Exception) -> Callable[[Path], None]:
    def fail(folder: Path) -> None:
        error.args = (*error.args[:-1], error.args[-1].replace("HERE", str(folder)))
        raise error

    return fail


def test_messages_name_the_place(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(UserError, match=rf"^cannot write {out}/verification.json: File too large$"):
        put_folder(out, fill, check=failing(UserError("cannot write HERE/verification.json: File too large")))
    with pytest.raises(UserError, match=rf"to {out}: Permission denied; choose another folder$"):
        put_folder(out, failing(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=rf"to {out}: cannot open {out}/m; choose another folder$"):
        put_folder(out, failing(RuntimeError("cannot open HERE/m")))
    with pytest.raises(RuntimeError, match="out of memory"):
        put_folder(out, fill, check=failing(RuntimeError("out of memory")))
    assert not list(tmp_path.iterdir())
