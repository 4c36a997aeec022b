"""`mlxllm eval`: how good a model is, on text that it was not trained on and on questions with known answers."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from mlxllm.cli import evaluate_data, sampling
from mlxllm.errors import ConfigError

Scores = Mapping[str, Mapping[str, float | int | None]]
"""Name -> metric -> value: what each sort of evaluation gives back."""


def evaluate(
    model: sampling.Model,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Dataset whose validation split is scored, or a file or folder of text; several times."
        ),
    ] = None,
    adapter: sampling.AdapterName = None,
    max_seq_len: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of one window; by default what the run was trained with.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens from one window to the next; by default a whole window.")
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
        ("--stride", stride, 1),
        ("--batch-size", batch_size, 1),
        ("--limit", limit, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{flag} is {value}; it should be {least} or more")
    if not data:
        raise ConfigError(
            "there is nothing to evaluate; give --data NAME, a dataset whose held-out text is scored, or a file of text"
        )
    texts = evaluate_data.look_up(data or ())
    loaded = sampling.load(model, device, adapter)
    results: dict[str, Mapping[str, float | int | None]] = {}
    if texts:
        results |= evaluate_data.score(loaded, texts, max_seq_len, batch_size, limit, shown=not json_, stride=stride)
    if json_:
        about = {"model": model, "step": loaded.step} | ({"data": data[0] if len(data) == 1 else data} if data else {})
        print(json.dumps(about | {"results": results}))
