"""`mlxllm trace`: what of a text stands word for word in training documents, and in which."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli import sampling
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # numpy is loaded by the command
    from mlxllm.data.origins.tracing import Origins

Least = Annotated[
    int | None,
    typer.Option("--words", metavar="N", help="Words of a span, at least; by default 8.", show_default=False),
]


def trace(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for; - reads stdin.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME", help="The dataset to look in; can be given several times."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Look in the datasets that this run read.")
    ] = None,
    words: Least = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Mark what of a text stands in training documents, word for word or nearly, and tell which documents these are.

    A copied span has 8 words or more (--words) that stand just so in one document; only kind and number of blanks do
    not count. Nearly: of any eight words in a row at most one is another, whatever the signs and case. Without colours
    [...] is copied and ~...~ nearly. The dataset's index is built before by `mlxllm data index NAME`.
    """
    sampling.check_text(text, "TEXT")
    look_for(text, data or (), model, words, json_)


def look_for(text: str, data: Sequence[str], model: str | None, words: int | None, json_: bool) -> None:
    """Look for a text, or for stdin, and show what is found.

    Raises:
        ConfigError, DataError: see `least_words` and `open_origins`.
    """
    from mlxllm.cli.origin_view import print_marked, tell_spans, trace_object

    least, origins = least_words(words), open_origins(data, model)
    found = origins.trace(sampling.stdin_text() if text == "-" else text, least)
    if json_:
        print(json.dumps(trace_object(origins, found, least=least)))
        return
    print_marked(found)
    print()
    tell_spans(origins, found, least=least, stream=sys.stdout)


def traced(origins: "Origins", text: str) -> dict[str, Any]:
    """What is found about a text, for a program."""
    from mlxllm.cli.origin_view import trace_object

    least = least_words(None)
    return trace_object(origins, origins.trace(text, least), least=least)


def tell_traced(origins: "Origins", text: str) -> None:
    """Say what is found about a text that stands on stdout already."""
    from mlxllm.cli.origin_view import tell_spans

    least = least_words(None)
    tell_spans(origins, origins.trace(text, least), least=least, stream=sys.stderr)


def least_words(given: int | None) -> int:
    """Words of a span.

    Raises:
        ConfigError: fewer than a seed of near copies has.
    """
    from mlxllm.data.origins.near import SEED_WORDS
    from mlxllm.data.origins.tracing import LEAST_WORDS

    if given is not None and given < SEED_WORDS:
        raise ConfigError(
            f"--words is {given}; it should be {SEED_WORDS} or more: fewer words stand somewhere by chance"
        )
    return LEAST_WORDS if given is None else given


def open_origins(data: Sequence[str], model: str | None) -> "Origins":
    """The indexes to look in.

    Raises:
        ConfigError: neither is given, or both, or the model's data are not known.
        DataError: a dataset or its index is missing, stale or damaged.
    """
    from mlxllm.data.origins.tracing import Origins
    from mlxllm.data.origins.whose import changed_since, datasets_of

    if bool(data) == (model is not None):
        raise ConfigError(
            "say where to look, with --data NAME, or with --model RUN for what that run read; one of them"
        )
    if model is None:
        folders: list[Path] = [paths.existing("datasets", name) for name in dict.fromkeys(data)]
    else:
        folders = datasets_of(model)
        if note := changed_since(model):
            sampling.say(f"warning: {note}")
    return Origins(folders)
