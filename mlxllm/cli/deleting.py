"""Deleting a run or a dataset: asked for once, and whole or not at all."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from mlxllm import paths
from mlxllm.cli.terminal import fold
from mlxllm.errors import ConfigError, DataError, RunError, UserError
from mlxllm.runs import ACTIVE, RunDirectory, all_runs, effective_status, read_json


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


def require_dataset(directory: Path) -> None:
    """What lies in <home> may be damaged; anywhere else only a whole dataset and nothing besides is deleted.

    Raises:
        DataError: it may not be deleted.
    """
    from mlxllm.data.manifest import DROPPED_FILE, FILE_NAME, LABEL_FILE, read_manifest
    from mlxllm.data.shards import index_name

    if not directory.is_dir():
        raise DataError(f"{directory} is a file; a dataset is a folder with a {FILE_NAME}")
    if directory.parent == Path(os.path.abspath(paths.folder("datasets"))):
        return
    manifest = read_manifest(directory)
    ours = {FILE_NAME, LABEL_FILE, DROPPED_FILE, "tokenizer", index_name("train"), index_name("val")}
    ours |= {shard.file for split in (manifest.train, manifest.val) for shard in split.shards}
    others = sorted({path.name for path in directory.iterdir()} - ours)
    if others:
        raise DataError(
            f"{directory} holds {others[0]!r} beside its dataset, so it is not deleted; move that away, or delete the "
            f"folder yourself"
        )


def runs_with(directory: Path) -> Iterator[RunDirectory]:
    """The runs of <home> that were trained on the dataset in `directory`."""
    for run in all_runs():
        try:
            used = paths.existing("datasets", read_json(run.config)["data"]["dataset"])
        except (UserError, KeyError, TypeError):  # a damaged run, or one whose dataset has gone
            continue
        if used.resolve() == directory.resolve():
            yield run


def is_active(run: RunDirectory) -> bool:
    """Whether a trainer is at work in it."""
    try:
        return effective_status(run) in ACTIVE
    except RunError:  # a damaged state says nothing; the lock still does
        return run.is_locked() is True
