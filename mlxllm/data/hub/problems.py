"""What the Hub, the network or the disk can refuse, each in one sentence."""

import contextlib
import errno
import os
from collections.abc import Iterator

from mlxllm.data.download_problems import DownloadError
from mlxllm.data.hub.requests import transport_error
from mlxllm.errors import DataError


class UnreachableError(DataError):
    """The Hub could not be asked: no network, or a trouble of its own."""


@contextlib.contextmanager
def files_refused(what: str) -> Iterator[None]:
    """Turn the answer that a file is not given into a sentence about `what`, a data set or model with its name.

    Raises:
        DataError: instead of a `DownloadError` of that kind; others pass.
    """
    try:
        yield
    except DownloadError as error:
        if error.status in (401, 403):
            raise DataError(
                f"{what} on the Hub does not give its files to you ({error.status}); accept its terms on its page, and log "
                f"in with `hf auth login` or set HF_TOKEN"
            ) from None
        raise


_FULL = {errno.ENOSPC, errno.EDQUOT}
_BUSY = 429


@contextlib.contextmanager
def hub_problems(name: str, *, revision: str | None = None, kind: str = "data set") -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP client raise into sentences about the data set or model `name`.

    Args:
        name: `owner/name`.
        revision: what was asked for, where that may be what is missing.
        kind: `data set` or `model`.

    Raises:
        UnreachableError, DataError: instead of any of theirs.
    """
    # Only when used: it is slow to load.
    from huggingface_hub import errors

    what, remedy = f"the {kind} {name}", _remedy()
    home = "MLXLLM_HOME" if kind == "data set" else "HF_HOME"
    here = "file" if kind == "data set" else "run or folder"
    nowhere = "" if kind == "data set" else f", and there is no folder {name} here"
    try:
        yield
    except errors.GatedRepoError:
        raise DataError(
            f"{what} on the Hub is only given to who asked for it; accept its terms on its page and log in with "
            f"`hf auth login`, or set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"there is no {kind} {name} on the Hub, nor a {here} of that name here; look at the spelling, or log in "
            f"with `hf auth login` if it is private"
        ) from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{what} on the Hub has no revision {revision!r}; give a branch, a tag or a commit") from None
    except errors.OfflineModeIsEnabled:
        raise UnreachableError(
            f"cannot fetch {what} from the Hub because HF_HUB_OFFLINE is set{nowhere}; unset it, or {remedy}"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        why = _first_line(error.__cause__ or error)
        raise UnreachableError(
            f"cannot fetch {what} from the Hub and it is not in the cache ({why}){nowhere}; {remedy}"
        ) from None
    except errors.RemoteEntryNotFoundError as error:
        raise DataError(
            f"{what} on the Hub lacks a file that it lists ({_first_line(error)}); name another revision"
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        refused = UnreachableError if isinstance(status, int) and status >= 500 else DataError
        raise refused(f"cannot fetch {what} from the Hub{_answer(error)}") from None
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(
                f"the disk is full while {what} is fetched; free some of it, or let {home} name a folder on "
                f"another disk: it goes on from there"
            ) from None
        raise DataError(
            f"cannot fetch {what} from the Hub and it is not in the cache ({_first_line(error)}){nowhere}; {remedy}"
        ) from None
    except transport_error() as error:
        why = "nothing has come for too long" if "Timeout" in type(error).__name__ else _first_line(error)
        raise UnreachableError(f"cannot fetch {what} from the Hub ({why}){nowhere}; {remedy}") from None
    except ValueError as error:
        raise DataError(
            f"cannot fetch {what} from the Hub and it is not in the cache ({_first_line(error)}){nowhere}; {remedy}"
        ) from None


def _remedy() -> str:
    asked = os.environ.get("HF_ENDPOINT", "")
    elsewhere = f" (HF_ENDPOINT has {asked} asked for it)" if asked else ""
    return f"go online{elsewhere}, or give files that are here"


def _answer(error: OSError) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return ": it asks for a login (401); log in with `hf auth login`, or look at HF_TOKEN if that is set"
    if status == 403:
        return ": it does not give its files to you (403); accept its terms on its page, and let your token read it"
    if status == _BUSY:
        return ": it has had too many requests (429); try again in some minutes, with HF_TOKEN set it lets more through"
    if isinstance(status, int) and status >= 500:
        return f" and it is not in the cache: the Hub has a trouble of its own ({status}); try again later"
    return f" ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150].rstrip(".")
