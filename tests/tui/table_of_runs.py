"""What the tests of the table of runs share: runs to stand in it, and what it asked the application for."""

import json
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from mlxllm import paths
from mlxllm.runs import Recorder, RunDirectory
from tests.tui.harness import screen_text, wait_for, wait_for_text
from tui.app import MlxllmApp
from tui.screens.runs.screen import RunsScreen
from tui.widgets.rows import Rows

SIZE = (80, 24)


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the table see changes at once."""
    monkeypatch.setattr("tui.screens.runs.screen._ACTIVE_SECONDS", 0.1)
    monkeypatch.setattr("tui.screens.runs.screen._ALL_SECONDS", 0.2)


def plain_run(name: str, created: float, *, loss: float = 2.0, checkpoint: bool = True, **config: Any) -> RunDirectory:
    """A finished run, made at a time that the test chooses."""
    run = RunDirectory.create(paths.folder("runs") / name)
    run.config.write_text(json.dumps({"method": "pretrain", "train": {"seed": 1}, **config}))
    about = {"method": "pretrain", "dataset": "letters", "parameters": 1234}
    with run.lock(), Recorder(run, step=0, max_steps=8, about=about) as recorder:
        recorder.write("sample", 0, prompt="Once", text=f"{name} babbles")
        recorder.write("train", 8, loss=loss, tokens=64, tok_per_sec=100.0)
        recorder.write("val", 8, loss=loss + 0.5, bits_per_byte=loss - 1)
        recorder.write("sample", 8, prompt="Once", text=f"{name} speaks")
        recorder.finish("finished")
    state = json.loads(run.state.read_text())
    state["about"]["created"] = created
    run.state.write_text(json.dumps(state))
    if checkpoint:
        (run.checkpoints / "step-00000008").mkdir()
        (run.checkpoints / "step-00000008/manifest.json").write_text("{}")
    return run


def three_runs() -> None:
    plain_run("old", 1000, loss=2.0)
    plain_run("middle", 2000, loss=1.5, train={"seed": 2})
    plain_run("new", 3000, loss=2.25)


async def open_runs(pilot: Pilot[Any], count: int) -> RunsScreen:
    await pilot.press("5")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and len(pilot.app.screen.runs) == count)
    assert isinstance(pilot.app.screen, RunsScreen)
    await wait_for_text(pilot, f"{count} run" if count else "No runs yet")
    return pilot.app.screen


def shown(pilot: Pilot[Any]) -> list[str]:
    """The lines of the table."""
    lines = screen_text(pilot.app).splitlines()
    header = next(n for n, line in enumerate(lines) if line.startswith("  run "))
    return [line for line in lines[header + 1 :] if line[:2] in ("> ", "  ") and line.strip()]


def order(pilot: Pilot[Any]) -> list[str]:
    return list(pilot.app.screen.query_one(Rows).keys)


async def wait_for_toast(pilot: Pilot[Any], text: str) -> None:
    """Wait until the application says it in passing."""
    await wait_for(pilot, lambda: any(text in toast.message for toast in pilot.app._notifications), f"toast {text!r}")


async def wait_for_question(pilot: Pilot[Any], text: str) -> None:
    """Wait until a question stands in front of the screen, however its lines are broken."""
    await wait_for(
        pilot,
        lambda: any(text in str(part.visual) for part in pilot.app.screen.query("Static").results(Static)),
        f"question {text!r}",
    )


class Asked:
    """What the screen asked the application to open or to start."""

    def __init__(self, app: MlxllmApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []

        async def launch(run: str, args: tuple[str, ...]) -> bool:
            self.calls.append(("launch", run, args))
            return True

        monkeypatch.setattr(app, "launch", launch)
        monkeypatch.setattr(app, "open_monitor", lambda run, overlay=(): self.calls.append(("monitor", run, *overlay)))
        monkeypatch.setattr(app, "open_chat", lambda model, compare=(): self.calls.append(("chat", model, *compare)))
