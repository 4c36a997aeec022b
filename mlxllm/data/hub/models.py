"""Models of the Hub by name: found, fetched into huggingface_hub's own cache, and found there again without a network.

The cache is the documented one, so that what transformers or mlx-lm have fetched is not fetched again, nor the other way
round: `models--OWNER--NAME/` with `blobs/` (the files by their hash), `snapshots/COMMIT/` (links to them by their names)
and `refs/` (which commit a branch was). Only what a model is read from is fetched: configuration, tokenizer, templates and
safetensors; never a pickle, never code.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxllm.data.download import fetch
from mlxllm.data.download_problems import DownloadError, amount
from mlxllm.data.globs import is_inside
from mlxllm.data.hub.problems import UnreachableError, files_refused, hub_problems
from mlxllm.data.hub.requests import address, patiently
from mlxllm.data.transfers import Listener, listener
from mlxllm.errors import DataError, UserError
from mlxllm.runs.files import read_json

CONFIG_FILE = "config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SMALL_FILES = frozenset(
    {
        CONFIG_FILE,
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
    }
)
"""What is fetched beside the weights, where it is there."""
_OWN_TOKENIZER = re.compile(r"tokenizer/[\w.-]+\.(json|model|txt|jinja)")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NAME = re.compile(r"(?P<name>[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(@(?P<revision>[\w./-]{1,200}))?", re.A)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 30.0
"""Seconds without an answer after which the Hub is said not to answer."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A model of the Hub, as a user names it."""

    name: str
    """`owner/name`."""
    revision: str | None
    """A branch, a tag or a commit; None is the main branch."""

    def __str__(self) -> str:
        return self.name + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a model, as the Hub tells it."""

    path: str
    size: int
    blob: str
    """What it is called in the cache: its sha256, or git's hash where git keeps it."""
    sha256: str | None


_found: dict[tuple[str, str, HubName], Path] = {}
"""What this process has asked for already; a command asks for a model by its name several times."""


def parse_hub_name(text: str) -> HubName | None:
    """The model of the Hub that `text` can be, `owner/name` or `owner/name@revision`; None where it is none.

    Whether there is a run or a folder of that name, which goes before, is for others to look at.
    """
    match = _NAME.fullmatch(text)
    if match is None or ".." in text or "--" in match["name"]:
        return None
    return HubName(match["name"], match["revision"])


def fetch_model(wanted: HubName, *, told: Listener | None = None) -> Path:
    """The folder with the files of a model, fetched as far as they are not here.

    The commit is asked of the Hub, unless it was named; where the Hub cannot be reached, what the cache has will do. A
    transfer that was broken off is gone on with.

    Args:
        wanted: which.
        told: of the size, and of how far it is; by default who listens (see `transfers`).

    Raises:
        DataError: there is none, it is not given out, it has no safetensors, or it cannot be fetched.
    """
    # Only when used: it is slow to load.
    from huggingface_hub import constants

    key = (constants.ENDPOINT, constants.HF_HUB_CACHE, wanted)
    if (known := _found.get(key)) is not None and _is_whole(known):
        return known
    pinned = wanted.revision is not None and _COMMIT.fullmatch(wanted.revision) is not None
    cached = cached_model(wanted)
    if cached is None or not pinned:
        try:
            commit, files = _ask(wanted)
        except UnreachableError:
            if cached is None:
                raise
        else:
            cached = _fetch(wanted, commit, files, told or listener())
    assert cached is not None
    _found[key] = cached
    return cached


def cached_model(wanted: HubName) -> Path | None:
    """The folder of a model in the cache, if all that it is read from is there; nothing is asked of the Hub."""
    folder = _storage(wanted.name)
    revision = wanted.revision or "main"
    commit = revision
    if _COMMIT.fullmatch(revision) is None:
        try:
            commit = (folder / "refs" / revision).read_text().strip()
        except (OSError, ValueError):
            return None
    snapshot = folder / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and _is_whole(snapshot) else None


def name_of_snapshot(path: Path) -> str | None:
    """`owner/name@commit` of a folder of the cache; None of any other folder."""
    commit, snapshots, storage = path.name, path.parent.name, path.parent.parent
    if snapshots != "snapshots" or not storage.name.startswith("models--") or _COMMIT.fullmatch(commit) is None:
        return None
    name = storage.name.removeprefix("models--").replace("--", "/")
    return f"{name}@{commit}" if _storage(name).absolute() == storage.absolute() else None


def _storage(name: str) -> Path:
    from huggingface_hub import constants  # only when used: it is slow to load

    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def _is_whole(snapshot: Path) -> bool:
    """Whether configuration and weights are there; the rest was fetched before them."""
    try:
        names = [each.name for each in snapshot.iterdir() if each.is_file()]  # not links to nothing
        return CONFIG_FILE in names and set(_weights(names, lambda: snapshot / INDEX)) <= set(names)
    except (OSError, UserError):
        return False


def _weights(names: Iterable[str], index: Callable[[], Path]) -> list[str]:
    """Which of the files at the top of a model are its weights: one, or those of its index.

    Args:
        names: all files there.
        index: makes the index be here, and says where.

    Raises:
        DataError: none are, or the index cannot be used.
    """
    names = set(names)
    if WEIGHTS in names:
        return [WEIGHTS]
    if INDEX in names:
        raw = read_json(index())
        weight_map = raw.get("weight_map") if isinstance(raw, dict) else None
        shards = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
        if not shards or any("/" in shard or not shard.endswith(".safetensors") for shard in shards):
            raise DataError(f"its {INDEX} names no usable files")
        if missing := sorted(shards - names):
            raise DataError(f"it lacks {missing[0]!r}, which its {INDEX} names")
        return [INDEX, *sorted(shards)]
    single = [n for n in names if n.endswith(".safetensors") and not n.startswith(("adapter", "consolidated"))]
    if len(single) == 1:
        return single
    if any(name.startswith("adapter_") for name in names):
        raise DataError(
            "it holds an adapter and no model; download it with `hf download` and give its folder as --adapter, with "
            "the model that it was trained on as --model"
        )
    if pickles := sorted(name for name in names if name.endswith(_PICKLES)):
        raise DataError(
            f"it holds its weights as a pickle only ({pickles[0]}), which can run any code when it is opened; look whether "
            f"its page has a revision with .safetensors files (@refs/pr/N), or convert it where you trust it: "
            f"save_pretrained(..., safe_serialization=True) of transformers"
        )
    if any(name.endswith(".gguf") for name in names):
        raise DataError("it holds GGUF files only; take the model that they were made from")
    raise DataError("it holds no .safetensors file with the weights of a model")


def _ask(wanted: HubName) -> tuple[str, dict[str, _File]]:
    """The commit of a model and its files by their paths.

    Raises:
        UnreachableError: the Hub does not answer.
        DataError: it does, and has no such model, or none for this user.
    """
    import huggingface_hub  # only when used: it is slow to load

    with hub_problems(wanted.name, revision=wanted.revision, kind="model"):
        try:
            hub = huggingface_hub.HfApi()
            info = patiently(
                lambda: hub.model_info(wanted.name, revision=wanted.revision, files_metadata=True, timeout=_PATIENCE)
            )
        except (TypeError, KeyError, AttributeError):  # JSON, but not the Hub's
            info = None
    if info is None or not info.sha or _COMMIT.fullmatch(info.sha) is None:
        raise DataError(f"the Hub tells no commit of the model {wanted}; does HF_ENDPOINT name a Hub?")
    files = {}
    for each in info.siblings or ():
        blob = each.lfs.sha256 if each.lfs else each.blob_id
        # A hash becomes the name of a file here: it is one, or it is none of ours.
        if is_inside(each.rfilename) and each.size is not None and blob and re.fullmatch(r"[0-9a-f]{40,64}", blob):
            files[each.rfilename] = _File(each.rfilename, each.size, blob, each.lfs.sha256 if each.lfs else None)
    return info.sha, files


def _fetch(wanted: HubName, commit: str, files: Mapping[str, _File], told: Listener) -> Path:
    """Make the files of a model at a commit be in the cache."""
    storage = _storage(wanted.name)
    snapshot = storage / "snapshots" / commit
    if CONFIG_FILE not in files:
        raise DataError(f"the model {wanted} on the Hub holds no {CONFIG_FILE}; is it a model that transformers reads?")

    def index() -> Path:
        _have(wanted.name, commit, files[INDEX], storage, snapshot, None)
        return snapshot / INDEX

    try:
        weights = _weights([path for path in files if "/" not in path], index)
    except DownloadError:
        raise
    except UserError as error:
        raise DataError(f"the model {wanted} on the Hub cannot be used: {error}") from None
    # The weights come last: where they are all here, the rest is as well.
    small = sorted(path for path in files if path in SMALL_FILES or _OWN_TOKENIZER.fullmatch(path))
    needed = [files[path] for path in [*small, *weights]]
    size = sum(file.size for file in needed)
    blobs = storage / "blobs"
    missing = sum(file.size for file in needed if not (blobs / file.blob).is_file())
    if missing:
        _check_room(wanted, missing, blobs)
        told.begins(f"{wanted} at {commit[:12]}", len(needed), size)
    done = 0
    try:
        for file in needed:
            before = done
            _have(wanted.name, commit, file, storage, snapshot, lambda n, _, b=before: told.progress(b + n, size))  # type: ignore[misc]
            done += file.size
    finally:
        if missing:
            told.ends()
    if wanted.revision != commit:
        _note(storage / "refs" / (wanted.revision or "main"), commit)
    return snapshot


def _check_room(wanted: HubName, missing: int, blobs: Path) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DataError: the disk has less room than is still to come.
    """
    there = next(folder for folder in blobs.parents if folder.is_dir())
    drafts = sum(each.stat().st_size for each in blobs.glob(".*.part")) if blobs.is_dir() else 0
    if (needed := missing - drafts) > (free := shutil.disk_usage(there).free):
        raise DataError(
            f"the model {wanted} needs {amount(needed)} more, and {there} has {amount(free)} free; make room, or let HF_HOME "
            f"name a folder on another disk"
        )


def _have(
    name: str,
    commit: str,
    file: _File,
    storage: Path,
    snapshot: Path,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Make one file be in the cache, and be found in the snapshot."""
    blob, link = storage / "blobs" / file.blob, snapshot / file.path
    try:
        if not blob.is_file():
            url, headers = address(name, commit, file.path, "model")
            with files_refused(f"the model {name}"):
                fetch(url, blob, sha256=file.sha256, size=file.size, headers=headers, progress=progress)
            if file.sha256 is None and _git_hash(blob) != file.blob:
                blob.unlink()
                raise DataError(f"what came of {file.path} of {name} is not the file that the Hub lists; try again")
        elif progress is not None:
            progress(file.size, file.size)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            _replace_by_link(link, os.path.relpath(blob, link.parent))
    except OSError as error:
        raise DataError(
            f"the model {name} cannot be kept in {storage}: {error.strerror or error}; HF_HOME can name another folder"
        ) from None


def _git_hash(file: Path) -> str:
    """What git calls the content of a file."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _replace_by_link(link: Path, target: str) -> None:
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    draft.symlink_to(target)
    draft.replace(link)


def _note(ref: Path, commit: str) -> None:
    """Write down which commit a branch was; without that, the model is found again by its commit only."""
    with contextlib.suppress(OSError):
        ref.parent.mkdir(parents=True, exist_ok=True)
        draft = ref.with_name(f".{ref.name}.{os.getpid()}")
        draft.write_text(commit)
        draft.replace(ref)
