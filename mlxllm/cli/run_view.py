"""How runs are shown in a terminal: numbers, durations, tables."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from mlxllm.runs import ACTIVE, RunSummary

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
        _duration(run.seconds),
        run.dataset or "-",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)) if run.created else "-",
    )


def details(run: RunSummary, checkpoints: Sequence[int]) -> list[tuple[str, str]]:
    """What is known of one run, as (name, value) lines."""
    val, best = run.val or {}, run.best_val or {}
    rows = [
        ("run", run.name),
        ("folder", run.path),
        ("status", run.status),
        ("step", _steps(run)),
        ("train loss", _number(run.train_loss, ".4f")),
        ("val loss", _validation(val)),
        ("best val loss", _validation(best)),
        ("tokens", f"{run.tokens:,}" if run.tokens is not None else "-"),
        ("speed", f"{run.tok_per_sec:,.0f} tok/s" if run.tok_per_sec else "-"),
        ("time", _duration(run.seconds)),
        ("time left", _duration(run.eta_seconds) if run.eta_seconds is not None else "-"),
        ("preset", run.preset or "-"),
        ("model", run.model or "-"),
        ("parameters", f"{run.parameters:,}" if run.parameters is not None else "-"),
        ("data", run.dataset or "-"),
        ("tokenizer", run.tokenizer or "-"),
        ("checkpoints", ", ".join(f"{step:,}" for step in checkpoints) or "-"),
    ]
    if run.status in ACTIVE and run.heartbeat is not None:
        age = max(0.0, time.time() - run.heartbeat)
        rows.append(("trainer", f"process {run.pid} on {run.host}, last sign of life {_duration(age)} ago"))
    return [line for line in rows if line[1] != "-"]


def _validation(val: Mapping[str, float | None]) -> str:
    loss = val.get("loss")
    if loss is None:
        return "-"
    bits = val.get("bits_per_byte")
    more = f" ({bits:.4f} bits a byte)" if bits is not None else ""
    return f"{loss:.4f}{more} at step {val.get('step') or 0:,.0f}"


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


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns: with colours on a terminal, as plain text elsewhere and under NO_COLOR."""
    table = [list(cells) for cells in rows]
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        # Only a person at a terminal pays for rich.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        rich_table = Table(*header, box=None, header_style="bold", pad_edge=False)
        for cells in table:
            rich_table.add_row(
                *(Text(cell, style=_STYLES.get(cell, "") if i == 1 else "") for i, cell in enumerate(cells))
            )
        Console().print(rich_table)
        return
    widths = [max(len(cells[i]) for cells in [list(header), *table]) for i in range(len(header))]
    for cells in [list(header), *table]:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
