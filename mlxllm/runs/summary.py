"""One run in one row: what `mlxllm runs ls` and `show` print, without reading events where the trainer keeps
count.

The trainer (through `Recorder`) keeps the newest numbers in state.json under `latest` and what the run is
under `about`. A run without them is summarised from its events (`count_events`).
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlxllm.errors import RunError
from mlxllm.runs.directory import RunDirectory, all_runs
from mlxllm.runs.events import TRAIN_LINE, Event, parse_line
from mlxllm.runs.state import effective_status, read_launch, read_state

ABOUT_KEYS = ("method", "preset", "model", "dataset", "tokenizer", "parameters", "trained_parameters", "created")
"""What a run is: method (pretrain, sft or dpo), preset name, the model it started from, dataset and tokenizer
names, parameters of the model and those that are trained, unix seconds of the first start. They stand in
`RunState.about` and in `run_started` events. A run of an older version lacks `trained_parameters`, and where it trained
an adapter, `parameters` are the adapter's."""

Numbers = dict[str, float | None]
"""Numeric fields of one event; None stands for NaN or an infinity."""


def bits_by_source(val: Mapping[str, Any]) -> dict[str, float | None]:
    """Bits per byte of each source in a `val` event; empty where all of the validation is of one source."""
    scores = val.get("sources")
    if not isinstance(scores, Mapping) or len(scores) < 2:
        return {}
    told = {str(name): score.get("bits_per_byte") for name, score in scores.items() if isinstance(score, Mapping)}
    return {name: _number(bits) for name, bits in told.items()}


class Latest:
    """The newest and the best numbers of a run, kept by looking at each event once, in order."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {}
        self.train: Numbers = {}
        self.val: Numbers = {}
        self.best_val: Numbers = {}
        self.val_sources: Numbers = {}
        self.seconds = 0.0
        self._previous: float | None = None

    def add(self, event: Event) -> None:
        kind, time = event["kind"], event.get("time")
        if isinstance(time, (int, float)):
            # Time between attempts and time on pause are not training time.
            if self._previous is not None and kind not in ("run_started", "resumed"):
                self.seconds += max(0.0, time - self._previous)
            self._previous = time
        if kind == "train":
            self.train = _numbers(event)
        elif kind == "val":
            self.val, self.val_sources = _numbers(event), bits_by_source(event)
            loss, best = self.val.get("loss"), self.best_val.get("loss")
            if loss is not None and (best is None or loss <= best):
                self.best_val = self.val
        elif kind == "run_started":
            self.about = {key: event[key] for key in ABOUT_KEYS if event.get(key) is not None}

    def as_dict(self) -> dict[str, Any]:
        """What goes under `latest` in state.json.

        `train`: the numbers of the last `train` event (`step`, `loss`, `tokens`, `tok_per_sec`, ...); `val`
        and `best_val`: those of the last and of the lowest-loss `val` event (`step`, `loss`, `bits_per_byte`,
        ...); `val_sources`: bits per byte of each source at the last `val` event, where there are several;
        `seconds`: time spent in all attempts, pauses left out.
        """
        return {
            "train": self.train,
            "val": self.val,
            "best_val": self.best_val,
            "val_sources": self.val_sources,
            "seconds": round(self.seconds, 3),
        }


def count_events(path: Path) -> Latest:
    """The numbers of a whole events.jsonl; empty where there is none.

    Of `train` events in a row only the last is parsed: the numbers come from it, and the times between add up
    to the same. 100,000 events take a tenth of a second or so.

    Raises:
        RunError: the file cannot be read.
    """
    latest = Latest()
    held = b""
    try:
        with open(path, "rb") as file:
            for line in file:
                if line.startswith(TRAIN_LINE) and line.endswith(b"\n"):
                    held = line
                    continue
                for raw in (held, line):
                    if (event := parse_line(raw)) is not None:
                        latest.add(event)
                held = b""
    except FileNotFoundError:
        return latest
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if (event := parse_line(held)) is not None:
        latest.add(event)
    return latest


def _numbers(event: Event) -> Numbers:
    return {
        key: value
        for key, value in event.items()
        if key != "time" and isinstance(value, (int, float, type(None))) and not isinstance(value, bool)
    }


@dataclass(frozen=True)
class RunSummary:
    """One run. None is "not known (yet)"."""

    name: str
    path: str
    status: str
    """A `state.Status`, or "damaged" where state.json cannot be read."""
    step: int = 0
    max_steps: int | None = None
    train_loss: float | None = None
    """Of the last update: nats a token, or of a pair with preferences."""
    rewards: Mapping[str, float | None] | None = None
    """With preferences: the `rewards/...` of the last update."""
    val: Mapping[str, float | None] | None = None
    """`step`, `loss`, `bits_per_byte`, and with preferences `rewards/...`, of the last validation."""
    best_val: Mapping[str, float | None] | None = None
    val_sources: Mapping[str, float | None] | None = None
    """Bits per byte of each source at the last validation, where there are several."""
    tokens: int | None = None
    """Tokens trained on."""
    tok_per_sec: float | None = None
    seconds: float = 0.0
    """Training time of all attempts together."""
    eta_seconds: float | None = None
    """For an active run, from its own average so far."""
    method: str | None = None
    preset: str | None = None
    model: str | None = None
    dataset: str | None = None
    tokenizer: str | None = None
    parameters: int | None = None
    """Of the model."""
    trained_parameters: int | None = None
    """Fewer where an adapter is trained; None is "as many", or not known."""
    created: float | None = None
    """Unix seconds."""
    heartbeat: float | None = None
    pid: int | None = None
    host: str | None = None
    attempt: int = 1
    exit_reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(run: RunDirectory) -> RunSummary:
    """The run's summary.

    Raises:
        RunError: state.json or events.jsonl cannot be read.
    """
    state = read_state(run)
    status = effective_status(run, state)
    if state is not None and status != state.status:
        state = read_state(run)  # the run may have ended between the two looks
    about = dict(state.about) if state is not None else {}
    latest = dict(state.latest) if state is not None else {}
    if not latest:
        counted = count_events(run.events)
        latest, about = counted.as_dict(), {**counted.about, **about}
    train, val, best, sources = (_block(latest, key) for key in ("train", "val", "best_val", "val_sources"))
    step = max(state.step if state is not None else 0, int(train.get("step") or 0))
    max_steps = state.max_steps if state is not None else None
    seconds = _number(latest.get("seconds")) or 0.0
    tokens = _number(train.get("tokens"))
    launch = read_launch(run)
    started = state.started if state is not None else launch.started if launch is not None else None
    return RunSummary(
        name=run.name,
        path=os.path.abspath(run.path),
        status=status,
        step=step,
        max_steps=max_steps,
        train_loss=_number(train.get("loss")),
        rewards={key: value for key, value in train.items() if key.startswith("rewards/")} or None,
        val=val or None,
        best_val=best or None,
        val_sources=sources or None,
        tokens=int(tokens) if tokens is not None else None,
        tok_per_sec=_number(train.get("tok_per_sec")),
        seconds=seconds,
        eta_seconds=_eta(train, step, max_steps, seconds) if status in ("running", "paused") else None,
        **{key: about.get(key) for key in ABOUT_KEYS if key != "created"},
        created=_number(about.get("created")) or started,
        heartbeat=state.heartbeat if state is not None else None,
        pid=state.pid if state is not None else launch.pid if launch is not None else None,
        host=state.host if state is not None else launch.host if launch is not None else None,
        attempt=state.attempt if state is not None else 1,
        exit_reason=state.exit_reason if state is not None and status == state.status else None,
    )


def list_runs() -> list[RunSummary]:
    """All runs of `<home>/runs`, the newest first. A damaged one is listed as such and hides no other."""
    found = [summarise_anyhow(run) for run in all_runs()]
    return sorted(found, key=lambda s: (-(s.created or 0.0), s.name))


def summarise_anyhow(run: RunDirectory) -> RunSummary:
    """The run's summary; of one that cannot be read its name and what is wrong with it."""
    try:
        return summarise(run)
    except RunError as error:
        return RunSummary(run.name, str(Path(run.path).absolute()), "damaged", exit_reason=str(error))


def _block(latest: Mapping[str, Any], key: str) -> Numbers:
    value = latest.get(key)
    return dict(value) if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _eta(train: Mapping[str, float | None], step: int, max_steps: int | None, seconds: float) -> float | None:
    given = _number(train.get("eta_seconds"))
    if given is not None:
        return given
    if max_steps is None or step <= 0:
        return None
    return round(max(0, max_steps - step) * seconds / step, 1)
