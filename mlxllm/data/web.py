"""One request to a web server, and what its answer says about the file (RFC 9110)."""

import contextlib
import email.utils
import http
import http.client
import re
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import mlxllm

_RANGE = re.compile(r"bytes (?:(?P<start>\d{1,18})-\d{1,18}|\*)/(?:(?P<total>\d{1,18})|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


class Answer(Protocol):
    """What is used of `http.client.HTTPResponse`."""

    status: int
    headers: http.client.HTTPMessage

    def read1(self, n: int = -1, /) -> bytes: ...
    def close(self) -> None: ...


class _AnyAnswer(urllib.request.HTTPErrorProcessor):
    """An answer that is not the file is no exception here, except for one that leads elsewhere."""

    def http_response(self, request: urllib.request.Request, response: http.client.HTTPResponse) -> Answer:
        if response.status in (301, 302, 303, 307, 308):
            led: Answer = super().http_response(request, response)
            return led
        return response

    https_response = http_response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """What is secret goes no further than to the host that it is for."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        led = super().redirect_request(req, fp, code, msg, headers, newurl)
        if led is not None and (led.type, led.host) == (req.type, req.host):
            led.unredirected_hdrs.update(req.unredirected_hdrs)
        return led


def open_url(
    url: str,
    headers: Mapping[str, str],
    timeout: float,
    *,
    secret: Mapping[str, str] | None = None,
    method: str = "GET",
) -> Answer:
    """The answer, whatever its status, after redirects; through the proxies of the environment.

    Args:
        url: http or https.
        headers: sent wherever the server leads.
        timeout: in seconds, of each wait for the network.
        secret: headers that are sent to the host of `url` alone.
        method: GET or HEAD.

    Raises:
        OSError, ValueError, http.client.HTTPException: there is none (urllib.error.HTTPError: it leads elsewhere
            without end, or to what is neither http nor https).
    """
    opener = urllib.request.OpenerDirector()
    # These and no others: no redirect may lead to a file or to FTP.
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        _Redirects,
        urllib.request.HTTPDefaultErrorHandler,
        _AnyAnswer,
    ):
        opener.add_handler(handler())
    ours = {"User-Agent": f"mlxllm/{mlxllm.__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**ours, **headers}, method=method)
    for name, value in (secret or {}).items():
        request.add_unredirected_header(name, value)
    answer: Answer = opener.open(request, timeout=timeout)
    return answer


def url_parts(url: str) -> SplitResult | None:
    """None where it is no http or https address with a host."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts
    return None


def shown_url(parts: SplitResult) -> str:
    """For messages: what stands before the host and behind the path may be secret."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def shown_status(status: int) -> str:
    """Its number and what that stands for."""
    return f"{status} {_PHRASES[status]}" if status in _PHRASES else str(status)


def content_length(answer: Answer) -> int | None:
    """Bytes of the body, where they are told."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if _LENGTH.fullmatch(length) else None


def content_range(answer: Answer) -> tuple[int | None, int | None]:
    """The byte at which a part of a file begins, and the bytes of the whole; None where they are not told."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return (int(match["start"]) if match["start"] else None), (int(match["total"]) if match["total"] else None)


def validator(answer: Answer) -> str | None:
    """What If-Range takes of it: a strong ETag, else the date of the last change."""
    etag: str = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified")


def retry_after(answer: Answer) -> float:
    """Seconds that the server wants to pass, from a number or a date; 0 where it says nothing."""
    value = answer.headers.get("Retry-After", "").strip()
    if _LENGTH.fullmatch(value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
