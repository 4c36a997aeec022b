"""Bringing a ready set: what its servers have, what of it is missing here, and whether it is right."""

import fnmatch
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlxllm.data.catalogue import HubFiles, ReadySet, WebListing
from mlxllm.data.download import Progress, fetch, remote_size
from mlxllm.data.download_problems import ReplacedError, amount
from mlxllm.data.ready_sets import (
    SetFile,
    SetList,
    bytes_to_come,
    file_sha256,
    is_inside,
    is_there,
    read_list,
    set_folder,
    write_list,
)
from mlxllm.errors import DataError

_MOST_LISTING_BYTES = 16 << 20


def choose_files(entry: ReadySet) -> SetList:
    """What is to be downloaded: as an interrupted download has chosen it, else what the servers say now.

    Raises:
        DataError: they cannot be asked, or have nothing of that kind any more.
    """
    where = entry.where
    begun = read_list(entry.name)
    if begun is not None and all((file.url is None) == isinstance(where, HubFiles) for file in begun.files):
        return begun
    if isinstance(where, HubFiles):
        return _on_the_hub(entry.name, where)
    if isinstance(where, WebListing):
        return SetList(entry.name, None, False, tuple(_listed(entry.name, where)))
    files = (SetFile(each.name, each.url, each.size or remote_size(each.url), each.sha256) for each in where)
    return SetList(entry.name, None, False, tuple(files))


def download_set(
    entry: ReadySet, wanted: SetList, progress: Progress | None = None, tell: Callable[[str], None] | None = None
) -> SetList:
    """Bring what is missing of a ready set; returns its list with the size and hash of every file.

    Interrupted in any way, what has come is kept, and the next call goes on from there.

    Args:
        entry: the set.
        wanted: as `choose_files` has it.
        progress: told the bytes of the whole set that are here, and how many it has.
        tell: told in a sentence when a server has to be waited for.

    Raises:
        DataError: it cannot be downloaded, or there is no room for it.
    """
    folder = set_folder(entry.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(entry.name, wanted, folder)
        write_list(wanted)
        here, before = wanted, 0
        for number, file in enumerate(wanted.files):
            target = folder / file.path
            if not (is_there(target, file.size) and (wanted.complete or file_sha256(target) == file.sha256)):
                told = _Offset(progress, before, wanted.size) if progress else None
                _bring(entry, wanted, file, target, told, tell)
                # At once: with its hash it is known to be whole when the next file is interrupted.
                found = replace(file, size=target.stat().st_size, sha256=file_sha256(target))
                here = replace(here, files=(*here.files[:number], found, *here.files[number + 1 :]))
                write_list(here)
            before += here.files[number].size or 0
        here = replace(here, complete=True)
        write_list(here)
    except OSError as error:
        raise DataError(f"{entry.name} cannot be kept in {folder}: {error.strerror or error}") from None
    return here


@dataclass(frozen=True, slots=True)
class _Offset:
    """Progress of one file, told as that of the whole set."""

    told: Progress
    before: int
    total: int | None

    def __call__(self, done: int, of: int | None) -> None:
        self.told(self.before + done, self.total)


def _on_the_hub(name: str, where: HubFiles) -> SetList:
    from mlxllm.data.hub.dataset import file_facts, find_dataset  # loads huggingface_hub, which is slow

    dataset = find_dataset(where.dataset, where.revision)
    chosen = [path for path in sorted(dataset.files) if any(fnmatch.fnmatch(path, each) for each in where.patterns)]
    lacking = [each for each in where.patterns if not fnmatch.filter(chosen, each)]
    if lacking or not all(is_inside(path) for path in chosen):
        raise DataError(
            f"the data set {where.dataset} on the Hub has no {lacking[0] if lacking else 'safe file names'} any more, so "
            f"{name} cannot be downloaded; its page may tell where that went"
        )
    facts = [(path, file_facts(dataset, path)) for path in chosen]
    return SetList(name, dataset.commit, False, tuple(SetFile(path, None, f.size, f.sha256) for path, f in facts))


def _listed(name: str, where: WebListing) -> Iterator[SetFile]:
    """The last files of a folder, by the page on which its server lists it."""
    page = set_folder(name) / ".listing"
    try:
        text = fetch(where.url, page).read_bytes()[:_MOST_LISTING_BYTES].decode("utf-8", "replace")
    finally:
        page.unlink(missing_ok=True)
    names = sorted(set(where.pattern.findall(text)))[-where.count :]
    if not names:
        raise DataError(
            f"{where.url} lists no files called like {where.pattern.pattern}, so {name} cannot be downloaded; its page "
            f"may tell where they went"
        )
    for each in names:
        yield SetFile(each, where.url + each, remote_size(where.url + each), None)


def _bring(
    entry: ReadySet,
    wanted: SetList,
    file: SetFile,
    target: Path,
    progress: Progress | None,
    tell: Callable[[str], None] | None,
) -> None:
    try:
        if isinstance(entry.where, HubFiles):
            from mlxllm.data.hub.shards import fetch_file  # loads huggingface_hub, which is slow

            place = entry.where.dataset, wanted.revision, file.path
            fetch_file(*place, target, file.size, file.sha256, progress=progress, tell=tell)
        elif file.url is not None:
            fetch(file.url, target, sha256=file.sha256, size=file.size, progress=progress, tell=tell)
    except ReplacedError as error:
        raise DataError(f"{error}; `mlxllm data rm {entry.name}` forgets which files were chosen") from None
    if isinstance(entry.where, WebListing) and file.url is not None:
        _check_md5(file.url, target, entry.where.md5_suffix)


def _check_md5(url: str, target: Path, suffix: str) -> None:
    """Compare a file with the sum that stands beside it on the server.

    Raises:
        DataError: it has another.
    """
    beside = target.with_name(f".{target.name}{suffix}")
    try:
        told = fetch(url + suffix, beside).read_text(encoding="ascii", errors="replace").split()
    finally:
        beside.unlink(missing_ok=True)
    with open(target, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found not in told:
        target.unlink()
        raise DataError(
            f"{url} is damaged: its MD5 is {found}, and {url + suffix} has another; it is not kept, so try again"
        )


def _check_room(name: str, wanted: SetList, folder: Path) -> None:
    to_come = bytes_to_come(wanted)
    free = shutil.disk_usage(folder).free
    if to_come is not None and to_come > free:
        raise DataError(
            f"{name} needs {amount(to_come)} more, and {folder} has {amount(free)} free; make room "
            f"(`mlxllm cache ls` shows what is kept), or let MLXLLM_HOME name a folder on another disk"
        )
