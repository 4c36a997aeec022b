"""Deleting a run or a dataset: asked for once, and whole or not at all."""

import os
import shutil
import sys
from pathlib import Path

import typer

from mlxllm.cli.terminal import fold
from mlxllm.errors import ConfigError, UserError


def confirm(question: str, yes: bool) -> None:
    """Ask "`question`?" on the terminal, unless `yes`.

    Raises:
        ConfigError: there is no terminal to ask on.
        typer.Exit: the answer was no; exit code 1.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"would {question}: nobody is there to ask, so repeat with --yes")
    if not typer.confirm(fold(f"{question}?", sys.stderr), err=True):
        raise typer.Exit(1)


def delete(path: Path, what: str) -> str:
    """Delete a folder, or the link to one; returns what was done, in a sentence.

    Raises:
        UserError: the file system refuses.
    """
    path = Path(os.path.abspath(path))  # "." has no name to put another beside
    try:
        if path.is_symlink():
            target = path.resolve()
            path.unlink()
            return f"removed the link {path}; the folder {target} is still there"
        # Renamed first: an interrupted delete leaves no half folder under the name.
        doomed = path.with_name(f".{path.name}.deleted-{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise UserError(f"cannot delete {error.filename}: {error.strerror}") from error
    return f"deleted {what}"


def folder_size(path: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
