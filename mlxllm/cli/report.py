"""`mlxllm report`: what became of a run, as a page."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mlxllm.cli.sampling import say
from mlxllm.errors import ConfigError

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


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")],
    out: Out = None,
    plots: Plots = False,
    watts: Watts = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Write a page about a run: data, model, recipe, curves, samples, scores of every stage, and the way there."""
    from mlxllm.report.run_page import run_page
    from mlxllm.report.stages import stages_of
    from mlxllm.report.writing import write_page
    from mlxllm.runs import find_run

    check_watts(watts)
    found = find_run(run)
    stages = stages_of(found)
    page, drawn = run_page(stages, watts=watts, now=time.time())
    files = write_page(page, drawn, out.expanduser() if out is not None else found.path / "report", with_plots=plots)
    if json_:
        told = [{"stage": s.name, "run": s.run.name, "step": s.step, "status": s.summary.status} for s in stages]
        print(json.dumps({"run": found.name, "stages": told, "files": [str(file) for file in files]}))
        return
    tell_files(files)


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
        if file.suffix in (".md", ".html"):
            print(file)
    if pictures := [file for file in files if file.suffix in (".png", ".svg")]:
        say(f"{len(pictures)} plots in {pictures[0].parent}")
    sys.stdout.flush()
