"""events.jsonl: what happened in a run, one JSON object a line, `{"kind", "time", "step", ...}`.

The trainer alone writes it. While an attempt runs the file only grows. An attempt that resumes from step S
first moves the events after S away (`truncate_after`): those steps are done again, so every reader, however
simple, sees each step once. `EventReader` notices that its file became another one and starts over.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

from mlxllm.errors import RunError

Event = dict[str, Any]

BATCHED_KINDS = frozenset({"train"})
"""Kinds of which there are many a second; every other kind is written the moment it happens."""

_FLUSH_SECONDS = 0.2
_MARK_BYTES = 160
_CHUNK = 1 << 20


def strict_json(value: Any, _path: str = "", notes: dict[str, str] | None = None) -> Any:
    """`value` as plain JSON values. NaN and infinities become None; `notes[dotted path]` gets their spelling.

    Scalars of numpy and MLX become numbers, tuples lists, and paths text.

    Raises:
        TypeError: a value that has no JSON form.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        if notes is not None:
            notes[_path] = str(float(value))
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return {str(k): strict_json(v, f"{_path}.{k}" if _path else str(k), notes) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(v, f"{_path}.{i}" if _path else str(i), notes) for i, v in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return strict_json(value.item(), _path, notes)
    raise TypeError(f"event field {_path!r} holds a {type(value).__name__}, which has no JSON form")


class EventWriter:
    """Appends events to a file. One writer a file: hold the run's lock.

    Opening repairs what a kill left behind: a last line without its newline is cut off.

    `train` events wait up to 0.2 s for company; call `flush` before a checkpoint is written, so that a kill
    right after it leaves no gap in the curve, and before anything slow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending = bytearray()
        self._last_flush = 0.0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(f"cannot open {path}: {error.strerror or error}") from error
        os.ftruncate(self._file, _end_of_last_line(self._file))

    def write(self, kind: str, step: int | None = None, **fields: Any) -> Event:
        """Append one event and return it as written (the same object that `--json` prints).

        A field that is NaN or infinite is written as null, and `non_finite` says what it was:
        `{"loss": null, "non_finite": {"loss": "nan"}}`.

        Raises:
            RunError: the disk is full or the file cannot be written; nothing is lost, `flush` tries again.
            TypeError: a field has no JSON form.
        """
        event: Event = {"kind": kind, "time": round(time.time(), 3)}
        if step is not None:
            event["step"] = int(step)
        notes: dict[str, str] = {}
        for name, value in fields.items():
            event[name] = strict_json(value, name, notes)
        if notes:
            event["non_finite"] = notes
        self._pending += json.dumps(event, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
        if kind not in BATCHED_KINDS or time.monotonic() - self._last_flush >= _FLUSH_SECONDS:
            self.flush()
        return event

    def flush(self) -> None:
        """Hand everything written so far to the operating system, where it outlives this process."""
        try:
            while self._pending:
                # What a full disk took stays taken: the next flush goes on in the middle of the line.
                del self._pending[: os.write(self._file, self._pending)]
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror or error}; make room, then resume the run"
            ) from error
        self._last_flush = time.monotonic()

    def close(self) -> None:
        if self._file >= 0:
            try:
                self.flush()
            finally:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class EventReader:
    """Follows an events file: each `poll` gives the events that are new since the last one.

    Attributes:
        offset: bytes read so far; always at the end of a line.
        generation: raised by one whenever the file turned out to be cut or replaced. The next events then
            start at the file's beginning: whoever keeps what came before drops it when this number changes.
        invalid_lines: lines of this generation that were no event and were passed over.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self.path = path
        self.offset = 0
        self.generation = 0
        self.invalid_lines = 0
        self._mark = b""  # the bytes just before `offset`: they tell this file from another of the same name
        if from_end:
            self._skip_to_end()

    def poll(self, max_bytes: int | None = None) -> list[Event]:
        """New events, in order. A last line that is still being written, and a missing file, give nothing.

        Args:
            max_bytes: read about so many bytes at most (at least one line); call again for the rest.

        Raises:
            RunError: the file exists but cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                if not self._is_same(file):
                    self._start_over()
                file.seek(self.offset)
                data = file.read() if max_bytes is None else file.read(max_bytes)
                while max_bytes is not None and b"\n" not in data and (more := file.read(_CHUNK)):
                    data += more
        except FileNotFoundError:
            if self.offset:
                self._start_over()
            return []
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from error
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        self._mark = (self._mark + whole)[-_MARK_BYTES:]
        events, invalid = parse_lines(whole)
        self.invalid_lines += invalid
        return events

    def _is_same(self, file: Any) -> bool:
        start = self.offset - len(self._mark)
        file.seek(start)
        return bool(file.read(len(self._mark)) == self._mark)

    def _start_over(self) -> None:
        self.offset, self._mark, self.invalid_lines = 0, b"", 0
        self.generation += 1

    def _skip_to_end(self) -> None:
        try:
            with open(self.path, "rb") as file:
                self.offset = _end_of_last_line(file.fileno())
                file.seek(max(0, self.offset - _MARK_BYTES))
                self._mark = file.read(min(self.offset, _MARK_BYTES))
        except OSError:
            pass  # not there yet: its end is its beginning


_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
TRAIN_LINE = b'{"kind":"train",'
"""How the line of a `train` event begins."""
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"{}[]\\"))


def parse_line(line: bytes) -> Event | None:
    """One line as an event; None when it is not a JSON object with a `kind`."""
    try:
        event = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("kind"), str) else None


def parse_lines(data: bytes) -> tuple[list[Event], int]:
    """What `parse_line` makes of each line, in half the time where many `train` events follow each other.

    Args:
        data: whole lines.

    Returns:
        The events in order, and the number of lines that were none (empty ones not counted).
    """
    events: list[Event] = []
    invalid = 0
    lines = data.split(b"\n")
    is_train = [*map(methodcaller("startswith", TRAIN_LINE), lines), False]
    start = 0
    while start < len(lines):
        end = is_train.index(False, start)
        together = _parse_flat(lines[start:end]) if end - start > 1 else None
        if together is not None:
            events += together
            start = end
            continue
        for line in lines[start : end + 1]:
            event = parse_line(line)
            if event is not None:
                events.append(event)
            elif line.strip():
                invalid += 1
        start = end + 1
    return events, invalid


def _parse_flat(lines: Sequence[bytes]) -> list[Event] | None:
    """Lines as one JSON array, where that cannot give anything else than each line for itself; None elsewhere.

    Each line begins with a brace, ends with one and holds no other bracket and no backslash. No string spans lines, for
    JSON allows no newline in one. So each line is an object of its own, or the array is not valid.
    """
    text = b",\n".join(lines)
    if text.translate(None, _NOT_STRUCTURE) != b"{}" * len(lines):
        return None
    if text.count(b"},\n") != len(lines) - 1 or not text.endswith(b"}"):
        return None
    # A second "kind" in an object might hold anything. (It cannot be spelled with escapes, for there are no backslashes.)
    if text.count(b'"kind"') != len(lines):
        return None
    try:
        events: list[Event] = _DECODER.decode(f"[{text.decode('utf-8')}]")
    except ValueError:
        return None
    return events


def read_events(path: Path) -> list[Event]:
    """All whole events that are in the file now."""
    return EventReader(path).poll()


def truncate_after(path: Path, step: int, superseded: Path | None = None) -> int:
    """Cut off the events that a resume from `step` will make again: from the first with a later step to the
    end.

    Args:
        path: events.jsonl, or nothing there yet.
        step: the step of the checkpoint that the run goes on from; events of this step stay.
        superseded: the cut lines are appended to this file first.

    Returns:
        The number of bytes cut off.
    """
    if not path.exists():
        return 0
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        cut = _end_of_last_line(file.fileno())
        for start, line in _lines(file):
            event = parse_line(line)
            at = event.get("step") if event is not None else None
            if isinstance(at, int) and at > step:
                cut = min(cut, start)
                break
        if superseded is not None and cut < size:
            file.seek(cut)
            with open(superseded, "ab") as kept:
                while chunk := file.read(_CHUNK):
                    kept.write(chunk)
        os.ftruncate(file.fileno(), cut)
    return size - cut


def _lines(file: Any) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    start = 0
    for line in file:
        yield start, line
        start += len(line)


def _end_of_last_line(descriptor: int) -> int:
    """The offset just behind the last newline; 0 where there is none."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - _CHUNK)
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0


def wait_for_event(
    reader: EventReader,
    matches: Callable[[Event], bool],
    *,
    timeout: float,
    is_alive: Callable[[], bool] = lambda: True,
    interval: float = 0.05,
) -> Event | None:
    """The first event from now on that `matches`; None when `timeout` seconds pass or the writer is gone.

    Make the reader (`from_end=True`) before the request whose answer it waits for.
    """
    deadline = time.monotonic() + timeout
    while True:
        alive = is_alive()  # asked first: what a dying writer wrote last is still read
        for event in reader.poll():
            if matches(event):
                return event
        if not alive or time.monotonic() > deadline:
            return None
        time.sleep(interval)
