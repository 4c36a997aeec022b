"""What a build of a dataset refuses before it reads anything."""

from collections.abc import Sequence
from pathlib import Path

from mlxllm.data.manifest import FILE_NAME
from mlxllm.data.sources import Source
from mlxllm.data.weights import MAX_EPOCHS, Weight, check_weights
from mlxllm.errors import ConfigError, DataError


def check_build(
    directory: Path,
    sources: Sequence[tuple[Source, Weight | None]],
    val_split: float,
    max_epochs: float = MAX_EPOCHS,
    *,
    replace: bool,
) -> None:
    """Refuse at once what would fail later, or write over what is not a dataset.

    Raises:
        ConfigError: no source, a number out of its range, or weights that do not go together.
        DataError: `directory` exists, and is not a dataset or may not be replaced.
    """
    if not sources:
        raise ConfigError("a dataset needs at least one source; `mlxllm data sources` lists the kinds")
    if not 0.0 <= val_split < 1.0:
        raise ConfigError(f"val_split is {val_split}; it must be at least 0 and below 1, such as 0.01")
    if not 1.0 <= max_epochs <= 1000.0:
        raise ConfigError(f"max_epochs is {max_epochs}; it must be from 1 to 1000, such as {MAX_EPOCHS:g}")
    check_weights([weight for _, weight in sources])
    if not directory.exists():
        return
    if not (directory / FILE_NAME).is_file() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"{directory} exists and is not a dataset; choose another name")
    if not replace:
        raise DataError(f"dataset '{directory.name}' exists already in {directory.parent}; --force replaces it")
