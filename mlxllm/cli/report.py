"""`mlxllm report`: what became of a run, as a page."""

import contextlib
import json
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli.sampling import say
from mlxllm.errors import ConfigError
from mlxllm.visible import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlxllm.runs import Event, RunDirectory

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE",
        help="Where it is written: a folder, or a file that ends in .md or .html.",
        show_default="report in the run's folder",
    ),
]
Plots = Annotated[bool, typer.Option("--plots", help="Each plot as PNG and SVG as well, in plots/ beside the page.")]
Watts = Annotated[
    float | None,
    typer.Option(
        metavar="W", help="What the machine draws while it trains, for an estimate of energy.", show_default=False
    ),
]

ReportTo = Annotated[
    str | None,
    typer.Option(
        "--report-to",
        metavar="NAMES",
        help="Send the numbers to tensorboard, wandb or trackio as well, by a process of its own; several with commas.",
        show_default=False,
    ),
]


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")],
    out: Out = None,
    plots: Plots = False,
    watts: Watts = None,
    report_to: Annotated[
        str | None,
        typer.Option(
            "--report-to",
            metavar="NAMES",
            help="Write no page, but send what a run has measured to tensorboard, wandb or trackio; several with commas.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run has ended.", hidden=True)] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Write a page about a run: data, model, recipe, curves, samples, scores of every stage, and the way there."""
    if report_to is not None:
        if out is not None or plots or watts is not None:
            raise ConfigError("--report-to writes no page; leave --out, --plots and --watts out, or give it by itself")
        send(run, report_to, follow, json_)
        return
    from mlxllm.report.run_page import run_page
    from mlxllm.report.stages import stages_of
    from mlxllm.report.writing import write_page

    check_watts(watts)
    found = _run(run)
    stages = stages_of(found)
    page, drawn = run_page(stages, watts=watts, now=time.time())
    files = write_page(page, drawn, out.expanduser() if out is not None else found.path / "report", with_plots=plots)
    if json_:
        told = [{"stage": s.name, "run": s.run.name, "step": s.step, "status": s.summary.status} for s in stages]
        print(json.dumps({"run": found.name, "stages": told, "files": [str(file) for file in files]}))
        return
    tell_files(files)


def send(run: str, services: str, follow: bool, json_: bool) -> None:
    """Send a run's events to services, one after the other."""
    from mlxllm.report.forwarding import forward
    from mlxllm.report.services import SHOWN_BY, parse_services

    names, found = parse_services(services), _run(run)
    if follow:  # of a trainer in a terminal: what ends that is not meant for it
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    with contextlib.redirect_stdout(sys.stderr):  # libraries that print are not to print into our JSON
        sent = {name: forward(found, name, follow=follow) for name in names}
    if json_:
        print(json.dumps({"run": found.name, "sent": sent}))
    for name, count in sent.items():
        new = f"{counted(count, 'event')} of run {found.name!r} sent to {name}"
        nothing = f"nothing of run {found.name!r} is new to {name}: all was sent before"
        where = SHOWN_BY.get(name, "").format(run=shlex.quote(str(found.path)))
        say((new if count else nothing) + (f"; `{where}` shows it" if where else ""))


def _run(name: str) -> "RunDirectory":
    """A run; what names a checkpoint is told that a report is about the whole."""
    from mlxllm.runs import find_run, run_of

    try:
        return find_run(name)
    except ConfigError:
        if (found := run_of(name)) is None:
            raise
    raise ConfigError(f"{name!r} is a checkpoint, and a report is about a run with all of them; give {found.address}")


class Reporting:
    """A listener that has each event of a run, and starts what follows it when training begins.

    Args:
        services: as `--report-to` has them; None starts nothing.
        listener: who else listens.

    Raises:
        ConfigError: see `parse_services`.
    """

    def __init__(self, services: str | None, listener: "Callable[[Event], None]") -> None:
        from mlxllm.report.services import parse_services

        self._names = parse_services(services) if services is not None else ()
        self._listener = listener

    def begin(self, run: "RunDirectory") -> "Callable[[Event], None]":
        """The listener for a run."""

        def listen(event: "Event") -> None:
            from mlxllm.report.forwarding import start_follower

            self._listener(event)
            for name in self._names if event["kind"] == "run_started" else ():
                try:
                    start_follower(run, name)
                except OSError as error:
                    say(f"warning: nothing is sent to {name}: {error.strerror or error}")

        return listen


def check_watts(watts: float | None) -> None:
    """Refuse what no machine draws.

    Raises:
        ConfigError: it is not a number above 0.
    """
    if watts is not None and not 0 < watts < 1e6:
        raise ConfigError(f"--watts is {watts:g}; give what the machine draws in watts, such as 30 for a laptop")


def tell_files(files: list[Path]) -> None:
    """Name the pages that were written, and how many plots."""
    for file in files:
        if file.suffix.lower() in (".md", ".html"):
            print(file)
    if pictures := [file for file in files if file.suffix in (".png", ".svg")]:
        say(f"{len(pictures)} plots in {pictures[0].parent}")
    sys.stdout.flush()
