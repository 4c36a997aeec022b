"""What the benchmarks share: options, the idle check, workers as child processes, the table.

This process computes nothing and never loads MLX or torch. Each side runs in a process of its own, under its own
interpreter, and prints one JSON object as the last line of its stdout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxllm.errors import UserError

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent))  # what all comparisons share lies there

from machine import core_count, machine  # noqa: E402, F401
from workers import run_worker  # noqa: E402

ROOT = BENCH.parent.parent
IDLE_LOAD_PER_CORE = 0.25
"""A machine counts as busy above this one-minute load average for each core."""


class BenchError(UserError):
    """A comparison that cannot be made, or that would not be a fair one."""


@dataclass
class Side:
    """One contestant: its samples by label."""

    name: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What its last worker said."""

    def add(self, result: dict[str, Any], *labels: str) -> None:
        """Take over a worker's numbers; a list counts as several samples."""
        self.facts = result
        for label in labels:
            values = result[label] if isinstance(result[label], list) else [result[label]]
            self.samples.setdefault(label, []).extend(values)

    def median(self, label: str) -> float:
        """Of all samples."""
        return statistics.median(self.samples[label])

    def shown(self, label: str, form: str = "{:,.1f}") -> str:
        """Median, and the range where there are several samples."""
        values = self.samples[label]
        text = form.format(self.median(label))
        return f"{text} ({form.format(min(values))} to {form.format(max(values))})" if len(values) > 1 else text


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    made.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        metavar="PATH",
        help="an interpreter that has mlx-lm, torch and transformers; by default this one",
    )
    made.add_argument("--ours-only", action="store_true", help="run our side alone; there is no ratio then")
    made.add_argument("--force", action="store_true", help="measure on a busy machine, too")
    return made


def run(main: Callable[[argparse.Namespace, Path], dict[str, Any]], args: argparse.Namespace) -> None:
    """Check the machine, measure in a temporary folder, print; an expected failure ends in one sentence and code 1."""
    try:
        load = refuse_if_busy(args.force)
        with tempfile.TemporaryDirectory(prefix="mlxllm-bench-") as temporary:
            result = main(args, Path(temporary))
        result["machine"] |= {"load_average": load, "date": time.strftime("%Y-%m-%d")}
        where = sys.stderr if args.json else sys.stdout
        print("\n".join(lines_of(result.pop("title"), result.pop("table"), result["machine"])), file=where)
        if args.json:
            print(json.dumps(result), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def refuse_if_busy(force: bool) -> float:
    """The one-minute load average.

    Raises:
        BenchError: something else is computing, so times would not mean anything.
    """
    load, cores = os.getloadavg()[0], core_count()
    if load > IDLE_LOAD_PER_CORE * cores and not force:
        raise BenchError(
            f"this machine is busy: its load average is {load:.2f} on {cores} cores, and above "
            f"{IDLE_LOAD_PER_CORE * cores:.2f} times do not mean much; wait until it is idle, or add --force"
        )
    return round(load, 2)


def worker(
    python: Path, script: str, *arguments: object, environment: dict[str, str] | None = None, what: str = ""
) -> dict[str, Any]:
    """Run `scripts/bench/<script>` and return the object that it prints last.

    Raises:
        WorkerError: it failed; the message has its last words.
    """
    say(what or script)
    ours = script.startswith("ours/")
    env = {**(environment or {}), **({"PYTHONPATH": str(ROOT)} if ours else {})}
    return run_worker(python, BENCH / script, arguments, env, peer=not ours)


def mlxllm(*arguments: object, environment: dict[str, str]) -> None:
    """Run the command line of this checkout.

    Raises:
        BenchError: it failed; the message is its own.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "mlxllm", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise BenchError(f"`mlxllm {arguments[0]}` failed: {done.stderr.strip().splitlines()[-1]}")


def say(text: str) -> None:
    """What is being done, on stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)


def lines_of(title: str, table: Sequence[Iterable[str]], about: dict[str, Any]) -> list[str]:
    """The table with its columns aligned, and the machine below."""
    rows = [list(row) for row in table]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [title, ""]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    return [*lines, "", ", ".join(f"{key} {value}" for key, value in about.items())]


def ratio_text(value: float | None) -> str:
    """A ratio for the table."""
    return "" if value is None else f"{value:.2f}"


def mebibytes(value: float) -> str:
    """Bytes for the table."""
    return f"{value / 2**20:,.0f} MiB"


def agree(what: str, ours: float, theirs: float, tolerance: float) -> None:
    """Raises BenchError where two numbers that must be the same one are not."""
    if not abs(ours - theirs) <= tolerance * max(abs(ours), abs(theirs)):
        raise BenchError(f"the two sides do not compute the same: {what} is {ours} in ours, {theirs} in the peer")
