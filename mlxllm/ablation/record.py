"""What is kept of an ablation: what was asked for, and how each of its runs came out.

    <home>/ablations/<name>/ablation.json    replaced atomically after each run
                            lock             held by whoever trains its runs

The results are computed from this file alone (`results.py`), so that they outlive the runs.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mlxllm import paths
from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError, RunError, UserError
from mlxllm.runs.files import read_json, write_json_atomic
from mlxllm.settings import build_config

FILE = "ablation.json"
_LOCK = "lock"
VALIDATIONS = 10
"""A curve has so many points beside its first."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Planned(_Frozen):
    """A variant as it was asked for; the first one of an ablation is the base."""

    name: str
    changes: tuple[str, ...]
    """As they were typed."""
    settings: tuple[str, ...]
    """"section.key=value" texts."""
    parameters: int
    note: str = ""
    """What to keep in mind about it."""


class Point(_Frozen):
    """One validation of a run."""

    step: int
    loss: float | None
    """Nats a token; None where it was not finite."""
    bits_per_byte: float | None


class Outcome(_Frozen):
    """How one run came out."""

    variant: str
    seed: int
    run: str
    status: Literal["finished", "diverged"]
    step: int
    validations: tuple[Point, ...]
    seconds_per_step: float | None
    """The median over the run, of training alone; None where it was too short to tell."""


class Ablation(_Frozen):
    """All that is known of one."""

    shipped: str = ""
    """The shipped list of changes that it is made of."""
    preset: str
    dataset: str
    settings: tuple[str, ...]
    """Of the base, beside its preset."""
    steps: int
    """Updates of each run."""
    minutes: float | None
    """What the steps were measured for; None where they were given."""
    tokens_per_step: int
    data_fingerprint: str = ""
    """Of what the dataset held when it was planned."""
    seeds: tuple[int, ...]
    variants: tuple[Planned, ...]
    skipped: tuple[str, ...] = ()
    """Variants of the shipped list that change nothing in this base."""
    outcomes: tuple[Outcome, ...] = ()

    def outcome(self, variant: str, seed: int) -> Outcome | None:
        """How a run came out; None as long as it has not."""
        return next((o for o in self.outcomes if (o.variant, o.seed) == (variant, seed)), None)

    @property
    def is_finished(self) -> bool:
        """Whether every run has ended."""
        return all(self.outcome(v.name, seed) is not None for seed in self.seeds for v in self.variants)

    def asks_the_same(self, other: "Ablation") -> bool:
        """Whether both compare the same; how often each variant is repeated may differ."""
        return self._asked() == other._asked()

    def _asked(self) -> tuple[object, ...]:
        budget = ("minutes", self.minutes) if self.minutes is not None else ("steps", self.steps)
        variants = tuple((variant.name, variant.settings) for variant in self.variants)
        return (self.preset, self.dataset, self.settings, budget, variants)


def folder_of(name: str) -> Path:
    """Where the ablation called `name` is kept, whether it is there or not.

    Raises:
        ConfigError: that is no usable name.
    """
    path = paths.new("ablations", name)
    if path.parent != paths.folder("ablations"):
        raise ConfigError(f"ablation {name!r} is a path; give a name, under which it is kept in {path.parent}")
    return path


def all_names() -> list[str]:
    """Every ablation that is kept, by name."""
    return sorted(path.parent.name for path in paths.folder("ablations").glob(f"*/{FILE}"))


def read_ablation(name: str) -> Ablation:
    """The ablation called `name`.

    Raises:
        ConfigError: there is none; the message lists near names.
        RunError: its file is damaged.
    """
    file = paths.existing("ablations", name) / FILE
    try:
        return Ablation.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(f"{file} is damaged ({place}: {first['msg']}); remove the folder and begin again") from None
    except UserError as error:
        raise RunError(f"ablation {name!r} cannot be read: {error}") from None


def write_ablation(name: str, ablation: Ablation) -> None:
    """Keep it, in place of what was kept before.

    Raises:
        UserError: it cannot be written.
    """
    folder = folder_of(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    write_json_atomic(folder / FILE, ablation.model_dump(mode="json"))


@contextmanager
def held(name: str) -> Iterator[None]:
    """Keep the training of an ablation's runs to one process.

    Raises:
        RunError: another process trains them, or the folder cannot be written to.
    """
    folder = folder_of(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"ablation {name!r} is being trained by another process; see how far it is with `mlxllm ablate show {name}`"
            ) from None
        yield
    finally:
        os.close(descriptor)


def run_name(name: str, variant: str, seed: int) -> str:
    """The run of a variant under one seed."""
    return f"{name}-{variant}-s{seed}"


def all_runs() -> set[str]:
    """Names of the runs of all ablations that can be read, trained or not."""
    found: set[str] = set()
    for name in all_names():
        with suppress(UserError):
            ablation = read_ablation(name)
            found |= {run_name(name, each.name, seed) for each in ablation.variants for seed in ablation.seeds}
    return found


def run_settings(ablation: Ablation, variant: str, seed: int) -> list[str]:
    """All settings of a run beside its preset and dataset, as `--set` takes them; later ones go before earlier ones."""
    planned = next(each for each in ablation.variants if each.name == variant)
    return [
        *settings_of(ablation.settings, ablation.steps),
        *planned.settings,
        f"train.max_steps={ablation.steps}",
        f"train.seed={seed}",
    ]


def settings_of(settings: Sequence[str], steps: int) -> list[str]:
    """The base's settings, behind what an ablation has otherwise than single runs.

    Curves of some points, few checkpoints, no samples; and no run ends before the others.
    """
    every = max(1, -(-steps // VALIDATIONS))
    return [
        *(f"train.eval_every={every}", f"train.checkpoint_every={every}", "train.keep_checkpoints=1"),
        *("train.sample_every=0", *settings, "train.early_stop_evals=0"),
    ]


def run_config(ablation: Ablation, variant: str, seed: int) -> RunConfig:
    """The configuration of a run, as `train` makes it of the same settings."""
    settings = run_settings(ablation, variant, seed)
    return build_config(preset=ablation.preset, settings=settings, flags={"data.dataset": ablation.dataset})
