"""A model for `mlx_lm.server`: its export in the cache, and the command that serves it.

An export is made once for each state of the weights; its folder is named by them and by all else that goes into it.
"""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import mlx.core as mx

from mlxllm import __version__, paths
from mlxllm.conversation.template_files import template_with
from mlxllm.errors import ModelError, UserError
from mlxllm.export.gguf import vocabulary_of
from mlxllm.export.gguf_weights import architecture_for
from mlxllm.export.hf import config_with_any_tokenizer, dtype_of, plain_model, write_hf
from mlxllm.export.hf_files import dtype_name
from mlxllm.export.readers.limits import why_not, window_in_mlx_lm
from mlxllm.export.served_records import Record, read_record, record_of, write_record
from mlxllm.export.tokenizers import is_own
from mlxllm.export.verification import compare_folder, verify
from mlxllm.export.verified import VERIFICATION_FILE, write_verification
from mlxllm.model.hf_config import architecture_of
from mlxllm.model.loading import LoadedModel
from mlxllm.model.quantized_models import is_quantized
from mlxllm.tokenizer.hub_files import has_hub_tokenizer

SERVED_NAMES = "served-names"
"""Folder of the cache with links to what is served, by the name that clients use."""
SERVED = "served"
"""The folder of these exports in the cache."""
_SMALL = (".json", ".jinja", ".txt", ".model")
"""What the files of a model end in, but for its weights."""
_SERVER = Path(__file__).with_name("server_child.py")


@dataclass(frozen=True)
class Served:
    """What the server is given."""

    path: Path
    made: bool
    """Whether it was written just now; else it was there."""
    verified: bool
    """Whether it was looked at just now."""
    note: str = ""
    """What is to be said about it, in a sentence; usually nothing."""


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


def check_served(loaded: LoadedModel) -> str:
    """See to it that mlx-lm computes what the model does.

    Returns:
        What is to be said beforehand, in a sentence; usually nothing.

    Raises:
        ModelError: it does not; the message says what does.
    """
    own, packed = is_own(loaded.tokenizer), _is_served_as_it_is(loaded)
    config = loaded.config if packed else config_with_any_tokenizer(loaded.config, loaded.tokenizer)
    if reason := why_not("mlx-lm", config, own_tokenizer=own, packed=packed):
        raise ModelError(f"{loaded.name} cannot be served: {reason}; {_who_else(loaded)}")
    if (window := window_in_mlx_lm(config)) is None:
        return ""
    return (
        f"{loaded.name} has a sliding window and mlx-lm attends to everything before, so answers are right up to "
        f"{window:,} tokens, prompt and answer together, and not beyond"
    )


def _who_else(loaded: LoadedModel) -> str:
    """What does compute a model that mlx-lm does not."""
    config = config_with_any_tokenizer(loaded.config, loaded.tokenizer)
    with suppress(ModelError):
        architecture_for(config)
        vocabulary_of(loaded)
        return "export it with --format gguf, and llama-server serves it"
    if architecture_of(config) and not why_not(
        "transformers", config, own_tokenizer=is_own(loaded.tokenizer), packed=False
    ):
        return "export it with --format hf, and `transformers serve` serves it"
    return f"`mlxllm {'sample' if loaded.kind == 'base' else 'chat'}` computes it as it is"


def served_folder(
    loaded: LoadedModel, *, dtype: mx.Dtype | None = None, check: Callable[[Path], None] | None = None
) -> Served:
    """A folder with the model that mlx-lm opens: in the cache, made if need be.

    A folder that came quantised is taken as it is: an export would unpack it. An export that is in the cache already is
    used if its files are as they were written; else it is made anew.

    Args:
        loaded: any model.
        dtype: of the weights; by default theirs.
        check: is given each folder once, a new export before it is kept; None asks for no check.

    Raises:
        ModelError, UserError: see `write_hf`; or what `check` raises.
    """
    place = paths.folder("cache") / SERVED / _name(loaded, dtype)
    if _is_served_as_it_is(loaded):
        return _as_it_is(loaded.path.absolute(), place, check)
    note = ""
    if place.is_dir():
        record = read_record(place)
        note = record.change(place) if record is not None else "there is no record of what was written"
        if record is not None and not note:
            return _again(place, record, check)
        _remove(place)
        note = f"the export in {place} was made anew: {note}"

    def finish(folder: Path) -> None:
        if check is not None:
            check(folder)
        files = [file for file in folder.rglob("*") if file.is_file() and file.name != VERIFICATION_FILE]
        write_record(folder, record_of(folder, files, verified=check is not None))

    try:
        write_hf(loaded, place, dtype=dtype, check=finish)
    except (ModelError, UserError):
        record = read_record(place)
        if record is None:
            raise
        return _again(place, record, check)  # another `serve` was quicker
    return Served(place, True, check is not None, note)


def _again(place: Path, record: Record, check: Callable[[Path], None] | None) -> Served:
    """An export that is whole; it is looked at now if it was written without."""
    os.utime(place)  # used again: whoever clears by age sees it
    looks = check is not None and not record.verified
    if check is not None and looks:
        check(place)
        write_record(place, replace(record, verified=True))
    return Served(place, False, looks)


def _as_it_is(folder: Path, place: Path, check: Callable[[Path], None] | None) -> Served:
    """A folder that is served where it lies; `place` keeps what is known of it, and its name knows the weights."""
    if check is None:
        return Served(folder, False, False)
    small = [file for file in folder.iterdir() if file.suffix in _SMALL and file.is_file()]
    now = record_of(folder, small, verified=True)
    if read_record(place) == now:
        return Served(folder, False, False)
    check(folder)
    with suppress(OSError, UserError):  # then it is looked at again the next time
        place.mkdir(parents=True, exist_ok=True)
        write_record(place, now)
    return Served(folder, False, True)


def comparison(loaded: LoadedModel) -> Callable[[Path], None]:
    """A `check` for `served_folder`: mlx-lm, and mlxllm where the folder is an export, find the model in it.

    It raises ModelError where one does not.
    """

    def check(folder: Path) -> None:
        if folder == loaded.path.absolute():
            row = compare_folder(loaded, "mlx-lm")
            wrong = "" if row.status == "passed" else f"mlx-lm: {row.note}"
        else:
            verification = verify(folder, loaded, ["mlxllm", "mlx-lm"])
            wrong = "" if verification.passed else verification.failure()
            if not wrong:
                write_verification(folder, verification)
        if wrong:
            raise ModelError(
                f"{loaded.name} would be another model when it is served, so it is not: {wrong}; --no-verify serves it all "
                f"the same"
            )

    return check


def _is_served_as_it_is(loaded: LoadedModel) -> bool:
    """Whether it is a folder that came quantised, with a tokenizer that others read."""
    plain_folder = loaded.run_config is None and loaded.adapter is None
    return plain_folder and is_quantized(loaded.model) and has_hub_tokenizer(loaded.path)


def _remove(place: Path) -> None:
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise UserError(
            f"the export in {place} is damaged and cannot be removed: {error.strerror or error}; delete it yourself"
        ) from None


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


def name_for_requests(loaded: LoadedModel) -> str:
    """What clients call the model: a run and a model of the Hub by its name, a folder by the last part of its path."""
    name = loaded.name.rstrip("/")
    return Path(name).name or "model" if paths.is_path(name) or Path(name).is_absolute() else name


def working_directory(name: str, folder: Path) -> Path:
    """A folder in which the path `name` leads to `folder`: mlx-lm's server takes a model's name for a path.

    Raises:
        UserError: it cannot be made.
    """
    names = paths.folder("cache") / SERVED_NAMES
    link = names / name
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.symlink_to(folder, target_is_directory=True)
        fresh.replace(link)
    except OSError as error:
        raise UserError(f"cannot write to {names}: {error.strerror or error}; make room there") from None
    return names


def server_command(folder: Path | str, host: str, port: int, more: tuple[str, ...] = ()) -> list[str]:
    """The arguments that start mlx-lm's server with the Python that runs this.

    Args:
        folder: with the model; a relative one is looked for where the server runs.
        host: an address of this machine.
        port: of it.
        more: options of its own.
    """
    # By default any page that is open in a browser here could ask it, and read what it says.
    own_pages = f"http://127.0.0.1:{port},http://localhost:{port}"
    told = ["--model", str(folder), "--host", host, "--port", str(port), "--allowed-origins", own_pages]
    return [sys.executable, "-P", str(_SERVER), *told, *more]
