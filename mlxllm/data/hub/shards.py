"""The files of a data set one at a time: fetched when they are read, removed when they have been, or read in parts.

huggingface_hub asks, and knows addresses and logins; the transfer is `download.fetch`, since that of huggingface_hub
begins anew in each process (from its release 2 on), and shards are gigabytes.

They lie in <home>/cache/hub/<owner>--<name>/<commit>/, beside a lock each, which its readers share. What is in
huggingface_hub's own cache is read there and stays there.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mlxllm import paths
from mlxllm.data.download import Progress, fetch
from mlxllm.data.hub.dataset import HubDataset, file_facts
from mlxllm.data.hub.problems import files_refused
from mlxllm.data.hub.ranges import RangeFile
from mlxllm.data.hub.requests import address


class Shard:
    """A file that is there for as long as it is read."""

    def __init__(self, path: Path) -> None:
        """It lies at `path`."""
        self.path = path
        self.read = False
        """Set this once all of it has been read: then it is not kept for another time."""


@contextlib.contextmanager
def open_shard(dataset: HubDataset, file: str) -> Iterator[Shard]:
    """Fetch a file of a data set, and remove it again if it has been read to its end.

    A transfer that was broken off is gone on with; another process that reads or fetches the same file shares it.

    Raises:
        DataError: it cannot be fetched.
    """
    if (cached := _in_users_cache(dataset, file)) is not None:
        yield Shard(cached)
        return
    target = shard_folder(dataset) / file
    lock = _fetched(dataset, file, target)
    try:
        shard = Shard(target)
        yield shard
        if shard.read:
            _remove(target, lock)
    finally:
        os.close(lock)


def read_in_parts(dataset: HubDataset, file: str) -> RangeFile:
    """A file of a data set as a seekable one, of which only what is read is fetched.

    Raises:
        DataError: it is not there, or the Hub cannot be asked.
    """
    facts = file_facts(dataset, file)
    url, headers = address(dataset.name, dataset.commit, file, "dataset")
    return RangeFile(url, headers, facts.size, dataset.name, file)


def fetch_file(
    name: str,
    commit: str | None,
    file: str,
    target: Path,
    size: int | None,
    sha256: str | None,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Download one file of the data set `name` at a commit, with the user's login; see `fetch`.

    huggingface_hub resumes a transfer only within one call (since 2.0 its drafts have a name of their own each), and a
    shard of a gigabyte should outlive the process. So the address and the login are its, and the download is ours.

    Raises:
        DataError: it cannot be had.
    """
    url, headers = address(name, commit, file, "dataset")
    with files_refused(f"the data set {name}"):
        fetch(url, target, sha256=sha256, size=size, headers=headers, progress=progress, tell=tell)


def shard_folder(dataset: HubDataset) -> Path:
    """Where files of a data set lie while they are read."""
    return paths.folder("cache") / "hub" / dataset.name.replace("/", "--") / dataset.commit


def _in_users_cache(dataset: HubDataset, file: str) -> Path | None:
    import huggingface_hub  # only when used: it is slow to load

    found = huggingface_hub.try_to_load_from_cache(dataset.name, file, revision=dataset.commit, repo_type="dataset")
    return Path(found) if isinstance(found, str) else None


def _fetched(dataset: HubDataset, file: str, target: Path) -> int:
    """Make the file be there; returns its lock, shared with others who read it, which keeps it from being removed."""
    while True:
        lock = _open_lock(target)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while another process fetches the file
            if target.is_file() and _is_lock_of(target, lock):
                return lock
            fcntl.flock(lock, fcntl.LOCK_EX)
            # In between somebody else may have fetched it, or even have read it and removed it with its lock.
            if _is_lock_of(target, lock) and not target.is_file():
                facts = file_facts(dataset, file)
                fetch_file(dataset.name, dataset.commit, file, target, facts.size, facts.sha256)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _open_lock(target: Path) -> int:
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # somebody removed the folder as it was empty
            return os.open(_lock_path(target), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _is_lock_of(target: Path, lock: int) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), os.stat(_lock_path(target)))
    except FileNotFoundError:
        return False


def _lock_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _remove(target: Path, lock: int) -> None:
    """Remove a file that nobody else reads, and the folders that it leaves empty."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # whoever reads it as well removes it
    target.unlink(missing_ok=True)
    _lock_path(target).unlink(missing_ok=True)
    top = paths.folder("cache") / "hub"
    for folder in target.parents:
        if folder == top:
            return
        try:
            folder.rmdir()
        except OSError:
            return
