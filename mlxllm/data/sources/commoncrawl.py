"""Common Crawl: WARC and WET files by path, or files of a whole crawl by its id, fetched one at a time."""

import contextlib
import copy
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlxllm.data.sources import crawls
from mlxllm.data.sources.base import Extent, Problems, SourceKind
from mlxllm.data.sources.files import find_files
from mlxllm.data.sources.options import joined, split_options
from mlxllm.data.sources.warc_source import LOOKED_AT_BYTES, WarcSource, why_no_pages
from mlxllm.errors import ConfigError, DataError

KIND = SourceKind(
    "commoncrawl",
    "WARC and WET files, folders or globs (.gz, .zst), or a crawl by its id: CC-MAIN-YYYY-WW[,files=N][,start=K][,kind=wet]",
    "of each page its own; Common Crawl's terms of use",
    "commoncrawl:CC-MAIN-2024-22,files=1",
    "a base model: the web as it is, so clean it well",
    download="by id about 1 GB a WARC file or 0.1 GB a WET file, of some 30,000 pages each",
    recipe="web",
)
DEFAULT_FILES = 1
"""Files of a crawl; it has some 90,000."""
_SUFFIXES = (".warc", ".wet", ".wat", ".arc", ".paths")
_KINDS = ("warc", "wet")
_CRAWL_ID = re.compile(r"CC-MAIN-\d{4}-\d{2}", re.ASCII)
_PAGES_A_FILE = 30_000
"""CC-MAIN-2024-22: 2.7 billion pages in 90,000 files."""
_TEXT_BYTES_A_PAGE = {"warc": 4_000, "wet": 8_000}


def parse(spec: str) -> WarcSource:
    """The source that `commoncrawl:SPEC` stands for; nobody is asked for anything yet.

    Raises:
        ConfigError: an option or the id of the crawl is not usable, or neither path nor id is given.
        DataError: see `PathSource`.
    """
    place, options = split_options(KIND.kind, spec, ("files", "start", "kind"))
    if not place:
        raise ConfigError(
            "source 'commoncrawl' needs a file, a folder or a glob of WARC or WET files, or the id of a crawl such as "
            "commoncrawl:CC-MAIN-2024-22,files=1"
        )
    here = os.path.exists(os.path.expanduser(place)) or glob.has_magic(place) or "/" in place
    if here or not place.upper().startswith("CC-") or place.lower().endswith((".gz", ".zst", *_SUFFIXES)):
        if options:
            raise ConfigError(
                f"source 'commoncrawl' takes {', '.join(options)} with the id of a crawl, and {place!r} is a path"
            )
        return PathSource(place)
    if not _CRAWL_ID.fullmatch(place):
        raise ConfigError(
            f"{place!r} is neither a path nor the id of a crawl, which looks like CC-MAIN-2024-22 (year and week); "
            f"{crawls.LISTED_AT}"
        )
    kind = options.get("kind", _KINDS[0])
    if kind not in _KINDS:
        raise ConfigError(
            f"source 'commoncrawl' has no kind={kind}; give kind=warc (pages) or kind=wet (text of pages)"
        )
    files, start = _number(options, "files", DEFAULT_FILES, 1), _number(options, "start", 0, 0)
    return CrawlSource(place, files, start, kind)


class PathSource(WarcSource):
    """Pages of the files that a path, a folder or a glob stands for, by sorted path."""

    def __init__(self, pattern: str) -> None:
        """Look up the files.

        Raises:
            DataError: the path does not exist, holds no file of a known type, or is one file without pages.
        """
        parts = Path(os.path.abspath(os.path.expanduser(pattern))).parts
        super().__init__("/".join(parts[-2:]) if glob.has_magic(pattern) else parts[-1], f"{KIND.kind}:{pattern}")
        self._found = Problems()
        self.files = find_files(pattern, self._found, _SUFFIXES)
        """In the order in which they are read."""
        if len(self.files) == 1:
            self._check(self.files[0])

    def parts(self) -> list[str]:
        # What was found besides belongs to each pass.
        self.problems.mended.update(self._found.mended - self.problems.mended)
        self.problems.examples.update(self._found.examples)
        return [str(path) for path in self.files]

    def opened(self, part: str) -> BinaryIO:
        return open(part, "rb")

    @staticmethod
    def _check(path: Path) -> None:
        try:
            with open(path, "rb") as file:
                refusal = why_no_pages(file.read(LOOKED_AT_BYTES))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        if refusal is not None:
            raise DataError(f"{path} holds no pages to read ({refusal[0]}): {refusal[1]}")


class CrawlSource(WarcSource):
    """Pages of some files of a crawl. A file is fetched when its turn comes and removed when it has been read."""

    def __init__(self, crawl: str, files: int = DEFAULT_FILES, start: int = 0, kind: str = _KINDS[0]) -> None:
        """Nothing is fetched yet.

        Args:
            crawl: its id.
            files: how many.
            start: number of the first, from 0.
            kind: `warc` or `wet`.
        """
        options = {"files": str(files), "start": str(start), "kind": kind}
        super().__init__(f"{crawl}/{kind}", f"{KIND.kind}:{joined(crawl, {**options})}")
        self.crawl, self.files, self.start, self.kind = crawl, files, start, kind
        self._parts: list[str] | None = None
        self._most_bytes: int | None = None

    def parts(self) -> list[str]:
        """The files as the crawl's list names them; the list is fetched first, and kept.

        Raises:
            DataError: there is no such crawl, it has fewer files, or the host cannot be reached.
        """
        if self._parts is None:
            self._parts = crawls.file_names(self.crawl, self.kind, self.start, self.files)
        return self._parts

    @contextlib.contextmanager
    def opened(self, part: str) -> Iterator[BinaryIO]:
        if self._most_bytes is not None:
            with crawls.beginning(part, self._most_bytes) as file:
                yield file
            return
        path = crawls.fetched(self.crawl, part)
        with open(path, "rb") as file:
            yield file
        # Not reached if reading was interrupted: then it is there when that goes on.
        path.unlink(missing_ok=True)

    def extent(self) -> Extent:
        """About as much as such files hold."""
        documents = self.files * _PAGES_A_FILE
        return Extent(documents, documents * _TEXT_BYTES_A_PAGE[self.kind])

    def head(self, most_bytes: int) -> "CrawlSource":
        """The same source for a preview: of the first file only so much is fetched, and nothing is kept."""
        head = copy.copy(self)
        head.problems = Problems()
        head._parts = self.parts()[:1]
        head._most_bytes, head.beginning_only = most_bytes, True
        return head


def _number(options: dict[str, str], key: str, default: int, least: int) -> int:
    value = options.get(key, str(default))
    if not (value.isascii() and value.isdigit() and least <= int(value) < 1_000_000):
        raise ConfigError(f"the option {key!r} of source 'commoncrawl' is {value!r}; wanted a number from {least}")
    return int(value)
