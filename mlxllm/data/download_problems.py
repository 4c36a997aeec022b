"""What keeps a file from being downloaded, in words that say what to do about it."""

import urllib.error

from mlxllm.errors import DataError

REFUSALS = {
    401: "asks for a login (401): log in there with a browser and download the file yourself",
    403: "does not give this file to you (403): look on its page whether it has terms to accept or wants a login",
    404: "is not there any more (404): look for its new address",
    407: "is behind a proxy that asks for a login (407): put it into https_proxy",
    410: "is not there any more (410): look for its new address",
}
"""What a server's refusal means, by status code: the end of a sentence that begins with the address."""


class DownloadError(DataError):
    """A file that could not be had; the message is the whole sentence."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """With the status code of the answer, if that was the reason."""
        super().__init__(message)
        self.status = status


class ReplacedError(DownloadError):
    """What is there is another file than the one that was asked for."""


def reason(error: Exception) -> str:
    """Why the network failed, in a few words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def amount(size: int) -> str:
    """Bytes for people."""
    if size < 100_000:
        return f"{size:,} bytes"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
