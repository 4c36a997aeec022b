"""The files of a data set on the Hugging Face Hub, by way of huggingface_hub's cache."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from mlxllm.errors import DataError


def hub_files(name: str, patterns: Sequence[str]) -> tuple[Path, ...]:
    """Fetch the files of data set `name` that match `patterns`; what is in the cache is not fetched again.

    Raises:
        DataError: there is no such data set, no network and no cached copy, or it needs a login.
    """
    # Only when used: it is slow to load.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, repo_type="dataset", allow_patterns=list(patterns)))
    except GatedRepoError:
        raise DataError(
            f"the data set {name} on the Hub is only given to who asked for it; accept its terms on its page and "
            f"log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise DataError(
            f"there is no data set {name} on the Hub, nor a file of that name here; look at the spelling, or log in "
            f"with `hf auth login` if it is private"
        ) from None
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise DataError(
            f"cannot fetch the data set {name} from the Hub and it is not in the cache ({_first_line(error)}); go "
            f"online, or give files that are here"
        ) from None
    paths = (path for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(p for p in paths if any(fnmatch(str(p.relative_to(folder)), each) for each in patterns)))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150].rstrip(".")
