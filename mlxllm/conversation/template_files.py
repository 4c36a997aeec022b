"""The chat template of a model folder, wherever its maker put it."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mlxllm.conversation.formats import kind_of
from mlxllm.conversation.template import ChatTemplate
from mlxllm.errors import DataError, ModelError
from mlxllm.tokenizer.hub_files import SPECIAL_TOKENS_FILE, named_tokens, read_file


def load_chat_template(
    folder: Path, *, variables: Mapping[str, Any] | None = None, now: datetime | None = None
) -> ChatTemplate | None:
    """The template of a folder as transformers writes it; None if there is none.

    Looked for in `chat_template.jinja`, `chat_template.json` and `tokenizer_config.json`, in this order. Of
    several named ones it is `default`. The special tokens of `tokenizer_config.json`, else of
    `special_tokens_map.json`, are its variables.

    Args:
        folder: a model's folder.
        variables: further variables, such as `enable_thinking`; they replace those of the folder.
        now: see `ChatTemplate`.

    Raises:
        ModelError: a file is damaged, or its template cannot be used.
    """
    config = _read(folder / "tokenizer_config.json")
    place = folder / "chat_template.jinja"
    source: Any = None
    if place.is_file():
        try:
            source = (read_file(folder, place.name) or b"").decode("utf-8").replace("\r\n", "\n")
        except (DataError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read {place}: {error}") from None
    else:
        place = folder / "chat_template.json"
        source = _default(_read(place).get("chat_template"))
        if source is None:
            place = folder / "tokenizer_config.json"
            source = _default(config.get("chat_template"))
    if source is None:
        return None
    if not isinstance(source, str):
        raise ModelError(f"{place} is damaged: its chat template is {kind_of(source)}, and should be a text")
    tokens = named_tokens(config, _read(folder / SPECIAL_TOKENS_FILE))
    name = f"the chat template of {folder.name}"
    return ChatTemplate(source, variables={**tokens, **(variables or {})}, now=now, name=name)


def template_with(tokenizer_directory: Path) -> ChatTemplate | None:
    """The template that belongs to a tokenizer: beside its files, or in the model or run whose `tokenizer/` it is.

    Raises:
        ModelError: see `load_chat_template`.
    """
    folders = [tokenizer_directory]
    if tokenizer_directory.name == "tokenizer":
        folders.insert(0, tokenizer_directory.parent)
    return next((found for folder in folders if (found := load_chat_template(folder)) is not None), None)


def carry_template(tokenizer_directory: Path, folder: Path) -> None:
    """Write the template that belongs to a tokenizer, if any, into another model's or run's folder.

    Raises:
        ModelError: see `load_chat_template`.
        OSError: it cannot be written.
    """
    template = template_with(tokenizer_directory)
    if template is not None:
        write_template(template, folder)


def write_template(template: ChatTemplate, folder: Path) -> None:
    """Write a template and its variables so that `load_chat_template` finds them.

    Raises:
        OSError: it cannot be written.
    """
    (folder / "chat_template.jinja").write_text(template.source, encoding="utf-8", newline="")
    (folder / "tokenizer_config.json").write_text(json.dumps(template.variables), encoding="utf-8")


def _default(value: Any) -> Any:
    """Some folders have a list of named templates."""
    if not isinstance(value, list):
        return value
    named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
    return named.get("default", next(iter(named.values()), None))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it holds a JSON {type(content).__name__}, and should hold an object")
    return content
