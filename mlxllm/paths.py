"""Where things live, and how a name on the command line becomes a path."""

import os
import re
from pathlib import Path
from typing import Literal

from mlxllm.errors import ConfigError

Kind = Literal["datasets", "tokenizers", "runs", "exports", "evaluations", "ablations", "cache"]

_SINGULAR: dict[Kind, str] = {
    "datasets": "dataset",
    "tokenizers": "tokenizer",
    "runs": "run",
    "exports": "export",
    "evaluations": "evaluation",
    "ablations": "ablation",
    "cache": "cache entry",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def home() -> Path:
    """The folder of all runs, datasets and tokenizers: $MLXLLM_HOME, else ~/.mlxllm."""
    configured = os.environ.get("MLXLLM_HOME")
    return Path(configured).expanduser() if configured else Path.home() / ".mlxllm"


def folder(kind: Kind) -> Path:
    """The folder below `home()` that holds things of `kind`; it need not exist yet."""
    return home() / kind


def is_path(text: str) -> bool:
    """Whether `text` is a path rather than a name: it begins with ./ ../ / or ~, or it exists."""
    return text in (".", "..") or text.startswith(("./", "../", "/", "~")) or Path(text).exists()


def new(kind: Kind, text: str) -> Path:
    """The path at which a new thing called `text` is to be made (it may exist already).

    Raises:
        ConfigError: `text` is neither a path nor a usable name.
    """
    # A bare name always means <home>, also when a file of that name happens to lie in the working folder.
    if text in (".", "..") or text.startswith(("./", "../", "/", "~")):
        return Path(text).expanduser()
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{_SINGULAR[kind]} name {text!r} is not usable: a name has up to 100 letters, digits, '.', '_' or '-' "
            f"and begins with a letter or digit; begin a path with ./ or /"
        )
    return folder(kind) / text


def existing(kind: Kind, text: str) -> Path:
    """The path of the existing thing called `text`: below `home()` first, else a path.

    Raises:
        ConfigError: there is no such thing; the message lists the near names.
    """
    if not text:
        raise ConfigError(f"the name of a {_SINGULAR[kind]} is empty ({_known(kind, text)})")
    if _NAME.fullmatch(text) and (folder(kind) / text).exists():
        return folder(kind) / text
    if is_path(text) and Path(text).expanduser().exists():
        return Path(text).expanduser()
    raise ConfigError(f"there is no {_SINGULAR[kind]} {text!r} ({_known(kind, text)})")


def _known(kind: Kind, text: str) -> str:
    import difflib

    names = (
        sorted(p.name for p in folder(kind).iterdir() if not p.name.startswith(".")) if folder(kind).is_dir() else []
    )
    near = difflib.get_close_matches(text, names, n=3) or names[:8]
    more = f" and {len(names) - len(near)} more" if len(near) == 8 < len(names) else ""
    return f"known in {folder(kind)}: {', '.join(near)}{more}" if near else f"{folder(kind)} holds none yet"
