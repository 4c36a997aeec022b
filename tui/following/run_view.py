"""What is known of a run at one moment, as values that never change: widgets read it while a worker reads on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxllm.runs import ACTIVE, ExitReport, Probe, RunState
from tui.following.series import SeriesView


@dataclass(frozen=True)
class Sample:
    """What the model wrote at a step."""

    step: int
    prompt: str
    text: str
    request: str | None = None
    """Whose question it answers; None for a sample that the trainer makes by itself."""
    error: str | None = None
    """Why there is no answer."""


@dataclass(frozen=True)
class Note:
    """Something that happened, in words."""

    time: float | None
    """Unix seconds."""
    kind: str
    """Of the event."""
    text: str


@dataclass(frozen=True)
class Alert:
    """Something that somebody should know now."""

    kind: str
    """gone, stall, disk, spike, non-finite."""
    text: str
    urgent: bool
    """Training does not go on, or will not for long."""


@dataclass(frozen=True)
class RunView:
    """A run as it is now."""

    name: str
    address: str
    """What to type for it."""
    status: str = "starting"
    """A `runs.Status`, "damaged" where state.json cannot be read, "missing" where the folder is gone."""
    trouble: str = ""
    """The sentence for damaged and missing."""
    state: RunState | None = None
    report: ExitReport | None = None
    """How it ended, once it has."""
    train: Mapping[str, SeriesView] = field(default_factory=dict)
    """Of `train` events, by key: loss, learning_rate, grad_norm, tok_per_sec, peak_memory, footprint, rewards/..."""
    val: Mapping[str, SeriesView] = field(default_factory=dict)
    """Of `val` events: loss, bits_per_byte, rewards/..."""
    val_sources: Mapping[str, float | None] = field(default_factory=dict)
    """Bits per byte of each source at the newest validation, where there are several."""
    probe: Probe | None = None
    """The held-out passage whose tokens are watched, with their losses so far."""
    samples: tuple[Sample, ...] = ()
    notes: tuple[Note, ...] = ()
    """Everything but steps, the oldest first."""
    log: str = ""
    """The end of log.txt."""
    checkpoints: tuple[int, ...] = ()
    """Steps of the checkpoints that were said to be saved in this run, in order."""
    attempts: int = 0
    step: int = 0
    max_steps: int | None = None
    seconds: float = 0.0
    """Training time of all attempts, pauses left out."""
    eta_seconds: float | None = None
    alerts: tuple[Alert, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the run is: see `runs.ABOUT_KEYS`."""
    generation: int = 0
    """Raised when the events began anew: whatever was kept of earlier ones is void."""
    complete: bool = False
    """Whether everything that is in the file has been read."""

    @property
    def active(self) -> bool:
        """Whether a trainer is there."""
        return self.status in ACTIVE

    @property
    def steps_logged(self) -> int:
        """How many steps are known."""
        return len(self.train["loss"]) if "loss" in self.train else 0

    def latest(self, key: str) -> float | None:
        """The newest number of `train` events under `key`; None where it is not finite or not there."""
        series = self.train.get(key)
        if series is None or not len(series):
            return None
        value = float(series.values[-1])
        return value if value == value else None
