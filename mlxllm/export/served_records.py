"""What a folder held when `serve` wrote it or last looked at it, so that a damaged one is not served for the whole one."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlxllm.errors import UserError
from mlxllm.runs.files import read_json, sha256_of_file, write_json_atomic

RECORD_FILE = "served.json"


@dataclass(frozen=True)
class Record:
    """One state of a folder."""

    verified: bool
    """Whether mlx-lm was seen to read the model in it."""
    files: Mapping[str, str]
    """Path in the folder -> SHA-256."""

    def change(self, folder: Path) -> str:
        """What is otherwise in the folder by now, in a few words; nothing where all files are as they were."""
        for name, known in self.files.items():
            try:
                if sha256_of_file(folder / name) != known:
                    return f"{name} has changed"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror or error})"
        return ""


def record_of(folder: Path, files: Iterable[Path], *, verified: bool) -> Record:
    """The state of these files of a folder. Reads them all."""
    return Record(verified, {str(file.relative_to(folder)): sha256_of_file(file) for file in sorted(files)})


def write_record(place: Path, record: Record) -> None:
    """Keep it in the folder `place`.

    Raises:
        UserError: it cannot be written.
    """
    write_json_atomic(place / RECORD_FILE, asdict(record))


def read_record(place: Path) -> Record | None:
    """The record in a folder; None where there is none that can be used."""
    try:
        raw = read_json(place / RECORD_FILE)
    except UserError:
        return None
    files = raw.get("files") if isinstance(raw, dict) else None
    if not isinstance(files, dict) or not files:
        return None
    return Record(raw.get("verified") is True, {str(name): str(known) for name, known in files.items()})
