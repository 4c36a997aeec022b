"""Requests by huggingface_hub's own client, which knows its login, its proxies and whether it may go online."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Answer = TypeVar("Answer")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a question that the Hub was too busy to answer is asked again."""
_BUSY = {408, 429, 500, 502, 503, 504}


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns, asked again where the Hub was only too busy to answer.

    Raises:
        An error of the HTTP client: another refusal, or too many of that one.
    """
    for wait in WAITS:
        try:
            return ask()
        except transport_error() as error:
            if getattr(getattr(error, "response", None), "status_code", None) not in _BUSY:
                raise
        time.sleep(wait)
    return ask()


def address(name: str, commit: str | None, file: str, kind: str) -> tuple[str, dict[str, str]]:
    """Where a file of a repository is had, and the headers that say who asks.

    Args:
        name: `owner/name`.
        commit: or branch; None is the main one.
        file: its path there.
        kind: `dataset` or `model`.
    """
    import huggingface_hub  # only when used: it is slow to load
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but not listed

    url = huggingface_hub.hf_hub_url(name, file, repo_type=kind, revision=commit)
    return url, build_hf_headers(library_name="mlxllm")


def transport_error() -> type[Exception]:
    """The base of what the HTTP client raises; which client that is depends on the release of huggingface_hub."""
    from huggingface_hub import errors  # only when used: it is slow to load

    found: type[Exception] = vars(errors)["HTTPError"]
    return found


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
