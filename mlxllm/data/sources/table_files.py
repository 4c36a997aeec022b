"""Where tables come from: files that are here, or those of a data set on the Hub, each fetched when it is read."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from mlxllm.data.hub import HubDataset, choose_files, find_dataset, open_shard, read_in_parts
from mlxllm.data.sources.base import Extent, Problems
from mlxllm.data.sources.files import find_files
from mlxllm.data.sources.options import count_option, is_local, joined
from mlxllm.errors import ConfigError

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json")
HUB_OPTIONS = ("column", "split", "revision", "shards")
"""Of every source whose tables may be on the Hub."""


@dataclass(slots=True)
class OpenTable:
    """A file of rows that can be read now."""

    file: Path | BinaryIO
    """Where it lies, or itself."""
    read: bool = False
    """Set this once all of it has been read."""


class Tables(Protocol):
    """Where the files of rows come from; can be pickled."""

    def parts(self) -> Sequence[str]:
        """Names of the files, in order."""

    def open(self, part: str) -> AbstractContextManager[OpenTable]:
        """A file for as long as it is read."""

    def pinned(self) -> "Tables":
        """The same, but for ever."""

    def beginning(self) -> "Tables":
        """The same files, opened quickly for a look at their beginning."""

    def extent(self) -> Extent:
        """How much there is, as far as that is known without asking anybody."""

    def spec(self) -> str:
        """What stands for them in a specification, with the options that are theirs."""


@dataclass(frozen=True)
class LocalTables:
    """Files that are here."""

    pattern: str
    """A file, a folder or a glob."""
    files: tuple[Path, ...]
    """What it stands for, sorted."""
    found: Problems
    """What else lies there."""

    @classmethod
    def find(cls, pattern: str) -> "LocalTables":
        """The files behind a path, a folder or a glob.

        Raises:
            DataError: there are none.
        """
        found = Problems()
        return cls(pattern, tuple(find_files(pattern, found, SUFFIXES)), found)

    def parts(self) -> Sequence[str]:
        return [str(path) for path in self.files]

    @contextlib.contextmanager
    def open(self, part: str) -> Iterator[OpenTable]:
        yield OpenTable(Path(part))

    def pinned(self) -> "LocalTables":
        return self

    def beginning(self) -> "LocalTables":
        return self

    def extent(self) -> Extent:
        return Extent()

    def spec(self) -> str:
        return self.pattern


@dataclass(frozen=True)
class HubTables:
    """Files of a data set on the Hub, fetched one at a time when they are read."""

    name: str
    """`owner/name`."""
    config: str | None = None
    """As its README calls it, or a folder."""
    split: str = "train"
    """Which of its splits."""
    revision: str | None = None
    """Branch, tag or commit."""
    shards: int | None = None
    """Only so many files, the first."""
    folders: frozenset[str] = frozenset()
    """Only files in folders that are called so, where there are any."""
    in_parts: bool = False
    """Do not fetch a file whole, but what is read of it."""

    def parts(self) -> Sequence[str]:
        dataset = self._dataset()
        files = choose_files(self.name, dataset.files, dataset.configs, self.config, self.split)
        inside = [file for file in files if self.folders & {part.lower() for part in file.split("/")[:-1]}]
        return [f"{self._prefix(dataset)}{file}" for file in (inside or files)[: self.shards]]

    @contextlib.contextmanager
    def open(self, part: str) -> Iterator[OpenTable]:
        dataset = self._dataset()
        file = part.removeprefix(self._prefix(dataset))
        if self.in_parts:
            with read_in_parts(dataset, file) as ranges:
                yield OpenTable(ranges)  # type: ignore[arg-type]  # a raw file that reads all that is asked for
            return
        with open_shard(dataset, file) as shard:
            table = OpenTable(shard.path)
            yield table
            shard.read = table.read

    def pinned(self) -> "HubTables":
        dataset = self._dataset()
        fixed = replace(self, revision=dataset.commit)
        object.__setattr__(fixed, "_found", dataset)  # no need to ask for that again
        return fixed

    def beginning(self) -> "HubTables":
        return replace(self, in_parts=True)

    def extent(self) -> Extent:
        return Extent()

    def spec(self) -> str:
        options = {
            "split": self.split if self.split != "train" else None,
            "revision": self.revision,
            "shards": str(self.shards) if self.shards else None,
        }
        return joined(f"{self.name}/{self.config}" if self.config else self.name, options)

    def _dataset(self) -> HubDataset:
        """Asked for once: what is read belongs together, also when something is uploaded meanwhile."""
        found: HubDataset | None = self.__dict__.get("_found")
        if found is None:
            found = find_dataset(self.name, self.revision)
            object.__setattr__(self, "_found", found)
        return found

    def _prefix(self, dataset: HubDataset) -> str:
        return f"{self.name}@{dataset.commit[:12]}/"


def find_tables(kind: str, place: str, options: Mapping[str, str]) -> Tables:
    """The files that a path, or `owner/name[/config]`, and the options stand for.

    Raises:
        ConfigError: it is no such name, or the options are not for a path.
        DataError: there is no such path.
    """
    shards = count_option(kind, options, "shards")
    if is_local(place, SUFFIXES):
        if wrong := sorted(options.keys() & {"split", "revision", "shards"}):
            raise ConfigError(f"source {kind!r}: {wrong[0]}=... is for data sets on the Hub, and {place!r} is a path")
        return LocalTables.find(place)
    parts = place.strip("/").split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise ConfigError(
            f"source {kind!r} needs a data set of the Hub as owner/name or owner/name/config; found {place!r}"
        )
    config = parts[2] if len(parts) > 2 else None
    return HubTables("/".join(parts[:2]), config, options.get("split", "train"), options.get("revision"), shards)
