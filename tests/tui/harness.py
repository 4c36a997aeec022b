"""What the tests of the application share: waiting for what is to be seen, and runs to look at."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from mlxllm import paths
from mlxllm.runs import Recorder, RunDirectory
from tui.app import MlxllmApp

PATIENCE = 15.0
"""Seconds: far more than anything takes, so that a busy machine fails no test."""
_STILL = 0.4
"""Seconds without a change until a screen is compared."""


async def wait_for(pilot: Pilot[Any], condition: Callable[[], object], what: str = "") -> None:
    """Let the application run until `condition` holds; fail with what is on the screen where it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what or condition}; on the screen:\n{screen_text(pilot.app)}")
        await pilot.pause(0.02)


async def wait_for_text(pilot: Pilot[Any], text: str) -> None:
    """Wait until `text` stands somewhere on the screen."""
    await wait_for(pilot, lambda: text in screen_text(pilot.app), f"the text {text!r}")


def screen_text(app: Any) -> str:
    """What the terminal shows, line by line, without the blanks at the end of each."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def still(pilot: Pilot[Any]) -> str:
    """The screen, once it has not changed for a while: scroll bars and what threads find out come last."""
    text, since = screen_text(pilot.app), time.monotonic()
    deadline = since + PATIENCE
    while time.monotonic() < min(since + _STILL, deadline):
        await pilot.pause(0.02)
        if (now := screen_text(pilot.app)) != text:
            text, since = now, time.monotonic()
    return text


def new_app(**options: Any) -> MlxllmApp:
    """The application with braille marks and all colours, whatever terminal the tests run in."""
    from tui.marks import Terminal

    app = MlxllmApp(**{"terminal": Terminal("braille", True), **options})
    app.measures = False  # ten seconds of computing beside each test
    return app


def ended_run(name: str, *, status: str = "finished", steps: int = 3, method: str = "pretrain") -> RunDirectory:
    """A run of the home with a few steps in its events, ended as `status` says; it has no checkpoint."""
    run = RunDirectory.create(paths.folder("runs") / name)
    run.config.write_text("{}")
    about = {"method": method, "dataset": "letters", "parameters": 1234}
    with run.lock(), Recorder(run, step=0, max_steps=steps, about=about) as recorder:
        for step in range(1, steps + 1):
            recorder.write("train", step=step, loss=3.0 - 0.1 * step, tokens=64 * step, tok_per_sec=100.0)
        recorder.finish(status)  # type: ignore[arg-type]  # one of the literals
    return run


def crashed_run(name: str) -> RunDirectory:
    """A run whose trainer was killed: its state says "running", and nobody holds its lock."""
    run = RunDirectory.create(paths.folder("runs") / name)
    run.config.write_text("{}")
    with run.lock():
        recorder = Recorder(run, step=0, max_steps=10, about={"method": "pretrain"})
        recorder.write("train", step=1, loss=3.0, tokens=64, tok_per_sec=100.0)
        recorder.flush()
        recorder.update(now=True)
    return run


def write(path: Path, text: str) -> Path:
    """A file with this text, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
