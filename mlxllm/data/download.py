"""One file from a web server: kept while it comes, gone on with where it broke off, checked before it gets its name.

The rest of a file is asked for with Range and If-Range (RFC 9110, sections 13.1.5 and 14.2), so that one which has
changed on the server begins anew.
"""

import contextlib
import errno
import http.client
import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial as with_first
from pathlib import Path
from typing import NoReturn

from mlxllm.data.download_problems import REFUSALS, DownloadError, ReplacedError, amount, reason
from mlxllm.data.partial import HeldError, Partial
from mlxllm.data.web import (
    Answer,
    content_length,
    content_range,
    open_url,
    retry_after,
    shown_status,
    shown_url,
    url_parts,
    validator,
)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and those of the whole file; the latter is None where the server is silent."""

Watch = Callable[[str, int, int | None], None]
"""The same, with the name of the file before."""
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)

_READ_BYTES = 1 << 18
_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers that may be others in a moment."""
_PASSING_ERRORS = (ConnectionResetError, http.client.BadStatusLine, http.client.IncompleteRead)
"""The same of a server that has not answered yet; all else (no such host, nobody listens there) stays as it is."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for, in seconds."""

    stall: float = 30.0
    """Without a byte for so long, the connection is given up and made anew."""
    waits: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
    """Before each new attempt; when one has brought the file further, they begin again."""
    longest: float = 120.0
    """A server that asks for more (Retry-After) is not waited for."""


PATIENCE = Patience()
"""What `fetch` has unless it is told otherwise."""


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Have `watch` told of every file that is fetched meanwhile by who has no progress of its own to tell."""
    before = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(before)


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download `url` to `target`, which appears whole and checked or not at all, and replaces what was there.

    Interrupted in any way, the part that has come is kept beside it, and the same call goes on from there.

    Args:
        url: http or https; proxies are taken from the environment as urllib does.
        target: its folder is made.
        sha256: in hex, of the whole file.
        size: bytes of the whole file.
        headers: sent along, such as a login; not to another host that the server leads to.
        progress: told after each piece; without it, whoever watches (see `watched`).
        tell: told in a sentence when it has to be tried again, and after how long.
        patience: `PATIENCE` by default.

    Raises:
        DownloadError: the server, the network or the disk refuses, or what came is not what it should be.
    """
    parts = url_parts(url)
    if parts is None:
        raise DownloadError(f"{url!r} is not an address to download from; it should begin with http:// or https://")
    shown = shown_url(parts)
    if progress is None and (watch := _watch.get()) is not None:
        progress = with_first(watch, target.name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Partial.held(target) as partial:
            _Job(url, shown, partial, sha256, size, headers, progress, tell, patience or PATIENCE).run()
            partial.finish(target)
    except HeldError as error:
        raise DownloadError(
            f"another process is downloading {target.name} (into {error}); wait for it or end it"
        ) from None
    except OSError as error:  # what the network raises never gets here
        kept = "; what has come is kept: make room, and the same command goes on from there"
        raise DownloadError(
            f"{shown} cannot be kept at {target}: {error.strerror or error}{kept if error.errno in _FULL else ''}"
        ) from None
    return target


class _AgainError(Exception):
    """An attempt has failed, and another may not; `wait` is what the server asks for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass
class _Job:
    """The attempts at one file."""

    url: str
    shown: str
    partial: Partial
    sha256: str | None
    size: int | None
    headers: Mapping[str, str] | None
    progress: Progress | None
    tell: Callable[[str], None] | None
    patience: Patience
    reached: int = 0
    """As far as any attempt has come: a server that always breaks off at the same place brings nothing new."""
    met: bool = False
    """Somebody has answered at that address, so that what fails now may be a hiccup."""

    def run(self) -> None:
        """Bring the draft to its end, and check it.

        Raises:
            DownloadError: in vain.
        """
        if not self._may_go_on():
            self.partial.begin(self.url, None)
        self.reached = began_with = self.partial.size
        if self.sha256 is None or not self.size or began_with < self.size:
            self._complete()
        if self._is_right():
            return
        if began_with:  # the earlier part may be of another file
            self.partial.begin(self.url, None)
            self._complete()
            if self._is_right():
                return
        found = self.partial.sha256()
        self.partial.remove()
        raise ReplacedError(
            f"what {self.shown} sent is not the file it should be (its sha256 is {found[:12]}..., not "
            f"{str(self.sha256)[:12]}...), so it is not kept: it was replaced there, or something on the way changed it"
        )

    def _may_go_on(self) -> bool:
        """Whether what is there can be told from a part of another file."""
        if self.size is not None and self.partial.size > self.size:
            return False
        return self.sha256 is not None or (self.partial.url == self.url and self.partial.validator is not None)

    def _is_right(self) -> bool:
        return self.sha256 is None or self.partial.sha256() == self.sha256.lower()

    def _complete(self) -> None:
        """Attempt after attempt."""
        failed, waits = 0, self.patience.waits
        while True:
            before = self.reached
            if not self._may_go_on():
                self.partial.begin(self.url, None)
            try:
                with contextlib.closing(self._ask()) as answer:
                    self._receive(answer, self._place(answer))
                return
            except _AgainError as error:
                failed = 1 if self.reached > before else failed + 1
                if failed > len(waits):
                    raise DownloadError(f"{self.shown} cannot be downloaded: {error}{self._kept()}") from None
                wait = max(error.wait, waits[failed - 1])
                if wait > self.patience.longest:
                    raise DownloadError(
                        f"{self.shown} cannot be downloaded now: {error}, and wants {wait:,.0f} s to pass before it is "
                        f"asked again{self._kept()}"
                    ) from None
                if self.tell:
                    self.tell(f"{self.shown}: {error}; trying again in {wait:g} s ({failed} of {len(waits)})")
                time.sleep(wait)

    def _ask(self) -> Answer:
        """One request for what is missing; the answer is 200, 206 or 416.

        Raises:
            _AgainError: refused for the moment.
            DownloadError: refused for good.
        """
        headers = {}
        if self.partial.size:
            headers["Range"] = f"bytes={self.partial.size}-"
            if self.partial.url == self.url and self.partial.validator:
                headers["If-Range"] = self.partial.validator
        with self._network():
            answer = open_url(self.url, headers, self.patience.stall, secret=self.headers)
        self.met = True
        if answer.status not in (200, 206, 416):
            with contextlib.closing(answer):
                self._refused(answer)
        return answer

    @contextlib.contextmanager
    def _network(self) -> Iterator[None]:
        """What fails in here is the network's fault.

        Raises:
            _AgainError: it may go better next time.
            DownloadError: it will not.
        """
        try:
            yield
        except urllib.error.HTTPError as error:
            error.close()
            raise DownloadError(
                f"{self.shown} leads elsewhere and never to a file ({error.code})", error.code
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, TimeoutError):
                raise _AgainError(f"nothing has come for {self.patience.stall:g} s") from None
            why = reason(error)
            if not (self.met or isinstance(cause, _PASSING_ERRORS)):
                raise DownloadError(f"{self.shown} cannot be reached ({why}); look whether you are online") from None
            raise _AgainError(f"the connection broke ({why})") from None

    def _refused(self, answer: Answer) -> NoReturn:
        status = answer.status
        if refusal := REFUSALS.get(status):
            raise DownloadError(f"{self.shown} {refusal}", status)
        said = f"the server answered {shown_status(status)}"
        if status in _PASSING:
            raise _AgainError(said, retry_after(answer))
        raise DownloadError(f"{self.shown} cannot be downloaded: {said}{self._kept()}", status)

    def _place(self, answer: Answer) -> int | None:
        """Make the draft end where the answer begins; returns the bytes of the whole file.

        Raises:
            _AgainError: the answer does not fit what is there.
            DownloadError: the file has another size than it should.
        """
        start, total = content_range(answer)
        if answer.status == 416 and total == self.partial.size:
            return total  # it is all there; only its name was missing
        if answer.status == 200:
            total = content_length(answer)
            self.partial.begin(self.url, validator(answer))
        elif answer.status == 416 or start != self.partial.size or self._is_of_another(validator(answer)):
            self.partial.begin(self.url, None)
            raise _AgainError("the server sent another part than it was asked for")
        if self.size is not None and total is not None and total != self.size:
            self.partial.remove()
            raise ReplacedError(
                f"{self.shown} has {total:,} bytes where {self.size:,} are expected: it was replaced there; look for "
                f"another copy"
            )
        return self.size if total is None else total

    def _is_of_another(self, now: str | None) -> bool:
        """Some servers heed Range and not If-Range."""
        before = self.partial.validator if self.partial.url == self.url else None
        return None not in (before, now) and before != now

    def _receive(self, answer: Answer, total: int | None) -> None:
        """Put what comes behind the draft.

        Raises:
            _AgainError: it broke off.
            DownloadError: there is no room for it, or too much comes.
        """
        folder = self.partial.path.parent
        if total is not None and (wanted := total - self.partial.size) > (free := shutil.disk_usage(folder).free):
            raise DownloadError(
                f"{self.shown} needs {amount(wanted)} more, and {folder} has {amount(free)} free{self._kept()}; make room, "
                f"or let MLXLLM_HOME name a folder on another disk"
            )
        while answer.status != 416:
            with self._network():
                data = answer.read1(_READ_BYTES)
            if not data:
                break
            if total is not None and self.partial.size + len(data) > total:
                self.partial.remove()
                raise DownloadError(f"{self.shown} sends more than the {total:,} bytes it should have; nothing is kept")
            self.partial.append(data)
            self.reached = max(self.reached, self.partial.size)
            if self.progress:
                self.progress(self.partial.size, total)
        if total is not None and self.partial.size < total:
            raise _AgainError(f"the connection broke after {self.partial.size:,} of {total:,} bytes")

    def _kept(self) -> str:
        if not self.partial.size or not self._may_go_on():
            return ""
        return f"; {amount(self.partial.size)} that have come are kept, and the same command goes on from there"


def remote_size(url: str, patience: Patience | None = None) -> int | None:
    """Bytes of a file on a server; None where it does not tell.

    Raises:
        DownloadError: nobody answers there, or it is not given out.
    """
    parts = url_parts(url)
    if parts is None:
        raise DownloadError(f"{url!r} is not an address to download from; it should begin with http:// or https://")
    try:
        answer = open_url(url, {}, (patience or PATIENCE).stall, method="HEAD")
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = reason(error)
        raise DownloadError(f"{shown_url(parts)} cannot be reached ({why}); look whether you are online") from None
    answer.close()
    if answer.status in REFUSALS:
        raise DownloadError(f"{shown_url(parts)} {REFUSALS[answer.status]}", answer.status)
    return content_length(answer) if answer.status == 200 else None
