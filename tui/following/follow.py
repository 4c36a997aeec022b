"""A run directory, followed: what is new is read and added up, and each look gives a view that never changes.

`RunFollower.poll` is called in a worker thread, by one at a time (a lock sees to it). What it returns, and leaves in
`view`, is made of frozen values and of arrays that are only ever appended to behind what was handed out, so any thread
may keep and read it without a lock.
"""

import contextlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlxllm.errors import RunError
from mlxllm.runs import (
    ABOUT_KEYS,
    ACTIVE,
    Event,
    EventReader,
    ExitReport,
    ProbeLog,
    RunDirectory,
    RunState,
    bits_by_source,
    effective_status,
    explain,
    log_tail,
    read_state,
)
from tui.following import alerts
from tui.following.event_numbers import Numbers, Table
from tui.following.event_words import in_words
from tui.following.run_view import Alert, Note, RunView, Sample
from tui.following.series import Array, numbers

TRAIN_KEYS = ("loss", "learning_rate", "grad_norm", "tok_per_sec", "peak_memory", "footprint")
VAL_KEYS = ("loss", "bits_per_byte")
_CHUNK_BYTES = 1 << 18
"""Parsed in one go, in a few milliseconds for which no other thread runs."""
_KEPT_SAMPLES = 5000
_KEPT_NOTES = 2000
_RATE_POINTS = 200
_USUAL_POINTS = 100
_DISK_SECONDS = 10.0
_EXPLAIN_SECONDS = 2.0
"""A return code may come to be known after the end."""
_BYTES_A_PARAMETER = 12
"""Of a checkpoint that has not been written yet: the weight and two moments in four bytes each."""


class RunFollower:
    """Reads a run as it grows, from its first event on.

    Attributes:
        run: the run.
        view: what the last `poll` found.
    """

    def __init__(self, run: RunDirectory, *, now: Callable[[], float] = time.time) -> None:
        """Nothing is read yet.

        Args:
            run: its folder need not exist yet.
            now: the clock, unix seconds.
        """
        self.run = run
        self._now = now
        self._lock = threading.Lock()
        self._reader = EventReader(run.events)
        self.view = RunView(run.name, run.address)
        self._disk_looked = 0.0
        self._disk: Alert | None = None
        self._log: tuple[tuple[int, float], str] = ((-1, 0.0), "")
        self._explained: ExitReport | None = None
        self._explained_at = 0.0
        self._begin()

    def _begin(self) -> None:
        """Forget all events."""
        self._train, self._val = Numbers(TRAIN_KEYS), Numbers(VAL_KEYS)
        self._samples: deque[Sample] = deque(maxlen=_KEPT_SAMPLES)
        self._notes: deque[Note] = deque(maxlen=_KEPT_NOTES)
        self._shown: tuple[tuple[Sample, ...], tuple[Note, ...]] = ((), ())
        self._checkpoints: list[int] = []
        self._val_sources: dict[str, float | None] = {}
        self._probes = ProbeLog()
        self._attempts = 0
        self._about: dict[str, Any] = {}
        self._spikes = alerts.SpikeWatch()
        self._seconds = 0.0
        self._previous: float | None = None
        self._paused = False
        self._tokens = 0.0
        self._times: deque[float] = deque(maxlen=_USUAL_POINTS)
        self._longest = 0.0

    def poll(self, budget: float = 0.25) -> RunView:
        """Read what is new, for about `budget` seconds at most; `complete` says whether that was all.

        Never raises: what cannot be read is said in the view.
        """
        with self._lock:
            trouble, complete = "", False
            until = time.monotonic() + budget
            try:
                while True:
                    offset, generation = self._reader.offset, self._reader.generation
                    events = self._reader.poll(_CHUNK_BYTES)
                    if self._reader.generation != generation:
                        self._begin()
                    if events:
                        self._add(events)
                    if (self._reader.offset, self._reader.generation) == (offset, generation):
                        complete = True
                        break
                    if time.monotonic() > until:
                        break
            except RunError as error:
                trouble, complete = str(error), True
            self.view = self._look(trouble, complete)
            return self.view

    # Events.

    def _add(self, events: list[Event]) -> None:
        kinds = [event["kind"] for event in events]
        train = [number for number, kind in enumerate(kinds) if kind == "train"]
        steps = events if len(train) == len(events) else [events[number] for number in train]
        others = [number for number, kind in enumerate(kinds) if kind != "train"] if steps is not events else []
        table = Table(steps) if steps else None
        times, tokens = np.full(len(events), np.nan), np.full(len(events), np.nan)
        if table is not None:
            times[train], tokens[train] = table.numbers("time"), table.numbers("tokens")
        times[others] = numbers([events[number].get("time") for number in others])
        elapsed = self._elapsed(times, kinds, others)
        tokens = np.fmax.accumulate(np.concatenate(([self._tokens], tokens)))[1:]
        self._tokens = float(tokens[-1])
        if table is not None:
            self._train.add(table, tokens[train], elapsed[train])
            loss = self._train.series["loss"].view()
            self._spikes.add(loss.steps["step"][-len(steps) :], loss.values[-len(steps) :])
        for number in others:
            if kinds[number] == "val":
                self._val.add(Table([events[number]]), tokens[[number]], elapsed[[number]])
            self._add_other(events[number])

    def _add_other(self, event: Event) -> None:
        kind, at, step = event["kind"], event.get("time"), event.get("step")
        words = in_words(event)
        if words is not None:
            self._notes.append(Note(at if isinstance(at, (int, float)) else None, kind, words))
        step = step if isinstance(step, int) else 0
        if kind == "sample":
            request, error = event.get("request"), event.get("error")
            self._samples.append(
                Sample(
                    step,
                    str(event.get("prompt") or ""),
                    str(event.get("text") or ""),
                    str(request) if request else None,
                    str(error) if error else None,
                )
            )
        elif kind == "val":
            self._val_sources = bits_by_source(event)
        elif kind == "probe":
            self._probes.add(event)
        elif kind == "checkpoint_saved":
            self._checkpoints.append(step)
        elif kind == "run_started":
            self._attempts += 1
            self._about = {key: event[key] for key in ABOUT_KEYS if event.get(key) is not None}

    def _elapsed(self, times: Array, kinds: list[str], others: list[int]) -> Array:
        """Seconds of training at each event; time between attempts and on pause does not count.

        Args:
            times: of new events.
            kinds: theirs.
            others: the places of those that are no steps.
        """
        known = ~np.isnan(times)
        passed = np.zeros(len(times))
        when = times[known]
        if len(when):
            first = when[0] if self._previous is None else self._previous
            passed[known] = np.maximum(0.0, np.diff(when, prepend=first))
            self._previous = float(when[-1])
        start = held = 0
        for number in others:
            if kinds[number] == "paused" and not self._paused:
                self._paused, held = True, number + 1
            elif kinds[number] in ("run_started", "resumed"):
                # A paused trainer still answers and saves, but does not train.
                passed[held if self._paused else number : number + 1] = 0.0
                self._paused = False
            if kinds[number] == "run_started":  # how fast an earlier attempt was, perhaps elsewhere, says nothing
                start = number
                self._times.clear()
                self._longest = 0.0
        if self._paused:
            passed[held:] = 0.0
        self._longest = max(self._longest, float(passed[start:].max()))
        self._times.extend(times[start:][known[start:]][-_USUAL_POINTS:].tolist())
        found: Array = self._seconds + np.cumsum(passed)
        self._seconds = float(found[-1])
        return found

    # The rest of the folder.

    def _look(self, trouble: str, complete: bool) -> RunView:
        state, status, damage = self._status()
        trouble = damage or trouble
        if trouble and status != "missing":
            status = "damaged"
        train, val = self._train.views(), self._val.views()
        samples, notes = self._lists()
        seen = self._train.steps.view()["step"]
        step = max(state.step if state is not None else 0, int(seen[-1]) if len(seen) else 0)
        limit = state.max_steps if state is not None else None
        view = RunView(
            name=self.run.name,
            address=self.run.address,
            status=status,
            trouble=trouble,
            state=state,
            report=self._report(status),
            train=train,
            val=val,
            val_sources=self._val_sources,
            probe=self._probes.probe,
            samples=samples,
            notes=notes,
            log=self._log_text(),
            checkpoints=tuple(self._checkpoints),
            attempts=self._attempts,
            step=step,
            max_steps=limit,
            seconds=self._seconds,
            eta_seconds=self._eta(step, limit) if status in ("running", "paused", "stopping") else None,
            about=state.about if state is not None and state.about else self._about,
            generation=self._reader.generation,
            complete=complete,
        )
        return replace(view, alerts=tuple(self._alerts(view)))

    def _status(self) -> tuple[RunState | None, str, str]:
        """State, status, and the sentence about what is wrong with them."""
        if not self.run.path.is_dir():
            return (
                None,
                "missing",
                f"run {self.run.name!r} is not there: {self.run.path} does not exist; it was renamed or deleted",
            )
        try:
            state = read_state(self.run)
            status = effective_status(self.run, state)
            if state is not None and status != state.status:
                state = read_state(self.run)  # it may have ended between the two looks
                status = effective_status(self.run, state)
        except RunError as error:
            return None, "damaged", str(error)
        return state, status, ""

    def _report(self, status: str) -> ExitReport | None:
        """How it ended."""
        if status in ACTIVE or status in ("damaged", "missing"):
            self._explained = None
            return None
        if self._explained is None or time.monotonic() - self._explained_at > _EXPLAIN_SECONDS:
            self._explained, self._explained_at = explain(self.run), time.monotonic()
        return self._explained

    def _lists(self) -> tuple[tuple[Sample, ...], tuple[Note, ...]]:
        samples, notes = self._shown
        last = (samples[-1] if samples else None, notes[-1] if notes else None)
        now = (self._samples[-1] if self._samples else None, self._notes[-1] if self._notes else None)
        if last[0] is not now[0] or last[1] is not now[1]:
            self._shown = (tuple(self._samples), tuple(self._notes))
        return self._shown

    def _log_text(self) -> str:
        try:
            found = self.run.log.stat()
        except OSError:
            return ""
        key = (found.st_size, found.st_mtime)
        if self._log[0] != key:
            self._log = (key, log_tail(self.run))
        return self._log[1]

    def _eta(self, step: int, limit: int | None) -> float | None:
        places = self._train.steps.view()
        steps, seconds = places["step"][-_RATE_POINTS:], places["time"][-_RATE_POINTS:]
        if limit is None or len(steps) < 2 or steps[-1] == steps[0]:
            return None
        return float((seconds[-1] - seconds[0]) / (steps[-1] - steps[0]) * max(0, limit - step))

    def _alerts(self, view: RunView) -> list[Alert]:
        found: list[Alert | None] = []
        if view.status == "crashed" and view.state is not None and view.state.is_active and view.report is not None:
            found.append(Alert("gone", view.report.sentence, True))
        if view.active:
            if view.status == "running" and view.steps_logged and self._previous is not None:
                found.append(alerts.stall_alert(self._now() - self._previous, list(self._times), self._longest))
            found.append(self._disk_alert(view))
        loss = view.train.get("loss")
        if loss is not None and len(loss.gaps):
            last = int(loss.steps["step"][int(loss.gaps[-1])])
            found.append(alerts.nonfinite_alert(len(loss.gaps), last, view.step))
        found.append(alerts.spike_alert(self._spikes, view.step))
        return [alert for alert in found if alert is not None]

    def _disk_alert(self, view: RunView) -> Alert | None:
        if time.monotonic() - self._disk_looked < _DISK_SECONDS and self._disk_looked:
            return self._disk
        self._disk_looked = time.monotonic()
        with contextlib.suppress(OSError):
            size = _newest_checkpoint_bytes(self.run.checkpoints)
            if not size:
                parameters = view.about.get("trained_parameters", view.about.get("parameters"))
                size = _BYTES_A_PARAMETER * parameters if isinstance(parameters, int) else 0
            self._disk = alerts.disk_alert(shutil.disk_usage(self.run.path).free, size)
        return self._disk


def _newest_checkpoint_bytes(folder: Path) -> int:
    """The size of the newest checkpoint; 0 where there is none."""
    found = sorted(path for path in folder.glob("step-*") if path.is_dir())
    return sum(path.stat().st_size for path in found[-1].iterdir()) if found else 0
