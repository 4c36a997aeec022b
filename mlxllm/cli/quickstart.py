"""`mlxllm quickstart`: from text to a model that talks, in one command and a few minutes."""

import json
import shutil
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm import paths
from mlxllm.cli.corpora import CORPORA, FEW_DOCUMENTS, Corpus, find_corpus
from mlxllm.cli.help import setting
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.terminal import fold, tell
from mlxllm.cli.train import Device, check_length, exit_for, program
from mlxllm.errors import EXIT_SIGINT, DataError, RunError

if TYPE_CHECKING:  # heavy modules are imported by the command
    from mlxllm.data.shards import TokenDataset
    from mlxllm.runs import RunDirectory
    from mlxllm.training.trainer import Outcome

DEFAULT_MINUTES = 3.0
_LEAST_MINUTES = 0.5
_FINAL_TOKENS = 200
_FEWEST_TOKENS = {"train": 33, "val": 2}
"""The shortest row and its last target; one token and the one after it."""
_PARTING_SECONDS = 4.0
"""Kept for the last sample and for leaving."""


def quickstart(
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help=f"Time for the whole command, {_LEAST_MINUTES:g} or more.",
            show_default=f"{DEFAULT_MINUTES:g}",
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
    seed: Annotated[int | None, setting("train.seed", "N", panel=None)] = None,
    device: Device = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print every event as one JSON object a line, then the result.")
    ] = False,
) -> None:
    """Build a dataset, train a tokenizer and a model that fits machine and time, and hear it talk."""
    begun = time.monotonic()
    check_length(minutes, None, _LEAST_MINUTES)
    seconds = 60 * (DEFAULT_MINUTES if minutes is None else minutes)
    view = TrainingView(json_lines=json_)
    try:
        name, sample, outcome = _run(begun, seconds, CORPORA[0] if corpus is None else corpus, run, seed, device, view)
    except KeyboardInterrupt:
        what = (
            f"interrupted; the model is there, as {view.run_name}"
            if view.run_name
            else "interrupted before training began; the same command begins again"
        )
        tell(fold(what, sys.stderr), sys.stderr)
        sys.exit(EXIT_SIGINT)
    if json_:
        val = {key: view.last_val[key] for key in ("loss", "bits_per_byte")} if view.last_val else None
        print(json.dumps({"run": name, "val": val, "sample": sample}))
    exit_for(outcome)


def _run(
    begun: float, seconds: float, corpus: str, run: str | None, seed: int | None, device: str | None, view: TrainingView
) -> "tuple[str, str, Outcome]":
    from mlxllm.runs import RunDirectory
    from mlxllm.settings import build_config

    build_config(flags={"train.seed": seed})  # refuses one that cannot be
    recipe = find_corpus(corpus, seconds)
    name, path = _new_run(run, corpus)
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.kernels import KernelsAhead
    from mlxllm.training.sizing import TextSize, choose, measured_flops

    select_device(device)
    view.say("1/4  measuring this machine")
    guess = TextSize(recipe.vocab_size, recipe.tokens)
    flops = measured_flops(guess) * (seconds - _PARTING_SECONDS)
    ahead = KernelsAhead(choose(guess, flops, name, recipe.prompt, seed))
    directory = RunDirectory(path)
    dataset = None
    try:
        try:
            view.say(f"2/4  dataset: {recipe.source}")
            dataset = make_dataset(name, corpus, recipe, view)
            ahead.wait()
        finally:
            ahead.stop()
        outcome = _train(dataset, flops, recipe, seed, directory, begun + seconds - _PARTING_SECONDS, view)
    except BaseException:
        if dataset is not None and not directory.config.exists():  # no run came of it that could need its data
            shutil.rmtree(dataset.directory, ignore_errors=True)
        raise
    # Where validation had turned, the last weights are not the best ones.
    best = "@best" if outcome.status == "early_stopped" else ""
    sample = _parting_words(f"{path}{best}", recipe.prompt, view) if outcome.status != "stopped" else ""
    _next_steps(directory, outcome, view)
    return name, sample, outcome


def _train(
    dataset: "TokenDataset",
    flops: float,
    recipe: Corpus,
    seed: int | None,
    run: "RunDirectory",
    deadline: float,
    view: TrainingView,
) -> "Outcome":
    from mlxllm.training.interrupts import Interrupts
    from mlxllm.training.plan import plan_run
    from mlxllm.training.sizing import TextSize, choose
    from mlxllm.training.start import start

    text = TextSize(dataset.vocab_size, dataset.train.num_tokens)
    config = choose(text, flops, str(dataset.directory), recipe.prompt, seed)

    view.say("3/4  training; Ctrl-C stops after the current step and saves")
    return start(plan_run(run, config, deadline=deadline, milestones=6), view, Interrupts(view.interrupted))


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


def make_dataset(name: str, corpus: str, recipe: Corpus, view: TrainingView) -> "TokenDataset":
    """The dataset of this run: made anew, under the run's own name, so that a resumed run finds its data."""
    from mlxllm.data.build import build_dataset
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import open_source
    from mlxllm.data.split import ByPosition, training_texts
    from mlxllm.tokenizer import train_tokenizer

    directory = paths.folder("datasets") / Path(name).name
    source = open_source(recipe.source)
    if not source.single_text and sum(1 for _ in islice(source.documents(), FEW_DOCUMENTS)) < FEW_DOCUMENTS:
        source = ByPosition(source)
    texts = training_texts([source], recipe.val_split)
    vocab_size = recipe.vocab_size if recipe.tokenizer == "bpe" else None
    tokenizer = train_tokenizer(recipe.tokenizer, texts, vocab_size=vocab_size)
    manifest = build_dataset(directory, [(source, 1.0)], tokenizer, val_split=recipe.val_split)
    for split, fewest in _FEWEST_TOKENS.items():
        if (tokens := getattr(manifest, split).tokens) < fewest:
            shutil.rmtree(directory, ignore_errors=True)
            raise DataError(
                f"--corpus {corpus}: {tokens:,} tokens are left to {'learn from' if split == 'train' else 'hold out'}, "
                f"and it takes {fewest}; give more text, or text that repeats itself less"
            )
    for warning in manifest.warnings:
        view.say(f"warning: {warning}")
    view.say(
        f"     {_texts(manifest.train.documents)}, {_size(manifest.train.bytes)}; a tokenizer of "
        f"{tokenizer.vocab_size:,} {'characters and bytes' if tokenizer.kind == 'char' else 'pieces'}; "
        f"{manifest.train.tokens:,} tokens to learn from, {manifest.val.tokens:,} held out"
    )
    return TokenDataset.open(directory)


def _texts(number: int) -> str:
    return "1 text" if number == 1 else f"{number:,} texts"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _parting_words(model: str, prompt: str, view: TrainingView) -> str:
    """What the finished model writes."""
    from mlxllm.config import SampleConfig
    from mlxllm.inference.generate import generate
    from mlxllm.model.loading import load_model

    loaded = load_model(model)
    sample = SampleConfig(temperature=0.5, max_tokens=_FINAL_TOKENS)
    text = "".join(t.text for t in generate(loaded.model, loaded.tokenizer, loaded.tokenizer.encode(prompt), sample))
    view.say("4/4  what it writes now:")
    view.say()
    view.say_text(prompt + text, "    ")
    view.say()
    return text


def _next_steps(run: "RunDirectory", outcome: "Outcome", view: TrainingView) -> None:
    me, name = program(), run.address
    if outcome.status == "stopped":
        view.say(f"Stopped and saved. Go on with:  {me} resume {name}")
        return
    if view.last_val is not None and view.last_val["bits_per_byte"] is not None:
        view.say(
            f"It is saved as {run.name}: {view.last_val['bits_per_byte']:.3f} bits per byte on text it has never seen "
            f"(8 would be guessing)."
        )
    view.say("Talk to it, have it continue a text, or train it for longer:")
    view.say(f"  {me} chat --model {name}")
    view.say(f'  {me} sample --model {name} --prompt "..."')
    view.say(f"  {me} resume {name} --minutes 30")
    if me != "mlxllm":
        view.say("To have `mlxllm` everywhere: `uv tool install .` or `pipx install .` in this folder.")
