"""Sending a run's events to services, from outside: the run directory is read, and the trainer knows nothing of it.

A service that hangs or crashes takes its own process with it and never the training. What has been sent is written down, so
that the next one goes on where the last one stopped, after a resume as well. Steps that a resume does again are not sent
again: services cannot take back a point.
"""

import fcntl
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mlxllm.errors import RunError, UserError
from mlxllm.report.services import SERVICES, Service, state_file
from mlxllm.runs import (
    ACTIVE,
    Event,
    EventReader,
    RunDirectory,
    effective_status,
    flat,
    read_json,
    run_settings,
    write_json_atomic,
)

LOG_FILE = "reporting/log.txt"
_SENT_KINDS = ("train", "val", "sample")
_NO_NUMBERS = frozenset({"kind", "time", "step", "non_finite", "sources"})
_POLL_SECONDS = 1.0
_POLL_BYTES = 1 << 20


class Forwarder:
    """Sends what is new to one service.

    Args:
        run: whose events.
        name: of the service.
    """

    def __init__(self, run: RunDirectory, name: str) -> None:
        self._run, self._name = run, name
        self._file = state_file(run, name)
        self._sent = _read_sent(self._file)

    def send(self, events: list[Event]) -> int:
        """Forward events that have not been; returns how many there were. What was sent is noted when they are out."""
        count = 0
        for event in events:
            kind, step = event["kind"], event.get("step")
            if kind not in _SENT_KINDS or not isinstance(step, int) or step <= self._sent.get(kind, -1):
                continue
            at = event.get("time")
            moment = float(at) if isinstance(at, (int, float)) else time.time()
            if kind == "sample":
                self._service.write(step, moment, "sample", f"{event.get('prompt', '')}{event.get('text', '')}")
            elif numbers := numbers_of(event):
                self._service.log(step, moment, numbers)
            self._sent[kind] = step
            count += 1
        if count:
            self._service.flush()
            write_json_atomic(self._file, self._sent)
        return count

    @cached_property
    def _service(self) -> Service:
        """Opened when there is something to send: to open one leaves traces."""
        return SERVICES[self._name](self._run, flat(run_settings(self._run)))

    def close(self) -> None:
        """Nothing more comes."""
        if "_service" in self.__dict__:
            self._service.close()


def numbers_of(event: Event) -> dict[str, float]:
    """The numbers of an event as `train/loss` or `val/web/bits_per_byte`; those that are not finite are left out."""
    kind = event["kind"]
    found = {f"{kind}/{key}": value for key, value in event.items() if key not in _NO_NUMBERS}
    sources = event.get("sources")
    for source, scores in sources.items() if isinstance(sources, Mapping) else ():
        found |= (
            {f"{kind}/{source}/{key}": value for key, value in scores.items()} if isinstance(scores, Mapping) else {}
        )
    return {key: float(value) for key, value in found.items() if _is_number(value)}


def forward(run: RunDirectory, name: str, *, follow: bool = False) -> int:
    """Send all that is new to a service.

    Args:
        run: whose events.
        name: of the service.
        follow: go on until the run has ended.

    Returns:
        How many events were sent.

    Raises:
        RunError: another process sends this run there.
    """
    with _alone(run, name, wait=follow):
        forwarder, reader, count = Forwarder(run, name), EventReader(run.events), 0
        try:
            while True:
                ended = effective_status(run) not in ACTIVE  # asked first: what comes until then is still sent
                while events := reader.poll(_POLL_BYTES):
                    count += forwarder.send(events)
                if ended or not follow:
                    return count
                time.sleep(_POLL_SECONDS)
        finally:
            forwarder.close()


def start_follower(run: RunDirectory, name: str) -> int:
    """Start a process that follows a run for a service; returns its pid. What it has to say goes to `reporting/log.txt`.

    It is spawned, not forked, for the trainer has used MLX; and nobody waits for it.
    """
    log = run.path / LOG_FILE
    log.parent.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "mlxllm", "report", str(run.path.absolute()), "--report-to", name, "--follow"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return os.posix_spawn(sys.executable, argv, environment, file_actions=actions)


@contextmanager
def _alone(run: RunDirectory, name: str, *, wait: bool) -> Iterator[None]:
    """Hold the right to send; the kernel frees it however this process ends."""
    path = state_file(run, name).with_suffix(".lock")
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError:
        raise RunError(f"run {run.name!r} is being sent to {name} by another process already") from None
    finally:
        os.close(descriptor)


def _read_sent(path: Path) -> dict[str, int]:
    try:
        raw = read_json(path)
    except UserError:
        return {}
    return {kind: step for kind, step in raw.items() if isinstance(step, int)} if isinstance(raw, dict) else {}


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
