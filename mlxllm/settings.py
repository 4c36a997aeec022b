"""How the layers of settings become one configuration: defaults < preset < TOML file < --set < explicit flag."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError
from mlxllm.presets import preset_config

OF_LOSSES = {"label_smoothing": ("sigmoid", "robust"), "gamma": ("simpo",)}
"""Settings of `dpo` that only some losses look at."""

_OF_DATA = ("data.dataset", "data.records", "data.val_records")
_OF_SFT = ("data.train_on", "train.label_smoothing", "train.z_loss")

Values = dict[str, Any]
"""Nested plain values, by section and key."""


def build_config(
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The configuration of a run.

    Args:
        preset: name of a shipped recipe; a `preset` key in the file serves where this is None.
        config_file: a TOML file of sections, as `--config`.
        settings: "section.key=value" texts, as `--set`; values are JSON where they parse as it, else text.
        flags: "section.key" -> value of options that were given; None values are options that were not.

    Raises:
        ConfigError: an unknown preset, key or value; the message names it, where it came from, and what would be right.
    """
    from_file = _read_toml(config_file) if config_file is not None else {}
    preset = preset or from_file.pop("preset", None)
    raw = preset_config(preset).model_dump(mode="json") if preset else RunConfig().model_dump(mode="json")
    origins: dict[str, str] = {}
    _merge(raw, from_file, origins, f"{config_file}")
    for text in settings:
        key, value = _parse_setting(text)
        _set(raw, key, value, origins, f"--set {text}")
    for key, value in (flags or {}).items():
        if value is not None:
            _set(raw, key, value, origins, f"{_option(key)} {value}")
    raw["preset"] = preset or ""
    config = parse_config(raw, "", origins)
    _check_effect(config, origins)
    return config


def changed_by(config: RunConfig, settings: Sequence[str], option: str) -> RunConfig:
    """A configuration with some more settings.

    Args:
        config: what they are set in.
        settings: "section.key=value" texts, as `--set` takes them.
        option: where they came from, for the messages.

    Raises:
        ConfigError: one of them cannot be, or they do not fit each other.
    """
    raw = config.model_dump(mode="json")
    origins: dict[str, str] = {}
    for text in settings:
        key, value = _parse_setting(text, option)
        _set(raw, key, value, origins, f"{option} {text}")
    return parse_config(raw, "", origins)


def check_model_settings(settings: Sequence[str], model: str) -> None:
    """Refuse to change the shape of a model that has its weights.

    Raises:
        ConfigError: one of the settings ("section.key=value") does.
    """
    if fixed := [s for s in settings if s.startswith("model.")]:
        raise ConfigError(
            f"--set {fixed[0]} cannot change the model that --model {model} brings; leave one of them out"
        )


def check_tuning_settings(settings: Sequence[str], method: str) -> None:
    """Refuse what says nothing to a kind of fine-tuning, or what an option says.

    Raises:
        ConfigError: one of the settings ("section.key=value") is such.
    """
    if named := [s for s in settings if s.startswith(_OF_DATA)]:
        raise ConfigError(f"--set {named[0]} names what to learn from; give that with --data and --val-data")
    if method == "sft" and (others := [s for s in settings if s.startswith("dpo.")]):
        raise ConfigError(f"--set {others[0]} is about preferences, which sft knows nothing of; leave it out")
    if method == "dpo" and (others := [s for s in settings if s.startswith(_OF_SFT)]):
        raise ConfigError(f"--set {others[0]} is about single answers, and dpo compares pairs; leave it out")


def _check_effect(config: RunConfig, origins: Mapping[str, str]) -> None:
    """Refuse what was set and means nothing to the chosen loss; a file may have it at its default, as --dry-run prints it.

    Raises:
        ConfigError: the message has the losses that it means something to.
    """
    if config.dpo is None:
        return
    for name, losses in OF_LOSSES.items():
        origin = origins.get(f"dpo.{name}")
        default = type(config.dpo).model_fields[name].default
        if origin is None or config.dpo.loss in losses:
            continue
        if origin.startswith("--") or getattr(config.dpo, name) != default:
            raise ConfigError(
                f"dpo.{name} (from {origin}) is for the loss {' or '.join(losses)} and means nothing to "
                f"{config.dpo.loss}; leave it out, or choose --loss {losses[0]}"
            )


def _option(key: str) -> str:
    """The option that stands for a setting on the command line."""
    section, _, name = key.partition(".")
    of_adapters = section == "lora" and name not in ("rslora", "quantize")
    return f"--{'lora-' if of_adapters else ''}{name.replace('_', '-')}"


def parse_config(raw: Any, where: str, origins: Mapping[str, str] | None = None) -> RunConfig:
    """Plain values as a configuration.

    Raises:
        ConfigError: one sentence about the first thing that is wrong.
    """
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(error, where, origins or {})) from None


def _sentence(error: ValidationError, where: str, origins: Mapping[str, str]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # about several settings: those that the message names
        words = set(re.findall(r"\w+", str(first["ctx"]["error"])))
        concerned = [
            o for k, o in origins.items() if k.startswith(f"{key}." if key else "") and k.split(".")[-1] in words
        ]
    else:
        concerned = [o for k, o in origins.items() if f"{key}.".startswith(f"{k}.") or k.startswith(f"{key}.")][:1]
    origin = ", ".join(dict.fromkeys(concerned)) or where
    source = f" (from {origin})" if origin else ""
    if first["type"] == "extra_forbidden":
        return f"setting {key!r}{source} does not exist{_near(key)}"
    if first["type"] == "value_error":
        return f"{first['ctx']['error']}{source}"
    if first["type"] == "model_type":
        what = f"setting {key} is" if key else "there is"
        return (
            f"{what} {shown(first['input'])}{source}, where settings by name should be; "
            f"`mlxllm train --dry-run` lists them all"
        )
    if first["type"] in ("missing", "too_long", "tuple_type"):  # a list of another length, or none at all
        key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        return f"setting {key} is {shown(first['input'])}{source}; it should be a list such as {shown(_default(key))}"
    return f"setting {key} is {shown(first['input'])}{source}; {expectation(first['msg'])}"


def shown(value: Any) -> str:
    """A value as the user would write it, cut to a few words."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) < 60 else f"{text[:56]} ..."


def _default(key: str) -> Any:
    section, _, name = key.partition(".")
    model = _section_of(RunConfig.model_fields[section].annotation)
    return model().model_dump(mode="json").get(name) if model is not None else None


def expectation(message: str) -> str:
    """What pydantic would have liked, as the end of a sentence."""
    told = message.removesuffix(".").replace("Input should be", "it should be")
    return re.sub(r", (unable to parse|got a number) .*", "", told)


def _near(key: str) -> str:
    section, _, name = key.partition(".")
    sections = [s for s, field in RunConfig.model_fields.items() if _section_of(field.annotation) is not None]
    if section not in sections and (meant := get_close_matches(section, sections, n=1, cutoff=0.75)):
        # A misspelt section, whether its setting is right or not.
        if not name:
            return f"; did you mean {meant[0]}?"
        key = f"{meant[0]}.{name}"
        if key in all_keys():
            return f"; did you mean {key}?"
    near = get_close_matches(key, all_keys(), n=3, cutoff=0.5)
    if not near:
        tail = key.rsplit(".", 1)[-1]
        near = [known for known in all_keys() if known.rsplit(".", 1)[-1] == tail]
    return f"; did you mean {' or '.join(near)}?" if near else "; `mlxllm train --dry-run` lists all settings"


def all_keys() -> list[str]:
    """Every "section.key" that can be set."""
    keys: list[str] = []
    for section, field in RunConfig.model_fields.items():
        model = _section_of(field.annotation)
        keys += [section] if model is None else [f"{section}.{key}" for key in model.model_fields]
    return keys


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section model in `X` or `X | None`."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
    return models[0] if models else None


def _parse_setting(text: str, option: str = "--set") -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or "." not in key:
        raise ConfigError(
            f"{option} {text!r} is not of the form section.key=value, for example train.learning_rate=1e-3"
        )
    key, parsed = key.strip(), plain_value(value)
    # "none" is a word of some settings, and nothing at all of others.
    return key, value.strip() if parsed is None and value.strip() in _words(key) else parsed


def _words(key: str) -> tuple[Any, ...]:
    """The words that a setting may be; none where it is no choice of words, or does not exist."""
    section, _, name = key.partition(".")
    field = RunConfig.model_fields.get(section)
    model = _section_of(field.annotation) if field is not None else None
    choice = model.model_fields[name].annotation if model is not None and name in model.model_fields else None
    return get_args(choice) if get_origin(choice) is Literal else ()


def plain_value(text: str) -> Any:
    """What stands behind the = of a setting: JSON where it parses as it, else text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        words = {"true": True, "false": False, "none": None, "null": None}
        return words.get(text.strip().lower(), text.strip())


def _set(raw: Values, key: str, value: Any, origins: dict[str, str], origin: str) -> None:
    section, _, rest = key.partition(".")
    field = RunConfig.model_fields.get(section)
    if field is None or _section_of(field.annotation) is None:
        raise ConfigError(f"setting {key!r} (from {origin}) does not exist{_near(key)}")
    branch = value
    for part in reversed(rest.split(".")):
        branch = {part: branch}
    _merge(raw, {section: branch}, origins, origin)


def _merge(raw: Values, layer: Mapping[str, Any], origins: dict[str, str], origin: str, prefix: str = "") -> None:
    for key, value in layer.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if not isinstance(raw.get(key), dict):
                raw[key] = {}
            _merge(raw[key], value, origins, origin, f"{path}.")
        else:
            raw[key] = value
            origins[path] = origin


def _read_toml(path: Path) -> Values:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with or without a byte order mark
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}; --config takes a TOML file of settings") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
