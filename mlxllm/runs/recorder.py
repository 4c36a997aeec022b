"""The trainer's pen: one call writes an event, keeps the newest numbers and beats the heart in state.json."""

import os
import time
from collections.abc import Mapping
from typing import Any

from mlxllm.errors import DivergedError, OutOfMemoryError, RunError, UserError
from mlxllm.runs.control import ControlInbox
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.events import Event, EventWriter, truncate_after
from mlxllm.runs.state import RunState, StateWriter, Status, read_launch, read_state
from mlxllm.runs.summary import count_events


class Recorder:
    """Records one attempt of a run, from `run_started` to `run_finished`. Use it inside `run.lock()`:

        with run.lock(), Recorder(run, step=first_step, max_steps=n, about={...}) as recorder:
            recorder.write("train", step=1, loss=..., tokens=...)
            ...
            recorder.finish("finished")

    A block left by an exception without `finish` ends the run as diverged, out_of_memory, stopped (Ctrl-C) or
    crashed, with the exception's text as the reason.

    Args:
        run: the run; its folder exists.
        step: the step of the checkpoint that this attempt goes on from, 0 for a fresh start. Events after it
            are moved away: those steps are done again.
        max_steps: where the run finishes, if that is known yet.
        about: see `summary.ABOUT_KEYS`; `created` is looked after here.
        fields: more fields for the `run_started` event.

    Attributes:
        inbox: the requests to this trainer; those left from a dead one are dropped.
        state: what state.json says or is about to say.
        started: the `run_started` event.
    """

    def __init__(
        self,
        run: RunDirectory,
        *,
        step: int,
        max_steps: int | None,
        about: Mapping[str, Any],
        **fields: Any,
    ) -> None:
        previous = _previous_state(run)
        created = (previous.about.get("created") if previous else None) or round(time.time(), 3)
        attempt = previous.attempt + 1 if previous else 1
        about = {**about, "created": created}
        # Of a trainer killed in the middle of a write. Only its own files: launch.json is another's.
        for left_over in run.path.glob(f".{run.state.name}.*.tmp"):
            left_over.unlink(missing_ok=True)
        self.inbox = ControlInbox(run)
        self.inbox.clear(_meant_since(run))
        # What stands at the checkpoint's own step was said before it was saved; a start at 0 says all again.
        truncate_after(run.events, step if step > 0 else -1, run.superseded_events)
        self._latest = count_events(run.events)
        self._finished = False
        self._state = StateWriter(
            run,
            RunState(step=step, max_steps=max_steps, attempt=attempt, about=about, latest=self._latest.as_dict()),
        )
        self._events = EventWriter(run.events)
        self.started = self.write("run_started", step, max_steps=max_steps, attempt=attempt, **{**about, **fields})

    @property
    def state(self) -> RunState:
        return self._state.state

    def write(self, kind: str, step: int | None = None, **fields: Any) -> Event:
        """Write an event (see `EventWriter.write`) and bring state.json up to date; returns the event.

        `train` moves the step on and turns "starting" into "running"; `paused` and `resumed` set the status.

        Raises:
            RunError: the disk is full or the run's files cannot be written.
        """
        event = self._events.write(kind, step, **fields)
        self._latest.add(event)
        changes: dict[str, Any] = {"latest": self._latest.as_dict()}
        if step is not None:
            changes["step"] = step
        if kind == "paused":
            changes["status"] = "paused"
        elif kind == "resumed" or (kind == "train" and self.state.status == "starting"):
            changes["status"] = "running"
        self._state.update(**changes)
        return event

    def update(self, **changes: Any) -> None:
        """Change other fields of the state (`max_steps`, `status="stopping"`); without any, the heartbeat."""
        self._state.update(**changes)

    def flush(self) -> None:
        """Hand waiting `train` events to the system: before a checkpoint is written and before slow work."""
        self._events.flush()

    def finish(self, status: Status, reason: str | None = None, **fields: Any) -> Event:
        """Write `run_finished` and the final state: the last words of this attempt.

        Args:
            status: finished, stopped, diverged, out_of_memory or crashed.
            reason: one sentence for people.
            fields: more fields for the event.
        """
        self._finished = True
        fields = {"status": status, "reason": reason, **fields}
        event = self._events.write("run_finished", self.state.step, **fields)
        self._latest.add(event)
        self._state.update(status=status, exit_reason=reason, latest=self._latest.as_dict(), now=True)
        self._events.close()
        return event

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if self._finished:
            return
        try:
            self.finish(*_ending(error))
        except UserError:
            # The disk that ended the run may refuse its last words too; the first error is the one to tell.
            if error is None:
                raise


def _ending(error: BaseException | None) -> tuple[Status, str]:
    reason = str(error) or type(error).__name__
    if error is None:
        return "crashed", "the trainer left without saying why"
    if isinstance(error, DivergedError):
        return "diverged", reason
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return "out_of_memory", reason
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "stopped", "interrupted"
    return "crashed", reason if isinstance(error, UserError) else f"{type(error).__name__}: {reason}"


def _previous_state(run: RunDirectory) -> RunState | None:
    try:
        return read_state(run)
    except RunError:
        return None  # damaged by a power cut: the checkpoints are what counts, and the state is written anew


def _meant_since(run: RunDirectory) -> float | None:
    """From when on requests are for this process: it could be stopped as soon as it was launched."""
    launch = read_launch(run)
    return launch.started if launch is not None and launch.pid == os.getpid() else None
