"""`mlxllm data`: build datasets of token shards, look into them, and see what they are made of."""

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm import paths
from mlxllm.cli import data_view as view
from mlxllm.cli.run_view import file_size, print_table
from mlxllm.errors import ConfigError, DataError

if TYPE_CHECKING:  # numpy and the tokenizers are loaded by the commands that need them
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import Source
    from mlxllm.tokenizer import Tokenizer

app = typer.Typer(no_args_is_help=True, help="Build datasets of token shards and look into them.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a dataset, or the path of its folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]

_KINDS = ("char", "byte", "bpe")


@app.command()
def sources(json_: Json = False) -> None:
    """List the kinds of sources that `data build --source KIND:SPEC` reads."""
    from mlxllm.data.sources import list_sources

    kinds = list_sources()
    if json_:
        print(json.dumps({"sources": [asdict(kind) for kind in kinds]}))
        return
    print_table(("kind", "example", "licence", "reads"), [(k.kind, k.example, k.licence, k.formats) for k in kinds])


@app.command()
def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new dataset, or a path for it.")],
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="KIND:SPEC[@WEIGHT]",
            help="What to read (`mlxllm data sources`), or the path of a text; may be given several times. "
            "@2 takes its training documents twice, @0.5 half of them.",
        ),
    ],
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer",
            metavar="T",
            help="Name or path of a tokenizer; or char, byte, bpe, bpe:VOCAB to make one from the text.",
        ),
    ],
    val_split: Annotated[
        float, typer.Option("--val-split", metavar="F", help="Fraction held out for validation.")
    ] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of the same name.")] = False,
    json_: Json = False,
) -> None:
    """Read sources, split them into train and validation, and write their tokens as shards."""
    from mlxllm.data.build import build_dataset, check_build
    from mlxllm.data.label import data_label
    from mlxllm.data.sources import parse_source

    started = time.monotonic()
    directory = paths.new("datasets", name)
    weighted = [parse_source(argument) for argument in source]
    check_build(directory, weighted, val_split, replace=force)
    made = _tokenizer(tokenizer, [one for one, _ in weighted], val_split)
    progress = view.ProgressLine() if sys.stderr.isatty() else None
    try:
        manifest = build_dataset(directory, weighted, made, val_split=val_split, replace=force, progress=progress)
    finally:
        if progress:
            progress.clear()
    label = data_label(manifest)
    if json_:
        print(json.dumps({"name": directory.name, "path": str(directory), **label}))
    for warning in manifest.warnings:
        _say(f"warning: {warning}")
    seconds = time.monotonic() - started
    _say(
        f"dataset {directory.name!r}: {manifest.train.tokens:,} training and {manifest.val.tokens:,} "
        f"validation tokens, {manifest.train.documents + manifest.val.documents:,} documents, "
        f"{seconds:.1f} s; in {directory}"
    )


@app.command()
def inspect(
    name: Name,
    window: Annotated[int, typer.Option("--window", metavar="N", min=1, help="Tokens in each window of text.")] = 128,
    windows: Annotated[
        int, typer.Option("--windows", metavar="K", min=0, help="Windows of each split, evenly spread.")
    ] = 2,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token above its id.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything: every hash, every token id.")] = False,
    json_: Json = False,
) -> None:
    """Show windows of decoded text, token statistics, and bytes a token."""
    from mlxllm.data import statistics

    dataset = _open(name, verify)
    shown = [
        one for split in (dataset.train, dataset.val) for one in statistics.windows(dataset, split, window, windows)
    ]
    report = _statistics(dataset)
    if json_:
        extra = [
            {"split": w.split, "start": w.start, "token_ids": w.token_ids, "pieces": w.pieces, "text": w.text}
            for w in shown
        ]
        print(json.dumps({**report, "verified": verify, "windows": extra}))
        return
    view.print_statistics(report)
    for one in shown:
        view.print_window(one, tokens)
    if verify:
        _say(f"dataset {dataset.name!r}: every byte is as it was built, every token id is in the vocabulary")


@app.command()
def label(name: Name, json_: Json = False) -> None:
    """Show what a dataset is made of: per source what was read, kept, and left out and why."""
    from mlxllm.data.label import data_label
    from mlxllm.data.manifest import read_manifest

    directory = paths.existing("datasets", name)
    content = data_label(read_manifest(directory))
    if json_:
        print(json.dumps({"name": directory.name, **content}))
        return
    view.print_sources(content)
    print()
    view.print_splits({split: content[split] for split in ("train", "val")})
    print(f"\ntokenizer    {view.tokenizer_line(content['tokenizer'])}\nfingerprint  {content['fingerprint']}")


@app.command("ls")
def list_(json_: Json = False) -> None:
    """List all datasets (with --json, one object a line)."""
    from mlxllm.data.manifest import read_manifest

    folder = paths.folder("datasets")
    found = sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    rows = []
    for directory in found:
        try:
            manifest = read_manifest(directory)
        except DataError as error:
            _say(f"warning: {error}")
            continue
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        if json_:
            print(
                json.dumps(
                    {
                        "name": directory.name,
                        "path": str(directory),
                        "train_tokens": manifest.train.tokens,
                        "val_tokens": manifest.val.tokens,
                        "documents": manifest.train.documents + manifest.val.documents,
                        "sources": list(manifest.sources),
                        "tokenizer": manifest.tokenizer.model_dump(),
                        "fingerprint": manifest.fingerprint,
                        "bytes_on_disk": size,
                    }
                )
            )
        rows.append(
            (
                directory.name,
                f"{manifest.train.tokens:,}",
                f"{manifest.val.tokens:,}",
                f"{manifest.train.documents + manifest.val.documents:,}",
                f"{manifest.tokenizer.kind} {manifest.tokenizer.vocab_size:,}",
                file_size(size),
                ", ".join(manifest.sources),
            )
        )
    if json_:
        return
    if not rows:
        remedy = "`mlxllm data build NAME --source stories --tokenizer bpe` makes one"
        _say(f"no datasets in {folder} yet; {remedy}")
        return
    print_table(("dataset", "train tokens", "val tokens", "documents", "tokenizer", "on disk", "sources"), rows)


def _open(name: str, verify: bool) -> "TokenDataset":
    from mlxllm.data.shards import TokenDataset

    return TokenDataset.open(paths.existing("datasets", name), verify=verify)


def _tokenizer(text: str, read: "list[Source]", val_split: float) -> "Tokenizer":
    """A tokenizer by name or path, else one made of the sources' training text."""
    from mlxllm.data.split import training_texts
    from mlxllm.tokenizer import load_tokenizer, train_tokenizer

    kind, colon, size = text.partition(":")
    named = (paths.folder("tokenizers") / text).exists()
    if kind not in _KINDS or named:
        try:
            return load_tokenizer(paths.existing("tokenizers", text))
        except ConfigError as error:
            raise ConfigError(f"{error}; or give char, byte or bpe[:VOCAB] to make one") from None
    vocab_size = int(size) if size.isdecimal() else None
    if colon and (kind != "bpe" or vocab_size is None):
        raise ConfigError(f"tokenizer {text!r} is not understood; give char, byte, bpe or bpe:4096")
    made = train_tokenizer(kind, training_texts(read, val_split), vocab_size=vocab_size)
    _say(f"tokenizer: {kind} of {made.vocab_size:,} ids, from the training text")
    return made


def _statistics(dataset: "TokenDataset") -> dict[str, Any]:
    import numpy as np

    from mlxllm.data import statistics
    from mlxllm.data.label import data_label

    described = data_label(dataset.manifest)
    counts = np.zeros(dataset.vocab_size, np.int64)
    for split in (dataset.train, dataset.val):
        lengths = statistics.document_lengths(split)
        described[split.name]["document_tokens"] = asdict(lengths) if lengths else None
        counts += statistics.token_counts(split, dataset.vocab_size)
    total = int(counts.sum())
    order = (-counts).argsort(kind="stable")
    frequent = [int(i) for i in order[:20] if counts[i]]
    unused = [int(i) for i in (counts == 0).nonzero()[0]]
    return {
        "name": dataset.name,
        "path": str(dataset.directory),
        **described,
        "most_frequent": [
            {
                "id": i,
                "piece": dataset.tokenizer.piece(i),
                "count": int(counts[i]),
                "share": int(counts[i]) / total,
            }
            for i in frequent
        ],
        "never_used": {"count": len(unused), "ids": unused[:50]},
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr)
