"""How answers are drawn, as it is typed: texts to settings, with a sentence about what cannot be."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mlxllm.config import HOTTEST, SampleConfig
from mlxllm.errors import ConfigError
from tui import commands

FIELDS: Mapping[str, tuple[str, str]] = {
    "temperature": ("temperature", "0: the likeliest, 0.8: lively"),
    "top_p": ("top-p", "1 is off, 0.9 usual"),
    "top_k": ("top-k", "0 is off, 40 usual"),
    "min_p": ("min-p", "0 is off, 0.05 mild"),
    "max_tokens": ("max tokens", "the longest answer"),
    "seed": ("seed", "empty: a new one each time"),
}
"""Field of `SampleConfig` -> its name on the screen, and its scale."""

_FLAGS = {"temperature": "temp"}
"""Field -> its option, where that is called otherwise."""


def as_texts(sample: SampleConfig, seed: int | None) -> dict[str, str]:
    """The settings as they are typed."""
    texts = {name: str(getattr(sample, name)).removesuffix(".0") for name in FIELDS}
    return texts | {"seed": "" if seed is None else str(seed)}


def from_texts(texts: Mapping[str, str], before: SampleConfig) -> tuple[SampleConfig, int | None]:
    """The settings that were typed, on top of those before, and the seed, if one is given.

    Raises:
        ConfigError: a value cannot be; the message has its name, the value and what would be right.
    """
    values: dict[str, float] = {}
    for name, text in texts.items():
        label, text = FIELDS[name][0], text.strip()
        if name == "seed" and not text:
            continue
        whole = SampleConfig.model_fields[name].annotation is int
        try:
            values[name] = int(text) if whole else float(text)
        except ValueError:
            kind = "a whole number" if whole else "a number"
            raise ConfigError(f"{label} is {text!r}, which is not {kind}; {FIELDS[name][1]}") from None
    try:
        sample = SampleConfig.model_validate({**before.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        label = FIELDS[str(first["loc"][0])][0]
        right = first["msg"].replace("Input should be", "it should be")
        raise ConfigError(f"{label} is {first['input']}; {right}") from None
    if sample.temperature > HOTTEST:
        raise ConfigError(f"temperature is {sample.temperature:g}; it should be from 0 to {HOTTEST}")
    return sample, sample.seed if "seed" in values else None


def changed(sample: SampleConfig) -> dict[str, Any]:
    """What differs from the defaults, as options of our commands; the seed has an option of its own."""
    usual = SampleConfig()
    fields = [name for name in SampleConfig.model_fields if name != "seed"]
    return {
        _FLAGS.get(name, name): getattr(sample, name)
        for name in fields
        if getattr(sample, name) != getattr(usual, name)
    }


def twin(model: str, sample: SampleConfig, seed: int | None) -> commands.Args:
    """`mlxllm chat` with what differs from its defaults."""
    return commands.chat(model, **changed(sample), seed=seed)
