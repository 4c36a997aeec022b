"""`mlxllm data build`: sources, rules of cleaning and a tokenizer to a dataset of token shards."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm import paths
from mlxllm.cli.build_view import ProgressEvents, ProgressLine
from mlxllm.cli.sampling import say
from mlxllm.errors import ConfigError, DataError
from mlxllm.visible import counted

if TYPE_CHECKING:  # numpy and the tokenizers are loaded by the command
    from mlxllm.data.clean.recipes import Recipe
    from mlxllm.data.sources import Source

_CLEANING = "Cleaning"
_MIXTURE = "Mixture"


def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new dataset, or a path for it.")],
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            help="KIND:SPEC (`mlxllm data sources` lists them), the path of a text or owner/name of the Hub; may be given "
            "several times. Behind it @0.3, its share of the tokens beside the others' shares, or @2x, how often it is read.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="T",
            help="Name or path of a tokenizer; or char, byte, bpe, bpe:VOCAB to make one from the text.",
        ),
    ] = None,
    val_split: Annotated[
        float | None,
        typer.Option("--val-split", metavar="F", help="Fraction held out for validation. [default: 0.01]"),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="R",
            help="Rules of cleaning: web, code, papers or none for all sources, or KIND=R for one kind; else each kind has "
            "its own (`mlxllm data recipes`).",
            rich_help_panel=_CLEANING,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a rule wherever it runs: gopher_quality.max_words=50000, c4=off, dedup=exact; with KIND: before "
            "it, for one kind of source. `mlxllm data recipes web` lists all.",
            rich_help_panel=_CLEANING,
        ),
    ] = None,
    overlap: Annotated[
        list[str] | None,
        typer.Option(
            "--overlap",
            metavar="FILE",
            help="An evaluation set: documents that share 13 words in a row with it are left out.",
            rich_help_panel=_CLEANING,
        ),
    ] = None,
    keep_overlap: Annotated[
        bool, typer.Option("--keep-overlap", help="Only count what overlaps.", rich_help_panel=_CLEANING)
    ] = False,
    max_epochs: Annotated[
        float | None,
        typer.Option(
            "--max-epochs",
            metavar="N",
            help="A source is repeated so often at most to reach its share. [default: 4]",
            rich_help_panel=_MIXTURE,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Processes that share the work. [default: one for each core]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of the same name.")] = False,
    progress: Annotated[
        bool, typer.Option("--progress", help="With --json: before the label a line for each bit of progress.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Read sources, clean and mix them, split them into train and validation, and write their tokens as shards.

    Ctrl-C stops it and keeps what is done; the same command goes on from there, and so does its NAME alone.
    """
    from mlxllm.data.build import VAL_SPLIT, build_dataset
    from mlxllm.data.draft import can_go_on, interrupted_build
    from mlxllm.data.label import data_label
    from mlxllm.data.sources import kind_of
    from mlxllm.data.weights import MAX_EPOCHS, parse_source
    from mlxllm.tokenizer import choose_tokenizer

    if progress and not json_:
        raise ConfigError("--progress prints JSON lines; give --json as well (a terminal shows the progress anyway)")
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers is {workers}; it should be 1 or more")
    started = time.monotonic()
    directory = paths.new("datasets", name)
    files, drop, most = tuple(overlap or ()), not keep_overlap, MAX_EPOCHS if max_epochs is None else max_epochs
    held_out = VAL_SPLIT if val_split is None else val_split
    found = interrupted_build(directory) if not source and tokenizer is None else None
    if found is not None:
        given: dict[str, object] = {"--recipe": recipe, "--set": set_, "--overlap": overlap}
        given["--keep-overlap"] = keep_overlap or None
        given |= {"--val-split": val_split, "--max-epochs": max_epochs}
        if changed := [flag for flag, value in given.items() if value is not None]:
            raise ConfigError(
                f"{', '.join(changed)} cannot be changed by the name alone: the interrupted build of {directory.name!r} goes "
                f"on as it was begun; give --source and --tokenizer as well for another one"
            )
        weighted, made, command = found.sources, found.tokenizer, found.command
        held_out, recipes, most = command.val_split, list(command.recipes), command.max_epochs
        files, drop = command.overlap, command.drop_overlap
    elif source and tokenizer is not None:
        weighted, made = [parse_source(argument) for argument in source], choose_tokenizer(tokenizer)
        for argument, (one, _) in zip(source, weighted, strict=True):
            if (kind := kind_of(one)) not in ("text", argument.partition(":")[0]):
                say(f"{argument} is read as {kind}")
        recipes = choose_recipes([one for one, _ in weighted], recipe or [], set_ or [])
    else:
        missing = "a --tokenizer, such as bpe" if source else "a --source, such as stories"
        nothing = "" if source or tokenizer else "; there is no interrupted build of it to continue"
        raise ConfigError(f"dataset {directory.name!r} needs {missing}{nothing}")
    shown = ProgressEvents() if progress else ProgressLine() if sys.stderr.isatty() else None

    def tell(sentence: str) -> None:
        if shown:
            shown.clear()
        say(sentence)

    try:
        manifest = build_dataset(
            directory,
            weighted,
            made,
            val_split=held_out,
            recipes=recipes,
            overlap=files,
            drop_overlap=drop,
            max_epochs=most,
            workers=workers,
            replace=force,
            keep_draft=True,
            progress=shown,
            tell=tell,
        )
    except (KeyboardInterrupt, SystemExit, DataError):
        if can_go_on(directory):
            tell(f"what is done is kept; `mlxllm data build {name}` goes on from there")
        raise
    finally:
        if shown:
            shown.clear()
    label = data_label(manifest)
    if json_:
        print(json.dumps({"name": directory.name, "path": str(directory), **label}))
    for warning in manifest.warnings:
        say(f"warning: {warning}")
    seconds = time.monotonic() - started
    say(
        f"dataset {directory.name!r}: {manifest.train.tokens:,} training and {manifest.val.tokens:,} "
        f"validation tokens, {counted(manifest.train.documents + manifest.val.documents, 'document')}, "
        f"{seconds:.1f} s; in {directory}"
    )


def choose_recipes(sources: "list[Source]", named: list[str], settings: list[str]) -> "list[Recipe]":
    """The recipe of each source: the one named for its kind, else the one for all, else that of its kind.

    Raises:
        ConfigError: there is no such recipe, kind or setting.
    """
    from mlxllm.data.clean.recipes import recipe
    from mlxllm.data.sources import kind_of, kinds, recipe_of

    chosen: dict[str, str] = {}
    for argument in named:
        kind, equals, name = argument.rpartition("=")
        if equals and kind not in kinds():
            raise ConfigError(f"--recipe {argument}: {kind!r} is no kind of source; known kinds: {', '.join(kinds())}")
        if equals and kind not in (there := {kind_of(source) for source in sources}):
            raise ConfigError(
                f"--recipe {argument}: no source is of the kind {kind}; there is {', '.join(sorted(there))}"
            )
        chosen[kind] = name  # without a kind, of all
    recipes = [recipe(chosen.get(kind_of(source), chosen.get("", recipe_of(source)))) for source in sources]
    for setting in settings:
        recipes = _set(setting, sources, recipes)
    return recipes


def _set(setting: str, sources: "list[Source]", recipes: "list[Recipe]") -> "list[Recipe]":
    """`RULE.KEY=VALUE` in all recipes in which that rule runs; with `KIND:` before it, in those of that kind."""
    from mlxllm.data.clean.recipes import runs_in, with_settings
    from mlxllm.data.sources import kind_of, kinds

    kind, colon, rest = setting.partition(":")
    one = bool(colon) and kind in kinds()
    wanted = rest if one else setting
    meant = [not one or kind_of(source) == kind for source in sources]
    if not any(meant):
        raise ConfigError(f"--set {setting}: there is no source of kind {kind!r} here")
    able = [mine and runs_in(made, wanted) for mine, made in zip(meant, recipes, strict=True)]
    if not any(able):  # then what is wrong with it is said
        able = meant
    return [with_settings(made, [wanted]) if can else made for can, made in zip(able, recipes, strict=True)]
