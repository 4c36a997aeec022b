"""Ready sets on this machine: what is there of them, whether it is as it should be, and how it is opened.

Each has a folder <home>/cache/sets/NAME with its files and a list of them, `.ready-set.json`, which is written before
the first byte comes. So a download that was interrupted goes on with the same files, whatever has been published since.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlxllm import paths
from mlxllm.data.catalogue import ReadySet, look_up
from mlxllm.data.partial import partial_path
from mlxllm.data.sources.base import Source
from mlxllm.errors import ConfigError, DataError

LIST_NAME = ".ready-set.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class SetFile:
    """One file of a ready set."""

    path: str
    """Within the folder of the set."""
    url: str | None
    """None for a file of the Hub, whose address depends on HF_ENDPOINT."""
    size: int | None
    """Bytes; None where the server does not tell before it sends."""
    sha256: str | None
    """In hex; None where nobody tells it before it is here."""


@dataclass(frozen=True, slots=True)
class SetList:
    """What belongs to a ready set: as it was chosen before the download, with what was found by it."""

    name: str
    revision: str | None
    """The commit, of a set of the Hub."""
    complete: bool
    """All files are there, and their sizes and hashes stand here."""
    files: tuple[SetFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files; None while one of them is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def sets_folder() -> Path:
    """Where ready sets lie."""
    return paths.folder("cache") / "sets"


def set_folder(name: str) -> Path:
    """Where the ready set `name` lies, or is going to."""
    return sets_folder() / name


def read_list(name: str) -> SetList | None:
    """The list of a ready set on this machine; None where there is none that can be read."""
    try:
        content = json.loads((set_folder(name) / LIST_NAME).read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            return None
        files = tuple(SetFile(each["path"], each["url"], each["size"], each["sha256"]) for each in content["files"])
        if not files or not all(is_inside(file.path) for file in files):
            return None
        return SetList(name, content["revision"], content["complete"] is True, files)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_here(name: str) -> bool:
    """Whether a ready set is complete, as far as the names and sizes of its files tell."""
    found = read_list(name)
    return found is not None and found.complete and not missing(found)


def is_begun(name: str) -> bool:
    """Whether something of a ready set has come."""
    found, folder = read_list(name), set_folder(name)
    targets = [folder / file.path for file in found.files] if found is not None else []
    return any(target.is_file() or partial_path(target).is_file() for target in targets)


def missing(wanted: SetList) -> list[SetFile]:
    """The files that are not there, or not whole."""
    folder = set_folder(wanted.name)
    return [file for file in wanted.files if not is_there(folder / file.path, file.size)]


def bytes_to_come(wanted: SetList) -> int | None:
    """Bytes still to be downloaded; None while one of the sizes is not known."""
    folder, total = set_folder(wanted.name), 0
    for file in missing(wanted):
        if file.size is None:
            return None
        part = partial_path(folder / file.path)
        total += max(0, file.size - (part.stat().st_size if part.exists() else 0))
    return total


def damaged(found: SetList) -> list[str]:
    """The files that are not as they were downloaded, by their hashes."""
    folder = set_folder(found.name)
    return [
        file.path
        for file in found.files
        if not is_there(folder / file.path, file.size) or file_sha256(folder / file.path) != file.sha256
    ]


def drop_files(found: SetList, names: list[str]) -> None:
    """Delete some files of a set, so that they are downloaded anew."""
    for name in names:
        (set_folder(found.name) / name).unlink(missing_ok=True)


def training_files(entry: ReadySet) -> str:
    """The path, or the pattern of paths, of what is learned from."""
    return str(set_folder(entry.name) / entry.train)


def held_out_files(entry: ReadySet) -> str | None:
    """The same of its own validation records."""
    return str(set_folder(entry.name) / entry.held_out) if entry.held_out else None


def source_spec(entry: ReadySet) -> str:
    """What `--source` takes for a set of text."""
    return f"{entry.source}:{training_files(entry)}"


def ready_source(name: str, opened: Callable[[str], Source]) -> Source | None:
    """The source of a downloaded set of text; None where there is no ready set of that name.

    Raises:
        DataError: it is not downloaded.
        ConfigError: it is not text.
    """
    entry = look_up(name)
    if entry is None:
        return None
    if entry.kind != "text":
        command = "sft" if entry.kind == "conversations" else "dpo"
        raise ConfigError(
            f"the ready set {name} holds {entry.kind}, which `mlxllm {command} --data` reads and --source does not; "
            f"`mlxllm data get {name}` tells the command"
        )
    if not is_here(name):
        begun = "only in part" if is_begun(name) else "not"
        raise DataError(f"the ready set {name} is {begun} downloaded; `mlxllm data get {name}` brings it")
    return opened(source_spec(entry))


def write_list(found: SetList) -> None:
    """Keep the list of a set in its folder."""
    content = {
        "version": _VERSION,
        "name": found.name,
        "revision": found.revision,
        "complete": found.complete,
        "files": [{"path": f.path, "url": f.url, "size": f.size, "sha256": f.sha256} for f in found.files],
    }
    target = set_folder(found.name) / LIST_NAME
    draft = target.with_name(f"{LIST_NAME}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, target)


def is_there(path: Path, size: int | None) -> bool:
    """Whether a file is there, and whole if its size tells."""
    try:
        return path.is_file() and size in (None, path.stat().st_size)
    except OSError:
        return False


def is_inside(path: str) -> bool:
    """Whether a path stays within the folder that it is relative to."""
    parts = path.split("/")
    return bool(path) and not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)


def file_sha256(path: Path) -> str:
    """In hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
