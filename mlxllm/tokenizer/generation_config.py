"""How the maker of a model wants it to be sampled: `generation_config.json`, as far as it says so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlxllm.errors import DataError
from mlxllm.tokenizer.hub_files import GENERATION_FILE, parse_object, read_file

_RANGES: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 5.0),
    "top_p": (float, 0.0, 1.0),
    "top_k": (int, 0, 1 << 24),
    "min_p": (float, 0.0, 1.0),
    "repetition_penalty": (float, 0.01, 10.0),
}
"""Key, which is also the field of `SampleConfig` -> what its value has to be."""


def generation_defaults(*folders: Path) -> dict[str, float]:
    """Fields of `SampleConfig` that the first of `folders` with a generation_config.json asks for; none if it is silent.

    `"do_sample": false` is temperature 0. With `true` and no temperature it is 1, as transformers takes it; where the file
    does not say whether to sample, only what it says counts. A value that cannot be is passed over.
    """
    for folder in folders:
        try:
            content = read_file(folder, GENERATION_FILE)
            if content is not None:
                return _fields(parse_object(content, f"{folder}/{GENERATION_FILE}"))
        except DataError:
            continue
    return {}


def _fields(said: Mapping[str, Any]) -> dict[str, float]:
    fields: dict[str, float] = {"temperature": 1.0} if said.get("do_sample") is True else {}
    for key, (kind, low, high) in _RANGES.items():
        value = said.get(key)
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            continue
        if low <= value <= high and (key != "top_p" or value > 0):
            fields[key] = kind(value)
    if said.get("do_sample") is False:
        fields["temperature"] = 0.0
    return without_draws(fields)


def without_draws(fields: Mapping[str, float]) -> dict[str, float]:
    """`fields` without those that only say how to draw, where the likeliest token is always taken."""
    if fields.get("temperature") != 0:
        return dict(fields)
    return {name: value for name, value in fields.items() if name in ("temperature", "repetition_penalty")}
