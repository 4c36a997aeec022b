"""What two or more runs have in common and where they differ: their settings, and what they said to the same prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxllm.errors import RunError, UserError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.events import parse_line
from mlxllm.runs.files import read_json

_TRAIN_LINE = b'{"kind":"train",'


def read_config(run: RunDirectory) -> dict[str, Any]:
    """config.json of a run as plain values.

    Raises:
        RunError: there is none yet, or it is damaged.
    """
    try:
        config = read_json(run.config)
    except UserError as error:
        raise RunError(f"the settings of run {run.name!r} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise RunError(f"the settings of run {run.name!r} cannot be read: {run.config} holds no JSON object")
    return config


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as dotted keys, `{"train": {"seed": 1}}` as `{"train.seed": 1}`; lists and empty sections stay."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        else:
            found[key] = value
    return found


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Any]]:
    """The settings in which `configs` are not all equal, in the order in which they stand there.

    A number is what it is however it is written (1 and 1.0); a setting that one of them does not have differs.

    Returns:
        Dotted key -> position in `configs` -> value there; a config without the setting is left out.
    """
    all_flat = [flat(config) for config in configs]
    keys = dict.fromkeys(key for each in all_flat for key in each)
    found = {key: {n: each[key] for n, each in enumerate(all_flat) if key in each} for key in keys}
    return {key: values for key, values in found.items() if not _is_same(values, len(all_flat), key, keys)}


def _is_same(values: Mapping[int, Any], count: int, key: str, keys: Mapping[str, None]) -> bool:
    if len(values) == count:
        return all(_equal(value, values[0]) for value in values.values())
    # A section that one config has and another leaves empty: its settings say so one by one.
    return not any(values.values()) and any(other.startswith(f"{key}.") for other in keys)


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are the same, where true is not 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a model said in training."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True)
class SamePrompt:
    """What several runs said to one prompt."""

    prompt: str
    answers: tuple[tuple[Sample, ...], ...]
    """For each run, in the order of the runs, its samples in the order of steps; empty where it was not asked."""


def read_samples(run: RunDirectory) -> list[Sample]:
    """The samples of a run in the order of its events, those that failed left out; none where it has no events.

    Raises:
        RunError: the events cannot be read.
    """
    found = []
    try:
        with open(run.events, "rb") as file:
            for line in file:
                # Nearly all lines are these, and parsing them takes most of the time.
                if line.startswith(_TRAIN_LINE) or (event := parse_line(line)) is None or event["kind"] != "sample":
                    continue
                step, prompt, text = event.get("step"), event.get("prompt"), event.get("text")
                if isinstance(prompt, str) and isinstance(text, str) and not event.get("error"):
                    found.append(Sample(step if isinstance(step, int) else 0, prompt, text))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {run.events}: {error.strerror or error}") from error
    return found


def same_prompts(samples: Sequence[Sequence[Sample]]) -> list[SamePrompt]:
    """The samples of several runs side by side: those prompts first that most of the runs were asked.

    Args:
        samples: of each run (`read_samples`).

    Returns:
        One entry for each prompt that any of them was asked.
    """
    prompts = dict.fromkeys(sample.prompt for each in samples for sample in each)
    found = [
        SamePrompt(
            prompt,
            tuple(tuple(sorted((s for s in each if s.prompt == prompt), key=lambda s: s.step)) for each in samples),
        )
        for prompt in prompts
    ]
    return sorted(found, key=lambda same: -sum(map(bool, same.answers)))
