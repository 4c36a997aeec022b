"""Files of Common Crawl's public data host: the list of a crawl, and one file after another into the cache."""

import http.client
import io
import os
import re
import urllib.error
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from mlxllm import paths
from mlxllm.data.download import fetch
from mlxllm.data.download_problems import DownloadError
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import byte_lines
from mlxllm.data.web import open_url
from mlxllm.errors import DataError

HOST = "https://data.commoncrawl.org"
HOST_VARIABLE = "MLXLLM_COMMONCRAWL_URL"
"""Names another host with the same files."""
LISTED_AT = "the crawls are listed at https://commoncrawl.org/overview"
_FILE = re.compile(r"crawl-data/[\w=.-]+(?:/[\w=-][\w=.-]*)+", re.ASCII)
_TIMEOUT_SECONDS = 30.0
_READ_BYTES = 1 << 18


def file_names(crawl: str, kind: str, start: int, count: int) -> list[str]:
    """Files number `start` to `start + count` of a crawl, as its list names them.

    Args:
        crawl: its id.
        kind: `warc` or `wet`.
        start: from 0.
        count: how many.

    Raises:
        DataError: there is no such crawl, it has fewer files, or its list cannot be fetched or read.
    """
    path = _folder(crawl) / f"{kind}.paths.gz"
    if not path.is_file():
        try:
            fetch(_url(f"crawl-data/{crawl}/{kind}.paths.gz"), path)
        except DownloadError as error:
            if error.status in (403, 404):  # what the host answers for anything that is not there
                raise DataError(
                    f"there is no crawl {crawl} with {kind} files at {_host()} ({error.status}); {LISTED_AT}"
                ) from None
            raise
    problems = Problems()
    names: list[str] = []
    number = 0
    for _, line in byte_lines(path, problems):
        name = line.decode("utf-8", "replace").strip()
        if not name:
            continue
        if not _FILE.fullmatch(name):
            raise _bad_list(path, f"it names {name[:80]!r}, which is no file of a crawl")
        if start <= number < start + count:
            names.append(name)
        number += 1
    if problems.mended:
        raise _bad_list(path, "it is cut off or corrupt")
    if len(names) < count:
        raise DataError(
            f"crawl {crawl} has {number:,} {kind} files, and files={count} from start={start} goes beyond the last; "
            f"give smaller numbers"
        )
    return names


def fetched(crawl: str, name: str) -> Path:
    """The file called `name` in the list of a crawl, in the cache; downloaded unless it is there.

    Raises:
        DataError: it cannot be.
    """
    path = _folder(crawl) / name.rpartition("/")[2]
    return path if path.is_file() else fetch(_url(name), path)


def beginning(name: str, most_bytes: int) -> BinaryIO:
    """The first bytes of such a file.

    Raises:
        DataError: they cannot be had.
    """
    url = _url(name)
    data = bytearray()
    try:
        with closing(open_url(url, {"Range": f"bytes=0-{most_bytes - 1}"}, _TIMEOUT_SECONDS)) as answer:
            if answer.status not in (200, 206):
                raise DataError(f"{url} cannot be read: the server answered {answer.status}; try again later")
            while len(data) < most_bytes and (more := answer.read1(_READ_BYTES)):
                data += more
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(
            f"{url} cannot be reached ({reason or type(reason).__name__}); look whether you are online"
        ) from None
    return io.BytesIO(data)


def _bad_list(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is not the list of a crawl's files as it should be ({why}); delete it to have it fetched anew"
    )


def _folder(crawl: str) -> Path:
    return paths.folder("cache") / "commoncrawl" / crawl


def _host() -> str:
    return os.environ.get(HOST_VARIABLE, "").rstrip("/") or HOST


def _url(name: str) -> str:
    return f"{_host()}/{name}"
