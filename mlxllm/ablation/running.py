"""Training the runs of an ablation, each by a process of our own `train`, one after the other; and looking before.

Nothing here uses MLX: a process that has used it cannot start others safely on macOS.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

from mlxllm import paths
from mlxllm.ablation.record import (
    Ablation,
    Outcome,
    Point,
    held,
    read_ablation,
    run_config,
    run_name,
    run_settings,
    write_ablation,
)
from mlxllm.budget import Cost
from mlxllm.config import RunConfig
from mlxllm.errors import EXIT_USAGE, ConfigError, RunError, UserError
from mlxllm.runs import (
    ACTIVE,
    Event,
    RunDirectory,
    differences,
    effective_status,
    explain,
    read_config,
    read_events,
    read_settings,
    read_state,
    request,
    start_detached,
)

_LOOK_SECONDS = 0.2
_FILLED_IN = ("model.vocab_size", "train.lanes", "train.compute_dtype", "data.dataset", "preset")
"""Settings that are only known once a run starts."""


@dataclass(frozen=True)
class Beforehand:
    """What was found out before the first run."""

    tokens_per_step: int
    fingerprint: str
    """Of the data."""
    parameters: Mapping[str, int]
    """By variant, with the vocabulary of the data."""
    cost: Cost | None
    """Of the base, where it was timed."""


@dataclass(frozen=True)
class Doing:
    """Which run is being trained, and how far it is."""

    number: int
    """From 1."""
    count: int
    variant: str
    seed: int
    run: RunDirectory
    step: int
    max_steps: int
    outcome: Outcome | None = None
    """Set once, when it has come out."""


Watch = Callable[[Doing], None]


def look_before(configs: Mapping[str, RunConfig], *, timed: str | None, device: str | None) -> Beforehand:
    """Check every configuration as training would, and time a few steps of one.

    Args:
        configs: by the name of their variant; the first is the base.
        timed: the name of the one whose speed is to be measured.
        device: cpu or gpu, None for the GPU if there is one.

    Raises:
        ConfigError, UserError: one cannot be trained; the message names it.
    """
    raw = {name: config.model_dump(mode="json") for name, config in configs.items()}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlxllm.training.beforehand"],
        input=json.dumps({"configs": raw, "timed": timed, "device": device}),
        capture_output=True,
        text=True,
        close_fds=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"the variants could not be looked at before training ({said}); try a smaller model")
    found: dict[str, Any] = json.loads(lines[-1])
    if "error" in found:
        kind = ConfigError if found["exit_code"] == EXIT_USAGE else UserError
        raise kind(f"variant {found['name']!r}: {found['error']}" if found["name"] else found["error"])
    cost = Cost(found["cost"]["step"], found["cost"]["validation"], 0.0) if timed is not None else None
    return Beforehand(found["tokens_per_step"], found["fingerprint"], found["parameters"], cost)


def train_all(name: str, watch: Watch, device: str | None = None) -> Ablation:
    """Train what is left of an ablation; each run's outcome is kept as soon as it is there.

    One seed after the other, so that the first comparisons are there early. A run that is there is taken as it is, one that
    broke off is resumed, one that somebody trains already is waited for.

    Raises:
        RunError: another process does that already; a run of one of these names is another one, was stopped, or failed in
            another way than by diverging.
    """
    with held(name):
        ablation = read_ablation(name)
        wanted = list(product(ablation.seeds, (variant.name for variant in ablation.variants)))
        for number, (seed, variant) in enumerate(wanted, 1):
            if ablation.outcome(variant, seed) is not None:
                continue
            run = RunDirectory(paths.folder("runs") / run_name(name, variant, seed))
            doing = Doing(number, len(wanted), variant, seed, run, 0, ablation.steps)
            _see_through(ablation, doing, watch, device)
            _check_data(ablation, run)
            outcome = _outcome(doing)
            ablation = ablation.model_copy(update={"outcomes": (*ablation.outcomes, outcome)})
            write_ablation(name, ablation)
            watch(_now(doing, outcome))
        return ablation


def _see_through(ablation: Ablation, doing: Doing, watch: Watch, device: str | None) -> None:
    """Have a run come to its end, whatever is there of it already."""
    run = doing.run
    status = effective_status(run) if run.is_run else "crashed"
    if run.config.exists():
        _check_same(ablation, doing)
    process = None
    if status not in (*ACTIVE, "finished", "diverged"):
        process = start_detached(_command(ablation, doing, device), run)
    try:
        while process.poll() is None if process is not None else effective_status(run) in ACTIVE:
            watch(_now(doing))
            time.sleep(_LOOK_SECONDS)
    except BaseException:
        _stop(run, process)
        raise
    # The trainer of somebody else may still be about to leave.
    while run.is_locked():
        time.sleep(_LOOK_SECONDS)
    report = explain(run, process.returncode if process is not None else None)
    if report.reason not in ("finished", "diverged"):
        raise RunError(
            f"run {run.name!r} did not come to its end: {report.sentence}; the same command goes on with it, and "
            f"`mlxllm runs show {run.address}` tells more"
        )


def _command(ablation: Ablation, doing: Doing, device: str | None) -> list[str]:
    # -P: a file of the working folder, such as a random.py, must not stand in for a module of the library.
    program = [sys.executable, "-P", "-m", "mlxllm"]
    where = ["--device", device] if device is not None else []
    if doing.run.config.exists():
        return [*program, "resume", doing.run.address, *where]
    settings = run_settings(ablation, doing.variant, doing.seed)
    options = ["--preset", ablation.preset, "--data", ablation.dataset, "--run", doing.run.name]
    return [*program, "train", *options, *(arg for each in settings for arg in ("--set", each)), *where]


def _stop(run: RunDirectory, process: "subprocess.Popen[bytes] | None") -> None:
    """Have the trainer save and end before whoever watches it leaves."""
    if process is None:
        with suppress(UserError):
            request(run, "stop")
    elif process.poll() is None:
        process.send_signal(signal.SIGINT)
    while process.poll() is None if process is not None else effective_status(run) in ACTIVE:
        time.sleep(_LOOK_SECONDS)


def _check_same(ablation: Ablation, doing: Doing) -> None:
    """Refuse a run that has the name of one of ours and is another one."""
    wanted = run_config(ablation, doing.variant, doing.seed).model_dump(mode="json")
    different = differences([wanted, read_config(doing.run)])
    if keys := [key for key in different if key not in _FILLED_IN]:
        raise RunError(
            f"run {doing.run.name!r} is there with other settings ({', '.join(keys[:5])}) than this ablation's; rename it "
            f"with `mlxllm runs rename`, or give the ablation another --name"
        )


def _check_data(ablation: Ablation, run: RunDirectory) -> None:
    """Refuse what a run came to on other data than the runs before it: the dataset was built anew meanwhile."""
    known = read_settings([run])[0].get("data", {}).get("fingerprint")
    if known and ablation.data_fingerprint and known != ablation.data_fingerprint:
        raise RunError(
            f"run {run.name!r} was not trained on what dataset {ablation.dataset!r} held when this ablation was begun "
            f"(fingerprint {ablation.data_fingerprint[:12]} -> {known[:12]}); make the dataset as it was and remove this run "
            f"with `mlxllm runs rm {run.address}`, or begin another ablation"
        )


def _now(doing: Doing, outcome: Outcome | None = None) -> Doing:
    state = None
    with suppress(UserError):
        state = read_state(doing.run)
    step = state.step if state is not None else 0
    return Doing(doing.number, doing.count, doing.variant, doing.seed, doing.run, step, doing.max_steps, outcome)


def _outcome(doing: Doing) -> Outcome:
    events = read_events(doing.run.events)
    points = [
        Point(step=e["step"], loss=e.get("loss"), bits_per_byte=e.get("bits_per_byte"))
        for e in events
        if e["kind"] == "val"
    ]
    finished = effective_status(doing.run) == "finished"
    return Outcome(
        variant=doing.variant,
        seed=doing.seed,
        run=doing.run.name,
        status="finished" if finished and points and points[-1].loss is not None else "diverged",
        step=points[-1].step if points else 0,
        validations=tuple(points),
        seconds_per_step=seconds_per_step(events),
    )


def seconds_per_step(events: Sequence[Event]) -> float | None:
    """What a step took, from the times of a run's events; None where there is no step in them.

    The median of the stretches between validations and the like, so that those do not count, and neither does what else the
    machine was doing for a while. The first stretch of an attempt has the compiling in it, and counts only where there is no
    other.
    """
    first: list[float] = []
    later: list[float] = []
    begun, steps, stretches = None, 0, first
    for event in [*events, {"kind": "end", "time": None}]:
        if event["kind"] == "train":
            steps, ended = steps + 1, event["time"]
            continue
        if steps and begun is not None:
            stretches.append((ended - begun) / steps)
            stretches = later
        if event["kind"] == "run_started":
            stretches = first
        begun, steps = event["time"], 0
    return median(later or first) if later or first else None
