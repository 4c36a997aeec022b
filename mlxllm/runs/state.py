"""state.json: where a run stands; the trainer replaces it about once a second, everyone reads it."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from mlxllm.errors import RunError, UserError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.events import strict_json
from mlxllm.runs.files import read_json, write_json_atomic

Status = Literal[
    "starting", "running", "paused", "stopping", "finished", "stopped", "crashed", "diverged", "out_of_memory"
]
STATUSES: frozenset[str] = frozenset(get_args(Status))
ACTIVE: frozenset[str] = frozenset({"starting", "running", "paused", "stopping"})
"""A trainer is there, or is said to be."""

STALE_SECONDS = 120.0
"""A heartbeat older than this is a dead trainer, where only the heartbeat can tell (another machine's
run)."""

_HEARTBEAT_SECONDS = 1.0

_STATE_TYPES: dict[str, Any] = {
    "status": str,
    "pid": int,
    "host": str,
    "started": (int, float),
    "heartbeat": (int, float),
    "step": int,
    "max_steps": (int, type(None)),
    "attempt": int,
    "exit_reason": (str, type(None)),
    "about": dict,
    "latest": dict,
}


@dataclass(frozen=True)
class RunState:
    """What state.json holds."""

    status: Status = "starting"
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    started: float = field(default_factory=time.time)
    """When this attempt began, unix seconds."""
    heartbeat: float = field(default_factory=time.time)
    """When this file was last written, unix seconds."""
    step: int = 0
    """Updates done."""
    max_steps: int | None = None
    """The step at which the run finishes; None until it is known (`--minutes`)."""
    attempt: int = 1
    """1 for the first trainer of this run, one more for each resume."""
    exit_reason: str | None = None
    """Why an ended run ended, in one sentence."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the run is and does not change: see `summary.ABOUT_KEYS`."""
    latest: dict[str, Any] = field(default_factory=dict)
    """The newest and best numbers, so that a list of runs reads no events: `summary.Latest.as_dict`."""

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE


def read_state(run: RunDirectory) -> RunState | None:
    """The state as last written, or None where there is none yet. Unknown keys are passed over.

    Raises:
        RunError: the file is damaged.
    """
    if not run.state.exists():
        return None
    try:
        raw: dict[str, Any] = read_json(run.state)
        for key, types in _STATE_TYPES.items():
            if not isinstance(raw.get(key), types):
                raise ValueError(f"{key} is {raw.get(key)!r}")
        if raw["status"] not in STATUSES:
            raise ValueError(f"status is {raw['status']!r}")
        known = {f.name for f in fields(RunState)}
        state = RunState(**{key: value for key, value in raw.items() if key in known})
        return replace(state, started=float(state.started), heartbeat=float(state.heartbeat))
    except (UserError, AttributeError, TypeError, ValueError) as error:
        raise RunError(
            f"the state of run {run.name!r} is damaged ({error}); "
            f"delete {run.state} and continue from the last checkpoint with `mlxllm resume {run.address}`"
        ) from None


def write_state(run: RunDirectory, state: RunState, *, durable: bool = True) -> None:
    """Replace state.json. Non-finite numbers become null."""
    write_json_atomic(run.state, strict_json(asdict(state)), durable=durable)


class StateWriter:
    """The trainer's hold on state.json: call `update` every step, it writes about once a second."""

    def __init__(self, run: RunDirectory, state: RunState) -> None:
        self.run = run
        self.state = state
        self._written = 0.0
        self.update(now=True)

    def update(self, *, now: bool = False, **changes: Any) -> None:
        """Change fields of the state. A new status is on the disk on return; anything else within a second or
        so.

        Args:
            now: write at once.
            changes: fields of `RunState`.
        """
        important = now or changes.get("status", self.state.status) != self.state.status
        self.state = replace(self.state, **{"heartbeat": time.time(), **changes})
        if important or time.monotonic() - self._written >= _HEARTBEAT_SECONDS:
            write_state(self.run, self.state, durable=important)
            self._written = time.monotonic()


def pid_alive(pid: int) -> bool:
    """Whether this machine has a process `pid` (perhaps another one that got the number later)."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def effective_status(run: RunDirectory, state: RunState | None = None) -> Status:
    """What a reader shows: the written status, or "crashed" where it says active and no trainer is there.

    The lock decides wherever it can. A free lock on this host means that the trainer is gone, also when its
    pid has been given to another process. Where the state was written under another host name (another
    machine, or a Mac that changed networks), the age of the heartbeat decides.

    Args:
        run: the run.
        state: its state if just read.

    Raises:
        RunError: state.json is damaged.
    """
    state = read_state(run) if state is None else state
    status = _judge(run, state)
    if status == "crashed" and (fresh := read_state(run)) != state:
        # A trainer that said its last words and left between the two looks has not crashed.
        status = _judge(run, fresh)
    return status


def _judge(run: RunDirectory, state: RunState | None) -> Status:
    locked = run.is_locked()
    launch = read_launch(run)
    launched = launch.started if launch is not None and launch.is_alive() else 0.0
    if not locked and launched > (state.started if state is not None else 0.0):
        # A detached trainer that has not come as far as its own state. One that is dead on arrival changes
        # nothing: what an earlier attempt reached still stands.
        return "starting"
    if state is None:
        return "starting" if locked else "crashed"
    if not state.is_active:
        # A resumed trainer holds the lock for a moment before it says "starting" itself.
        return "starting" if locked and not pid_alive(state.pid) else state.status
    if locked:
        return state.status
    if state.host == socket.gethostname():
        alive = locked is None and pid_alive(state.pid)
    else:
        alive = time.time() - state.heartbeat < STALE_SECONDS
    return state.status if alive else "crashed"


@dataclass(frozen=True)
class Launch:
    """What launch.json holds: a detached start, written by the process that started the trainer."""

    pid: int
    host: str
    started: float
    argv: list[str]
    log_offset: int = 0
    """Where in log.txt this attempt's output begins."""
    returncode: int | None = None
    """How it ended, if whoever started it was still there to see; negative for a signal."""

    def is_alive(self) -> bool:
        if self.returncode is not None:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.started < STALE_SECONDS
        return pid_alive(self.pid)


def read_launch(run: RunDirectory) -> Launch | None:
    """The last detached start; None where there was none (or its note is damaged: it is only a hint)."""
    try:
        raw: Mapping[str, Any] = read_json(run.launch)
        return Launch(**{f.name: raw[f.name] for f in fields(Launch) if f.name in raw})
    except (UserError, TypeError, AttributeError):
        return None


def write_launch(run: RunDirectory, launch: Launch) -> None:
    """Replace launch.json."""
    write_json_atomic(run.launch, asdict(launch))
