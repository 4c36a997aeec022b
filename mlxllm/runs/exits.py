"""How a trainer ended, told from its return code, its log and its last state; and what to do next."""

import re
import signal
from dataclasses import dataclass
from typing import Literal

from mlxllm.errors import EXIT_DIVERGED, RunError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.state import ACTIVE, RunState, read_launch, read_state

ExitReason = Literal[
    "finished",
    "stopped",
    "diverged",
    "out_of_memory",
    "killed",
    "gpu_watchdog",
    "disk_full",
    "refused",
    "crashed",
]

_LOG_TAIL = 16_384

_WATCHDOG = re.compile(r"kIOGPUCommandBufferCallbackErrorTimeout|Caused GPU Timeout Error|ImpactingInteractivity")
_MEMORY = re.compile(
    r"kIOGPUCommandBufferCallbackErrorOutOfMemory|Insufficient Memory"  # Metal's command buffers
    r"|\[metal::malloc\]|\[malloc(?:_or_wait)?\] Unable to allocate|maximum allowed buffer size"  # MLX
    r"|cudaErrorMemoryAllocation|CUDA out of memory"
    r"|std::bad_alloc|^MemoryError\b|Cannot allocate memory",
    re.MULTILINE,
)
_DISK = re.compile(r"No space left on device|Disk quota exceeded")
_TROUBLE = re.compile(r"error|exception|terminat|abort|fatal|fault|fail|cannot|killed", re.IGNORECASE)
"""A last line that tells of trouble. One that tells how training goes is no reason for its end."""

_LESS_MEMORY = (
    "close other applications, or start a run with train.gradient_checkpointing, or with a smaller "
    "train.batch_size and as much more train.grad_accum_steps"
)
_CALMER = (
    "the last good checkpoint is kept; in a new run, a lower train.learning_rate or a longer "
    "train.warmup_steps usually helps"
)
_WATCHDOG_HELP = (
    "one piece of GPU work took too long while the screen needed the GPU; resuming is safe, and a smaller "
    "train.batch_size with more train.grad_accum_steps avoids it"
)
_KILLED_HELP = (
    "usually the system ended it for want of memory, or somebody did, or the machine was restarted, or native code "
    "crashed; "
    "if it comes again, a smaller train.batch_size with more train.grad_accum_steps needs less"
)


@dataclass(frozen=True)
class ExitReport:
    """How a trainer ended."""

    reason: ExitReason
    sentence: str
    """What happened and what would help, for people."""
    next_command: str | None
    """What to type next."""


def classify_exit(returncode: int | None, log_tail: str, state: RunState | None, name: str) -> ExitReport:
    """Tell how the trainer of a run ended.

    Args:
        returncode: of the process; negative for a signal, as `subprocess` has it, or 128 + signal, as a shell
            has it; None where nobody was there to see.
        log_tail: the end of what this attempt wrote to stdout and stderr.
        state: the last state, None where it never wrote one.
        name: what to type for the run.
    """
    status = state.status if state is not None else None
    why = state.exit_reason if state is not None else None
    told = f": {why}" if why else ""
    at = f" at step {state.step:,}" if state is not None and state.step else ""
    code = returncode if returncode is None or returncode < 128 else 128 - returncode
    evidence = f"{log_tail}\n{why or ''}"
    resume = f"mlxllm resume {name}"

    # What the trainer itself wrote comes first: a crash on the way out does not undo a finished run.
    if status == "finished":
        tuned = state is not None and state.about.get("method") in ("sft", "dpo")
        use = f"chat --model {name}" if tuned else f"sample --model {name} --prompt ..."
        return ExitReport("finished", f"training finished{at}{told}", f"mlxllm {use}")
    if status == "stopped" or code in (-signal.SIGINT, -signal.SIGTERM):
        return ExitReport("stopped", f"stopped as asked{at}", resume)
    if code == -signal.SIGHUP:
        return ExitReport("stopped", f"its terminal was closed{at}", resume)
    if status == "out_of_memory" or _MEMORY.search(evidence):
        return ExitReport("out_of_memory", f"the device ran out of memory{at}{told}; {_LESS_MEMORY}", resume)
    if status == "diverged" or code == EXIT_DIVERGED:
        return ExitReport("diverged", f"training diverged{at}{told}; {_CALMER}", f"mlxllm runs show {name}")
    if _WATCHDOG.search(evidence):
        return ExitReport("gpu_watchdog", f"macOS ended the trainer{at}: {_WATCHDOG_HELP}", resume)
    if _DISK.search(evidence):
        return ExitReport("disk_full", f"the disk is full{at}; make room, then resume", resume)
    nobody_saw = code is None and status in ACTIVE and not _TROUBLE.search(_last_words(log_tail))
    if code == -signal.SIGKILL:
        return ExitReport("killed", f"the trainer was killed (signal 9){at}: {_KILLED_HELP}", resume)
    if nobody_saw:
        return ExitReport("killed", f"the trainer ended without a last word{at}: {_KILLED_HELP}", resume)
    words = why or _last_words(log_tail) or _name_of(code)
    if code is not None and code < 0 and not why:  # nobody said why, so the last line of the log is not the reason
        words = _name_of(code)
    if state is None:
        return ExitReport("refused", f"training did not start: {words}", None)
    return ExitReport("crashed", f"the trainer crashed{at}: {words}", resume)


def explain(run: RunDirectory, returncode: int | None = None) -> ExitReport:
    """How the last attempt of an ended run ended, from what its folder holds.

    Args:
        run: a run that is not active.
        returncode: of its process, where the caller knows it; launch.json's otherwise.
    """
    try:
        state = read_state(run)
    except RunError:
        state = None
    launch = read_launch(run)
    if launch is not None and state is not None:
        if launch.started > state.started:
            state = None  # the last trainer never came to write its own: the state is an earlier attempt's
        elif launch.pid != state.pid:
            launch = None  # a later attempt was started in a terminal: return code and log are not its own
    if launch is not None and returncode is None:
        returncode = launch.returncode
    return classify_exit(returncode, log_tail(run) if launch is not None else "", state, run.address)


def log_tail(run: RunDirectory, max_bytes: int = _LOG_TAIL) -> str:
    """The end of what the last detached attempt wrote to log.txt; "" where there is none."""
    launch = read_launch(run)
    try:
        with open(run.log, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(launch.log_offset if launch is not None else 0, size - max_bytes, 0))
            return file.read(max_bytes).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _last_words(log_tail: str) -> str:
    lines = [line.strip() for line in log_tail.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _name_of(code: int | None) -> str:
    if code is None:
        return "nobody saw how"
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
