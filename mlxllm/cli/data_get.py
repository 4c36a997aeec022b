"""`mlxllm data get`: ready sets of data by name, shown before anything is downloaded."""

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli.deleting import confirm, delete, folder_size
from mlxllm.cli.run_view import file_size
from mlxllm.cli.sampling import say
from mlxllm.cli.table import field_lines, print_table
from mlxllm.cli.terminal import tell
from mlxllm.cli.transfer_line import TransferLine
from mlxllm.errors import ConfigError, DataError

if TYPE_CHECKING:  # what downloads is loaded by the command
    from mlxllm.data.catalogue import ReadySet
    from mlxllm.data.ready_sets import SetList

ASKED_BYTES = 100_000_000
"""What is larger is only downloaded when somebody has agreed."""
_KINDS = {
    "text": "text, to pre-train on",
    "conversations": "conversations, for sft",
    "preferences": "pairs of a better and a worse answer, for dpo",
}


_TRAINED_BY = {"text": "train", "conversations": "sft", "preferences": "dpo"}


def get(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A ready set; without a name all of them are listed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a download of 100 MB or more.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read what is here again, and download anew what is damaged.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Download a ready set of data; without a NAME, list those that there are.

    Size, licence and what it is good for are shown before anything is downloaded. Ctrl-C keeps what has come; the same
    command goes on from there. `mlxllm data rm NAME` deletes it again.
    """
    from mlxllm.data import catalogue, ready_sets

    if name is None:
        if verify:
            raise ConfigError("--verify needs the NAME of a ready set; `mlxllm data get` lists them")
        _print_sets(catalogue.READY_SETS, json_)
        return
    entry = catalogue.find_ready_set(name)
    if verify and (found := ready_sets.read_list(name)) is not None and found.complete:
        if bad := ready_sets.damaged(found):
            say(f"{name}: {', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not as downloaded; to be downloaded anew")
            ready_sets.drop_files(found, bad)
        else:
            say(f"{name}: every byte is as it was downloaded")
    wanted = ready_sets.read_list(name)
    if wanted is not None and ready_sets.is_here(name):
        say(f"{name} is here already, {file_size(wanted.size or 0)} in {ready_sets.set_folder(name)}")
    else:
        wanted = _download(entry, yes)
    if json_:
        print(json.dumps(_result(entry, wanted)))
        return
    for command in _commands(entry):
        print(command)


def remove_ready_set(name: str, yes: bool) -> bool:
    """Delete a ready set, or what of it has come; returns whether there was one.

    Raises:
        UserError: the file system refuses.
    """
    from mlxllm.data import ready_sets
    from mlxllm.data.catalogue import look_up

    folder = ready_sets.set_folder(name)
    if not (look_up(name) is not None and folder.is_dir()):
        return False
    if all(path.name.startswith(ready_sets.LIST_NAME) for path in folder.rglob("*") if path.is_file()):
        delete(folder, name)
        say(f"nothing of the ready set {name!r} was downloaded, so there was nothing to delete")
        return True
    confirm(f"delete the ready set {name!r} in {folder} ({file_size(folder_size(folder))})", yes)
    say(delete(folder, f"the ready set {name!r}; `mlxllm data get {name}` brings it back"))
    return True


def _download(entry: "ReadySet", yes: bool) -> "SetList":
    from mlxllm.data import ready_download, ready_sets

    try:
        wanted = ready_download.choose_files(entry)
    except DataError:
        about = "not told" if entry.about_bytes is None else f"about {file_size(entry.about_bytes)}"
        _show(entry, about)
        raise
    to_come = ready_sets.bytes_to_come(wanted)
    folder = ready_sets.set_folder(entry.name)
    size = "not told" if wanted.size is None else file_size(wanted.size)
    if to_come is not None and wanted.size is not None and to_come < wanted.size:
        size += f", of which {file_size(to_come)} are still to come"
    _show(entry, f"{size}, in {len(wanted.files)} file{'s' if len(wanted.files) > 1 else ''}")
    if to_come is None or to_come >= ASKED_BYTES:
        confirm(f"download {entry.name} ({'its size is not told' if to_come is None else file_size(to_come)})", yes)
    shown = TransferLine(entry.name)

    def narrate(sentence: str) -> None:
        shown.clear()
        say(sentence)

    try:
        done = ready_download.download_set(entry, wanted, shown, narrate)
    except (KeyboardInterrupt, SystemExit):
        narrate(f"what has come is kept; `mlxllm data get {entry.name}` goes on from there")
        raise
    finally:
        shown.clear()
    say(f"{entry.name}: {file_size(done.size or 0)} downloaded and checked; in {folder}")
    return done


def _show(entry: "ReadySet", size: str) -> None:
    """What somebody should know before anything is downloaded."""
    from mlxllm.data import ready_sets

    fields = [
        (entry.name, _KINDS[entry.kind]),
        ("  good for", entry.good_for),
        ("  licence", entry.licence),
        ("  from", entry.origin),
        ("  size", size),
        ("  into", str(ready_sets.set_folder(entry.name))),
    ]
    for line in field_lines(fields, sys.stderr):
        tell(line, sys.stderr)


def _commands(entry: "ReadySet") -> list[str]:
    """What to do with a set that is here."""
    from mlxllm.data import ready_sets
    from mlxllm.data.sources import list_sources

    files = shlex.quote(ready_sets.training_files(entry))
    if entry.kind == "text":
        # A name that is a kind of source as well stands for that.
        known = entry.name in {kind.kind for kind in list_sources()}
        source = shlex.quote(ready_sets.source_spec(entry)) if known else entry.name
        return [
            f"mlxllm data preview {source}",
            f"mlxllm data build {entry.name} --source {source} --tokenizer bpe",
        ]
    held_out = ready_sets.held_out_files(entry)
    rest = f" --val-data {shlex.quote(held_out)}" if held_out else ""
    return [
        f"mlxllm data inspect --masks {files} --model RUN",
        f"mlxllm {_TRAINED_BY[entry.kind]} --model RUN --data {files}{rest} --run {entry.name}",
    ]


def _result(entry: "ReadySet", found: "SetList") -> dict[str, Any]:
    from mlxllm.data import ready_sets

    return {
        **_about(entry),
        "revision": found.revision,
        "files": [{"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in found.files],
        "source": ready_sets.source_spec(entry) if entry.kind == "text" else None,
        "train": ready_sets.training_files(entry),
        "val": ready_sets.held_out_files(entry),
        "next": _commands(entry),
    }


def _about(entry: "ReadySet") -> dict[str, Any]:
    from mlxllm.data import ready_sets

    found = ready_sets.read_list(entry.name)
    here = ready_sets.is_here(entry.name)
    return {
        "name": entry.name,
        "kind": entry.kind,
        "good_for": entry.good_for,
        "licence": entry.licence,
        "origin": entry.origin,
        "bytes": found.size if found and found.size is not None else entry.about_bytes,
        "gated": entry.gated,
        "downloaded": here,
        "path": str(ready_sets.set_folder(entry.name)),
    }


def _print_sets(entries: "Sequence[ReadySet]", json_: bool) -> None:
    from mlxllm.data import ready_sets

    listed = [_about(entry) for entry in entries]
    if json_:
        print(json.dumps({"sets": listed}))
        return
    rows = []
    for each in listed:
        begun = "in part" if ready_sets.is_begun(each["name"]) else "-"
        rows.append(
            (
                each["name"],
                _TRAINED_BY[each["kind"]],
                "?" if each["bytes"] is None else file_size(each["bytes"]),
                "yes" if each["downloaded"] else begun,
                each["licence"],
                each["good_for"] + ("; its terms have to be accepted on its page" if each["gated"] else ""),
            )
        )
    print_table(("set", "for", "size", "here", "licence", "good for"), rows, expendable=("licence", "here"))
    say("`mlxllm data get NAME` shows size and licence, then downloads; a ? is asked from the server")
