"""A data set of the Hub at one commit: the names of its files, and what its README says of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxllm.data.globs import is_inside
from mlxllm.data.hub.problems import hub_problems
from mlxllm.data.hub.requests import patiently
from mlxllm.errors import DataError

_PATIENCE = 30.0
"""Seconds without an answer after which the Hub is said not to answer."""


@dataclass(frozen=True, slots=True)
class HubDataset:
    """What the Hub tells of a data set; the same for ever, since a commit does not change."""

    name: str
    """`owner/name`."""
    commit: str
    """Its full hash."""
    files: tuple[str, ...]
    """Paths of everything that it holds."""
    configs: tuple[Mapping[str, Any], ...]
    """The list `configs` of its README, as it stands there; empty where there is none."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the Hub knows of one file."""

    size: int
    """Bytes."""
    sha256: str | None
    """Of files that are kept outside git, which is all large ones."""


def find_dataset(name: str, revision: str | None) -> HubDataset:
    """Ask the Hub for a data set.

    Args:
        name: `owner/name`.
        revision: a branch, a tag or a commit; None for its main branch.

    Raises:
        DataError: there is none, it needs a login, or there is no network.
    """
    import huggingface_hub  # only when used: it is slow to load

    with hub_problems(name, revision=revision):
        try:
            info = patiently(lambda: huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=_PATIENCE))
        except (TypeError, KeyError, AttributeError):  # JSON, but not the Hub's
            info = None
    if info is None or not info.sha:
        raise DataError(f"the Hub tells no commit of the data set {name}; does HF_ENDPOINT name a Hub?")
    configs = (info.card_data.get("configs") if info.card_data else None) or []
    listed = tuple(each for each in configs if isinstance(each, Mapping)) if isinstance(configs, list) else ()
    files = tuple(each.rfilename for each in info.siblings or () if is_inside(each.rfilename))
    return HubDataset(name, info.sha, files, listed)


def file_facts(dataset: HubDataset, path: str) -> FileFacts:
    """Size and hash of one file.

    Raises:
        DataError: it is not there, or the Hub cannot be asked.
    """
    import huggingface_hub  # only when used: it is slow to load
    from huggingface_hub.hf_api import RepoFile

    hub = huggingface_hub.HfApi()
    with hub_problems(dataset.name, revision=dataset.commit):
        found = patiently(
            lambda: hub.get_paths_info(dataset.name, [path], revision=dataset.commit, repo_type="dataset")
        )
    for each in found:
        if isinstance(each, RepoFile) and each.path == path:
            return FileFacts(each.size, each.lfs.sha256 if each.lfs else None)
    raise DataError(f"the data set {dataset.name} on the Hub has no file {path} at commit {dataset.commit[:12]}")
