"""What `export --format gguf` leaves: a folder with model.gguf, verification.json and perhaps a Modelfile, or one file."""

from collections.abc import Callable
from pathlib import Path

from mlxllm.errors import ConfigError
from mlxllm.export.gguf import GgufExport, plan_gguf
from mlxllm.export.modelfile import write_modelfile
from mlxllm.export.placing import put_folder
from mlxllm.model.loading import LoadedModel

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
    plan = plan_gguf(loaded, dtype, about, licence)

    def write(partial: Path) -> None:
        plan.write(partial / GGUF_FILE)
        if modelfile:
            write_modelfile(loaded, partial, GGUF_FILE)

    put_folder(path, write, size=plan.bytes, check=check, only=GGUF_FILE if single else None)
    return plan.told(path if single else path / GGUF_FILE)
