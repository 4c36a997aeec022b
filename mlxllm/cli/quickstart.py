"""`mlxllm quickstart`: from text to a model that talks, in one command and a few minutes."""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm import paths
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.train import Device, exit_for, program
from mlxllm.errors import EXIT_SIGINT, ConfigError

if TYPE_CHECKING:  # heavy modules are imported by the command
    from mlxllm.data.shards import TokenDataset
    from mlxllm.runs import RunDirectory
    from mlxllm.training.trainer import Outcome

DEFAULT_MINUTES = 3.0
_FINAL_TOKENS = 200
_CHAR_VOCABULARY = 330
_FEW_DOCUMENTS = 100
"""With fewer, a split by document may hold out none or a half; the end of the text is held out instead."""
_PARTING_SECONDS = 4.0
"""Kept for the last sample and for leaving."""


@dataclass(frozen=True)
class Corpus:
    """How a corpus becomes a dataset, and what its model is asked to continue."""

    source: str
    tokenizer: str
    vocab_size: int
    """Of the tokenizer that is to be made, about."""
    tokens: int
    """Tokens of the text, about."""
    val_split: float
    prompt: str


def quickstart(
    minutes: Annotated[
        float | None, typer.Option(min=0.5, max=1e6, help="Time for the whole command; 3 by default.")
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="stories|shakespeare|pydocs|PATH", help="What to learn from; stories by default."),
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Name of the run; by default made up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the model and the order of data.")] = None,
    device: Device = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print every event as one JSON object a line, then the result.")
    ] = False,
) -> None:
    """Build a dataset, train a tokenizer and a model that fits machine and time, and hear it talk."""
    begun = time.monotonic()
    seconds = 60 * (DEFAULT_MINUTES if minutes is None else minutes)
    view = TrainingView(json_lines=json_)
    try:
        result = _run(begun, seconds, corpus or "stories", run, seed, device, view)
    except KeyboardInterrupt:
        view.say("interrupted before training began; the same command begins again")
        sys.exit(EXIT_SIGINT)
    name, sample, outcome = result
    if json_:
        val = {key: view.last_val[key] for key in ("loss", "bits_per_byte")} if view.last_val else None
        print(json.dumps({"run": name, "val": val, "sample": sample}))
    exit_for(outcome)


def _run(
    begun: float, seconds: float, corpus: str, run: str | None, seed: int | None, device: str | None, view: TrainingView
) -> "tuple[str, str, Outcome]":
    recipe = _corpus(corpus, seconds)
    name, path = _new_run(run, corpus)

    from mlxllm.runs import RunDirectory
    from mlxllm.runtime import select_device  # MLX begins to load here
    from mlxllm.training.kernels import KernelsAhead
    from mlxllm.training.sizing import TextSize, choose, measured_flops

    select_device(device)
    view.say("1/4  measuring this machine")
    guess = TextSize(recipe.vocab_size, recipe.tokens)
    flops = measured_flops(guess) * (seconds - _PARTING_SECONDS)
    ahead = KernelsAhead(choose(guess, flops, name, recipe.prompt, seed))
    try:
        view.say(f"2/4  dataset: {recipe.source}")
        dataset = _build(name, recipe, view)
        ahead.wait()
    finally:
        ahead.stop()
    directory = RunDirectory(path)
    try:
        outcome = _train(dataset, flops, recipe, seed, directory, begun + seconds - _PARTING_SECONDS, view)
    except BaseException:
        if not directory.config.exists():  # no run came of it that could need its data
            shutil.rmtree(dataset.directory, ignore_errors=True)
        raise
    sample = _parting_words(path, recipe.prompt, view) if outcome.status != "stopped" else ""
    _next_steps(name, outcome, view)
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
    from mlxllm.training.sizing import TextSize, choose
    from mlxllm.training.start import plan_run, start
    from mlxllm.training.trainer import Interrupts

    text = TextSize(dataset.vocab_size, dataset.train.num_tokens)
    config = choose(text, flops, str(dataset.directory), recipe.prompt, seed)

    view.say("3/4  training; Ctrl-C stops after the current step and saves")
    return start(plan_run(run, config, deadline=deadline, milestones=6), view, Interrupts())


def _corpus(corpus: str, seconds: float) -> Corpus:
    """The recipe of a named corpus or of a path."""
    if corpus == "stories":
        # About as many stories as can be read once or twice in the time, on a laptop's CPU.
        count = int(min(200_000, max(3000, 45 * seconds)))
        # The shorter the time, the smaller the world: with all its plots, minutes are enough for sentences only.
        plots = 8 if seconds < 400 else 16 if seconds < 1200 else 0
        source = f"stories:count={count},plots={plots}"
        return Corpus(source, "bpe", 2048, 140 * count, 0.02, "Once upon a time")
    if corpus == "shakespeare":
        return Corpus("shakespeare", "char", _CHAR_VOCABULARY, 1_000_000, 0.1, "ROMEO:")
    if corpus == "pydocs":
        return Corpus("pydocs", "bpe", 4096, 700_000, 0.03, "The ")
    path = Path(corpus).expanduser()
    if not path.exists():
        raise ConfigError(
            f"--corpus {corpus!r} is none of stories, shakespeare, pydocs, and there is no file or folder of that name"
        )
    size = sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
    # A vocabulary takes text to be learned from: a short text is read by characters.
    if size < 300_000:
        return Corpus(f"text:{path}", "char", _CHAR_VOCABULARY, size, 0.05, "")
    return Corpus(f"text:{path}", "bpe", 1024 if size < 2_000_000 else 4096, size // 3, 0.05, "")


def _new_run(run: str | None, corpus: str) -> tuple[str, Path]:
    if run is not None:
        return run, paths.new("runs", run)
    base = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(corpus).stem).strip("-_") or "text"
    number = 1
    while (paths.folder("runs") / f"{base}-{number}").exists() or (
        paths.folder("datasets") / f"{base}-{number}"
    ).exists():
        number += 1
    return f"{base}-{number}", paths.folder("runs") / f"{base}-{number}"


def _build(name: str, recipe: Corpus, view: TrainingView) -> "TokenDataset":
    """The dataset of this run: made anew, under the run's own name, so that a resumed run finds its data."""
    from mlxllm.data.build import build_dataset
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import open_source
    from mlxllm.data.split import ByPosition, training_texts
    from mlxllm.tokenizer import train_tokenizer

    directory = paths.folder("datasets") / Path(name).name
    source = open_source(recipe.source)
    if not source.single_text and sum(1 for _ in islice(source.documents(), _FEW_DOCUMENTS)) < _FEW_DOCUMENTS:
        source = ByPosition(source)
    texts = training_texts([source], recipe.val_split)
    vocab_size = recipe.vocab_size if recipe.tokenizer == "bpe" else None
    tokenizer = train_tokenizer(recipe.tokenizer, texts, vocab_size=vocab_size)
    manifest = build_dataset(directory, [(source, 1.0)], tokenizer, val_split=recipe.val_split)
    for warning in manifest.warnings:
        view.say(f"warning: {warning}")
    view.say(
        f"     {manifest.train.documents:,} texts, {manifest.train.bytes / 1e6:.1f} MB; a tokenizer of "
        f"{tokenizer.vocab_size:,} {'characters and bytes' if tokenizer.kind == 'char' else 'pieces'}; "
        f"{manifest.train.tokens:,} tokens to learn from, {manifest.val.tokens:,} held out"
    )
    return TokenDataset.open(directory)


def _parting_words(run: Path, prompt: str, view: TrainingView) -> str:
    """What the finished model writes."""
    from mlxllm.config import SampleConfig
    from mlxllm.inference.generate import generate
    from mlxllm.model.loading import load_model

    loaded = load_model(str(run))
    sample = SampleConfig(temperature=0.5, max_tokens=_FINAL_TOKENS)
    text = "".join(t.text for t in generate(loaded.model, loaded.tokenizer, loaded.tokenizer.encode(prompt), sample))
    view.say("4/4  what it writes now:")
    view.say()
    view.say_text(prompt + text, "    ")
    view.say()
    return text


def _next_steps(name: str, outcome: "Outcome", view: TrainingView) -> None:
    me = program()
    if outcome.status == "stopped":
        view.say(f"Stopped and saved. Go on with:  {me} resume {name}")
        return
    if view.last_val is not None and view.last_val["bits_per_byte"] is not None:
        view.say(
            f"It is saved as {name}: {view.last_val['bits_per_byte']:.3f} bits per byte on text it has never seen "
            f"(8 would be guessing)."
        )
    view.say("Next:")
    view.say(f"  {me} chat --model {name}                talk to it")
    view.say(f'  {me} sample --model {name} --prompt "..."')
    view.say(f"  {me} resume {name} --minutes 30         train it for longer")
    if me != "mlxllm":
        view.say("To have `mlxllm` everywhere: `uv tool install .` or `pipx install .` in this folder.")
