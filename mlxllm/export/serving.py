"""A model for `mlx_lm.server`: its export in the cache, and the command that serves it.

An export is made once for each state of the weights; its folder is named by them and by all else that goes into it.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import mlx.core as mx

from mlxllm import __version__, paths
from mlxllm.conversation.template_files import template_with
from mlxllm.errors import ModelError, UserError
from mlxllm.export.hf import dtype_of, plain_model, write_hf
from mlxllm.export.hf_files import CONFIG_FILE, dtype_name
from mlxllm.model.loading import LoadedModel
from mlxllm.model.quantized_models import is_quantized
from mlxllm.tokenizer.hub_files import has_hub_tokenizer

SERVED = "served"
"""The folder of these exports in the cache."""


@dataclass(frozen=True)
class Served:
    """What the server is given."""

    path: Path
    made: bool
    """Whether it was written just now; else it was there."""


def require_server() -> None:
    """See to it that mlx-lm is installed.

    Raises:
        UserError: it is not; the message has the line that installs it.
    """
    if importlib.util.find_spec("mlx_lm") is None:
        raise UserError(
            "serving needs mlx-lm, which is not installed here; `pip install 'mlxllm[serve]'` brings it (or `pip install "
            "mlx-lm` into the same environment)"
        )


def served_folder(
    loaded: LoadedModel, *, dtype: mx.Dtype | None = None, check: Callable[[Path], None] | None = None
) -> Served:
    """A folder with the model that mlx-lm opens: in the cache, made if need be.

    A folder that came quantised is taken as it is: an export would unpack it.

    Args:
        loaded: any model.
        dtype: of the weights; by default theirs.
        check: is given a new export before it is kept.

    Raises:
        ModelError, UserError: see `write_hf`; or what `check` raises.
    """
    plain_folder = loaded.run_config is None and loaded.adapter is None
    if plain_folder and is_quantized(loaded.model) and has_hub_tokenizer(loaded.path):
        return Served(loaded.path.absolute(), False)
    path = paths.folder("cache") / SERVED / _name(loaded, dtype)
    if (path / CONFIG_FILE).is_file():
        os.utime(path)  # used again: whoever clears by age sees it
        return Served(path, False)
    try:
        write_hf(loaded, path, dtype=dtype, check=check)
    except (ModelError, UserError):
        if not (path / CONFIG_FILE).is_file():  # another `serve` was quicker
            raise
    return Served(path, True)


def _name(loaded: LoadedModel, dtype: mx.Dtype | None) -> str:
    """What the folder of the export is called: the model's name, and a fingerprint of all that goes into it."""
    template = template_with(loaded.tokenizer_directory)
    dtype = dtype or dtype_of(plain_model(loaded))
    parts = (
        loaded.fingerprint,
        loaded.config.model_dump_json(),
        loaded.tokenizer.fingerprint,
        "" if template is None else template.source,
        *loaded.history,
        dtype_name(dtype),
        __version__,
    )
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(loaded.name).name).strip("-.") or "model"
    return f"{readable[:60]}-{sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"


def server_command(folder: Path, host: str, port: int, more: tuple[str, ...] = ()) -> list[str]:
    """The arguments that start mlx-lm's server with the Python that runs this.

    Args:
        folder: with the model.
        host: an address of this machine.
        port: of it.
        more: options of its own.
    """
    # By default any page that is open in a browser here could ask it, and read what it says.
    own_pages = f"http://127.0.0.1:{port},http://localhost:{port}"
    told = ["--model", str(folder), "--host", host, "--port", str(port), "--allowed-origins", own_pages]
    return [sys.executable, "-P", "-m", "mlx_lm", "server", *told, *more]
