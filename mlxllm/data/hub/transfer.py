"""One file of the Hub to the disk: gone on with where it broke off, checked before it gets its name.

huggingface_hub resumes a transfer only within one call (since 2.0 its drafts have a name of their own each), and a
shard of a gigabyte should outlive the process. So the address, the login and the HTTP client are its, the file is ours.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mlxllm.errors import DataError

Answer = TypeVar("Answer")
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each new attempt; they begin again as soon as one has brought something."""
_PASSING = {408, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


def transfer(url: str, headers: Mapping[str, str], target: Path, size: int, sha256: str | None) -> None:
    """Download `url`; `target` appears whole or not at all. The part that has come is kept beside it for the next call.

    Raises:
        DataError: there is no room for it, or what comes is not what it should be.
        OSError, or an error of the HTTP client: see `hub_problems`.
    """
    part = target.with_name(f".{target.name}.part")
    gone_on = part.exists()
    if gone_on and part.stat().st_size > size:
        part.unlink()
    free = shutil.disk_usage(target.parent).free
    missing = size - (part.stat().st_size if part.exists() else 0)
    if missing > free:
        raise DataError(
            f"{target.name} needs {missing / 1e6:,.0f} MB more and {free / 1e6:,.0f} MB are free in {target.parent}; "
            f"free some, or let MLXLLM_HOME name a folder on another disk"
        )
    _complete(url, headers, part, size)
    if sha256 and _sha256(part) != sha256 and gone_on:  # the earlier part may have been damaged when the power failed
        part.unlink()
        _complete(url, headers, part, size)
    if sha256 and _sha256(part) != sha256:
        part.unlink()
        raise DataError(
            f"what {_shown(url)} sent is not the file that it should be (its sha256 is not {sha256[:12]}...); nothing "
            f"of it is kept; try again, or another network"
        )
    os.replace(part, target)


def _complete(url: str, headers: Mapping[str, str], part: Path, size: int) -> None:
    failed = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have == size:
            part.touch()  # of an empty file nothing comes
            return
        try:
            _attempt(url, headers, part, have, size)
            problem: Exception | None = None
        except transport_error() as error:
            if not _may_pass(error):
                raise
            problem = error
        now = part.stat().st_size if part.exists() else 0
        failed = 0 if now > have else failed + 1
        if now == size:
            return
        if failed > len(WAITS):
            raise problem or DataError(
                f"{_shown(url)} breaks off after {now:,} of {size:,} bytes each time; try again later"
            )
        time.sleep(WAITS[max(0, failed - 1)] if failed else WAITS[0])


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns, asked again where the Hub was only too busy to answer.

    Raises:
        An error of the HTTP client: another refusal, or too many of that one.
    """
    for wait in WAITS:
        try:
            return ask()
        except transport_error() as error:
            if not _may_pass(error) or getattr(error, "response", None) is None:
                raise
        time.sleep(wait)
    return ask()


def transport_error() -> type[Exception]:
    """The base of what the HTTP client raises; which client that is depends on the release of huggingface_hub."""
    from huggingface_hub import errors  # only when used: it is slow to load

    found: type[Exception] = vars(errors)["HTTPError"]
    return found


def _may_pass(error: Exception) -> bool:
    """Whether it may be otherwise in a moment: the connection broke, or the server is busy."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status in _PASSING


def _attempt(url: str, headers: Mapping[str, str], part: Path, have: int, size: int) -> None:
    """One request for what is missing."""
    with answer(url, {**headers, **({"Range": f"bytes={have}-"} if have else {})}) as response:
        begins = int(match[1]) if (match := _RANGE.match(response.headers.get("Content-Range", ""))) else 0
        if response.status_code == 206 and begins != have:
            raise DataError(
                f"{_shown(url)} answers with another range than was asked for; is there a faulty proxy between?"
            )
        with open(part, "ab" if response.status_code == 206 else "wb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                if file.tell() > size:
                    raise DataError(f"{_shown(url)} sends more than the {size:,} bytes that it should have")


@contextlib.contextmanager
def answer(url: str, headers: Mapping[str, str]) -> Any:
    """The answer to one request, whose body is still to be read.

    Raises:
        HfHubHTTPError: it is a refusal.
        An error of the HTTP client: nothing came, or not for as long as HF_HUB_DOWNLOAD_TIMEOUT says.
    """
    # Only when used: it is slow to load.
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # documented, but not listed

    identity = {**headers, "Accept-Encoding": "identity"}  # positions are those of the file, not of a packed one
    patience = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=identity, timeout=patience, follow_redirects=True) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        yield response


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(url: str) -> str:
    return url.partition("?")[0]
