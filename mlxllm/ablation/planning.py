"""From what was asked for to an ablation that is kept: all checked, and minutes made steps, before a run begins."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlxllm import paths
from mlxllm.ablation.record import (
    VALIDATIONS,
    Ablation,
    Planned,
    all_names,
    folder_of,
    read_ablation,
    run_name,
    settings_of,
    write_ablation,
)
from mlxllm.ablation.running import look_before
from mlxllm.ablation.shipped import shipped_called
from mlxllm.ablation.variants import BASE, Variant, variants_of
from mlxllm.budget import steps_within
from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError, RunError
from mlxllm.presets import PRESETS
from mlxllm.settings import build_config

SEEDS = 3
"""How often each variant is trained, unless it is said."""
MOST_SEEDS = 100
_LAST_SEED = 2**32 - 1
_CORPUS = "stories"


@dataclass(frozen=True)
class Asked:
    """What an ablation is asked to be; None and nothing are what was not said."""

    shipped: str | None = None
    preset: str | None = None
    data: str | None = None
    settings: tuple[str, ...] = ()
    """Of the base, as `--set` takes them."""
    changes: tuple[str, ...] = ()
    """As `--change` takes them."""
    minutes: float | None = None
    """Of each run."""
    steps: int | None = None
    """The same in updates."""
    seeds: int | None = None
    name: str | None = None

    @property
    def is_only_a_name(self) -> bool:
        """Whether it says nothing but which ablation is meant, and perhaps how often it repeats."""
        return replace(self, name=None, seeds=None) == Asked()


def plan_ablation(asked: Asked, device: str | None = None) -> str:
    """Have what is asked for kept under a name, which `train_all` takes: a new ablation, or one that is there and the same.

    Raises:
        ConfigError: something that cannot be, or that says nothing; or only a name, and there is none of it.
        DataError, UserError: its data or one of its variants cannot be trained.
        RunError: there is another ablation of that name.
    """
    _check_numbers(asked)
    _check_base(asked)
    if asked.name is not None and asked.is_only_a_name:
        return _with_seeds(asked.name, asked.seeds)
    wanted, variants = _wanted(asked)
    if asked.name is not None:
        folder_of(asked.name)  # refuses what is no name
        if asked.name in all_names():
            if not read_ablation(asked.name).asks_the_same(wanted):
                raise RunError(
                    f"ablation {asked.name!r} is there already and compares something else; give another --name, or only "
                    f"this one to go on with it"
                )
            return _with_seeds(asked.name, asked.seeds)
    elif same := [name for name in all_names() if read_ablation(name).asks_the_same(wanted)]:
        return _with_seeds(same[-1], asked.seeds)
    name = asked.name or _free_name(asked.shipped or "ablation")
    _check_run_names(name, wanted)
    write_ablation(name, _looked_at(wanted, variants, device))
    return name


def default_dataset() -> str:
    """The dataset of quickstart's stories that was made last.

    Raises:
        ConfigError: there is none.
    """
    folder = paths.folder("datasets")
    found = [path.parent for path in folder.glob(f"{_CORPUS}*/manifest.json") if _is_of_corpus(path.parent.name)]
    if not found:
        raise ConfigError(
            f"give the dataset to train on with --data NAME: there is none of quickstart's {_CORPUS} in {folder}; `mlxllm "
            f"data build {_CORPUS} --source stories:8000 --tokenizer bpe:2048` makes one"
        )
    return max(found, key=lambda path: path.stat().st_mtime).name


def _is_of_corpus(name: str) -> bool:
    return re.fullmatch(rf"{_CORPUS}(-\d+)?", name) is not None


def _check_numbers(asked: Asked) -> None:
    if asked.minutes is not None and asked.steps is not None:
        raise ConfigError("--minutes and --steps both say how long each run trains; give one of them")
    if asked.minutes is not None and not 0.01 <= asked.minutes <= 1e6:
        raise ConfigError(f"--minutes is {asked.minutes:g}; give a number of minutes for each run, at least 0.01")
    if asked.steps is not None and asked.steps < 1:
        raise ConfigError(f"--steps is {asked.steps}; it is the number of updates of each run, 1 or more")
    if asked.seeds is not None and not 1 <= asked.seeds <= MOST_SEEDS:
        raise ConfigError(
            f"--seeds is {asked.seeds}; it is how often each variant is trained, from 1 (which gives no interval) to "
            f"{MOST_SEEDS}"
        )


def _check_base(asked: Asked) -> None:
    """Refuse settings of the base that an ablation decides."""
    for text in asked.settings:
        key = text.partition("=")[0].strip()
        if key == "train.early_stop_evals":
            raise ConfigError(
                f"--set {text} would end some runs before others, and all are to make the same steps; leave it out"
            )
        if key == "train.max_steps" and (asked.steps is not None or asked.minutes is not None):
            option = "--steps" if asked.steps is not None else "--minutes"
            raise ConfigError(f"--set {text} and {option} both say how long each run trains; give one of them")


def _wanted(asked: Asked) -> tuple[Ablation, list[Variant]]:
    """The ablation, with the steps of --minutes and all that has to be looked up still open."""
    shipped = shipped_called(asked.shipped) if asked.shipped is not None else None
    preset = asked.preset or (shipped.preset if shipped is not None else None)
    if preset is None:
        raise ConfigError(f"--preset names what is changed; it is one of {', '.join(PRESETS)}")
    first = build_config(preset=preset, settings=asked.settings)
    steps = asked.steps or first.train.max_steps
    settings = [*settings_of(asked.settings, steps), f"train.max_steps={steps}"]
    base = build_config(preset=preset, settings=settings, flags={"data.dataset": asked.data})
    if base.method != "pretrain":
        raise ConfigError(
            f"preset {preset} fine-tunes a model, and an ablation trains from scratch; choose another preset"
        )
    dataset = _from_any_folder(base.data.dataset or default_dataset())
    variants, skipped = variants_of(base, shipped.all_changes, skip=True) if shipped is not None else ([], [])
    if asked.changes or not variants:
        theirs, _ = variants_of(base, [*asked.changes])
        variants = _joined(variants, theirs)
    if len(variants) < 2:
        raise ConfigError(
            "an ablation needs something to change: --change norm=post, several of these, or one of those that "
            "`mlxllm ablate --list` shows"
        )
    seeds = _seeds(base.train.seed, asked.seeds or SEEDS)
    planned = tuple(
        Planned(name=v.name, changes=v.changes, settings=v.settings, parameters=0, note=v.note) for v in variants
    )
    ablation = Ablation(
        shipped=asked.shipped or "",
        preset=preset,
        dataset=dataset,
        settings=asked.settings,
        steps=steps,
        minutes=asked.minutes,
        tokens_per_step=0,
        seeds=seeds,
        variants=planned,
        skipped=tuple(skipped),
    )
    with_data = [replace(v, config=v.config.with_values(data={"dataset": dataset})) for v in variants]
    return ablation, with_data


def _joined(shipped: Sequence[Variant], own: Sequence[Variant]) -> list[Variant]:
    """Both lists behind one base.

    Raises:
        ConfigError: one's own are called like, or are, one of the others.
    """
    for variant in own[1:]:
        for other in shipped[1:]:
            if variant.name == other.name or variant.config == other.config:
                what = "is called like" if variant.name == other.name else "is the same as"
                raise ConfigError(
                    f"variant {variant.name!r} {what} {other.name!r} of the shipped ablation; leave it out"
                )
    return [*(shipped or own[:1]), *own[1:]]


def _seeds(first: int, count: int) -> tuple[int, ...]:
    if first + count - 1 > _LAST_SEED:
        raise ConfigError(
            f"train.seed is {first}, and {count} seeds from there on go beyond {_LAST_SEED}; begin with less"
        )
    return tuple(range(first, first + count))


def _from_any_folder(dataset: str) -> str:
    """The dataset as runs are to name it: a path made absolute, a name as it is."""
    found = paths.existing("datasets", dataset)
    return str(found.absolute()) if paths.is_path(dataset) and found.parent != paths.folder("datasets") else dataset


def _free_name(base: str) -> str:
    number, known = 1, all_names()
    while f"{base}-{number}" in known:
        number += 1
    return f"{base}-{number}"


def _check_run_names(name: str, ablation: Ablation) -> None:
    """Refuse names that are too long once they stand together."""
    names = (run_name(name, variant.name, ablation.seeds[-1]) for variant in ablation.variants)
    paths.new("runs", max(names, key=len))


def _with_seeds(name: str, count: int | None) -> str:
    """Have an ablation that is there repeated more often, if that is asked for."""
    ablation = read_ablation(name)
    there = len(ablation.seeds)
    if count is not None and count < there:
        raise ConfigError(f"--seeds is {count}, and ablation {name!r} has {there} already; leave it out, or give more")
    if count is not None and count > there:
        seeds = _seeds(ablation.seeds[0], count)
        write_ablation(name, ablation.model_copy(update={"seeds": seeds}))
    return name


def _looked_at(ablation: Ablation, variants: Sequence[Variant], device: str | None) -> Ablation:
    """The ablation with its number of steps, checked as training would check it."""
    configs: dict[str, RunConfig] = {variant.name: variant.config for variant in variants}
    timed = BASE if ablation.minutes is not None else None
    found = look_before(configs, timed=timed, device=device)
    steps = ablation.steps
    if ablation.minutes is not None and found.cost is not None:
        steps = steps_within(configs[BASE].train, found.cost, 60 * ablation.minutes, VALIDATIONS)
    planned = tuple(
        variant.model_copy(update={"parameters": found.parameters[variant.name]}) for variant in ablation.variants
    )
    return ablation.model_copy(
        update={
            "steps": steps,
            "tokens_per_step": found.tokens_per_step,
            "data_fingerprint": found.fingerprint,
            "variants": planned,
        }
    )
