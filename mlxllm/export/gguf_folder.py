"""What `export --format gguf` leaves: a folder with model.gguf, verification.json and perhaps a Modelfile, or one file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.export.gguf import GgufExport, write_gguf
from mlxllm.export.modelfile import write_modelfile
from mlxllm.model.loading import LoadedModel
from mlxllm.runs.files import fsync_directory

GGUF_FILE = "model.gguf"


def write_gguf_folder(
    loaded: LoadedModel,
    path: Path,
    *,
    dtype: str,
    modelfile: bool = False,
    about: str = "",
    licence: str = "",
    check: Callable[[Path], None] | None = None,
) -> GgufExport:
    """Write a model in GGUF; nothing is left where it fails.

    Args:
        loaded: the model.
        path: a new folder; if it ends in .gguf, a new file instead, with nothing beside it.
        dtype: see `write_gguf`.
        modelfile: whether an Ollama Modelfile is written as well.
        about: see `write_gguf`.
        licence: see `write_gguf`.
        check: called with the folder before it gets its name.

    Raises:
        ConfigError: a Modelfile is to be written and `path` is a file.
        ModelError, UserError: see `write_gguf`.
    """
    single = path.suffix == ".gguf"
    if single and modelfile:
        raise ConfigError(f"--modelfile writes a second file, and --out {path} is one; give a folder as --out")
    if os.path.lexists(path):
        raise ModelError(f"{path} exists already; name a new one, or remove that first")
    path = Path(os.path.abspath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        written = write_gguf(loaded, partial / GGUF_FILE, dtype=dtype, about=about, licence=licence)
        if modelfile:
            write_modelfile(loaded, partial, GGUF_FILE)
        if check is not None:
            check(partial)
        if single:
            (partial / GGUF_FILE).rename(path)
        else:
            partial.rename(path)
        fsync_directory(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write the model to {path}: {error.strerror or error}; make room there, or choose another folder"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return GgufExport(**{**vars(written), "path": path if single else path / GGUF_FILE})
