"""`mlxllm train` and `mlxllm resume`: pre-training, headless."""

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli.help import Command, choices, setting, write_section
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.report import Reporting, ReportTo
from mlxllm.cli.terminal import did_you_mean
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # heavy modules are imported by the commands
    from mlxllm.runs import RunDirectory
    from mlxllm.training.plan import Plan
    from mlxllm.training.trainer import Outcome

Json = Annotated[bool, typer.Option("--json", help="Print every event as one JSON object a line on stdout.")]
Device = Annotated[
    str | None, typer.Option(metavar="cpu|gpu", help="Where to compute; by default a GPU if there is one.")
]
Minutes = Annotated[
    float | None, typer.Option(metavar="M", help="Train for about so long; the steps are measured first.")
]

_LEAST_MINUTES = 0.01
_MOST_MINUTES = 1_000_000


class TrainCommand(Command):
    """`train`, whose help lists the presets."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from mlxllm.presets import PRESETS  # here: it loads pydantic

        write_section(formatter, "Presets", [(name, make.__doc__ or "") for name, make in PRESETS.items()])


def train(
    data: Annotated[str | None, typer.Option(metavar="NAME", help="Dataset to train on.")] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="PRESET", help="Recipe to begin with, one of those below.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Name of the new run; by default made from dataset and preset.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="M", help="Continue the pre-training of this model (a run or a folder), not a fresh one."),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file of settings.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Any one setting; may be repeated. --dry-run shows them all."
        ),
    ] = None,
    minutes: Minutes = None,
    max_steps: Annotated[int | None, setting("train.max_steps", "N")] = None,
    batch_size: Annotated[int | None, setting("train.batch_size", "N")] = None,
    grad_accum_steps: Annotated[int | None, setting("train.grad_accum_steps", "N")] = None,
    max_seq_len: Annotated[int | None, setting("data.max_seq_len", "N")] = None,
    learning_rate: Annotated[float | None, setting("train.learning_rate", "X")] = None,
    optimizer: Annotated[str | None, setting("train.optimizer", "NAME")] = None,
    schedule: Annotated[str | None, setting("train.schedule", "NAME")] = None,
    seed: Annotated[int | None, setting("train.seed", "N")] = None,
    device: Device = None,
    report_to: ReportTo = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything that training would, show the resolved settings and what they cost; train nothing.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Train a model on a dataset, from scratch or from --model."""
    from mlxllm.presets import PRESETS
    from mlxllm.runs import RunDirectory, name_for_training
    from mlxllm.settings import build_config, check_model_settings

    begun = time.monotonic()
    check_length(minutes, max_steps, _LEAST_MINUTES)
    view = TrainingView(json_lines=json_)
    reporting = Reporting(report_to, view)
    flags = {
        "data.dataset": data,
        "data.max_seq_len": max_seq_len,
        "train.max_steps": max_steps,
        "train.batch_size": batch_size,
        "train.grad_accum_steps": grad_accum_steps,
        "train.learning_rate": learning_rate,
        "train.optimizer": optimizer,
        "train.schedule": schedule,
        "train.seed": seed,
    }
    _check_word("--preset", preset, tuple(PRESETS))
    _check_word("--optimizer", optimizer, choices("train.optimizer"))
    _check_word("--schedule", schedule, choices("train.schedule"))
    resolved = build_config(preset=preset, config_file=config, settings=set_ or (), flags=flags)
    if model is not None:
        check_model_settings(set_ or (), model)
    name = run if run is not None else name_for_training(resolved.data.dataset, resolved.preset)
    directory = RunDirectory(paths.new("runs", name))
    if dry_run and not resolved.data.dataset:
        from mlxllm.cli.dry_run import show, with_model

        show(with_model(resolved, model), None, minutes, json_)
        return
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.plan import plan_run

    select_device(device)
    deadline = begun + 60 * minutes if minutes is not None else None
    plan = plan_run(directory, resolved, model_name=model, deadline=deadline)
    if dry_run:
        from mlxllm.cli.dry_run import checked_tokens, show

        show(plan.config, checked_tokens(plan), minutes, json_)
        return
    from mlxllm.training.interrupts import Interrupts
    from mlxllm.training.start import start

    warn_of_choice(plan, view)
    end(directory, view, start(plan, reporting.begin(directory), Interrupts(view.interrupted)))


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")],
    max_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Extend the run to so many updates in all.")
    ] = None,
    minutes: Minutes = None,
    device: Device = None,
    report_to: ReportTo = None,
    json_: Json = False,
) -> None:
    """Go on with a stopped or crashed run, or extend a finished one with --minutes or --max-steps."""
    from mlxllm.runs import find_run

    check_length(minutes, max_steps, _LEAST_MINUTES)
    view = TrainingView(json_lines=json_)
    reporting = Reporting(report_to, view)
    directory = find_run(run)
    begun = time.monotonic()
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.interrupts import Interrupts
    from mlxllm.training.start import resume as go_on

    select_device(device)
    deadline = begun + 60 * minutes if minutes is not None else None
    interrupts = Interrupts(view.interrupted)
    end(
        directory,
        view,
        go_on(directory, reporting.begin(directory), interrupts, max_steps=max_steps, deadline=deadline),
    )


def warn_of_choice(plan: "Plan", view: TrainingView) -> None:
    """Say so where training begins with an older checkpoint than the newest."""
    if plan.base is not None and plan.base.note:
        view.say(f"warning: {plan.base.note}")


def check_length(minutes: float | None, max_steps: int | None, least: float) -> None:
    """Refuse what says nothing about how long to train; `least` is the fewest minutes.

    Raises:
        ConfigError: both are given, or one is nothing to count by.
    """
    if minutes is not None and max_steps is not None:
        raise ConfigError("--minutes and --max-steps both say how long to train; give one of them")
    if minutes is not None and not minutes >= least:  # nan is not either
        raise ConfigError(f"--minutes is {minutes:g}; give a number of minutes, at least {least:g}")
    if minutes is not None and minutes > _MOST_MINUTES:
        raise ConfigError(f"--minutes is {minutes:g}; give a number of minutes, at most {_MOST_MINUTES:,}")
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"--max-steps is {max_steps}; it is the number of updates in all, 1 or more")


def end(run: "RunDirectory", view: TrainingView, outcome: "Outcome") -> None:
    """Say what to type next, and leave."""
    method = view.method
    if outcome.status == "stopped":
        view.say(f"saved; go on with: {program()} resume {run.address}")
    elif view.nothing_to_do:
        steps = "its only step" if view.last_step == 1 else f"all of its {view.last_step:,} steps"
        view.say(
            f"run {run.name} is finished, with {steps}; train it for longer with "
            f"`{program()} resume {run.address} --minutes 10`, or with --max-steps and a number above that"
        )
    else:
        use = f"sample --model {run.address} --prompt ..." if method == "pretrain" else f"chat --model {run.address}"
        view.say(f"try it: {program()} {use}")
    exit_for(outcome)


def exit_for(outcome: "Outcome") -> None:
    """Leave with the code of the signal that stopped the run, if one did."""
    if outcome.signal is not None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # once more in the same moment: it is leaving
        sys.exit(128 + outcome.signal)


def program() -> str:
    """How the user calls this program: as it was called this time."""
    called = Path(sys.argv[0])
    if called.name != "mlxllm":
        return f"{_from_here(Path(sys.executable))} -m mlxllm"
    from shutil import which

    on_path = which("mlxllm")
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return "mlxllm"
    return _from_here(called)


def _from_here(path: Path) -> str:
    """`path` as it is typed in the working folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _check_word(option: str, given: str | None, known: tuple[str, ...]) -> None:
    """Catch a misspelt word; one that is like none of them is refused, with all of them, where it is used."""
    if given is not None and given not in known and (near := did_you_mean(given, known)):
        raise ConfigError(f"{option} {given!r} does not exist; {near}")
