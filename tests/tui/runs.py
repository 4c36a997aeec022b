"""Run directories for tests: what a trainer would have left, written in an instant.

run = make_run("first", steps=2000, val_every=200, sample_every=500)     # finished
run = make_run("bad", steps=300, status="crashed", reason="...")         # its trainer is gone
with living(run): ...                                                    # its trainer is there (the lock is held)
append(run, train_event(301), ...)                                       # the trainer goes on
"""

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mlxllm import paths
from mlxllm.runs import ACTIVE, Event, RunDirectory, RunState, Status, read_state, write_json_atomic, write_state

STEP_SECONDS = 0.1
TOKENS_PER_STEP = 1024
STARTED = 1_790_000_000.0
"""When generated runs begin, unix seconds."""


def loss_at(step: int) -> float:
    """A curve that falls from 7.5 to 1 or so, with the same noise each time."""
    return 1.0 + 6.5 * math.exp(-step / 200) + 0.15 * math.sin(step * 12.9898) + 0.1 * math.sin(step * 78.233)


def train_event(step: int, *, at: float | None = None, method: str = "pretrain", **fields: Any) -> Event:
    """The `train` event of a step; `fields` replace or add to what it says."""
    event: Event = {
        "kind": "train",
        "time": round(STARTED + step * STEP_SECONDS if at is None else at, 3),
        "step": step,
        "loss": loss_at(step),
        "learning_rate": 1e-3 * min(1.0, step / 100),
        "grad_norm": 0.5 + 0.4 * abs(math.sin(step)),
        "tokens": step * TOKENS_PER_STEP,
        "tok_per_sec": 10_000.0 + 500 * math.sin(step / 7),
        "peak_memory": 193_000_000,
        "footprint": 700_000_000,
    }
    if method == "dpo":
        margin = 6 * (1 - math.exp(-step / 80)) + 0.5 * math.sin(step)
        event |= {
            "rewards/chosen": 0.4 * margin,
            "rewards/rejected": -0.6 * margin,
            "rewards/margins": margin,
            "rewards/accuracies": min(1.0, 0.5 + margin / 10),
        }
    return event | fields


def val_event(step: int, **fields: Any) -> Event:
    """The `val` event of a step."""
    loss = loss_at(step) + 0.05
    return {
        "kind": "val",
        "time": round(STARTED + step * STEP_SECONDS + 0.02, 3),
        "step": step,
        "loss": loss,
        "bits_per_byte": loss / 2.7,
        "seconds": 0.02,
    } | fields


def sample_event(step: int, prompt: str = "Once upon a time", **fields: Any) -> Event:
    """A `sample` event of a step; with `request=...` it answers somebody."""
    text = f" there was a model that had seen {step} steps."
    at = round(STARTED + step * STEP_SECONDS + 0.03, 3)
    return {"kind": "sample", "time": at, "step": step, "prompt": prompt, "text": text} | fields


def event_lines(*events: Event) -> bytes:
    """Events as the trainer writes them."""
    return b"".join(json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n" for event in events)


def append(run: RunDirectory, *events: Event) -> None:
    """Append events to a run, in one write."""
    with open(run.events, "ab") as file:
        file.write(event_lines(*events))


def make_run(
    name: str,
    *,
    steps: int = 300,
    max_steps: int | None = None,
    status: Status = "finished",
    reason: str | None = None,
    method: str = "pretrain",
    val_every: int = 100,
    sample_every: int = 100,
    checkpoint_every: int = 0,
    nonfinite: range | tuple[int, ...] = (),
    preset: str = "char-tiny",
    attempt: int = 1,
    about: Mapping[str, Any] | None = None,
    ended: bool = True,
    began: float | None = None,
) -> RunDirectory:
    """A run in `<home>/runs` with `steps` logged steps.

    Args:
        name: of the run.
        steps: how many `train` events; 0 is a run that has only begun.
        max_steps: where it finishes; by default `steps`.
        status: what its trainer said last. For one that is there, see `living`.
        reason: why it ended.
        method: pretrain, sft or dpo.
        val_every: steps between validations; 0 is never. `sample_every` and `checkpoint_every` likewise.
        nonfinite: steps whose loss and gradient were not finite.
        preset: the preset's name.
        attempt: how many trainers it has had.
        about: more of what the run is.
        ended: whether an ended status comes with its `run_finished` event.
        began: unix seconds; by default `STARTED`, or for a run that is not over, so that its last step is just now.
    """
    run = RunDirectory.create(paths.folder("runs") / name)
    limit = steps if max_steps is None else max_steps
    active = status in ACTIVE
    if began is None:
        began = time.time() - (steps + 1) * STEP_SECONDS if active else STARTED
    later = began - STARTED
    known: dict[str, Any] = {
        "method": method,
        "preset": preset,
        "model": None if method == "pretrain" else "stories-1",
        "parameters": 500_000,
        "dataset": "tales",
        "tokenizer": "bpe",
        "created": began,
        **(about or {}),
    }
    write_json_atomic(run.config, {"name": name, "train": {"max_steps": limit}}, durable=False)
    latest: dict[str, Any] = {"train": {}, "val": {}, "best_val": {}, "seconds": round(steps * STEP_SECONDS, 3)}
    with open(run.events, "wb") as file:
        begun = {"kind": "run_started", "time": began, "step": 0, "max_steps": limit, "attempt": attempt, **known}
        file.write(event_lines(begun | {"tokens_per_step": TOKENS_PER_STEP, "device": "cpu"}))
        for step in range(1, steps + 1):
            event = train_event(step, method=method)
            if step in nonfinite:
                event |= {"loss": None, "grad_norm": None, "non_finite": {"loss": "nan", "grad_norm": "inf"}}
            events = [event]
            if step in nonfinite:
                message = f"step {step:,}: loss or gradient is not finite; update skipped"
                events.append({"kind": "warning", "time": event["time"], "step": step, "message": message})
            if val_every and step % val_every == 0:
                events.append(latest_val := val_event(step))
                latest["val"] = latest["best_val"] = _numbers(latest_val)
            if sample_every and step % sample_every == 0:
                events.append(sample_event(step))
            if checkpoint_every and step % checkpoint_every == 0:
                events.append(_save_checkpoint(run, step))
            latest["train"] = _numbers(event)
            file.write(event_lines(*[each | {"time": round(each["time"] + later, 3)} for each in events]))
        if ended and not active:
            at = began + steps * STEP_SECONDS + 0.05
            words = {"kind": "run_finished", "time": at, "step": steps, "status": status, "reason": reason}
            file.write(event_lines(words))
    write_state(
        run,
        RunState(
            status=status,
            pid=_free_pid(),
            host=socket.gethostname(),
            started=began,
            heartbeat=time.time(),
            step=steps,
            max_steps=limit,
            attempt=attempt,
            exit_reason=reason,
            about=known,
            latest=latest,
        ),
        durable=False,
    )
    return run


@contextmanager
def living(run: RunDirectory, status: Status = "running") -> Iterator[RunDirectory]:
    """A trainer is there, as far as anybody can tell: this process holds the lock and state.json says `status`."""
    with run.lock():
        set_status(run, status, pid=os.getpid())
        yield run


def set_status(run: RunDirectory, status: Status, **changes: Any) -> None:
    """Let state.json say something else."""
    state = read_state(run)
    assert state is not None
    write_state(run, replace(state, status=status, heartbeat=time.time(), **changes), durable=False)


def _save_checkpoint(run: RunDirectory, step: int) -> Event:
    folder = run.checkpoints / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"\0" * 1000)
    at = STARTED + step * STEP_SECONDS + 0.04
    return {"kind": "checkpoint_saved", "time": at, "step": step, "path": folder.name, "best": False, "seconds": 0.01}


def _numbers(event: Event) -> dict[str, Any]:
    return {k: v for k, v in event.items() if k != "time" and isinstance(v, (int, float, type(None)))}


def _free_pid() -> int:
    """A process id that no process has."""
    pid = 2**22 - 7
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return pid
        except PermissionError:
            pass
        pid -= 1
