"""`mlxllm runs`: list the runs, look at one, and talk to its trainer through the run directory."""

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli import run_compare, run_probe, sampling
from mlxllm.cli import run_view as view
from mlxllm.cli.deleting import confirm, delete, folder_size
from mlxllm.cli.sampling import say
from mlxllm.cli.streaming import Stream
from mlxllm.cli.table import print_fields, print_table
from mlxllm.errors import ConfigError, RunError
from mlxllm.runs import (
    ACTIVE,
    Event,
    EventReader,
    RequestName,
    RunDirectory,
    dependents,
    effective_status,
    explain,
    find_run,
    list_runs,
    read_launch,
    request,
    summarise,
    wait_for_event,
)

app = typer.Typer(no_args_is_help=True, help="List, watch and steer runs; a run is a folder in <home>/runs.")

Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]

_POLL_SECONDS = 0.1


@app.command("ls")
def list_(json_: Json = False) -> None:
    """List all runs, the newest first (with --json, one object a line).

    A narrow terminal leaves out columns; `runs show` has everything.
    """
    runs = list_runs()
    if json_:
        for run in runs:
            print(json.dumps(run.as_json()))
        return
    if not runs:
        say(f"no runs in {paths.folder('runs')} yet; `mlxllm quickstart` makes one")
        return
    print_table(view.HEADER, [view.row(run) for run in runs], expendable=view.EXPENDABLE, style=view.style)


@app.command()
def show(
    run: Run,
    compute: Annotated[
        bool,
        typer.Option(
            "--compute",
            help="Show what the stages of its model cost in operations and time, beside models whose numbers are published.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Show one run: where it stands, its numbers, its checkpoints, and how it ended."""
    found = find_run(run)
    if compute:
        _show_compute(found, json_)
        return
    summary = summarise(found)
    ended = summary.status not in ACTIVE
    report = explain(found) if ended else None
    checkpoints = _checkpoints(found)
    ended_by = view.signal_in_words(summary, read_launch(found)) if ended else None
    if json_:
        exit_ = {**asdict(report), "signal": ended_by} if report is not None else None
        print(json.dumps({**summary.as_json(), "checkpoints": checkpoints, "exit": exit_}))
        return
    rows = view.details(summary, checkpoints)
    if report is not None:
        rows.append(("ended", report.sentence))
        if ended_by:
            rows.append(("signal", ended_by))
        if found.log.exists():
            rows.append(("log", str(found.log)))
        if report.next_command:
            rows.append(("next", report.next_command))
    print_fields(rows)


def _show_compute(run: RunDirectory, json_: bool) -> None:
    from mlxllm.cli.run_compute import print_compute
    from mlxllm.estimate.spent import beside, spent_by  # here: it loads pydantic, and most commands need no settings

    found = beside(spent_by(run))
    if json_:
        print(json.dumps({"name": run.name, "compute": found}))
    else:
        print_compute(found)


@app.command()
def pause(run: Run, json_: Json = False) -> None:
    """Hold a run after its current step; memory stays in use. `runs resume` goes on."""
    _ask(find_run(run), "pause", "pauses after the current step", json_)


@app.command()
def resume(run: Run, json_: Json = False) -> None:
    """Lift a pause. (A run that has ended is continued by `mlxllm resume RUN`.)"""
    _ask(find_run(run), "resume", "goes on", json_)


@app.command()
def stop(
    run: Run,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the trainer has saved and ended.")] = False,
    json_: Json = False,
) -> None:
    """Stop a run after its current step; it saves a checkpoint, and `mlxllm resume RUN` continues it."""
    found = find_run(run)
    if not wait:
        _ask(found, "stop", "stops after the current step and saves", json_)
        return
    _require_active(found)
    request(found, "stop")
    say(f"run {found.name!r} stops after the current step and saves; waiting")
    # The lock too: who stops a run wants to resume, rename or delete it next.
    while effective_status(found) in ACTIVE or found.is_locked():
        time.sleep(_POLL_SECONDS)
    if json_:
        print(json.dumps(summarise(found).as_json()))
    report = explain(found)
    say(f"run {found.name!r}: {report.sentence}")


@app.command()
def checkpoint(
    run: Run,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the checkpoint is on the disk.")] = False,
    json_: Json = False,
) -> None:
    """Have a running trainer write a checkpoint after its current step."""
    found = find_run(run)
    if not wait:
        _ask(found, "checkpoint", "writes a checkpoint after the current step", json_)
        return
    event = _ask_and_wait(found, "checkpoint", {}, "checkpoint_saved", timeout=3600.0)
    if json_:
        print(json.dumps(event))
    else:
        say(f"run {found.name!r} saved a checkpoint at step {event.get('step', 0):,}")


@app.command()
def sample(
    run: Run,
    prompt: Annotated[str, typer.Option("--prompt", "-p", metavar="P", help="Text to continue.")],
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", help="Longest answer; by default the run's own.")
    ] = None,
    temp: Annotated[
        float | None, typer.Option("--temp", metavar="X", help="Temperature; by default the run's own.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", metavar="P", help="Only the fewest tokens that hold this probability."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="S", help="Decides the draws.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="T", help="Seconds to wait.")] = 600.0,
    json_: Json = False,
) -> None:
    """Ask a model while it trains: the trainer answers between two steps, with the weights it has then."""
    options = {"max_tokens": max_tokens, "temperature": temp, "top_p": top_p, "seed": seed}
    sampling.sample_config(**options)  # what cannot be is refused here, not by the trainer
    if not timeout > 0:
        raise ConfigError(f"--timeout is {timeout:g}; it should be a number of seconds above 0")
    payload = {"prompt": prompt, **{key: value for key, value in options.items() if value is not None}}
    event = _ask_and_wait(find_run(run), "sample", payload, "sample", timeout=timeout)
    if event.get("error"):
        raise RunError(f"run {run!r} could not answer: {event['error']}")
    if json_:
        print(json.dumps(event))
        return
    stream = Stream()
    stream.given(prompt)
    stream.add(event.get("text", ""))
    stream.end()


@app.command()
def rm(
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a run with all its checkpoints. A run whose trainer is alive is refused."""
    found = find_run(run)
    _require_ended(found, "delete")
    users = _users(found)
    needing = f", without which {_names(users)} cannot be used" if users else ""
    confirm(f"delete run {found.name!r} in {found.path} ({view.file_size(folder_size(found.path))}){needing}", yes)
    with found.lock():
        say(delete(found.path, f"run {found.name!r}"))
    if users and yes:  # who was asked knows it
        say(f"{_names(users)} cannot be used any more: their adapters sat on it")


@app.command()
def rename(run: Run, new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")]) -> None:
    """Give an ended run another name."""
    found = find_run(run)
    target = paths.new("runs", new)
    if target.name == new:  # a bare name: beside the run, wherever that is
        target = found.path.with_name(new)
    _require_ended(found, "rename")
    if users := _users(found):
        raise RunError(
            f"the adapters of {_names(users)} sit on run {found.name!r} and are looked for under that name; leave it as it "
            f"is, or make them whole first with `mlxllm fuse --model {users[0]} --save-path DIR` and remove them"
        )
    with found.lock():
        if target.exists() or target.is_symlink():
            raise ConfigError(f"there is a {target} already; choose another name or remove that first")
        try:
            found.path.rename(target)
        except OSError as error:
            raise RunError(f"cannot rename {found.path} to {target}: {error.strerror}") from error
    say(f"run {found.name!r} is now {target.name!r}")


def _users(run: RunDirectory) -> list[str]:
    """The runs whose adapters sit on a checkpoint of `run`."""
    return sorted({name for names in dependents(run).values() for name in names})


def _names(runs: list[str]) -> str:
    return f"run{'' if len(runs) == 1 else 's'} {', '.join(runs)}"


def _ask(run: RunDirectory, name: RequestName, what: str, json_: bool) -> None:
    _require_active(run)
    request(run, name)
    if json_:
        print(json.dumps({**summarise(run).as_json(), "requested": name}))
    else:
        say(f"run {run.name!r} {what}")


def _ask_and_wait(run: RunDirectory, name: RequestName, payload: dict[str, Any], kind: str, timeout: float) -> Event:
    """Ask, and wait for the event that answers this very request."""
    _require_active(run)
    reader = EventReader(run.events, from_end=True)
    made = request(run, name, payload)
    try:
        event = wait_for_event(
            reader,
            lambda event: event["kind"] == kind and event.get("request") == made.id,
            timeout=timeout,
            is_alive=lambda: effective_status(run) in ACTIVE,
        )
    finally:
        made.path.unlink(missing_ok=True)  # an answer that nobody waits for any more should cost no time
    if event is None:
        status = effective_status(run)
        trouble = f"gave no answer within {timeout:g} s" if status in ACTIVE else f"ended ({status}) before it answered"
        raise RunError(f"run {run.name!r} {trouble}; see `mlxllm runs show {run.address}`")
    return event


def _require_active(run: RunDirectory) -> None:
    status = effective_status(run)
    if status not in ACTIVE:
        raise RunError(f"run {run.name!r} has ended ({status}); `mlxllm resume {run.address}` continues it")


def _require_ended(run: RunDirectory, what: str) -> None:
    try:
        summary = summarise(run)
    except RunError:
        # A damaged state says nothing, and such a run must be deletable; the lock still protects a trainer.
        return
    if summary.status in ACTIVE:
        raise RunError(
            f"run {run.name!r} is {summary.status} (process {summary.pid} on {summary.host}), so it is not "
            f"{what}d; stop it first with `mlxllm runs stop {run.address} --wait`"
        )


def _checkpoints(run: RunDirectory) -> list[int]:
    if not run.checkpoints.is_dir():
        return []
    names = (path.name for path in run.checkpoints.iterdir() if (path / "manifest.json").exists())
    return sorted(int(name[5:]) for name in names if name.startswith("step-") and name[5:].isdigit())


app.command("compare")(run_compare.compare)
app.command("diff")(run_compare.diff)
app.command("samples")(run_compare.samples)
app.command("probe")(run_probe.probe)
