"""How long training takes on this machine, from what was measured on it: `mlxllm doctor --speed`, and runs that ended.

A step is a gradient, whose operations (`estimate.flops_per_token`) are made at a rate that grows with the model's width,
and an update, whose operations are Muon's products of matrices or AdamW's few for each weight. All three rates are measured
at some widths and taken in between from a straight line in logarithms; each block costs a moment more in every pass, however
little it has to do. That is a sketch: on two idle cores 0.8 to 1.3 times what eight runs took (`scripts/bench/plan.py`);
a few steps of the very configuration (`training.trial`) are within 25 %. Starting up (and, once, compiling) comes on top.
"""

import bisect
import math
import os
import platform
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mlxllm import paths
from mlxllm.budget import Cost
from mlxllm.config import RunConfig
from mlxllm.errors import UserError
from mlxllm.estimate import block_parameters, count_trained, estimate, here, lanes_of, muon_flops
from mlxllm.runs import RunDirectory, all_runs, effective_status, read_json, read_state, write_json_atomic
from mlxllm.settings import parse_config

FILE = "speed.json"

_EXPERTS_COST = 2.5
"""A mixture of experts, whose tokens are sent about, takes so many times as long as its operations say (on a processor)."""

_FORWARD_SHARE = 0.6
"""What a token costs in a validation, by what it costs in training: more than the third of the operations that it has, as
each operation on single numbers is done there as well."""

_LEAST_STEPS, _LEAST_SECONDS = 20, 2.0
"""A run shorter than this says little about speed."""


@dataclass(frozen=True)
class Point:
    """What was measured with a model of one width."""

    width: int
    flops: float
    """Operations a second of forward and backward pass."""
    muon_flops: float
    """Operations a second of Muon's update."""
    adamw_weights: float
    """Weights a second that AdamW updates."""


@dataclass(frozen=True)
class Speed:
    """How fast a machine trains."""

    device: str
    """cpu or gpu."""
    chip: str
    machine: str
    """arm64, x86_64, ..."""
    cpus: int
    time: float
    """Seconds since 1970; 0 is a guess."""
    block_seconds: float
    """Of each pass through a block, even without tokens."""
    points: tuple[Point, ...]

    @property
    def measured(self) -> bool:
        """Whether it was; else it is what a machine of the kind may be expected to do."""
        return self.time > 0

    def cost(self, config: RunConfig, val_tokens: int = 0) -> Cost:
        """Seconds of an update, and of a validation over `val_tokens` tokens; samples are left out."""
        model, train = config.model, config.train
        costs = estimate(config)
        a_token = costs.flops_per_token / self._rate(lambda p: p.flops, model.hidden_size)
        a_token *= _EXPERTS_COST if model.num_experts else 1.0
        passes = train.grad_accum_steps * model.num_hidden_layers * self.block_seconds
        gradient = costs.tokens_per_step * a_token + passes
        if train.gradient_checkpointing:  # the forward pass once more, and lanes one after the other
            gradient *= 4 / 3 * lanes_of(config, here(config))
        weights, update = count_trained(config), 0.0
        if train.optimizer == "muon" and config.lora is None:
            update = muon_flops(model) / self._rate(lambda p: p.muon_flops, model.hidden_size)
            weights -= block_parameters(model)
        update += weights / self._rate(lambda p: p.adamw_weights, model.hidden_size)
        return Cost(gradient + update, val_tokens * a_token * _FORWARD_SHARE, 0.0)

    def _rate(self, of: Callable[[Point], float], width: float) -> float:
        """A rate between the points."""
        return _between([(point.width, of(point)) for point in self.points], width)


def _between(known: Sequence[tuple[float, float]], x: float) -> float:
    """y at x, on straight lines between the known (x, y) in logarithms; beyond the ends, the last one."""
    known = sorted(known)
    at = bisect.bisect_left([k for k, _ in known], x)
    if at == 0 or at == len(known):
        return known[min(at, len(known) - 1)][1]
    (x0, y0), (x1, y1) = known[at - 1], known[at]
    share = math.log(x / x0) / math.log(x1 / x0)
    return math.exp(math.log(y0) * (1 - share) + math.log(y1) * share)


def file() -> Path:
    """Where the measurement is kept."""
    return paths.folder("cache") / FILE


def write_speed(speed: Speed) -> Path:
    """Keep a measurement; the file.

    Raises:
        UserError: it cannot be written.
    """
    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    write_json_atomic(path, asdict(speed))
    return path


def read_speed() -> Speed:
    """What was measured on this machine, else a guess: also where the file is damaged or from another machine."""
    try:
        speed = TypeAdapter(Speed).validate_python(read_json(file()))
    except (UserError, ValidationError):
        return guess()
    positive = all(value > 0 for point in speed.points for value in asdict(point).values())
    same = (speed.machine, speed.cpus) == (platform.machine(), os.cpu_count())
    return speed if same and speed.points and positive and speed.block_seconds >= 0 else guess()


def guess() -> Speed:
    """What to expect of a machine that was not measured: a Mac's GPU, or a processor with a good matrix product."""
    cpus = os.cpu_count() or 1
    mac = platform.system() == "Darwin"
    flops = 1e12 if mac else 5e10 * min(cpus, 8)
    points = tuple(
        Point(width, flops * share, flops * share, 5e7 * min(cpus, 8))
        for width, share in ((64, 0.35), (192, 0.7), (512, 1.0))
    )
    return Speed("gpu" if mac else "cpu", "", platform.machine(), cpus, 0.0, 1e-3, points)


@dataclass(frozen=True)
class PacedRun:
    """A run that ended on this machine, and what a step of it took."""

    name: str
    shape: Any
    """Equal for runs whose steps are the same work."""
    seconds: float
    """Of a step, with its share of validations, samples and checkpoints."""


def paced_runs() -> list[PacedRun]:
    """The runs of the home that tell how long a step takes here, the newest first. Reads two small files of each."""
    found = []
    for run in all_runs():
        try:
            state = read_state(run)
            if state is None or state.host != socket.gethostname() or effective_status(run, state) != "finished":
                continue
            seconds, steps = float(state.latest["seconds"]), int(state.latest["train"]["step"])
            if steps >= _LEAST_STEPS and seconds >= _LEAST_SECONDS:
                shape = shape_of(parse_config(read_json(run.config), ""))
                found.append((state.heartbeat, PacedRun(run.address, shape, seconds / steps)))
        except (UserError, KeyError, TypeError, ValueError):  # a damaged run, or one of an older form
            continue
    return [run for _, run in sorted(found, key=lambda pair: -pair[0])]


def shape_of(config: RunConfig) -> Any:
    """What decides the work of a step, and how often it is interrupted."""
    train = config.train
    model = config.model.model_dump(exclude={"max_position_embeddings", "initializer_range"})
    numbers = (train.batch_size, train.grad_accum_steps, train.optimizer, train.gradient_checkpointing)
    between = (train.eval_every, train.sample_every) if config.method == "pretrain" else ()
    lora = config.lora.model_dump() if config.lora is not None else None
    return (config.method, model, config.data.max_seq_len, numbers, between, lora)


@dataclass(frozen=True)
class Pace:
    """How long a run takes, and how that is known."""

    cost: Cost
    source: str
    """In words: "as run X took", "measured on this machine", "a guess"."""


def pace(config: RunConfig, speed: Speed, runs: Sequence[PacedRun] = (), val_tokens: int = 0) -> Pace:
    """What a step of `config` takes: as long as it took in a run of the same shape, else by the machine's speed.

    Args:
        config: with the size of the vocabulary.
        speed: of the machine.
        runs: from `paced_runs`.
        val_tokens: of the validation split.
    """
    shape = shape_of(config)
    for run in runs:
        if run.shape == shape:
            return Pace(Cost(run.seconds, 0.0, 0.0), f"as run {run.name} took")
    return Pace(speed.cost(config, val_tokens), "measured on this machine" if speed.measured else "a guess")


def busy_runs() -> list[RunDirectory]:
    """Runs that are being trained now, which slows a measurement down."""
    found = []
    for run in all_runs():
        try:
            if effective_status(run) in ("starting", "running"):
                found.append(run)
        except UserError:
            continue
    return found
