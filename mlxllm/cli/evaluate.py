"""`mlxllm eval`: how good a model is, on text that it was not trained on and on questions with known answers."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from mlxllm.cli import evaluate_data, evaluate_preferences, sampling
from mlxllm.errors import ConfigError

Scores = Mapping[str, Mapping[str, float | int | None]]
"""Name -> metric -> value: what each sort of evaluation gives back."""


def evaluate(
    model: sampling.Model,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Dataset whose validation split is scored; can be given several times."),
    ] = None,
    preferences: Annotated[
        list[str] | None,
        typer.Option(
            "--preferences",
            metavar="FILES",
            help="Held-out pairs of answers, as `mlxllm dpo --data` reads them; can be given several times.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="M2",
            help="What rewards are measured against; by default the model that the run began with.",
        ),
    ] = None,
    beta: Annotated[
        float | None, typer.Option("--beta", metavar="X", help="Of the rewards; by default that of the run, else 0.1.")
    ] = None,
    records: Annotated[
        list[str] | None,
        typer.Option(
            "--records",
            metavar="FILES",
            help="Held-out conversations, whose answers are scored as `mlxllm sft --val-data` does.",
        ),
    ] = None,
    adapter: sampling.AdapterName = None,
    max_seq_len: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of one window; by default what the run was trained with.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Windows of one forward pass; by default about 4,096 tokens.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N items: windows of text, questions, pairs.")
    ] = None,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Loss, perplexity and bits per byte over whole held-out texts."""
    for flag, value, least in (
        ("--max-seq-len", max_seq_len, 2),
        ("--batch-size", batch_size, 1),
        ("--limit", limit, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{flag} is {value}; it should be {least} or more")
    if not preferences and (reference is not None or beta is not None):
        given = "--reference" if reference is not None else "--beta"
        raise ConfigError(f"{given} is about the rewards of pairs; give the pairs, too, with --preferences FILES")
    if beta is not None and not beta > 0:
        raise ConfigError(f"--beta is {beta:g}; it should be greater than 0")
    if not (data or preferences or records):
        raise ConfigError(
            "there is nothing to evaluate; give --data NAME, a dataset whose held-out text is scored, --preferences FILES "
            "with pairs of answers, or --records FILES with conversations"
        )
    texts = evaluate_data.look_up(data or ())
    loaded = sampling.load(model, device, adapter)
    results: dict[str, Mapping[str, float | int | None]] = {}
    if texts:
        results |= evaluate_data.score(loaded, texts, max_seq_len, batch_size, limit, shown=not json_)
    if preferences:
        results |= evaluate_preferences.score_preferences(
            loaded, preferences, reference, beta, max_seq_len, batch_size, limit, shown=not json_
        )
    if records:
        results |= evaluate_preferences.score_records(loaded, records, max_seq_len, batch_size, limit, shown=not json_)
    if json_:
        about = {"model": model, "step": loaded.step} | ({"data": data[0] if len(data) == 1 else data} if data else {})
        print(json.dumps(about | {"results": results}))
