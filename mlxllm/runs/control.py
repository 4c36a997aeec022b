"""Requests to a running trainer: files in control/ that anyone may put there and the trainer takes between
steps.

`touch <run>/control/stop` works as well, over ssh or from a script. A file with content is JSON, `{"payload":
{...}}`.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from mlxllm.errors import RunError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.files import write_json_atomic

RequestName = Literal["pause", "resume", "stop", "checkpoint", "sample"]
REQUEST_NAMES: frozenset[str] = frozenset(get_args(RequestName))

_PROCESS_STARTED = time.time()
"""About when this process began: a request made since then is meant for it, an earlier one for its
predecessor."""


@dataclass(frozen=True)
class Request:
    """One request.

    `sample` carries `prompt` and whatever of `max_tokens temperature top_k top_p min_p seed` was given; the
    trainer answers with a `sample` event whose field `request` is this id (and `error` where it could not).
    `checkpoint` is answered by a `checkpoint_saved` event with the same field.
    """

    name: RequestName
    id: str
    time: float
    """When it was made, unix seconds."""
    payload: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()


def request(run: RunDirectory, name: RequestName, payload: Mapping[str, Any] | None = None) -> Request:
    """Ask the trainer of `run` for something; returns at once. Nobody checks that a trainer is there.

    Raises:
        ValueError: no such request.
        RunError: the request cannot be written.
    """
    if name not in REQUEST_NAMES:
        raise ValueError(f"request {name!r} is none of {', '.join(sorted(REQUEST_NAMES))}")
    now = time.time_ns()
    made = Request(name, f"{now}-{os.urandom(4).hex()}", now / 1e9, dict(payload or {}))
    path = run.control / f"{name}-{made.id}.json"
    try:
        run.control.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot ask run {run.name!r}: {run.control}: {error.strerror or error}") from error
    # Not durable: a request that a power cut takes along has lost its trainer too.
    write_json_atomic(path, {"id": made.id, "time": made.time, "payload": made.payload}, durable=False)
    return Request(made.name, made.id, made.time, made.payload, path)


class ControlInbox:
    """The trainer's side: poll between steps, act, `complete`."""

    def __init__(self, run: RunDirectory) -> None:
        self._folder = run.control

    def poll(self) -> list[Request]:
        """The requests that are there, oldest first; each comes again until it is completed.

        Costs one directory scan (some 10 microseconds) when there are none.
        """
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot read {self._folder}: {error.strerror or error}") from error
        found = (_read(self._folder / name) for name in names if not name.startswith("."))
        return sorted((r for r in found if r is not None), key=lambda r: (r.time, r.id))

    def complete(self, request: Request) -> None:
        """Take a request off the list. Completing one twice is harmless."""
        request.path.unlink(missing_ok=True)

    def clear(self, before: float | None = None) -> int:
        """Drop the requests made before `before` (unix seconds; by default, before this process began).

        A trainer calls it as soon as it holds the lock: what is left from a dead one must not stop it, yet a
        stop that was asked while it was still importing counts.

        Returns:
            How many were dropped.
        """
        limit = _PROCESS_STARTED if before is None else before
        stale = [request for request in self.poll() if request.time < limit]
        for old in stale:
            self.complete(old)
        return len(stale)


def _read(path: Path) -> Request | None:
    """The request in a file; None for a foreign file, or one that is gone."""
    name, _, rest = path.name.removesuffix(".json").partition("-")
    if name not in REQUEST_NAMES:
        return None
    try:
        made = path.stat().st_mtime
        content = path.read_bytes()
    except OSError:
        return None
    raw: Any = None
    with contextlib.suppress(ValueError, RecursionError):  # made by hand: its name says what is wanted
        raw = json.loads(content)
    raw = raw if isinstance(raw, dict) else {}
    payload, at = raw.get("payload"), raw.get("time")
    return Request(
        cast(RequestName, name),
        str(raw.get("id") or rest or name),
        float(at) if isinstance(at, (int, float)) else made,
        payload if isinstance(payload, dict) else {},
        path,
    )
