"""`mlxllm doctor`: what this machine is, what slows it down, and whether it computes what it should."""

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.cli.terminal import fold
from mlxllm.errors import ConfigError, UserError

if TYPE_CHECKING:  # MLX is imported by the self-test, once it is known to work
    from mlxllm.diagnostics.device.result import Result
    from mlxllm.diagnostics.facts import Check

_COLOURS = {"ok": "green", "warn": "yellow", "problem": "red", "pass": "green", "skip": "yellow", "fail": "red"}
_NAME = 46
"""Columns of a test's name: with mark, difference, limit and time a line has 79."""


def doctor(
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Compute on the device and compare; under a minute.")
    ] = False,
    speed: Annotated[
        bool, typer.Option("--speed", help="Measure how fast training is here, and keep it; some ten seconds.")
    ] = False,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Look at the machine; with --selftest, compute on it and compare. Exit code 1 where something is wrong."""
    if selftest and speed:
        raise ConfigError("--selftest and --speed are two commands; give one of them")
    if device not in (None, "cpu", "gpu"):
        raise ConfigError(f"--device {device!r} is not known; use cpu or gpu")
    if speed:
        _measure(device, json_)
        return
    healthy = _selftest(device, json_) if selftest else _examine(device, json_)
    if not healthy:
        raise typer.Exit(1)


def _examine(device: str | None, json_: bool) -> bool:
    from mlxllm.diagnostics.facts import examine

    checks = examine(device)
    healthy = all(check.status != "problem" for check in checks)
    if json_:
        print(json.dumps({"ok": healthy, "checks": [check.as_json() for check in checks]}))
        return healthy
    for check in checks:
        _print_check(check)
    return healthy


def _measure(device: str | None, json_: bool) -> None:
    from mlxllm.diagnostics.device.speed import measure_speed
    from mlxllm.presets import PRESETS
    from mlxllm.runtime import select_device
    from mlxllm.speed import busy_runs, write_speed

    select_device(device)
    busy = [run.address for run in busy_runs()]
    loaded = os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    if busy:
        sampling.say(
            f"warning: {', '.join(busy)} is being trained meanwhile, so this machine will seem slower than it is"
        )
    elif loaded:
        sampling.say("warning: other programs keep this machine busy, so it will seem slower than it is")
    sampling.say("measuring how fast this machine trains, some ten seconds")
    measured = measure_speed()
    file = write_speed(measured)
    steps = {name: measured.cost(make()).step for name, make in PRESETS.items()}
    if json_:
        print(
            json.dumps(
                {**asdict(measured), "busy": busy, "loaded": loaded, "file": str(file), "seconds_per_step": steps}
            )
        )
        return
    print(f"{'width':>5}{'gradient':>16}{'Muon':>16}{'AdamW':>16}")
    for point in measured.points:
        rates = (point.flops, point.muon_flops)
        print(f"{point.width:>5}" + "".join(f"{rate / 1e9:>9.0f} GFLOP/s" for rate in rates), end="")
        print(f"{point.adamw_weights / 1e6:>9.0f} M/s")
    print(f"\n{'preset':<22}{'a step':>12}   (a vocabulary adds to it)")
    for name, seconds in steps.items():
        print(f"{name:<22}{_time(seconds):>12}")
    print(f"\nkept in {file}; the application tells from it how long a run will take")


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _print_check(check: "Check") -> None:
    text = check.text if not check.remedy else f"{check.text}; {check.remedy}"
    _print_behind(_mark(check.status, 8) + f"{check.name:<10}", 18, text)


def _print_behind(begun: str, width: int, text: str) -> None:
    """Print `text` behind `begun`, which has `width` columns; a long one goes on below itself."""
    print(begun + fold(text, sys.stdout, margin=" " * width)[width:], flush=True)


def _selftest(device: str | None, json_: bool) -> bool:
    from mlxllm.diagnostics.facts import check_mlx

    mlx = check_mlx()
    if mlx.status == "problem":
        raise UserError(f"{mlx.text}; {mlx.remedy}" if mlx.remedy else mlx.text)

    from mlxllm.diagnostics.device.selftest import passed, run_selftest, summary
    from mlxllm.runtime import device_info, select_device

    select_device(device)
    if device_info().device == "cpu" and "MLX_DISABLE_COMPILE" not in os.environ:
        sampling.say("the first self-test on a CPU also compiles, for up to a minute")
    if not json_:
        print(f"{'':6}{'test':<{_NAME}}{'difference':>10}{'allowed':>10}{'time':>7}")
    results = []
    for result in run_selftest():
        results.append(result)
        if not json_:
            _print_result(result)
    healthy, paragraph = passed(results), summary(results)
    if json_:
        machine = vars(device_info())
        tests = [result.as_json() for result in results]
        print(json.dumps({"ok": healthy, "tests": tests, "machine": machine, "summary": paragraph}))
    else:
        print(f"\n{fold(paragraph, sys.stdout)}")
    return healthy


def _print_result(result: "Result") -> None:
    mark = _mark(result.status, 6)
    if result.status == "skip":
        _print_behind(mark, 6, f"{result.name}: {result.note}")
        return
    difference = "-" if result.difference is None else _number(result.difference, result.unit)
    allowed = _number(result.tolerance, result.unit)
    print(f"{mark}{result.name:<{_NAME}}{difference:>10}{allowed:>10}{result.seconds:>5.2f} s", flush=True)
    if result.note:
        _print_behind(" " * 6, 6, result.note)


def _number(value: float, unit: str) -> str:
    if unit:
        return f"{value:.0f} {unit}"
    return "0" if value == 0 else f"{value:.1e}"


def _mark(status: str, width: int) -> str:
    """The status as a word, so that nothing depends on its colour."""
    padding = " " * (width - len(status))
    if not sampling.use_colour(sys.stdout):
        return status + padding
    return typer.style(status, fg=_COLOURS[status], bold=status in ("problem", "fail") or None) + padding
