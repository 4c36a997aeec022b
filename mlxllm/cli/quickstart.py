"""`mlxllm quickstart`: from text to a model that talks, and where its world has lessons, to one that answers."""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm import paths
from mlxllm.cli.chat import chat as open_chat
from mlxllm.cli.corpora import CORPORA, WORLDS, find_corpus, make_dataset
from mlxllm.cli.help import setting
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.terminal import fold, tell
from mlxllm.cli.train import Device, check_length, exit_for, program
from mlxllm.cli.whole_life import TEMPERATURE, Life, continuation, go_on, what_is_left
from mlxllm.errors import EXIT_SIGINT, ConfigError, RunError

if TYPE_CHECKING:  # heavy modules are imported by the command
    from collections.abc import Callable

    from mlxllm.config import RunConfig
    from mlxllm.runs import Event, RunDirectory
    from mlxllm.training.kernels import KernelsAhead
    from mlxllm.training.trainer import Outcome

DEFAULT_MINUTES = 6.0
"""For a whole life."""
PRETRAINING_MINUTES = 3.0
"""For a base model only."""
_LEAST_MINUTES = 0.5
_ENOUGH_MINUTES = 3.0
"""With less, a laptop's CPU makes a handful of steps in some stage."""
_FINAL_TOKENS = 200
_PARTING_SECONDS = 4.0
"""Kept for the last sample and for leaving."""


def quickstart(
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help=f"Time for the whole command, {_LEAST_MINUTES:g} or more.",
            show_default=f"{DEFAULT_MINUTES:g}, or {PRETRAINING_MINUTES:g} with pre-training only",
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help=f"What to learn from: {', '.join(CORPORA)}, or a file or folder of your own.",
            show_default=CORPORA[0],
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Name of the run and its dataset; by default CORPUS-1, -2, ...")
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help=f"Go on to a model that answers: lessons, then preferences ({', '.join(WORLDS)}).",
            show_default="--chat for stories",
        ),
    ] = None,
    seed: Annotated[int | None, setting("train.seed", "N", panel=None)] = None,
    device: Device = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print every event as one JSON object a line, then the result.")
    ] = False,
) -> None:
    """Take a model through its whole life in minutes: text, tokenizer, pre-training, lessons, preferences, a chat."""
    begun = time.monotonic()
    check_length(minutes, None, _LEAST_MINUTES)
    corpus = CORPORA[0] if corpus is None else corpus
    answers = corpus == CORPORA[0] if chat is None else chat
    if answers and corpus not in WORLDS:
        raise ConfigError(
            f"--chat needs a corpus with questions and answers, {' or '.join(WORLDS)}, and --corpus {corpus!r} is none; "
            f"leave --chat out, and teach the model with `{program()} sft` and conversations of your own"
        )
    seconds = 60 * (minutes or (DEFAULT_MINUTES if answers else PRETRAINING_MINUTES))
    view = TrainingView(json_lines=json_)
    try:
        result = _run(begun, seconds, corpus, answers, run, seed, device, view)
    except KeyboardInterrupt:
        what = (
            f"interrupted; the model is there, as {view.run_name}"
            if view.run_name
            else "interrupted before training began; the same command begins again"
        )
        tell(fold(what, sys.stderr), sys.stderr)
        sys.exit(EXIT_SIGINT)
    if json_:
        print(json.dumps(result.as_dict()))
    exit_for(result.outcome)
    if result.stages and not json_ and sys.stdin.isatty() and sys.stdout.isatty():
        open_chat(result.run.address, temp=TEMPERATURE)


@dataclass(frozen=True)
class _Result:
    """What a quickstart came to."""

    run: "RunDirectory"
    """The last one."""
    outcome: "Outcome"
    sample: str
    val: "Event | None"
    """The last validation of pre-training."""
    stages: dict[str, dict[str, float]] | None
    """Scores after each stage; None without stages."""

    def as_dict(self) -> dict[str, object]:
        val = {key: self.val[key] for key in ("loss", "bits_per_byte")} if self.val else None
        stages = {} if self.stages is None else {"stages": self.stages}
        return {"run": self.run.name, "val": val, "sample": self.sample, **stages}


def _run(
    begun: float,
    seconds: float,
    corpus: str,
    answers: bool,
    run: str | None,
    seed: int | None,
    device: str | None,
    view: TrainingView,
) -> _Result:
    from mlxllm.runs import RunDirectory
    from mlxllm.settings import build_config

    build_config(flags={"train.seed": seed})  # refuses one that cannot be
    recipe = find_corpus(corpus, seconds, answers)
    name, path = _new_run(run, corpus)
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.kernels import KernelsAhead
    from mlxllm.training.sizing import TextSize, choose, measured_flops
    from mlxllm.training.stages import BASE_SHARE, SIZING_SHARE

    select_device(device)
    parts = 6 if answers else 4
    if answers and seconds < 60 * _ENOUGH_MINUTES:
        view.say(
            f"{seconds / 60:g} minutes are short for a whole life: the later stages may do more harm than good; give "
            f"--minutes {DEFAULT_MINUTES:g}, or --no-chat for a base model"
        )
    view.say(f"1/{parts}  measuring this machine")
    guess = TextSize(recipe.vocab_size, recipe.tokens)
    for_base = BASE_SHARE * seconds if answers else seconds - _PARTING_SECONDS
    flops = measured_flops(guess) * (SIZING_SHARE * seconds if answers else for_base)
    ahead = KernelsAhead(choose(guess, flops, name, recipe.prompt, seed))
    directory = RunDirectory(path)
    dataset = None
    try:
        try:
            view.say(f"2/{parts}  dataset: {recipe.source}")
            dataset = make_dataset(name, corpus, recipe, view)
            ahead.wait()
        finally:
            ahead.stop()
        text = TextSize(dataset.vocab_size, dataset.train.num_tokens)
        config = choose(text, flops, str(dataset.directory), recipe.prompt, seed)
        view.say(f"3/{parts}  pre-training; Ctrl-C stops after the current step and saves")
        later = _Later(config, view) if answers else None
        try:
            milestones = 4 if answers else 6
            outcome = _train(directory, config, begun + for_base, milestones, view if later is None else later, view)
        finally:
            if later is not None:
                later.stop()
    except BaseException:
        if dataset is not None and not directory.config.exists():  # no run came of it that could need its data
            shutil.rmtree(dataset.directory, ignore_errors=True)
        raise
    val = view.last_val
    if outcome.status == "stopped":
        _next_steps(directory, outcome, val, view)
        return _Result(directory, outcome, "", val, None)
    if answers:
        assert recipe.world is not None
        life = Life(directory, dataset, recipe.world(), begun, seconds, view)
        try:
            directory, outcome = go_on(life)
        except KeyboardInterrupt:
            _say_what_is_left(life, view)
            raise
        _next_steps_of_life(life, directory, outcome, view)
        said = life.answers.get("dpo", [""])[-1]
        return _Result(directory, outcome, said, val, life.scores)
    # Where validation had turned, the last weights are not the best ones.
    best = "@best" if outcome.status == "early_stopped" else ""
    sample = _parting_words(f"{path}{best}", recipe.prompt, view)
    _next_steps(directory, outcome, val, view)
    return _Result(directory, outcome, sample, val, None)


def _train(
    run: "RunDirectory",
    config: "RunConfig",
    deadline: float,
    milestones: int,
    listener: "Callable[[Event], None]",
    view: TrainingView,
) -> "Outcome":
    from mlxllm.training.interrupts import Interrupts
    from mlxllm.training.plan import plan_run
    from mlxllm.training.start import start

    plan = plan_run(run, config, deadline=deadline, milestones=milestones)
    return start(plan, listener, Interrupts(view.interrupted))


class _Later:
    """A listener that has the steps of the later stages compiled, once the first stage's speed has been measured."""

    def __init__(self, config: "RunConfig", view: TrainingView) -> None:
        self._config, self._view = config, view
        self._ahead: KernelsAhead | None = None

    def __call__(self, event: "Event") -> None:
        from mlxllm.training.kernels import KernelsAhead
        from mlxllm.training.stages import stage_kernels

        if event["kind"] == "run_started":
            self._ahead = KernelsAhead(stage_kernels(self._config), ("sft", "dpo"), background=True)
        self._view(event)

    def stop(self) -> None:
        """Leave what is not finished."""
        if self._ahead is not None:
            self._ahead.stop()


def _new_run(run: str | None, corpus: str) -> tuple[str, Path]:
    if run is not None:
        path = paths.new("runs", run)
        if (path / "config.json").exists():
            raise RunError(
                f"run {run!r} exists already; train it for longer with `{program()} resume {run} --minutes 10`, or choose "
                f"another --run name"
            )
        if (paths.folder("datasets") / path.name).exists():
            raise RunError(
                f"there is a dataset {path.name!r} already, and quickstart makes one of the run's name; choose another "
                f"--run name"
            )
        return run, path
    base = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(corpus).stem).strip("-_") or "text"
    number = 1
    while (paths.folder("runs") / f"{base}-{number}").exists() or (
        paths.folder("datasets") / f"{base}-{number}"
    ).exists():
        number += 1
    return f"{base}-{number}", paths.folder("runs") / f"{base}-{number}"


def _parting_words(model: str, prompt: str, view: TrainingView) -> str:
    """What the finished model writes."""
    from mlxllm.model.loading import load_model

    text = continuation(load_model(model), prompt, _FINAL_TOKENS)
    view.say("4/4  what it writes now:")
    view.say()
    view.say_text(prompt + text, "    ")
    view.say()
    return text


def _next_steps(run: "RunDirectory", outcome: "Outcome", val: "Event | None", view: TrainingView) -> None:
    me, name = program(), run.address
    if outcome.status == "stopped":
        view.say(f"Stopped and saved. Go on with:  {me} resume {name}")
        return
    if val is not None and val["bits_per_byte"] is not None:
        view.say(
            f"It is saved as {run.name}: {val['bits_per_byte']:.3f} bits per byte on text it has never seen "
            f"(8 would be guessing)."
        )
    view.say("Talk to it, have it continue a text, or train it for longer:")
    view.say(f"  {me} chat --model {name}")
    view.say(f'  {me} sample --model {name} --prompt "..."')
    view.say(f"  {me} resume {name} --minutes 30")
    _anywhere(me, view)


def _next_steps_of_life(life: Life, run: "RunDirectory", outcome: "Outcome", view: TrainingView) -> None:
    from mlxllm.presets import ENOUGH_STEPS, SMALL_MODEL_RATES  # here: it loads pydantic

    me, name = program(), run.address
    if outcome.status == "stopped":
        view.say("Stopped and saved.")
        _say_what_is_left(life, view)
        return
    view.say(
        f"Its three stages are saved as {', '.join(life.run(stage).name for stage in life.scores)}. Talk to the last:"
    )
    view.say(f"  {me} chat --model {name} --temp {TEMPERATURE:g}")
    view.say("See how it came to be, on a page:")
    view.say(f"  {me} report {name}")
    view.say("Teach it what you prefer: /again, then /better or /worse in the chat, and")
    few = f"--max-steps {ENOUGH_STEPS} --learning-rate {SMALL_MODEL_RATES['dpo']:g}"
    view.say(f"  {me} prefs export FILE && {me} dpo --model {name} --data FILE {few}")
    _anywhere(me, view)


def _say_what_is_left(life: Life, view: TrainingView) -> None:
    if commands := what_is_left(life, program()):
        view.say("To go on, one stage after the other:")
        for command in commands:
            view.say(f"  {command}")


def _anywhere(me: str, view: TrainingView) -> None:
    if me != "mlxllm":
        view.say("To have `mlxllm` everywhere: `uv tool install .` or `pipx install .` in this folder.")
