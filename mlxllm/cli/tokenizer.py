"""`mlxllm tokenizer`: make a tokenizer, and look at how it spells a text."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli import tokenizer_compare
from mlxllm.cli.sampling import say, use_colour
from mlxllm.cli.terminal import columns
from mlxllm.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:  # numpy and sentencepiece are imported by the commands that use them
    from mlxllm.data.sources import Source
    from mlxllm.tokenizer import Tokenizer
    from mlxllm.tokenizer.merging import MergeWalk

app = typer.Typer(no_args_is_help=True, help="Make tokenizers, and look at how they spell a text.")

Name = Annotated[
    str,
    typer.Argument(metavar="T", help="Name of a tokenizer in <home>/tokenizers, or the path of its folder."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]

_SAMPLE = 'Once upon a time, Tom\'s little dog said: "Hello!"\n\ndef add(x):\n    return x + 42\n'
_TOKENS_SHOWN = 400
_FILE_BYTES = 1 << 20
_LONGEST = 8
_CHARACTERS_SHOWN = 120
_SPECIAL_SHOWN = 16


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or path of the new tokenizer.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="FILES", help="More files, as a shell's * gives them.")
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="FILES",
            help="Files, folders or globs to learn from, or a source as stories:2000.",
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="char, byte or bpe (the default).")] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option("--vocab-size", metavar="N", help="Number of ids of a bpe tokenizer (8,192 by default)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Of the sample drawn from very large inputs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a tokenizer of that name.")] = False,
    json_: Json = False,
) -> None:
    """Make a tokenizer from text."""
    from mlxllm.tokenizer import train_tokenizer
    from mlxllm.tokenizer.storage import note_making

    directory = paths.new("tokenizers", name)
    if directory.exists() and not force:
        raise ConfigError(f"tokenizer {name!r} exists already ({directory}); choose another name or add --force")
    kind = kind or "bpe"
    specs = [*(input_ or []), *(more or [])]
    if not specs and kind in ("char", "bpe"):
        raise ConfigError(f"a {kind} tokenizer learns from text: add --input with files, a folder or a source")
    sources = _open(specs)
    start = time.monotonic()
    tokenizer = train_tokenizer(kind, _texts(sources), vocab_size=vocab_size, seed=seed or 0)
    tokenizer.save(directory)
    note_making(
        directory, {"kind": kind, "vocab_size": vocab_size, "input": [source.spec for source in sources], "seed": seed}
    )
    _tell_problems(sources)
    if vocab_size is not None and tokenizer.vocab_size < vocab_size:
        say(f"{vocab_size:,} ids were asked for, but the text has pieces for {tokenizer.vocab_size:,} only")
    say(f"{kind} tokenizer with {tokenizer.vocab_size:,} ids in {time.monotonic() - start:.1f} s: {directory}")
    if json_:
        print(json.dumps({**_describe(tokenizer, directory), "requested_vocab_size": vocab_size}))


@app.command()
def encode(
    tokenizer: Name,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The text; read from stdin if it is left out.")
    ] = None,
    json_: Json = False,
) -> None:
    """Print the ids of a text."""
    loaded, _ = _load(tokenizer)
    ids = loaded.encode(text if text is not None else _stdin())
    if json_:
        print(json.dumps({"ids": ids, "pieces": [loaded.piece(i) for i in ids]}))
    else:
        print(*ids)


@app.command()
def decode(
    tokenizer: Name,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="IDS", help="The ids; read from stdin if they are left out."),
    ] = None,
    json_: Json = False,
) -> None:
    """Print the text of ids, which may stand between spaces or commas."""
    loaded, _ = _load(tokenizer)
    words = " ".join(ids if ids else [_stdin()]).replace(",", " ").split()
    text = loaded.decode([_token_id(word) for word in words])
    print(json.dumps({"text": text}) if json_ else text)


@app.command()
def show(
    tokenizer: Name,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="A text to spell; a short sample if it is left out.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="F", help="Spell the beginning of a file (up to 1 MiB).")
    ] = None,
    merges: Annotated[
        bool, typer.Option("--merges", help="BPE's merges on the text one after another, with the rank of each.")
    ] = False,
    json_: Json = False,
) -> None:
    """Show a tokenizer, and a text cut into its pieces, each above its id."""
    if text is not None and file is not None:
        raise ConfigError("give either a text or --file, not both")
    loaded, directory = _load(tokenizer)
    text = _read_beginning(file) if file is not None else text if text is not None else _SAMPLE
    ids = loaded.encode(text)
    size = len(text.encode("utf-8"))
    about = _describe(loaded, directory)
    about |= {"special_ids": loaded.special_ids, "longest_pieces": _longest(loaded)}
    about |= {"bytes": size, "tokens": len(ids), "bytes_per_token": size / len(ids) if ids else None}
    walk = _walk(loaded, text) if merges else None
    if json_:
        from mlxllm.cli.merges_view import as_json

        walked = {"walk": as_json(walk)} if walk is not None else {}
        print(json.dumps({**about, "ids": ids, "pieces": [loaded.piece(i) for i in ids], **walked}))
        return
    _print_about(loaded, about)
    if walk is None:
        _print_tokens(loaded, ids)
        return
    from mlxllm.cli.merges_view import print_walk

    print_walk(walk)


@app.command("ls")
def list_(json_: Json = False) -> None:
    """List the tokenizers in <home> (with --json, one object a line)."""
    from mlxllm.tokenizer import load_tokenizer

    folder = paths.folder("tokenizers")
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []
    if not found and not json_:
        say(f"no tokenizers in {folder} yet; `mlxllm tokenizer train NAME --input FILES` makes one")
    width = max((len(directory.name) for directory in found), default=0)
    for directory in found:
        try:
            about = _describe(load_tokenizer(directory), directory)
        except UserError as error:
            about = {"name": directory.name, "path": str(directory), "error": str(error)}
        if json_:
            print(json.dumps(about))
        elif "error" in about:
            print(f"{directory.name:<{width}}  {about['error']}")
        else:
            print(
                f"{directory.name:<{width}}  {about['kind']:<4}  {about['vocab_size']:>7,} ids  "
                f"{about['fingerprint'][:12]}"
            )


def _load(name: str) -> tuple["Tokenizer", Path]:
    from mlxllm.tokenizer import load_tokenizer

    directory = paths.existing("tokenizers", name)
    return load_tokenizer(directory), directory


def _walk(tokenizer: "Tokenizer", text: str) -> "MergeWalk":
    from mlxllm.tokenizer.merging import merges_of

    return merges_of(tokenizer, text)


def _describe(tokenizer: "Tokenizer", directory: Path) -> dict[str, Any]:
    return {
        "name": directory.name,
        "path": str(directory),
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint,
    }


def _longest(tokenizer: "Tokenizer") -> list[str]:
    """The longest learned pieces, white space left out, the stronger of equals first."""
    pieces = [tokenizer.piece(i) for i in tokenizer.learned_ids]
    return sorted((piece for piece in pieces if piece.strip()), key=len, reverse=True)[:_LONGEST]


def _print_about(tokenizer: "Tokenizer", about: dict[str, Any]) -> None:
    from mlxllm.cli.table import print_fields
    from mlxllm.visible import visible

    rate = f", {about['bytes_per_token']:.2f} bytes a token" if about["tokens"] else ""
    rows = [
        ("tokenizer", f"{about['name']} ({about['kind']})"),
        ("vocabulary", f"{about['vocab_size']:,} ids"),
        ("special", _special(about["special_ids"])),
    ]
    if tokenizer.kind == "char":
        rows.append(("characters", _alphabet(tokenizer)))
    elif about["longest_pieces"]:
        rows.append(("longest", "  ".join(visible(piece) for piece in about["longest_pieces"])))
    rows += [
        ("fingerprint", about["fingerprint"]),
        ("this text", f"{about['bytes']:,} bytes, {about['tokens']:,} tokens{rate}"),
    ]
    print_fields(rows)


def _special(special_ids: dict[str, int]) -> str:
    """The special tokens with their ids, of very many the first."""
    from mlxllm.visible import visible

    shown = [f"{visible(token)} {i}" for token, i in special_ids.items()]
    more = len(shown) - _SPECIAL_SHOWN
    return "  ".join(shown[:_SPECIAL_SHOWN]) + (f"  and {more:,} more" if more > 0 else "")


def _alphabet(tokenizer: "Tokenizer") -> str:
    """The characters that have an id, in the order of their ids."""
    from mlxllm.tokenizer import FIRST_LEARNED_ID
    from mlxllm.visible import visible

    end = min(tokenizer.vocab_size, FIRST_LEARNED_ID + _CHARACTERS_SHOWN)
    shown = " ".join(visible(tokenizer.piece(i)) for i in range(FIRST_LEARNED_ID, end))
    more = tokenizer.vocab_size - end
    return f"{shown} (ids {FIRST_LEARNED_ID} to {end - 1:,})" + (f" and {more:,} more" if more else "")


def _print_tokens(tokenizer: "Tokenizer", ids: Sequence[int]) -> None:
    from mlxllm.cli.token_view import interlinear, legend
    from mlxllm.tokenizer.showing import read_as

    tokens = [(i, read_as(tokenizer, i)) for i in ids[:_TOKENS_SHOWN]]
    print()
    for line in interlinear(tokens, columns(sys.stdout), use_colour(sys.stdout)):
        print(line)
    if told := legend(piece for _, piece in tokens):
        say(f"each piece above its id; {told}")
    if len(ids) > _TOKENS_SHOWN:
        say(f"... and {len(ids) - _TOKENS_SHOWN:,} tokens more (--json prints all)")


def _open(specs: Sequence[str]) -> list["Source"]:
    from mlxllm.data.sources import open_source

    return [open_source(spec) for spec in specs]


def _texts(sources: Sequence["Source"]) -> Iterator[str]:
    return (document.text for source in sources for document in source.documents())


def _tell_problems(sources: Sequence["Source"]) -> None:
    for source in sources:
        problems = source.problems
        for reason, count in [*problems.dropped.items(), *problems.mended.items()]:
            places = "; ".join(problems.examples.get(reason, ()))
            say(f"{source.name}: {count:,} x {reason} ({places})")


def _read_beginning(path: Path) -> str:
    """The first mebibyte of a UTF-8 file, cut between characters."""
    import codecs

    try:
        with open(path.expanduser(), "rb") as file:
            content = file.read(_FILE_BYTES)
            cut = bool(file.read(1))
        # Where the file goes on, an unfinished character at the end of what was read is left out.
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=not cut)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start:,} is 0x{content[error.start]:02X}") from None


def _stdin() -> str:
    if sys.stdin.isatty():
        raise ConfigError("there is nothing to read: give it on the command line or pipe it in")
    try:
        # Bytes, because text mode would turn CRLF into LF.
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"stdin is not UTF-8 text: {error.reason} at byte {error.start:,}") from None


def _token_id(word: str) -> int:
    # Not int() alone, which reads 1_0 and other alphabets' digits as well.
    if not (word.isascii() and word.isdigit()) or len(word) > 18:
        raise ConfigError(f"{word!r} is not a token id; ids are whole numbers, as `mlxllm tokenizer encode` prints")
    return int(word)


app.command("compare")(tokenizer_compare.compare)
