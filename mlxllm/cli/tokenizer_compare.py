"""`mlxllm tokenizer compare`: the same text in several tokenizers, side by side."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli.sampling import say
from mlxllm.cli.table import field_lines, print_table
from mlxllm.errors import ConfigError
from mlxllm.visible import visible

if TYPE_CHECKING:  # numpy and sentencepiece are imported by the commands that use them
    from mlxllm.tokenizer import Tokenizer
    from mlxllm.tokenizer.comparing import Cut

_TEXT = 'Once upon a time, Tom\'s little dog said: "Hello!" It was 3.14 degrees outside.'
_SHOWN_PIECES = 120
_MOST_OF_HOME = 3


def compare(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="A text to cut; a short sample if it is left out.")
    ] = None,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            metavar="T",
            help="A tokenizer by name or folder; several times. By default the BPE tokenizers in <home>.",
        ),
    ] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="Numbers, spaces, code and other scripts, a line each.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Show the same text by characters, by bytes and by BPE of several sizes, with bytes a token.

    The smaller sizes of a BPE tokenizer are its first merges, which are what training with so few ids gives.
    """
    from mlxllm.tokenizer.comparing import EXAMPLES, contenders, cut

    texts = [("text", text if text is not None else _TEXT)] if text is not None or not examples else []
    texts += EXAMPLES if examples else ()
    named = _named(tokenizer or [])
    found = contenders([each for _, each in texts], named)
    cuts = [(name, each, [cut(each, contender) for contender in found]) for name, each in texts]
    if json_:
        print(json.dumps({"texts": [_as_json(name, each, rows) for name, each, rows in cuts]}))
        return
    for number, (name, _, rows) in enumerate(cuts):
        if number:
            print()
        _print(name, rows)
    if not named:
        say("no BPE tokenizer in <home> yet; `mlxllm tokenizer train NAME --kind bpe --input FILES` makes one")


def _named(given: list[str]) -> "list[tuple[str, Tokenizer]]":
    from mlxllm.tokenizer import load_tokenizer
    from mlxllm.tokenizer.known import known_tokenizers
    from mlxllm.tokenizer.storage import tokenizer_directory

    if given:
        if any(not each.strip() for each in given):
            raise ConfigError(
                "--tokenizer is empty; give the name of a tokenizer (`mlxllm tokenizer ls`) or its folder"
            )
        folders = [paths.existing("tokenizers", each) for each in dict.fromkeys(given)]
        return [(folder.name, load_tokenizer(tokenizer_directory(Path(folder)))) for folder in folders]
    known = [each for each in known_tokenizers() if each.kind == "bpe"]
    if len(known) > _MOST_OF_HOME:
        say(f"{len(known)} BPE tokenizers in <home>: the first {_MOST_OF_HOME} are shown; --tokenizer chooses")
    return [(each.label, load_tokenizer(each.path)) for each in known[:_MOST_OF_HOME]]


def _as_json(name: str, text: str, rows: "list[Cut]") -> dict[str, Any]:
    return {
        "name": name,
        "text": text,
        "bytes": len(text.encode("utf-8")),
        "characters": len(text),
        "tokenizers": [
            {
                "name": row.contender.name,
                "kind": row.contender.tokenizer.kind,
                "vocab_size": row.contender.vocab_size,
                "tokens": len(row.ids),
                "bytes_per_token": row.bytes_per_token,
                "ids": row.ids,
                "pieces": row.pieces,
            }
            for row in rows
        ],
    }


def _print(name: str, rows: "list[Cut]") -> None:
    cells = [
        (
            row.contender.name,
            "any" if row.contender.vocab_size is None else f"{row.contender.vocab_size:,}",
            f"{len(row.ids):,}",
            "-" if row.bytes_per_token is None else f"{row.bytes_per_token:.2f}",
        )
        for row in rows
    ]
    print_table((name, "ids", "tokens", "bytes a token"), cells)
    print()
    for line in field_lines([(row.contender.name, _pieces(row)) for row in rows], sys.stdout):
        print(line)


def _pieces(row: "Cut") -> str:
    """The pieces between bars; of characters and bytes, which all are alike, with blanks between."""
    shown = [visible(piece) for piece in row.pieces[:_SHOWN_PIECES]]
    bar = " " if row.contender.tokenizer.kind in ("char", "byte") else "|"
    more = len(row.pieces) - _SHOWN_PIECES
    return bar.join(shown) + (f" and {more:,} more" if more > 0 else "")
