"""`mlxllm eval`: how good a model is, on text that it was not trained on and on questions with known answers."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli import evaluate_data, evaluate_preferences, evaluate_tasks, sampling
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    from mlxllm.model.loading import LoadedModel

Scores = Mapping[str, Mapping[str, float | int | None]]
"""Name -> metric -> value: what each sort of evaluation gives back."""


_TEXT = "Held-out text"
_QUESTIONS = "Questions with known answers"
_RECORDS = "Pairs of answers, and conversations"


def evaluate(
    model: sampling.Model,
    adapter: sampling.AdapterName = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Dataset whose validation split is scored, or a file or folder of text; can be given several times.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Tokens from one window to the next; by default a whole window.", rich_help_panel=_TEXT
        ),
    ] = None,
    per_token: Annotated[
        Path | None,
        typer.Option(
            "--per-token",
            metavar="FILE",
            help="Write the loss of every token as a JSON line; their mean is the loss that is told.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="T,...",
            help="Files of questions (JSON lines, MMLU's folder, HumanEval, ...), and names or YAML files of lm-eval.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Solved examples before each question; by default what is usual.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask through the model's chat template.", rich_help_panel=_QUESTIONS)
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tokens of a written answer; by default 256, of a program 512.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = None,
    samples_per_task: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Programs for each puzzle, by default 1; from 10 on pass@10 is told, too.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = None,
    temp: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Of written answers; by default 0, of several programs 0.8.", rich_help_panel=_QUESTIONS
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="Of the draws above temperature 0.", rich_help_panel=_QUESTIONS)
    ] = None,
    allow_code_execution: Annotated[
        bool,
        typer.Option(
            "--allow-code-execution",
            help="Run programs that the model writes, each in a locked process.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write every item with its prompt and answer as a JSON line.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = None,
    preferences: Annotated[
        list[str] | None,
        typer.Option(
            "--preferences",
            metavar="FILES",
            help="Held-out pairs of answers, as `mlxllm dpo --data` reads them; can be given several times.",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="M2",
            help="What rewards are measured against; by default the model that the run began with.",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            "--beta",
            metavar="X",
            help="Of the rewards; by default that of the run, else 0.1.",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    moved: Annotated[
        bool,
        typer.Option(
            "--moved",
            help="Show the pair that training has moved most, measured against the reference.",
            rich_help_panel=_RECORDS,
        ),
    ] = False,
    records: Annotated[
        list[str] | None,
        typer.Option(
            "--records",
            metavar="FILES",
            help="Held-out conversations, whose answers are scored as `mlxllm sft --val-data` does.",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N items: windows of text, questions, pairs.")
    ] = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tokens of one window, by default what the run was trained with; of a question, by default all that fit.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Windows or pairs of one forward pass, by default about 4,096 tokens of text; not of questions.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask again what is known from before about the same weights.")
    ] = False,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """How good a model is: on held-out text, on questions with known answers, on pairs of answers and conversations.

    Every result is kept by the weights that it belongs to. What was interrupted goes on with the same command.
    """
    for flag, value, least in (
        ("--max-seq-len", max_seq_len, 2),
        ("--stride", stride, 1),
        ("--batch-size", batch_size, 1),
        ("--limit", limit, 1),
        ("--shots", shots, 0),
        ("--max-tokens", max_tokens, 1),
        ("--samples-per-task", samples_per_task, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{flag} is {value}; it should be {least} or more")
    if not preferences and (reference is not None or beta is not None or moved):
        given = "--reference" if reference is not None else "--beta" if beta is not None else "--moved"
        raise ConfigError(f"{given} is about the rewards of pairs; give the pairs, too, with --preferences FILES")
    if beta is not None and not beta > 0:
        raise ConfigError(f"--beta is {beta:g}; it should be greater than 0")
    about_questions = {
        "--shots": shots,
        "--max-tokens": max_tokens,
        "--samples-per-task": samples_per_task,
        "--samples": samples,
        "--temp": temp,
        "--chat": chat or None,
        "--allow-code-execution": allow_code_execution or None,
    }
    if (stride is not None or per_token is not None) and not data:
        given = "--stride" if stride is not None else "--per-token"
        raise ConfigError(f"{given} is about held-out text; give it, too, with --data NAME")
    if batch_size is not None and tasks and not (data or preferences or records):
        raise ConfigError(
            "--batch-size is about held-out text, pairs and conversations (--data, --preferences, --records); questions "
            "are put together by their tokens, so leave it out"
        )
    if not tasks and (named := [flag for flag, value in about_questions.items() if value is not None]):
        raise ConfigError(f"{named[0]} is about questions; give them, too, with --tasks FILES")
    if not (data or tasks or preferences or records):
        raise ConfigError(
            "there is nothing to evaluate; give --data NAME, a dataset whose held-out text is scored or a file of text, "
            "--tasks FILES with questions, --preferences FILES with pairs of answers, or --records FILES with conversations"
        )
    texts = evaluate_data.look_up(data or ())
    options = evaluate_tasks.Options(
        shots=shots,
        limit=limit,
        chat=chat,
        max_length=max_seq_len,
        max_tokens=max_tokens,
        samples_per_task=samples_per_task,
        temperature=temp,
        seed=seed,
        allow_code=allow_code_execution,
        fresh=fresh,
        samples=samples,
    )
    questions = evaluate_tasks.look_up(tasks or (), options)
    loaded = sampling.load(model, device, adapter)
    results: dict[str, Mapping[str, float | int | None]] = {}
    most_moved: dict[str, dict[str, Any]] | None = {} if moved else None
    if texts or preferences or records:
        window = _window(loaded, max_seq_len)
        if texts:
            results |= evaluate_data.score(
                loaded,
                texts,
                window,
                batch_size,
                limit,
                shown=not json_,
                stride=stride,
                fresh=fresh,
                per_token=per_token.expanduser() if per_token is not None else None,
            )
        if preferences:
            results |= evaluate_preferences.score_preferences(
                loaded, preferences, reference, beta, window, batch_size, limit, shown=not json_, moved=most_moved
            )
        if records:
            results |= evaluate_preferences.score_records(loaded, records, window, batch_size, limit, shown=not json_)
    if questions.local or questions.public:
        results |= evaluate_tasks.score(loaded, questions, options, shown=not json_)
    if json_:
        about = {"model": model, "step": loaded.step} | ({"data": data[0] if len(data) == 1 else data} if data else {})
        told = {"moved": most_moved} if most_moved is not None else {}
        print(json.dumps(about | {"results": {name: _for_json(found) for name, found in results.items()}} | told))


def _window(loaded: "LoadedModel", asked: int | None) -> int:
    """The tokens of one window; by default what the run was trained with."""
    run, made_for = loaded.run_config, loaded.config.max_position_embeddings
    if asked is not None and asked > made_for and loaded.config.positions in ("learned", "sinusoidal"):
        raise ConfigError(
            f"--max-seq-len is {asked:,}, but the {loaded.config.positions} positions of {loaded.name} end after "
            f"{made_for:,}; give {made_for:,} or less"
        )
    return asked or (run.data.max_seq_len if run else min(made_for, 1024))


def _for_json(found: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """Without what JSON has no word for, such as the perplexity exp(800)."""
    return {name: value if value is None or math.isfinite(value) else None for name, value in found.items()}
