"""The files of somebody else's tokenizer: which of a model's folder they are, read once and with care."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlxllm.errors import DataError

TOKENIZER_JSON = "tokenizer.json"
SENTENCEPIECE_MODEL = "tokenizer.model"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
GENERATION_FILE = "generation_config.json"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
MODEL_CONFIG_FILE = "config.json"
HUB_FILES = (
    TOKENIZER_JSON,
    SENTENCEPIECE_MODEL,
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    ADDED_TOKENS_FILE,
    GENERATION_FILE,
    *TEMPLATE_FILES,
)
"""What goes along with a tokenizer, byte for byte."""
MOST_BYTES = 200 * 10**6
"""Of one file; the largest of known models has 34 million."""
TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SHOWN = 60  # characters of what stands in a file, in a message
_TOKENIZERS = (TOKENIZER_JSON, SENTENCEPIECE_MODEL)


def has_hub_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer.json or a SentencePiece tokenizer.model lies in `folder`; ours is one of the latter, too."""
    return any((folder / name).is_file() for name in _TOKENIZERS)


def has_chat_template(folder: Path) -> bool:
    """Whether a model's folder has a chat template, usable or not; `conversation` reads it."""
    if any((folder / name).is_file() for name in TEMPLATE_FILES):
        return True
    try:
        content = read_file(folder, CONFIG_FILE)
        return content is not None and bool(parse_object(content, CONFIG_FILE).get("chat_template"))
    except DataError:
        return False


def read_hub_files(folder: Path) -> dict[str, bytes]:
    """The files of a tokenizer, by name.

    Where the ids that end a text stand in the model's config.json only, a generation_config.json says them, in the
    form in which transformers derives one: a tokenizer that is copied into a run knows them still.

    Raises:
        DataError: one is a symbolic link out of the folder, larger than `MOST_BYTES`, or cannot be read.
    """
    files = {name: content for name in HUB_FILES if (content := read_file(folder, name)) is not None}
    if GENERATION_FILE not in files and (content := read_file(folder, MODEL_CONFIG_FILE)) is not None:
        config = parse_object(content, f"{folder}/{MODEL_CONFIG_FILE}")
        known = {key: config[key] for key in ("bos_token_id", "eos_token_id") if config.get(key) is not None}
        if "eos_token_id" in known:
            text = json.dumps({"_from_model_config": True, **known}, indent=2) + "\n"
            files[GENERATION_FILE] = text.encode()
    return files


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        content: of the file.
        where: the file, for messages.

    Raises:
        DataError: it is no JSON, too deep, or something else than an object.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{where} is damaged: it is not valid JSON ({error.msg} at {place}); copy it again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is damaged: it is not UTF-8 text (byte {error.start:,}); copy it again") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is damaged: it cannot be read as JSON ({error}); copy it again") from None
    if not isinstance(value, dict):
        raise DataError(
            f"{where} is damaged: it holds a JSON {type(value).__name__} and should hold an object; copy it again"
        )
    # Whole surrogate pairs have become characters; a half of one is none, and no text can hold it.
    if _SURROGATE.search(content) and any("\ud800" <= c <= "\udfff" for c in json.dumps(value, ensure_ascii=False)):
        raise DataError(f"{where} is damaged: it spells half of a character (\\ud800 to \\udfff); copy it again")
    return value


def named_tokens(config: Mapping[str, Any], special_map: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token` and so on -> its spelling; tokenizer_config.json before special_tokens_map.json."""
    found = {}
    for name in TOKEN_NAMES:
        spelled = spelling(config.get(name))
        if spelled is None and name not in config:
            spelled = spelling(special_map.get(name))
        if spelled:
            found[name] = spelled
    return found


def extra_tokens(config: Mapping[str, Any], special_map: Mapping[str, Any]) -> list[str]:
    """The spellings of further special tokens, which the two generations of transformers list by different names."""
    found: list[str] = []
    for source in (config, special_map):
        for key in ("extra_special_tokens", "additional_special_tokens"):
            listed = source.get(key)
            values: Iterable[Any] = listed.values() if isinstance(listed, dict) else listed or ()
            if isinstance(values, str) or not isinstance(values, Iterable):
                continue
            found += [text for value in values if (text := spelling(value))]
    return list(dict.fromkeys(found))


def spelling(token: Any) -> str | None:
    """A special token is its text, or an object that describes it."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def quoted(value: Any) -> str:
    """What stands in a file, in quotes and on one line, as far as a message has room for it."""
    text = value[:_SHOWN] if isinstance(value, str) else value
    shown = repr(text) if isinstance(value, str | int | float | None) else f"a JSON {type(value).__name__}"
    return shown[: 4 * _SHOWN] + ("..." if isinstance(value, str) and len(value) > _SHOWN else "")


def token_ids_of(value: Any) -> list[int]:
    """The ids under a key such as `eos_token_id`: one, a list, or none; what is no id is passed over."""
    values = value if isinstance(value, list) else [value]
    return [i for i in values if isinstance(i, int) and not isinstance(i, bool) and i >= 0]


def read_file(folder: Path, name: str) -> bytes | None:
    """The content of a file in a model's folder; None if there is none.

    Raises:
        DataError: it is a symbolic link out of the folder, larger than `MOST_BYTES`, or cannot be read.
    """
    path = folder / name
    try:
        if path.is_symlink() and not _stays(path, folder):
            raise DataError(
                f"{path} is a symbolic link to {path.resolve()}, outside of the model's folder; put the file itself there"
            )
        if not path.is_file():
            return None
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(
                f"{path} has {size:,} bytes and a tokenizer's file at most {MOST_BYTES:,}; it belongs to something else"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _stays(link: Path, folder: Path) -> bool:
    """Whether a link leads to a file in its folder, or in the cache of the Hub to the same repository's blobs."""
    target, home = link.resolve(), folder.resolve()
    if target.is_relative_to(home):
        return True
    return home.parent.name == "snapshots" and target.is_relative_to(home.parent.parent / "blobs")
