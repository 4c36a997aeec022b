"""A tokenizer as a directory: `tokenizer_config.json` beside the model file, whole or absent."""

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from mlxllm.errors import DataError, UserError
from mlxllm.runs.files import fsync_directory, fsync_file, read_json, write_json_atomic
from mlxllm.tokenizer.base import (
    CHARACTERS_FILE,
    FORMAT_VERSION,
    MODEL_FILE,
    SPECIAL_TOKENS,
    Tokenizer,
    fingerprint_of,
)
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from mlxllm.tokenizer.hub_files import HUB_FILES, has_hub_tokenizer, read_hub_files

CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_DIRECTORY = "tokenizer"
"""Within the folder of a model or a run."""
_FILES: dict[str, tuple[str, ...]] = {"char": (CHARACTERS_FILE,), "byte": (), "bpe": (MODEL_FILE,)}
_FORMAT = "mlxllm-tokenizer"
_MADE = "made_by"
_REMEDY = "copy it again from where it was made, or make it anew with `mlxllm tokenizer train`"


def save_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Write `tokenizer` into a temporary folder beside `directory`, then rename it into place.

    Raises:
        DataError: `directory` exists and is not a tokenizer (nothing of it is touched), or cannot be written.
    """
    directory = Path(os.path.abspath(directory))  # "." has no name to put a temporary folder beside
    if directory.exists() and not _may_replace(directory):
        raise DataError(f"{directory} exists and is not a tokenizer; choose another name or remove it first")
    files = tokenizer.model_files()
    if tokenizer.kind in _FILES:  # what came with somebody else's model stays as it is
        config = {
            "format": _FORMAT,
            "format_version": FORMAT_VERSION,
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "special_tokens": tokenizer.special_ids,
            "fingerprint": tokenizer.fingerprint,
        }
        files = {CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(), **files}
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            with open(temporary / name, "wb") as file:
                file.write(content)
                file.flush()
                fsync_file(file.fileno())
        fsync_directory(temporary)
        if directory.exists():
            # A rename cannot replace a folder that holds something: the old one steps aside first.
            old = temporary.with_suffix(".old")
            directory.rename(old)
            try:
                temporary.rename(directory)
            except OSError:
                old.rename(directory)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(directory)
        fsync_directory(directory.parent)
    except OSError as error:
        raise DataError(f"cannot write tokenizer {directory}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def note_making(directory: Path, made: dict[str, Any]) -> None:
    """Write down beside a tokenizer how it was made, for whoever wants to make it again."""
    path = directory / CONFIG_FILE
    write_json_atomic(path, {**read_json(path), _MADE: made})


def making_of(directory: Path) -> dict[str, Any]:
    """What `note_making` wrote; empty where nothing was."""
    try:
        config = read_json(directory / CONFIG_FILE)
    except UserError:
        return {}
    made = config.get(_MADE) if isinstance(config, dict) else None
    return made if isinstance(made, dict) else {}


def tokenizer_directory(folder: Path) -> Path:
    """Where a model's folder keeps its tokenizer: in tokenizer/ if it was made here, which is exact and fast."""
    inner = folder / TOKENIZER_DIRECTORY
    return inner if is_own_tokenizer(inner) or (inner.is_dir() and not has_hub_tokenizer(folder)) else folder


def load_tokenizer(directory: Path) -> Tokenizer:
    """Open a tokenizer directory and check that it is whole and means what it meant when it was written.

    A model's folder with a tokenizer of somebody else's (`tokenizer.json`, SentencePiece's `tokenizer.model`) is one, too.

    Raises:
        DataError: it is missing, damaged, of a newer format or an unknown kind, or its files do not fit its fingerprint.
    """
    if has_hub_tokenizer(directory) and not is_own_tokenizer(directory):
        from mlxllm.tokenizer.hub import HubTokenizer  # the tokenizers library is loaded only for these

        return HubTokenizer(read_hub_files(directory), str(directory))
    config = _read_config(directory)
    kind, expected = config.get("kind"), config.get("fingerprint")
    if not isinstance(kind, str) or kind not in _FILES:
        raise DataError(f"tokenizer {directory} is of the unknown kind {kind!r}; known are {', '.join(_FILES)}")
    files = {name: _read(directory / name) for name in _FILES[kind]}
    # Before any parser sees them: a damaged model file must not get as far as the library.
    if fingerprint_of(kind, files) != expected:
        raise DataError(
            f"tokenizer {directory} is damaged: its files do not fit the fingerprint in {CONFIG_FILE}; {_REMEDY}"
        )
    tokenizer = _build(kind, files, directory)
    if config.get("vocab_size") != tokenizer.vocab_size:
        raise DataError(
            f"tokenizer {directory} is damaged: {CONFIG_FILE} says {config.get('vocab_size')!r} ids, its "
            f"files hold {tokenizer.vocab_size:,}; {_REMEDY}"
        )
    return tokenizer


def is_own_tokenizer(directory: Path) -> bool:
    """Whether a folder holds a tokenizer that was made here, damaged or not."""
    try:
        config = read_json(directory / CONFIG_FILE)
    except UserError:
        return False
    return isinstance(config, dict) and config.get("format") == _FORMAT


def _build(kind: str, files: dict[str, bytes], directory: Path) -> Tokenizer:
    try:
        if kind == "byte":
            return ByteTokenizer()
        if kind == "char":
            return CharTokenizer.from_files(files)
        from mlxllm.tokenizer.bpe import BpeTokenizer  # sentencepiece is loaded only for this kind

        return BpeTokenizer.from_files(files)
    except (ValueError, KeyError, TypeError, RecursionError, DataError) as error:
        raise DataError(f"tokenizer {directory} is damaged: {error}; {_REMEDY}") from None


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    if not directory.is_dir():
        raise DataError(f"there is no tokenizer at {directory}")
    if not path.is_file():
        raise DataError(f"{directory} is not a tokenizer: it holds no {CONFIG_FILE}, tokenizer.json or tokenizer.model")
    try:
        config = read_json(path)
    except UserError as error:
        raise DataError(f"tokenizer {directory} is damaged: {error}; {_REMEDY}") from None
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise DataError(f'{path} was not written by mlxllm: its "format" is not "{_FORMAT}"')
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"tokenizer {directory} has format version {version!r}, this mlxllm reads {FORMAT_VERSION}; "
            f"update mlxllm or make the tokenizer anew"
        )
    if config.get("special_tokens") != {token: i for i, token in enumerate(SPECIAL_TOKENS)}:
        raise DataError(f"tokenizer {directory} is damaged: its special tokens are not the reserved ones; {_REMEDY}")
    return config


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"tokenizer {path.parent} is damaged: {path.name} is missing; {_REMEDY}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _may_replace(directory: Path) -> bool:
    """Only a tokenizer and nothing besides: a Hub model's folder has a tokenizer_config.json, too."""
    if not directory.is_dir():
        return False
    ours = {CONFIG_FILE, CHARACTERS_FILE, MODEL_FILE, *HUB_FILES}
    return {path.name for path in directory.iterdir()} <= ours
