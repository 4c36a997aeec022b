"""What two or more runs have in common and where they differ: their settings, and what they said to the same prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm.errors import RunError, UserError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.events import parse_line
from mlxllm.runs.files import read_json
from mlxllm.runs.lineage import checkpoint_steps

_WHERE = ("dataset", "records", "val_records")
"""Settings of `data` that say where it lies."""
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


def read_settings(runs: Sequence[RunDirectory]) -> list[dict[str, Any]]:
    """The settings of runs, with what can be told of their data beyond where it lies.

    A run whose checkpoints say what it learned from has `data.fingerprint` as well, and one with a tokenizer
    `data.tokenizer`, its fingerprint. Where all have the same data, it does not matter where each of them had it: these
    settings are left out.

    Raises:
        RunError: config.json of one of them is not there, or is damaged.
    """
    found = [read_config(run) for run in runs]
    prints = [_data_fingerprint(run) for run in runs]
    tokenizers = [_fingerprint(run.path / "tokenizer" / "tokenizer_config.json", "fingerprint") for run in runs]
    same = len(set(prints)) == 1 and prints[0] is not None
    for config, data, tokenizer in zip(found, prints, tokenizers, strict=True):
        section = config.get("data")
        section = dict(section) if isinstance(section, Mapping) else {}
        if same:
            section = {key: value for key, value in section.items() if key not in _WHERE}
        known = {"fingerprint": data, "tokenizer": tokenizer}
        if section := section | {key: value for key, value in known.items() if value is not None}:
            config["data"] = section
    return found


def _data_fingerprint(run: RunDirectory) -> str | None:
    """The hash of what a run learned from, as its newest checkpoint has it; None where none says so."""
    steps = checkpoint_steps(run)
    return (
        _fingerprint(run.checkpoints / f"step-{steps[-1]:08d}" / "trainer.json", "data_fingerprint") if steps else None
    )


def _fingerprint(path: Path, key: str) -> str | None:
    """A text under a key of a JSON file; None where there is none."""
    try:
        raw = read_json(path)
    except UserError:
        return None
    found = raw.get(key) if isinstance(raw, dict) else None
    return found if isinstance(found, str) and found else None


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
