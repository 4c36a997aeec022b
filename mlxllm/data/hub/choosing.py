"""Which files of a data set are meant: its configs and splits, from the list in its README or from how files are called.

The keys of the list (`configs`, `data_files`, `split`, `path`, `default`) and the words for splits are those of the
Hub's documentation ("Data files configuration", "File names and splits").
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlxllm.data.globs import compile_glob
from mlxllm.errors import ConfigError, DataError

FORMATS = ((".parquet",), (".jsonl", ".ndjson", ".json"))
"""Suffixes of files that can be read; of a data set that is there in both, the first is taken."""
PACKING = (".gz", ".zst")
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_CANONICAL = {word: split for split, words in _WORDS.items() for word in words}
_WORD = re.compile(
    rf"(?:^|[-_. 0-9])({'|'.join(sorted(_CANONICAL, key=len, reverse=True))})(?=$|[-_. 0-9])", re.IGNORECASE
)
_NUMBERED = re.compile(r"(?P<split>.+?)[-.]\d{3,}-of-\d{3,}")
_NO_SPLIT = {"data", "part", "chunk", "shard", "file"}
_LISTED = 12


def choose_files(
    name: str, files: Sequence[str], configs: Sequence[Mapping[str, Any]], config: str | None, split: str
) -> tuple[str, ...]:
    """The files of one split of one config, sorted.

    Args:
        name: of the data set, for messages.
        files: all that it holds.
        configs: as its README lists them; empty where it lists none.
        config: as it is called in the list, or else a folder; None for the default one.
        split: such as `train`.

    Raises:
        ConfigError: there is no such config or split, or a config has to be chosen.
        DataError: none of the files can be read.
    """
    usable = [path for path in files if _format(path) is not None and not _is_hidden(path)]
    if not usable:
        kinds = sorted({re.sub(r"^[^.]*", "", path.rpartition("/")[2]) or "no suffix" for path in files})
        raise DataError(
            f"the data set {name} on the Hub holds no parquet and no JSON files (found {', '.join(kinds[:6]) or 'nothing'}); "
            f"choose another, or download it and give its files"
        )
    listed = {str(each["config_name"]): each for each in configs if isinstance(each.get("config_name"), str)}
    if listed and not (config is not None and config not in listed and _in_folder(usable, config)):
        splits = _listed_splits(listed[_choose_config(name, listed, config)], usable)
    else:
        splits = _found_splits(_of_folder(name, usable, config, listed))
    chosen = splits.get(split) or splits.get(_CANONICAL.get(split, split))
    if not chosen:
        there = f"; there are {', '.join(sorted(splits))}" if splits else ""
        raise ConfigError(f"the data set {name} on the Hub has no split {split!r}{there}; choose one as ,split=NAME")
    best = min(_format(path) or 0 for path in chosen)
    return tuple(sorted({path for path in chosen if _format(path) == best}))


def _choose_config(name: str, listed: Mapping[str, Mapping[str, Any]], config: str | None) -> str:
    if config is None:
        defaults = [each for each, entry in listed.items() if entry.get("default") is True]
        for chosen in (*defaults[:1], "default", *(list(listed) if len(listed) == 1 else [])):
            if chosen in listed:
                return chosen
        raise ConfigError(
            f"the data set {name} on the Hub has several configs; choose one as {name}/CONFIG: {_some(sorted(listed))}"
        )
    if config not in listed:
        raise ConfigError(f"the data set {name} on the Hub has no config {config!r}; {_hint(config, sorted(listed))}")
    return config


def _listed_splits(entry: Mapping[str, Any], files: Sequence[str]) -> dict[str, list[str]]:
    """The files of each split by the patterns that the README gives."""
    folder = entry.get("data_dir")
    if isinstance(folder, str) and folder.strip("./"):
        inside = folder.strip("/").removeprefix("./") + "/"
        files = [path for path in files if path.startswith(inside)]
    given = entry.get("data_files")
    if not given:
        return _found_splits(files)
    splits: dict[str, list[str]] = {}
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, Mapping):
            split, patterns = str(each.get("split", "train")), each.get("path", [])
        else:
            split, patterns = "train", each
        matched = splits.setdefault(split, [])
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            matched += _matching(str(pattern).removeprefix("./"), files)
    return {split: paths for split, paths in splits.items() if paths}


def _matching(pattern: str, files: Sequence[str]) -> list[str]:
    expressions = compile_glob(pattern), compile_glob(pattern.rstrip("/") + "/**")
    return [path for path in files if any(each.fullmatch(path) for each in expressions)]


def _of_folder(
    name: str, files: Sequence[str], config: str | None, listed: Mapping[str, Mapping[str, Any]]
) -> Sequence[str]:
    """The files in the folder of a config; all where none is named, unless folders hold splits of their own."""
    if config is not None:
        if found := _in_folder(files, config):
            return found
        folders = sorted({part for path in files for part in path.split("/")[:-1]} | set(listed))
        raise ConfigError(
            f"the data set {name} on the Hub has no config or folder {config!r}; {_hint(config, folders)}"
        )
    own = {path.rpartition("/")[0] for path in files if _word_split(path.rpartition("/")[2])}
    own = {folder for folder in own if folder.rpartition("/")[2] not in (*_CANONICAL, "data", "")}
    if len(own) > 1:
        for default in (folder for folder in own if folder.rpartition("/")[2] == "default"):
            return _in_folder(files, default)
        raise ConfigError(
            f"the data set {name} on the Hub has several folders with splits of their own; choose one as {name}/FOLDER: "
            f"{_some(sorted(own))}"
        )
    return files


def _in_folder(files: Sequence[str], folder: str) -> list[str]:
    """What lies in a folder that is given by its path, or else anywhere by its name."""
    whole = folder.strip("/") + "/"
    return [path for path in files if path.startswith(whole)] or [path for path in files if f"/{whole}" in f"/{path}"]


def _found_splits(files: Sequence[str]) -> dict[str, list[str]]:
    """Files by the split that they are called after; those called after none are for training if no others are."""
    splits: dict[str, list[str]] = {}
    rest = []
    for path in files:
        folder, _, file = path.rpartition("/")
        split = _word_split(file) or next(filter(None, map(_word_split, reversed(folder.split("/")))), None)
        if split is None:
            rest.append(path)
        else:
            splits.setdefault(split, []).append(path)
    if rest and "train" not in splits:
        splits["train"] = rest
    return splits


def _word_split(part: str) -> str | None:
    """The split that a file or folder name tells: `train-00000-of-00002.parquet`, `c4-validation.json.gz`, `dev`."""
    if numbered := _NUMBERED.match(part):
        told = numbered["split"].lower()
        if told in _NO_SPLIT:
            return None
        last = re.split(r"[-.]", told)[-1]
        return _CANONICAL.get(last, told)
    match = _WORD.search(part)
    return _CANONICAL[match[1].lower()] if match else None


def _format(path: str) -> int | None:
    lowered = path.lower()
    for packing in PACKING:
        lowered = lowered.removesuffix(packing)
    return next((number for number, suffixes in enumerate(FORMATS) if lowered.endswith(suffixes)), None)


def _is_hidden(path: str) -> bool:
    file = path.rpartition("/")[2]
    return any(part.startswith((".", "__")) for part in path.split("/")) or file in ("dataset_infos.json", "state.json")


def _hint(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=3)
    return f"did you mean {', '.join(near)}?" if near else f"there are {_some(known)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
