"""A new folder that appears when it is whole: made under a hidden name beside its place, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxllm.errors import ConfigError, UserError
from mlxllm.runs.files import fsync_directory, fsync_file


def refuse_existing(path: Path) -> None:
    """Nothing is ever written over.

    Raises:
        ConfigError: `path` is there.
    """
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} exists already; name a new folder, or remove that one first")


@contextmanager
def new_folder(path: Path, what: str) -> Iterator[Path]:
    """The hidden folder to write into; it becomes `path` when the block ends, and is gone when the block raises.

    Args:
        path: must not exist.
        what: is written, for messages: "the model", "the adapter".

    Raises:
        ConfigError: `path` is there.
        UserError: the disk refuses: it is full, read-only, or the folder above is a file.
    """
    path = Path(os.path.abspath(path))
    refuse_existing(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file():
                with open(file, "rb") as written:
                    fsync_file(written.fileno())
        fsync_directory(partial)
        partial.rename(path)
        fsync_directory(path.parent)
    except (OSError, RuntimeError) as error:  # MLX reports a failed write as RuntimeError
        raise UserError(f"cannot write {what} to {path}: {error}; make room there, or choose another folder") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
