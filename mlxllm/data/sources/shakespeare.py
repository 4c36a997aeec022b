"""Tiny Shakespeare: 1.1 MB of plays in one text, downloaded once into <home>/cache and checked."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mlxllm import paths
from mlxllm.data.download import fetch
from mlxllm.data.download_problems import DownloadError
from mlxllm.data.sources.base import Document, Extent, Problems, SourceKind, without_options
from mlxllm.errors import DataError

KIND = SourceKind(
    "shakespeare",
    "tiny Shakespeare, 1.1 MB, downloaded once and checked",
    "public domain",
    "shakespeare",
    "the text of many tutorials, so that your numbers can be compared with theirs",
    download="1.1 MB",
    one_licence="public domain",
)
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
FILE_NAME = "tinyshakespeare.txt"
BYTES = 1_115_394


def parse(spec: str) -> "ShakespeareSource":
    """The source; it takes no options.

    Raises:
        ConfigError: there are some.
    """
    without_options(KIND.kind, spec)
    return ShakespeareSource()


class ShakespeareSource:
    """One long text, split by position."""

    def __init__(self) -> None:
        """Nothing is downloaded yet."""
        self.problems = Problems()

    @property
    def name(self) -> str:
        """`shakespeare`."""
        return "shakespeare"

    @property
    def spec(self) -> str:
        """`shakespeare`."""
        return "shakespeare"

    @property
    def single_text(self) -> bool:
        """One text."""
        return True

    def extent(self) -> Extent:
        """One text, whose size is known."""
        return Extent(1, BYTES)

    def documents(self) -> Iterator[Document]:
        """The whole text as one document.

        Raises:
            DataError: it is not in the cache and cannot be downloaded, or is not the text it should be.
        """
        yield Document(shakespeare_file().read_bytes().decode("ascii"), FILE_NAME, self.name)


def shakespeare_file() -> Path:
    """The text's file in the cache, downloaded if it is not there.

    Raises:
        DataError: no network, or the file there has another hash.
    """
    path = paths.folder("cache") / FILE_NAME
    # Where `mlxllm data get tinyshakespeare` puts it.
    ready = paths.folder("cache") / "sets" / "tinyshakespeare" / FILE_NAME
    if ready.is_file() and not path.is_file():
        path = ready
    if path.is_file():
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise DataError(
                f"{path} is not tiny Shakespeare as it should be (its sha256 differs from {SHA256[:12]}...); "
                f"delete it to have it downloaded anew"
            )
        return path
    try:
        return fetch(URL, path, sha256=SHA256, size=BYTES)
    except DownloadError as error:
        raise DataError(
            f"tiny Shakespeare could not be downloaded: {error}; or download {URL} yourself and put it at {path}, or use "
            f"a text of your own"
        ) from None
