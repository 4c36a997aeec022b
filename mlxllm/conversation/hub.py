"""The files of a data set on the Hugging Face Hub, by way of huggingface_hub's cache."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from mlxllm.data.hub import hub_problems


def hub_files(name: str, patterns: Sequence[str]) -> tuple[Path, ...]:
    """Fetch the files of data set `name` that match `patterns`; what is in the cache is not fetched again.

    Raises:
        DataError: there is no such data set, no network and no cached copy, or it needs a login.
    """
    from huggingface_hub import snapshot_download  # only when used: it is slow to load

    with hub_problems(name):
        folder = Path(snapshot_download(name, repo_type="dataset", allow_patterns=list(patterns)))
    paths = (path for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(p for p in paths if any(fnmatch(str(p.relative_to(folder)), each) for each in patterns)))
