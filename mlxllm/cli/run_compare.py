"""`mlxllm runs compare`, `runs diff` and `runs samples`: runs side by side."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxllm.cli.report import Plots, Watts, check_watts, tell_files
from mlxllm.cli.sampling import say, shown
from mlxllm.cli.table import fits, print_table
from mlxllm.errors import ConfigError
from mlxllm.runs import RunDirectory, differences, find_run, read_samples, read_settings, same_prompts

HASHES = ("fingerprint", "data.tokenizer")
"""Settings that are hashes: their beginning tells them apart."""

_EXPENDABLE = ("tokens/s", "weights", "kind", "tokens", "time", "steps", "bits/byte")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Two runs or more.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Write a page as well: a folder, or a file that ends in .md or .html.",
            show_default="the terminal only",
        ),
    ] = None,
    plots: Plots = False,
    watts: Watts = None,
    json_: Json = False,
) -> None:
    """Show runs side by side; --out writes a page with their curves, settings, scores and samples."""
    from mlxllm.report.comparison_page import OVERVIEW, comparison_page, overview
    from mlxllm.report.scores_section import newest, scores_table
    from mlxllm.report.stages import stage_of
    from mlxllm.report.writing import write_page

    check_watts(watts)
    if plots and out is None:
        raise ConfigError("--plots writes the plots beside the page; say with --out where that is to be")
    reports = [stage_of(run, run.address) for run in _runs(runs, least=2)]
    files = []
    if out is not None:
        page, drawn = comparison_page(reports, watts=watts, now=time.time())
        files = write_page(page, drawn, out.expanduser(), with_plots=plots)
    if json_:
        scores = {each.name: {key[0]: found.metrics for key, found in newest(each.scores).items()} for each in reports}
        told = [{**each.summary.as_json(), "name": each.name} for each in reports]
        print(json.dumps({"runs": told, "scores": scores, "files": [str(file) for file in files]}))
        return
    print_table(OVERVIEW, [overview(each) for each in reports], expendable=_EXPENDABLE)
    if (table := scores_table([(each.name, each.scores) for each in reports])) is not None:
        print()
        _, _, items, *names = table.header
        print_by_run(["task, metric", items, *names], list(_below_tasks(table.rows)), expendable=(items,))
    tell_files(files)


def _below_tasks(rows: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    """A line for each task with its metrics below it: beside each other they leave a terminal no room for the runs."""
    for task, metrics in groupby(rows, key=itemgetter(0)):
        for number, (_, metric, *cells) in enumerate(metrics):
            if not number:
                yield [task, *("" for _ in cells)]
            yield [f"  {metric}", *cells]


def print_by_run(header: list[str], rows: list[list[str]], *, expendable: tuple[str, ...] = ()) -> None:
    """A table with a column for each run; on a terminal that is too narrow for them, with a line for each."""
    if fits(header, rows, sys.stdout, expendable):
        print_table(header, rows, expendable=expendable)
        return
    begin = 1 + len(expendable)
    lines = []
    for label, *cells in rows:
        by_run = list(zip(header[begin:], cells[begin - 1 :], strict=True)) if any(cells) else [("", "")]
        lines += [["" if number else label, name, cell] for number, (name, cell) in enumerate(by_run)]
    print_table([header[0], "run", "value"], lines)


def diff(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Two runs or more.", show_default=False)],
    json_: Json = False,
) -> None:
    """Show the settings in which runs differ."""
    found = _runs(runs, least=2)
    names = [run.address for run in found]
    differing = differences(read_settings(found))
    if json_:
        by_name = {key: {names[n]: value for n, value in values.items()} for key, values in differing.items()}
        print(json.dumps({"runs": names, "differences": by_name}))
    elif differing:
        cells = [
            [key, *(spelled(key, values[n]) if n in values else "-" for n in range(len(found)))]
            for key, values in differing.items()
        ]
        print_by_run(["setting", *names], cells)
    else:
        say(f"{' and '.join(names)} have the same settings")


def samples(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="One run or more.", show_default=False)],
    json_: Json = False,
) -> None:
    """Show what runs said in training to the same prompts, each at its last step (with --json, all steps)."""
    found = _runs(runs, least=1)
    said = same_prompts([read_samples(run) for run in found])
    if json_:
        for same in said:
            answers = {
                run.address: [{"step": sample.step, "text": sample.text} for sample in answer]
                for run, answer in zip(found, same.answers, strict=True)
            }
            print(json.dumps({"prompt": same.prompt, "answers": answers}))
        return
    if not said:
        say("no run of these was asked anything in training; train.sample_every decides how often it is")
    for same in said:
        print(f"> {shown(same.prompt, sys.stdout)}")
        for run, answer in zip(found, same.answers, strict=True):
            if answer:
                print(f"[{run.address}, step {answer[-1].step:,}] {shown(answer[-1].text, sys.stdout)}")
        print()


def spelled(key: str, value: Any) -> str:
    """A setting's value in one line that can do no terminal any harm."""
    if isinstance(value, str) and value and key.endswith(HASHES):
        return value[:12]
    if isinstance(value, str) and value and value.isprintable():
        return value
    return "".join(
        char if char.isprintable() else f"\\u{ord(char):04x}" for char in json.dumps(value, ensure_ascii=False)
    )


def _runs(names: list[str], least: int) -> list[RunDirectory]:
    found = list({run.path.resolve(): run for run in map(find_run, names)}.values())
    if len(found) < least:
        raise ConfigError(f"{names[0]!r} alone has nothing to differ from; name two runs or more")
    return found
