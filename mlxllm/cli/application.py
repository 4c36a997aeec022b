"""The terminal application, from the command line: bare `mlxllm`, and `mlxllm monitor`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mlxllm.errors import ConfigError
from mlxllm.runs import ACTIVE, EventReader, RunDirectory, effective_status, find_run, list_runs

_POLL_SECONDS = 0.2
_LEAVE_SECONDS = 5.0


def is_terminal() -> bool:
    """Whether there is a terminal that the application can be shown on."""
    if os.environ.get("TEXTUAL_DRIVER"):  # a browser, through `mlxllm serve-tui`
        return True
    # Textual draws on stderr.
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) and os.environ.get("TERM") not in (
        None,
        "",
        "dumb",
    )


def open_app(run: str | None) -> NoReturn:
    """Show the application until it is closed, then leave with its code.

    Args:
        run: the run to watch; None is Home.
    """
    from tui import pasting  # here: no other command needs Textual
    from tui.app import MlxllmApp

    pasting.install()
    app = MlxllmApp(run=run)
    app.leave_within = _LEAVE_SECONDS
    app.run()
    sys.exit(app.return_code or 0)


def monitor(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Name or path of a run; by default the newest one.")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print its events, one JSON object a line, until the run has ended.")
    ] = False,
) -> None:
    """Watch a run in the terminal application, while it trains or afterwards; closing it leaves training alone."""
    if run is not None:
        run = find_run(run).address
    else:
        known = list_runs()
        active = [each for each in known if each.status in ACTIVE]
        if not known and (json_ or not is_terminal()):
            raise ConfigError("there is no run to watch yet; `mlxllm quickstart` makes one")
        run = RunDirectory(Path((active or known)[0].path)).address if known else ""
    if json_:
        _print_events(find_run(run))
        return
    if not is_terminal():
        raise ConfigError(
            f"this is not a terminal, so the application cannot be shown; `mlxllm monitor {run} --json` prints the events "
            f"and `mlxllm runs show {run}` where it stands"
        )
    open_app(run)


def _print_events(run: RunDirectory) -> None:
    reader = EventReader(run.events)
    while True:
        ended = effective_status(run) not in ACTIVE  # before the last look: nothing is written after it
        for event in reader.poll():
            print(json.dumps(event), flush=True)
        if ended:
            return
        time.sleep(_POLL_SECONDS)
