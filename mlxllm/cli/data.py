"""`mlxllm data`: build datasets of token shards, look into them, and see what they are made of."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm import paths
from mlxllm.cli import data_view as view
from mlxllm.cli.data_build import build, choose_recipes
from mlxllm.cli.data_get import get, remove_ready_set
from mlxllm.cli.data_index import index
from mlxllm.cli.deleting import confirm, delete, folder_size, is_active, require_dataset, runs_with
from mlxllm.cli.dropped import inspect_dropped
from mlxllm.cli.help import setting
from mlxllm.cli.masks import Wanted, inspect_masks
from mlxllm.cli.recipes import recipes
from mlxllm.cli.run_view import file_size
from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_table
from mlxllm.cli.terminal import did_you_mean
from mlxllm.errors import ConfigError, DataError, RunError
from mlxllm.visible import counted

if TYPE_CHECKING:  # numpy and the tokenizers are loaded by the commands that need them
    from mlxllm.data.shards import TokenDataset

app = typer.Typer(no_args_is_help=True, help="Build datasets of token shards and look into them.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a dataset, or the path of its folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]

_MASKS = "With --masks"


@app.command()
def sources(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="All about this kind, its options too.")] = None,
    json_: Json = False,
) -> None:
    """List the kinds of sources that `data build --source KIND:SPEC` reads, or tell all about one."""
    from mlxllm.data.sources import list_sources

    kinds = list_sources()
    if kind is not None:
        known = [each.kind for each in kinds]
        kinds = [each for each in kinds if each.kind == kind]
        if not kinds:
            hint = did_you_mean(kind, known) or f"known kinds: {', '.join(known)}"
            raise ConfigError(f"{kind!r} is no kind of source; {hint}")
    if json_:
        print(json.dumps({"sources": [asdict(each) for each in kinds]}))
    elif kind is not None:
        view.print_kind(kinds[0])
    else:
        view.print_kinds(kinds)
        say("`mlxllm data sources KIND` tells the options of a kind, its licence, and what it is good for")


app.command()(get)


app.command()(recipes)


@app.command()
def preview(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="KIND:SPEC, or the path of a text.")],
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="T", help="Also in tokens: as `data build` takes it.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="R", help="Clean it by web, code, papers or none; else as its kind is."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a rule of cleaning, as for `data build`."),
    ] = None,
    documents: Annotated[int, typer.Option("--documents", metavar="N", help="Documents to show.")] = 3,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token above its id.")] = False,
    json_: Json = False,
) -> None:
    """Look at the first documents of a source before a dataset is built of it; nothing is written."""
    from mlxllm.data.clean.cleaner import Cleaner
    from mlxllm.data.preview import preview_source, preview_tokenizer, tokenize_preview
    from mlxllm.data.sources import open_source

    if tokens and tokenizer is None:
        raise ConfigError("--tokens needs --tokenizer T, to say whose tokens; `byte` always works")
    opened = open_source(source)
    (cleaning,) = choose_recipes([opened], [recipe] if recipe else [], set_ or [])
    seen = preview_source(opened, Cleaner(cleaning))
    made = preview_tokenizer(tokenizer, seen.texts) if tokenizer else None
    shown = tokenize_preview(seen.texts, made) if made else None
    if json_:
        print(json.dumps(view.preview_object(seen, shown, documents)))
        return
    view.print_preview(seen, shown, documents, tokens)


app.command()(build)


@app.command()
def inspect(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of a dataset, or the path of its folder.")
    ] = None,
    window: Annotated[int, typer.Option("--window", metavar="N", help="Tokens in each window of text.")] = 128,
    windows: Annotated[int, typer.Option("--windows", metavar="K", help="Windows of each split, evenly spread.")] = 2,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token above its id.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything: every hash, every token id.")] = False,
    dropped: Annotated[
        str | None,
        typer.Option(
            "--dropped", metavar="REASON", help="Examples of what was left out for this reason, or for 'all'."
        ),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "--masks",
            metavar="FILE",
            help="Not a dataset but records for sft or dpo: show which of their tokens are trained.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="T", help="Whose tokens.", rich_help_panel=_MASKS)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Those of this model.", rich_help_panel=_MASKS)
    ] = None,
    train_on: Annotated[
        str | None, setting("data.train_on", "NAME", "Which tokens are learned.", panel=_MASKS, of="sft")
    ] = None,
    max_seq_len: Annotated[
        int | None, setting("data.max_seq_len", "N", "Tokens of a row.", panel=_MASKS, of="sft")
    ] = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="As dpo reads them, where sft could as well.", rich_help_panel=_MASKS),
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="Records to show; all are counted.", rich_help_panel=_MASKS)
    ] = 5,
    json_: Json = False,
) -> None:
    """Show windows of decoded text, token statistics, and bytes a token; or what is trained of records.

    With --masks FILE: the records as training reads them, trained tokens in another colour than masked ones (without
    colours in brackets), tokens of each turn, what was left out and why, and how they are packed.
    """
    if masks is not None:
        if name is not None:
            raise ConfigError(f"--masks {masks} is about records, and {name} names a dataset; give one of them")
        inspect_masks(Wanted(masks, tokenizer, model, train_on, max_seq_len, limit, pairs, tokens), json_)
        return
    if name is None:
        raise ConfigError("name a dataset (`mlxllm data ls` lists them), or a file of records with --masks FILE")
    if dropped is not None:
        inspect_dropped(name, dropped, json_)
        return
    from mlxllm.data import statistics

    for flag, value, least in (("--window", window, 1), ("--windows", windows, 0)):
        if value < least:
            raise ConfigError(f"{flag} is {value}; it should be {least} or more")
    dataset = _open(name, verify)
    shown = [
        one for split in (dataset.train, dataset.val) for one in statistics.windows(dataset, split, window, windows)
    ]
    report = statistics.report(dataset)
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
        say(f"dataset {dataset.name!r}: every byte is as it was built, every token id is in the vocabulary")


@app.command()
def label(name: Name, json_: Json = False) -> None:
    """Show what a dataset is made of: per source what was read, kept, and left out and why.

    read: records; size: their bytes, unpacked; text: what was made of them, before cleaning. How many tokens was left out
    is an estimate: it is not tokenized, and taken to have as many tokens a byte as what was kept.
    """
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
    overlap = content["evaluation_overlap"]
    if overlap["files"]:
        files = ", ".join(overlap["files"])
        documents = counted(overlap["documents"], "document")
        shared = "shares" if overlap["documents"] == 1 else "share"
        kept = f"; {overlap['documents_kept']:,} of them kept all the same" if overlap["documents_kept"] else ""
        print(f"\nevaluation   {documents} {shared} 13 words in a row with {files}{kept}")
    print(f"\ntokenizer    {view.tokenizer_line(content['tokenizer'])}\nfingerprint  {content['fingerprint']}")
    for caution in content["cautions"]:
        say(f"warning: {caution}")


app.command()(index)


@app.command("ls")
def list_(json_: Json = False) -> None:
    """List all datasets (with --json, one object a line)."""
    from mlxllm.data.draft import unfinished
    from mlxllm.data.manifest import read_manifest

    folder = paths.folder("datasets")
    found = sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    rows = []
    for directory in found:
        try:
            manifest = read_manifest(directory)
        except DataError as error:
            say(f"warning: {error}")
            continue
        size = folder_size(directory)
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
    for name, state, held in unfinished(folder):
        now = "is being built" if held else f"is unfinished; `mlxllm data build {name}` goes on"
        say(f"dataset {name!r} {now} ({counted(state.documents, 'document')} so far)")
    if json_:
        return
    if not rows:
        remedy = "`mlxllm data build NAME --source stories --tokenizer bpe` makes one"
        say(f"no datasets in {folder} yet; {remedy}")
        return
    header = ("dataset", "train tokens", "val tokens", "documents", "tokenizer", "on disk", "sources")
    print_table(header, rows, expendable=("documents", "val tokens", "on disk"))


@app.command()
def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a dataset, or a ready set that `data get` has downloaded.

    Runs that were trained on a dataset can no longer be resumed; while one trains, it is refused. Its index goes with
    it. Where there is only
    what an interrupted build has left, that is deleted.
    """
    from mlxllm.data.draft import draft_folder, remove_draft
    from mlxllm.data.origins.files import fingerprint_of, remove_indexes

    if not (new := paths.new("datasets", name)).exists() and draft_folder(new).is_dir():
        confirm(f"delete the unfinished dataset {new.name!r} in {new.parent}", yes)
        remove_draft(new)
        say(f"deleted what was done of dataset {new.name!r}")
        return
    if not new.exists() and remove_ready_set(name, yes):
        return
    directory = Path(os.path.abspath(paths.existing("datasets", name)))
    require_dataset(directory)
    users = list(runs_with(directory))
    if active := next((run for run in users if is_active(run)), None):
        raise RunError(
            f"run {active.name!r} is training on dataset {directory.name!r}, so it is not deleted; stop the run first "
            f"with `mlxllm runs stop {active.address} --wait`"
        )
    names = ", ".join(run.name for run in users)
    used = f", without which {names} cannot be resumed" if users else ", which no run uses"
    confirm(f"delete dataset {directory.name!r} in {directory} ({file_size(folder_size(directory))}){used}", yes)
    fingerprint = fingerprint_of(directory)
    told = delete(directory, f"dataset {directory.name!r}")
    if not directory.exists():
        remove_indexes(directory.name, fingerprint)
    say(told + (f"; it was used by {names}" if users else ""))


def _open(name: str, verify: bool) -> "TokenDataset":
    from mlxllm.data.shards import TokenDataset

    return TokenDataset.open(paths.existing("datasets", name), verify=verify)
