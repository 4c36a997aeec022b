"""A run that is being prepared: what was chosen, the command that starts it, and the settings that come of it."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mlxllm import dials, paths
from mlxllm.config import ModelConfig, RunConfig
from mlxllm.dials import Size
from mlxllm.errors import ConfigError, RunError
from mlxllm.presets import preset_config
from mlxllm.runs import RunDirectory, free_name, name_for_tuning
from mlxllm.settings import build_config, check_model_settings, check_tuning_settings
from tui import commands
from tui.planning.suiting import Suited

Method = Literal["pretrain", "sft", "dpo"]

FIRST_PRESET = "shakespeare-char-cpu"
"""Minutes on any machine."""

_NOT_CHOSEN = {"preset", "data.dataset", "data.records", "model.vocab_size"}
"""Differences from a preset that every run has."""


@dataclass(frozen=True)
class Draft:
    """What was chosen so far."""

    method: Method = "pretrain"
    preset: str = FIRST_PRESET
    """Of pre-training."""
    dataset: str = ""
    model: str = ""
    """What fine-tuning begins with."""
    records: tuple[str, ...] = ()
    """Files, folders or Hub names of fine-tuning."""
    name: str = ""
    """Of the run; "" takes the proposed one."""
    factor: float = 1.0
    """Of the size dial."""
    minutes: int | None = None
    epochs: float | None = None
    """None is as many as suit the records."""
    few_epochs: float | None = None
    """What another screen proposes for few records, at the recipe's learning rate."""
    rank: int | None = None
    """Of adapters; None trains all weights."""
    learning_rate: float | None = None
    """None is the one that suits the model."""
    suited: Suited = field(default_factory=Suited)
    """What suits this draft, as far as its model and its records are known."""
    settings: tuple[str, ...] = ()
    """"section.key=value" of whatever else was changed."""

    def with_(self, **changes: Any) -> "Draft":
        """A copy with some choices changed."""
        return replace(self, **changes)

    @property
    def run(self) -> str:
        """The name of the run: the one given, else that of its data or its model with the first free number."""
        if self.name:
            return self.name
        if self.method == "pretrain":
            return free_name(Path(self.dataset).name or "run")
        return name_for_tuning(self.model, self.method)

    @property
    def rate(self) -> float | None:
        """The learning rate that the command is given; None is the recipe's."""
        return self.learning_rate if self.learning_rate is not None else self.suited.learning_rate

    @property
    def passes(self) -> float | None:
        """The epochs that the command is given; None is as many as the recipe has, or as the time allows."""
        if self.minutes is not None:
            return None
        return self.epochs if self.epochs is not None else self.suited.epochs

    @property
    def recipe(self) -> str:
        """The preset that it departs from."""
        if self.method == "pretrain":
            return self.preset
        adapters = self.rank is not None or any(setting.startswith("lora.") for setting in self.settings)
        return f"{self.method}-lora" if adapters else self.method

    @property
    def size(self) -> Size:
        """The position of the size dial; the preset's own where it has no such position."""
        own = Size(1.0, {})
        if self.method != "pretrain":
            return own
        return next((size for size in sizes_of(self.preset) if size.factor == self.factor), own)

    @property
    def changed(self) -> tuple[str, ...]:
        """What `--set` says: the dial's, then what was typed."""
        return (*(f"{key}={value}" for key, value in self.size.changes.items()), *self.settings)

    def args(self, *, dry_run: bool = False) -> commands.Args:
        """The command that starts it, or only checks it."""
        shared: dict[str, Any] = {"run": self.run, "changed": self.changed, "minutes": self.minutes, "dry_run": dry_run}
        if self.method == "pretrain":
            return commands.train(preset=self.preset, data=self.dataset, **shared)
        return commands.tune(
            self.method,
            model=self.model,
            data=self.records,
            epochs=self.passes,
            lora_rank=self.rank,
            learning_rate=self.rate,
            **shared,
        )

    def config(self, base: ModelConfig | None = None, vocab_size: int = 0) -> RunConfig:
        """The settings that the command comes to, as far as they are known without reading the data.

        Args:
            base: shape of the model that fine-tuning begins with.
            vocab_size: of the dataset.

        Raises:
            ConfigError: a setting cannot be; the sentence is the command's.
        """
        flags = {"lora.rank": self.rank, "train.learning_rate": self.rate}
        if self.method != "pretrain":
            check_model_settings(self.settings, self.model)
            check_tuning_settings(self.settings, self.method)
            flags["train.epochs"] = self.passes
        config = build_config(preset=self.recipe, settings=self.changed, flags=flags)
        if self.method == "pretrain":
            if vocab_size and config.model.vocab_size and config.model.vocab_size < vocab_size:
                raise ConfigError(
                    f"model.vocab_size is {config.model.vocab_size:,}, but dataset {self.dataset!r} has {vocab_size:,} token "
                    f"ids; leave model.vocab_size out"
                )
            return config.with_values(model={"vocab_size": config.model.vocab_size or vocab_size})
        if base is not None:
            config = config.with_values(model=base.model_dump())
        return config.with_values(train={"epochs": None}) if self.minutes is not None else config

    def differences(self) -> list[tuple[str, Any, Any]]:
        """(setting, the recipe's value, this run's value) of all that was changed."""
        before = preset_config(self.recipe).model_dump(mode="json")
        after = self.config().model_dump(mode="json")
        found = []
        for section, values in after.items():
            if isinstance(values, dict) and isinstance(before[section], dict):
                keys = [(f"{section}.{key}", before[section].get(key), value) for key, value in values.items()]
            else:
                keys = [(section, before[section], values)]
            found += [(k, b, a) for k, b, a in keys if b != a and k not in _NOT_CHOSEN]
        if self.minutes is not None:
            found = [each for each in found if each[0] != "train.epochs"]
            given = ("train.epochs", before["train"]["epochs"]) if self.method != "pretrain" else None
            key, value = given or ("train.max_steps", before["train"]["max_steps"])
            found.append((key, value, dials.time_label(self.minutes)))
        return found


@lru_cache
def sizes_of(preset: str) -> tuple[Size, ...]:
    """The positions of a preset's size dial; finding them takes longer than all the rest of a forecast."""
    return tuple(dials.sizes(preset_config(preset)))


def check_name(name: str) -> None:
    """Whether a new run can be called that.

    Raises:
        ConfigError: it is no name.
        RunError: there is such a run.
    """
    run = RunDirectory(paths.new("runs", name))
    if run.exists:
        raise RunError(f"there is a run {name!r} already; choose another name, or press 5 and go on with it there")


def check_setting(draft: Draft, text: str, base: ModelConfig | None = None) -> Draft:
    """The draft with one more setting, "section.key=value"; it takes the place of an earlier one of that key.

    Raises:
        ConfigError: there is no such setting, or it cannot have that value; the sentence is that of `--set`.
    """
    key = text.partition("=")[0].strip()
    kept = tuple(setting for setting in draft.settings if setting.partition("=")[0].strip() != key)
    changed = draft.with_(settings=(*kept, text.strip()))
    changed.config(base)
    return changed
