"""The terminal application: what a chart, a long run and a live one cost, and how late its event loop is.

There is no peer and no ratio. The times of the loop are those of the application in a terminal of its own (a pty, 120 x
40), while one process writes 50 steps a second and another streams 200 tokens a second.
"""

import argparse
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

from common import BENCH, ROOT, BenchError, machine, run, say

sys.path.insert(0, str(ROOT))

import numpy as np
from rich.style import Style

from mlxllm.runs import RunDirectory
from tui.following.follow import RunFollower
from tui.following.series import series_of
from tui.widgets.plot import draw
from tui.widgets.traces import LAYERS, Trace, Window

EVENTS_PER_SECOND = 50
SIZE = (120, 40)
_ENGINE = ROOT / "tests" / "tui" / "scripted_engine.py"
_REPEATS = 30


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Measure everything."""
    redraws = {}
    redraw_milliseconds(1000)  # the first of all loads code, and does not count
    for points in args.points:
        say(f"chart of {points:,} points")
        redraws[points] = redraw_milliseconds(points)
    say(f"opening a run of {args.steps:,} steps")
    with writer(temporary / "runs" / "long", 0, args.steps):
        opening = opening_seconds(RunDirectory(temporary / "runs" / "long"))
    say("following a run")
    tail = tail_events_per_second(temporary, args.steps // 2)
    say(f"the application in a terminal, three times {args.seconds:g} s")
    late = loop_milliseconds(temporary, args.seconds, args.steps)
    table = [("what", "median", "99 %", "largest")]
    for points, found in redraws.items():
        table.append((f"chart of {points:,} points, all of it, 120 x 40", *_shown(found["whole"])))
        table.append((f"chart of {points:,} points, a tenth of it", *_shown(found["tenth"])))
    table.append((f"a run of {args.steps:,} steps is there", f"{opening['all']:.2f} s", "", ""))
    table.append(("its first curve is there", f"{opening['first']:.3f} s", "", ""))
    table.append(("a run followed, events a second", f"{tail:,.0f}", "", ""))
    names = {
        "monitor": f"event loop late, {EVENTS_PER_SECOND} steps a second on the Monitor",
        "chat": "the same in the chat, 200 tokens a second stream",
        "both": "the same on the Monitor while they stream",
    }
    table += [(name, *_shown(late[phase])) for phase, name in names.items()]
    return {
        "title": "terminal application",
        "redraw_ms": {str(points): found for points, found in redraws.items()},
        "opening_seconds": opening,
        "tail_events_per_second": tail,
        "late_ms": late,
        "table": table,
        "machine": machine(),
    }


def redraw_milliseconds(points: int) -> dict[str, dict[str, float]]:
    """What it costs to draw a run's chart into cells."""
    x, random = np.arange(1, points + 1), np.random.default_rng(0)
    y = 1 + 6 * np.exp(-x / points * 8) + random.normal(size=points) * 0.1
    every = max(1, points // 50)
    trace = Trace("run", series_of(x, y, smoothed=True), series_of(x[::every], y[::every]), band=True)
    styles, ground = [Style(color=f"color({n})") for n in range(len(LAYERS))], Style()
    found = {}
    for name, span in (("whole", (1.0, float(points))), ("tenth", (points * 0.4, points * 0.5))):
        times = []
        for _ in range(_REPEATS):
            begun = time.perf_counter()
            draw([trace], Window("loss", "step", span, False, None, ""), SIZE, "braille", styles, ground)
            times.append(time.perf_counter() - begun)
        found[name] = _summary(times)
    return found


def opening_seconds(directory: RunDirectory) -> dict[str, float]:
    """Seconds until the first curve, and until all of a run has been read."""
    follower, begun = RunFollower(directory), time.perf_counter()
    first = 0.0
    while not (view := follower.poll(budget=0.05)).complete:
        first = first or time.perf_counter() - begun
    whole = time.perf_counter() - begun
    if not view.steps_logged:
        raise BenchError(f"{directory.path} holds no steps")
    return {"first": round(first or whole, 4), "all": round(whole, 4), "steps": view.steps_logged}


def tail_events_per_second(temporary: Path, steps: int) -> float:
    """Events a second that a follower takes in when they come in pieces of fifty."""
    source = (temporary / "runs" / "long" / "events.jsonl").read_bytes().split(b"\n")[: steps + 1]
    directory = RunDirectory.create(temporary / "runs" / "tail")
    follower = RunFollower(directory)
    spent, events = 0.0, 0
    for start in range(0, len(source), 50):
        piece = source[start : start + 50]
        with open(directory.events, "ab") as file:
            file.write(b"\n".join(piece) + b"\n")
        begun = time.perf_counter()
        follower.poll()
        spent += time.perf_counter() - begun
        events += len(piece)
    return round(events / spent, 1)


def loop_milliseconds(temporary: Path, seconds: float, steps: int) -> dict[str, dict[str, float]]:
    """How late the application's event loop is, phase by phase."""
    model = RunDirectory.create(temporary / "runs" / "model")
    model.config.write_text(json.dumps({"method": "sft", "sample": {"max_tokens": 1_000_000}}))
    (model.checkpoints / "step-00000010").mkdir()
    (model.checkpoints / "step-00000010" / "manifest.json").write_text("{}")
    out = temporary / "late.json"
    with writer(temporary / "runs" / "live", EVENTS_PER_SECOND, steps):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLXLLM_HOME": str(temporary),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "MLXLLM_MARKS": "braille",
        }
        command = [
            sys.executable,
            str(BENCH / "ours" / "tui_app.py"),
            "live",
            "model",
            str(_ENGINE),
            str(seconds),
            str(out),
        ]
        code = in_terminal(command, environment)
    if code or not out.exists():
        raise BenchError(f"the application ended with code {code} before it was measured")
    return {phase: _summary(times) for phase, times in json.loads(out.read_text()).items()}


def in_terminal(command: list[str], environment: dict[str, str]) -> int:
    """Run a command in a terminal whose output is read as fast as it comes; its return code."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        while process.poll() is None:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    os.read(ours, 1 << 16)
                except OSError:  # the terminal is closed
                    break
        return process.wait()
    finally:
        process.kill()
        os.close(ours)


@contextmanager
def writer(folder: Path, rate: float, at_once: int) -> Iterator[None]:
    """A process that writes a run; with a rate, for as long as the block lasts."""
    command = [sys.executable, str(BENCH / "ours" / "tui_writer.py"), str(folder), str(rate), str(at_once)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise BenchError(f"the writer of {folder} ended with code {process.wait()}")
        if not rate:
            process.wait()
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _summary(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(seconds)
    at = min(len(ordered) - 1, int(len(ordered) * 0.99))
    return {
        "median": round(statistics.median(ordered) * 1e3, 3),
        "p99": round(ordered[at] * 1e3, 3),
        "largest": round(ordered[-1] * 1e3, 3),
    }


def _shown(found: dict[str, float]) -> tuple[str, str, str]:
    return f"{found['median']:.1f} ms", f"{found['p99']:.1f} ms", f"{found['largest']:.1f} ms"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    options.add_argument("--force", action="store_true", help="measure on a busy machine, too")
    options.add_argument(
        "--points", type=int, nargs="+", default=[300, 10_000, 100_000, 1_000_000], help="of the charts"
    )
    options.add_argument("--steps", type=int, default=100_000, help="of the run that is opened")
    options.add_argument("--seconds", type=float, default=20.0, help="for which the event loop is watched, each time")
    given = options.parse_args()
    run(main, given)
