"""`mlxllm plan`: what a configuration takes, and what to train within a budget."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli import sampling
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # pydantic and MLX are imported by the functions
    from mlxllm.budget import Cost
    from mlxllm.config import RunConfig
    from mlxllm.data.manifest import Manifest
    from mlxllm.planning.overview import Basis

_VOCABULARY = 8192
"""Taken where neither a dataset nor a setting says how many ids there are."""


def plan(
    preset: Annotated[str | None, typer.Option(metavar="PRESET", help="Recipe to plan with.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any one setting; may be repeated.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Plan with the shape of this model (a run, a folder or OWNER/NAME).")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="B", help="Propose what to train in so much time or memory: 5m, 1h, overnight, 16GB."),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="NAME", help="Dataset to train on.")] = None,
    watts: Annotated[
        float | None, typer.Option(metavar="W", help="Power of the machine at work, to estimate the energy.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a few real steps of exactly this configuration.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|gpu", help="Where to measure; by default a GPU if there is one.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what a configuration takes: parameters, operations, memory, tokens, time; or what to train within a budget."""
    from mlxllm.planning.budgets import parse_budget
    from mlxllm.planning.overview import overview, tunings
    from mlxllm.planning.proposals import DEFAULT_PRESET, propose
    from mlxllm.settings import build_config, check_model_settings

    if watts is not None and not 0 < watts < 1e6:
        raise ConfigError(f"--watts is {watts:g}; give the power of the machine, for example 30")
    asked = parse_budget(budget) if budget is not None else None
    if asked is not None and model is not None:
        raise ConfigError("--budget proposes a model, and --model brings one; leave one of them out")
    if asked is not None and (decided := _sets(set_, "train.max_steps", "train.epochs")):
        raise ConfigError(f"--budget decides how long to train, and so does --set {decided}; leave one of them out")
    flags = {"data.dataset": data}
    resolved = build_config(preset=preset, config_file=config, settings=set_ or (), flags=flags)
    if asked is not None and not resolved.preset:
        resolved = build_config(preset=DEFAULT_PRESET, config_file=config, settings=set_ or (), flags=flags)
    if asked is not None and resolved.method != "pretrain":
        raise ConfigError(
            f"--budget proposes what to train from scratch, and preset {resolved.preset} fine-tunes a model; leave --budget "
            f"out to see what that takes, or choose a preset of pre-training"
        )
    if device is not None:
        from mlxllm.runtime import select_device  # MLX begins to load here

        select_device(device)  # refuses what is not there
    found = _dataset(resolved.data.dataset)
    if model is not None:
        check_model_settings(set_ or (), model)
        from mlxllm.model.loading import load_model
        from mlxllm.training.compare import check_same_tokenizer

        loaded = load_model(model)
        if found is not None:
            ids = loaded.tokenizer.fingerprint
            check_same_tokenizer(ids, Path(resolved.data.dataset).name, found.tokenizer.fingerprint, model)
        resolved = resolved.with_values(model=loaded.config.model_dump())
    its_ids = found.tokenizer.vocab_size if found is not None else 0
    vocab = resolved.model.vocab_size or its_ids or _VOCABULARY
    if vocab < its_ids:
        raise ConfigError(
            f"the model's vocabulary has {vocab:,} ids, and the tokenizer of dataset {resolved.data.dataset!r} {its_ids:,}; "
            f"leave model.vocab_size out, or choose a dataset that was made with the model's tokenizer"
        )
    tokens, val_tokens = (found.train.tokens, found.val.tokens) if found is not None else (None, 0)
    resolved = resolved.with_values(model={"vocab_size": vocab})
    there = _memory()
    basis = _Bases(measure, device, val_tokens)
    proposal = None
    if asked is not None:
        proposal = propose(
            asked,
            resolved,
            basis.pace,
            there,
            vocab_size=vocab,
            tokens=tokens,
        )
        resolved = proposal.config
    from mlxllm.training.plan import settle  # here: it loads MLX

    settle(resolved)  # refuses lanes that training would
    shown: dict[str, Any] = overview(
        resolved, basis.of(resolved), there, tokens=tokens, val_tokens=val_tokens or None, watts=watts
    )
    shown["vocabulary"] = {
        "size": vocab,
        "known": found is not None or model is not None or bool(_sets(set_, "model.vocab_size")),
    }
    shown["fine_tuning"] = tunings(resolved, basis.pace)
    shown["budget"] = asked.text if asked is not None else None
    shown["proposal"] = None
    if proposal is not None:
        told = {"epochs": proposal.epochs, "tokens_per_parameter": proposal.tokens_per_parameter, "why": proposal.why}
        shown["proposal"] = {"command": proposal.command(data), "set": proposal.changes, **told}
    if json_:
        print(json.dumps(shown))
        return
    from mlxllm.cli.plan_view import lines

    print("\n".join(lines(shown)))


def _sets(settings: list[str] | None, *keys: str) -> str:
    """The first of the settings that is one of these; "" if none is."""
    return next((setting for setting in settings or () if setting.partition("=")[0].strip() in keys), "")


def _dataset(name: str) -> "Manifest | None":
    """What a dataset says of itself."""
    if not name:
        return None
    from mlxllm import paths
    from mlxllm.data.manifest import read_manifest

    return read_manifest(paths.existing("datasets", name))


def _memory() -> int:
    from mlxllm.runtime import device_info  # MLX begins to load here

    return device_info().memory_bytes


class _Bases:
    """How long steps take: as asked, as a run took, as the machine was measured, or by a few real steps."""

    def __init__(self, always: bool, device: str | None, val_tokens: int) -> None:
        from mlxllm.speed import paced_runs, read_speed

        self._speed, self._runs = read_speed(), paced_runs()
        self._always, self._device, self._val_tokens = always, device, val_tokens

    def pace(self, config: "RunConfig") -> "Cost":
        """By what is known already, since many are asked for."""
        from mlxllm.speed import pace

        return pace(config, self._known(), self._runs, self._val_tokens).cost

    def of(self, config: "RunConfig") -> "Basis":
        """Of the one configuration that the plan is about."""
        from mlxllm.planning.overview import Basis
        from mlxllm.speed import pace

        if self._always:
            from mlxllm.budget import Cost
            from mlxllm.training.trial import measure

            sampling.say("measuring a few steps of this configuration; compiling may take half a minute")
            trial = measure(config, self._device)
            cost = Cost(trial.step, trial.token_forward * self._val_tokens, 0.0)
            return Basis(cost, "a few steps of this configuration, measured now", trial.peak_bytes)
        found = pace(config, self._known(), self._runs, self._val_tokens)
        return Basis(found.cost, found.source)

    def _known(self) -> Any:
        """The machine's speed; measured and kept where nobody has done so yet."""
        if not self._speed.measured:
            from mlxllm.diagnostics.device.speed import measure_speed
            from mlxllm.runtime import select_device
            from mlxllm.speed import write_speed

            sampling.say(
                "measuring how fast this machine trains, some ten seconds (once; `mlxllm doctor --speed` again)"
            )
            select_device(self._device)
            self._speed = measure_speed()
            write_speed(self._speed)
        return self._speed
