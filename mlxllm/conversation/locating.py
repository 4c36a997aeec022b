"""What a user names to the files that are meant: a file, a folder or glob, mlx-lm's folder, a data set of the Hub."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlxllm.conversation.hub import hub_files
from mlxllm.errors import DataError

Split = Literal["train", "val", "test"]

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
"""How files and splits of each purpose are called; the first is mlx-lm's."""

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
_PACKING = (".gz", ".zst")
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?::([\w.-]+))?")


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """The files of each split; only a folder or a data set with names for them has `val` and `test`."""

    train: tuple[Path, ...] = ()
    val: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()


def find_record_files(names: Sequence[str]) -> RecordFiles:
    """The files behind `names`, in order.

    A file is taken whatever it is called. A folder is sorted as mlx-lm's: `valid.jsonl` and `test.jsonl` are set
    apart, and `train.jsonl` or, where there is none, all other JSON and parquet files are for training. `owner/name` or
    `owner/name:split` that is no path is a data set of the Hub, fetched into the cache of huggingface_hub.

    Raises:
        DataError: a name is none of these, or nothing is found behind it.
    """
    found = [_find(name) for name in names]
    files = RecordFiles(*(tuple(path for each in found for path in getattr(each, s)) for s in SPLIT_NAMES))
    if not files.train:
        raise DataError(
            f"{', '.join(names) or 'nothing'} names no file to learn from; give files, a folder or owner/name"
        )
    return files


def _find(name: str) -> RecordFiles:
    expanded = os.path.expanduser(name)
    if os.path.isdir(expanded):
        return _by_split(_in_folder(expanded), name, "name one of them itself to learn from it")
    if os.path.exists(expanded):
        return RecordFiles(train=(Path(expanded),))
    if glob.has_magic(expanded) and (matches := sorted(glob.glob(expanded, recursive=True))):
        return RecordFiles(train=tuple(Path(path) for path in matches if os.path.isfile(path)))
    hub = None if _is_path(name) else _HUB_NAME.fullmatch(name)
    if hub is None:
        raise DataError(
            f"there is no file or folder {name!r}; give files, a folder, or owner/name of a data set on the Hub"
        )
    return _on_hub(hub[1], hub[2])


def _on_hub(name: str, split: str | None) -> RecordFiles:
    """The files of a data set; only those of the split are fetched, if one is asked for."""
    place = f"*{split}*" if split else "*"  # a star of the Hub's patterns goes through folders
    paths = hub_files(name, tuple(place + suffix + packing for suffix in _SUFFIXES for packing in ("", *_PACKING)))
    if split:
        chosen = tuple(path for path in paths if _is_called(path, split))
        if not chosen:
            raise DataError(f"the data set {name} on the Hub has no {', '.join(_SUFFIXES)} files of a split {split!r}")
        return RecordFiles(train=chosen)
    files = _by_split(paths, name, f"choose one as {name}:SPLIT")
    stems = sorted({re.sub(r"[-.].*", "", path.name) for path in files.train})
    if len(stems) > 1 and not any(_is_called(path, "train") for path in files.train):
        raise DataError(
            f"the data set {name} on the Hub has no split train; choose {name}:SPLIT, with one of {', '.join(stems)}"
        )
    return files


def _in_folder(folder: str) -> tuple[Path, ...]:
    paths = sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))
    return tuple(path for path in paths if _is_records(path.name))


def _by_split(paths: Sequence[Path], name: str, remedy: str) -> RecordFiles:
    """Sort files by the split that they are called after; where none is called train, those called nothing are."""
    if not paths:
        raise DataError(f"{name!r} holds no {', '.join(_SUFFIXES)} files")
    splits = {
        split: tuple(path for path in paths if any(_is_called(path, word) for word in words))
        for split, words in SPLIT_NAMES.items()
    }
    if not splits["train"]:
        splits["train"] = tuple(path for path in paths if path not in (*splits["val"], *splits["test"]))
    if not splits["train"]:
        held = ", ".join(path.name for path in paths)
        raise DataError(f"{name!r} holds only {held}, for validation or testing, and nothing to learn from; {remedy}")
    return RecordFiles(**splits)


def _is_called(path: Path, split: str) -> bool:
    """`train.jsonl`, `train-00000-of-00002.parquet`, `train_sft-...` for train_sft, or a folder `train/`."""
    return bool(re.match(rf"{re.escape(split)}(?:[-.]|$)", path.name)) or path.parent.name == split


def _is_records(name: str) -> bool:
    for packing in _PACKING:
        name = name.removesuffix(packing)
    return name.endswith(_SUFFIXES)


def _is_path(name: str) -> bool:
    return name.startswith(("./", "../", "/", "~")) or _is_records(name)
