"""How runs are shown in a terminal: numbers, durations, and how a run ended."""

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from mlxllm.runs import ACTIVE, Launch, RunSummary
from mlxllm.visible import visible

_STYLES = {
    "running": "green",
    "finished": "cyan",
    "paused": "yellow",
    "stopping": "yellow",
    "crashed": "red",
    "diverged": "red",
    "out_of_memory": "red",
    "damaged": "red",
}

HEADER = ("run", "status", "step", "loss", "val", "bits/byte", "tokens", "time", "data", "created")
EXPENDABLE = ("tokens", "loss", "data", "created", "time", "bits/byte", "val", "step")
"""What a narrow terminal does without, the least important first; `runs show` has it all."""

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP}


def row(run: RunSummary) -> tuple[str, ...]:
    """The cells of one run under `HEADER`."""
    val = run.val or {}
    return (
        run.name,
        run.status,
        _steps(run),
        _number(run.train_loss, ".4f"),
        _number(val.get("loss"), ".4f"),
        _number(val.get("bits_per_byte"), ".4f"),
        _count(run.tokens),
        duration(run.seconds),
        run.dataset or "-",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)) if run.created else "-",
    )


def style(column: str, cell: str) -> str:
    """A cell with its colour."""
    return typer.style(cell, fg=_STYLES[cell]) if column == "status" and cell in _STYLES else cell


def details(run: RunSummary, checkpoints: Sequence[int]) -> list[tuple[str, str]]:
    """What is known of one run, as (name, value) lines."""
    val, best = run.val or {}, run.best_val or {}
    rows = [
        ("run", run.name),
        ("folder", run.path),
        ("status", run.status),
        ("step", _steps(run)),
        ("train loss", _number(run.train_loss, ".4f") + after(rewards(run.rewards or {}))),
        ("val loss", _validation(val)),
        *_by_source(run.val_sources or {}),
        ("best val loss", _validation(best)),
        ("tokens", f"{run.tokens:,}" if run.tokens is not None else "-"),
        ("speed", f"{run.tok_per_sec:,.0f} tok/s" if run.tok_per_sec else "-"),
        ("time", duration(run.seconds)),
        ("time left", duration(run.eta_seconds) if run.eta_seconds is not None else "-"),
        ("preset", run.preset or "-"),
        ("model", run.model or "-"),
        ("parameters", parameters(run.parameters, run.trained_parameters) if run.parameters is not None else "-"),
        ("data", run.dataset or "-"),
        ("tokenizer", run.tokenizer or "-"),
        ("checkpoints", ", ".join(f"{step:,}" for step in checkpoints) or "-"),
    ]
    if run.status in ACTIVE and run.heartbeat is not None:
        age = max(0.0, time.time() - run.heartbeat)
        rows.append(("trainer", f"process {run.pid} on {run.host}, last sign of life {duration(age)} ago"))
    return [line for line in rows if line[1] != "-"]


def parameters(all_of_them: int, trained: int | None) -> str:
    """How large a model is, and how much of it is trained where that is not all: "trains 74,752 of 968,640"."""
    part = trained is not None and trained != all_of_them
    return f"trains {trained:,} of {all_of_them:,}" if part else f"{all_of_them:,}"


def signal_in_words(run: RunSummary, launch: Launch | None) -> str | None:
    """The signal that ended the trainer of an ended run; None where there was none, or nobody saw it.

    Args:
        run: its summary.
        launch: the last detached start: whoever made it has seen the return code.
    """
    if launch is None or launch.pid != run.pid or launch.returncode is None or launch.returncode >= 0:
        return None
    number = -launch.returncode
    try:
        told = f"{signal.Signals(number).name} ({(signal.strsignal(number) or '').lower()})"
    except ValueError:
        return f"signal {number}"
    if number in _FAULTS:
        told += ", a fault in native code; if it comes again, see what `mlxllm doctor --selftest` finds"
    return told


def _validation(val: Mapping[str, float | None]) -> str:
    loss = val.get("loss")
    if loss is None:
        return "-"
    bits = val.get("bits_per_byte")
    more = f" ({bits:.4f} bits a byte)" if bits is not None else ""
    return f"{loss:.4f}{more}{after(rewards(val))} at step {val.get('step') or 0:,.0f}"


def _by_source(bits: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """A line for each source of the last validation."""
    told = [
        f"{visible(name)}: " + ("-" if value is None else f"{value:.4f} bits a byte") for name, value in bits.items()
    ]
    return [("" if number else "  by source", line) for number, line in enumerate(told)]


def rewards(numbers: Mapping[str, Any]) -> str:
    """How well preferences are told apart, where that is what is learned; else nothing."""
    accuracy, margin = numbers.get("rewards/accuracies"), numbers.get("rewards/margins")
    if accuracy is None or margin is None:
        return ""
    return f"pairs right {100 * accuracy:.0f} %, margin {margin:.2f}"


def after(words: str, gap: str = ", ") -> str:
    """Words behind others, if there are any."""
    return f"{gap}{words}" if words else ""


def _steps(run: RunSummary) -> str:
    return f"{run.step:,}" if run.max_steps is None else f"{run.step:,}/{run.max_steps:,}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _count(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def file_size(size: float) -> str:
    """Bytes for people: 12.3 MB."""
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
