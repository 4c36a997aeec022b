"""The tokenizers that are there: those with a name, and the copies that datasets and runs carry."""

from dataclasses import dataclass
from pathlib import Path

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs.files import read_json
from mlxllm.tokenizer.storage import CONFIG_FILE, TOKENIZER_DIRECTORY


@dataclass(frozen=True, slots=True)
class Known:
    """A tokenizer that was made here, not opened yet."""

    argument: str
    """What a command is given for it: a name, or the path of its folder."""
    label: str
    """Its name, or whose it is."""
    path: Path
    kind: str
    vocab_size: int


def known_tokenizers() -> list[Known]:
    """Tokenizers by name, then those of datasets and runs, each once; what cannot be read is left out."""
    folders = [(path, path.name, path.name) for path in inside("tokenizers")]
    kinds: tuple[tuple[paths.Kind, str], ...] = (("datasets", "dataset"), ("runs", "run"))
    for kind, word in kinds:
        copies = [(path / TOKENIZER_DIRECTORY, path.name) for path in inside(kind)]
        folders += [(copy, str(copy), f"of {word} {name}") for copy, name in copies]
    found, seen = [], set()
    for folder, argument, label in folders:
        try:
            config = read_json(folder / CONFIG_FILE)
            what, size, fingerprint = config["kind"], int(config["vocab_size"]), config["fingerprint"]
        except (UserError, KeyError, TypeError, ValueError):
            continue
        if fingerprint not in seen:
            seen.add(fingerprint)
            found.append(Known(argument, label, folder, what, size))
    return found


def inside(kind: paths.Kind) -> list[Path]:
    """The folders of everything of a kind in the home, by name."""
    try:
        return sorted(p for p in paths.folder(kind).iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []
