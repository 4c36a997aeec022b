"""A folder to the Hugging Face Hub, by huggingface_hub: one commit, so that a repository never holds half an export.

It obeys HF_ENDPOINT and HF_TOKEN, and the login of `hf auth login`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlxllm.data.hub.requests import transport_error
from mlxllm.errors import ConfigError, UserError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_STALE = ("model*.safetensors", "model.safetensors.index.json")
"""Weights of an earlier upload that this one does not have: readers would take them for a part of the model."""


@dataclass(frozen=True)
class Uploaded:
    """What the Hub has now."""

    repository: str
    url: str
    commit: str
    files: int
    bytes: int
    private: bool


def check_repository(name: str) -> None:
    """Before anything is exported: is this the name of a repository, and is somebody logged in?

    Raises:
        ConfigError: no, and what to do.
    """
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise ConfigError(f"--upload {name!r} names no repository of the Hub; write owner/name, such as anna/my-model")
    from huggingface_hub import get_token  # only when used: it is slow to load

    if not get_token():
        raise ConfigError(
            f"nothing can be uploaded to {name} without a login: run `hf auth login`, or set HF_TOKEN to a token that may "
            f"write (huggingface.co/settings/tokens)"
        )


def upload(folder: Path, repository: str, *, private: bool = True, progress: bool = False) -> Uploaded:
    """Send all files of a folder, or one file, as one commit to the main branch of a repository, made if need be.

    Args:
        folder: of an export, or a single file, such as a GGUF.
        repository: `owner/name`.
        private: a new repository is for its owner only; one that is there and public is refused.
        progress: let huggingface_hub show its bars on stderr.

    Raises:
        ConfigError: no such name can be, nobody is logged in, or the repository is public where it must not be.
        UserError: the Hub refuses or cannot be reached; the message says why and what to do.
    """
    check_repository(repository)
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    one = folder.is_file()
    files = [folder] if one else [file for file in sorted(folder.rglob("*")) if file.is_file()]
    (enable_progress_bars if progress else disable_progress_bars)()
    api = HfApi()
    with _refusals(repository):
        api.create_repo(repository, private=private, repo_type="model", exist_ok=True)
        is_private = bool(api.model_info(repository).private)
        if private and not is_private:
            raise ConfigError(
                f"{repository} is there already and everybody can read it; add --public if that is right, or upload to "
                f"another name"
            )
        weights = any(file.match("model*.safetensors") for file in files)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder.parent if one else folder,
            allow_patterns=[folder.name] if one else None,
            repo_type="model",
            commit_message="Upload by mlxllm export",
            delete_patterns=list(_STALE) if weights else None,
        )
    size = sum(file.stat().st_size for file in files)
    return Uploaded(repository, f"{api.endpoint}/{repository}", str(done.oid), len(files), size, is_private)


@contextmanager
def _refusals(repository: str) -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP client raise into one sentence.

    Raises:
        UserError: instead of any of theirs.
    """
    from huggingface_hub import constants, errors

    owner = repository.partition("/")[0]
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise UserError(
            f"cannot upload to {repository} because HF_HUB_OFFLINE is set; unset it, and try again"
        ) from None
    except errors.HfHubHTTPError as error:
        raise UserError(f"cannot upload to {repository}: {_answer(error, owner)}") from None
    except (transport_error(), OSError) as error:
        raise UserError(
            f"cannot upload to {repository}: {constants.ENDPOINT} cannot be reached ({_first_line(error)}); the export "
            f"stays where it is, so go online and upload it again"
        ) from None
    except (ValueError, RuntimeError) as error:
        if isinstance(cause := error.__cause__, errors.HfHubHTTPError):
            raise UserError(f"cannot upload to {repository}: {_answer(cause, owner)}") from None
        raise UserError(f"cannot upload to {repository}: {_first_line(cause or error)}") from None


def _answer(error: OSError, owner: str) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 401:
        return "the Hub does not know this login (401); run `hf auth login` again, or look at HF_TOKEN"
    if status == 403:
        return f"this login may not write there (403); take a token with write access, and an owner that is you, not {owner}"
    if status == 404:
        return "there is no such repository, or this login may not see it (404); look at the spelling of its owner"
    if status == 413 or (status == 403 and "storage" in str(error)):
        return "it is larger than the Hub takes there; look at your storage on the Hub"
    if status == 429:
        return "the Hub has had too many requests (429); try again in some minutes"
    if isinstance(status, int) and status >= 500:
        return f"the Hub has a trouble of its own ({status}); try again later"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150].rstrip(".")
