"""JSON files that are whole or absent, and bytes that are on the disk when we say so."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from mlxllm.errors import UserError


def write_json_atomic(path: Path, obj: Any, *, durable: bool = True) -> None:
    """Replace `path` by `obj` as strict JSON: a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder exists.
        obj: plain JSON values; NaN and infinities are refused (see `events.strict_json`).
        durable: flush file and folder to the disk before returning. A heartbeat does without.

    Raises:
        ValueError: `obj` holds NaN or an infinity.
        UserError: the file system refuses (full, read-only, no permission).
    """
    text = json.dumps(obj, allow_nan=False, indent=2)
    # The name begins with a dot: readers of the folder (control/, list_runs) pass over hidden files.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            if durable:
                file.flush()
                fsync_file(file.fileno())
        os.replace(temporary, path)
        if durable:
            fsync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The value in the JSON file `path`.

    Raises:
        UserError: the file is missing, unreadable or not JSON; the message names file, line and column.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def fsync_file(descriptor: int) -> None:
    """Flush an open file to the disk itself; on macOS plain fsync stops at the drive's cache."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:  # some network volumes know only fsync
            pass
    os.fsync(descriptor)


def fsync_directory(path: Path) -> None:
    """Flush a folder, so that a rename in it survives a power cut; does nothing where folders can't be."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of the file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
