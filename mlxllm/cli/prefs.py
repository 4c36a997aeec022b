"""`mlxllm prefs`: what you preferred in your own chats, to look at, to train on, and to bring along."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli.deleting import confirm
from mlxllm.cli.judge import judge
from mlxllm.cli.sampling import say, signs
from mlxllm.cli.table import print_table
from mlxllm.cli.terminal import did_you_mean
from mlxllm.errors import ConfigError, DataError

if TYPE_CHECKING:  # the store brings all chat formats along: imported by the commands
    from mlxllm.conversation.preference_store import PreferenceStore
    from mlxllm.conversation.stored_preference import StoredPreference

app = typer.Typer(
    no_args_is_help=True,
    help="Answers that you preferred: `prefs judge` stores them, and /better, /worse and /rewrite in a chat; "
    "`dpo` learns from them.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]

HEADER = ("id", "time", "model", "how", "prompt", "chosen", "rejected")
EXPENDABLE = ("how", "time")

_BEGINNING = 28


Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Its id, or how that begins.", show_default=False)]


@app.command("ls")
def list_(
    removed: Annotated[bool, typer.Option("--removed", help="Those that `prefs rm` took out.")] = False,
    json_: Json = False,
) -> None:
    """List the stored preferences, the newest first (with --json, one object a line)."""
    from mlxllm.conversation.preference_store import PreferenceStore, shortest_ids

    store = PreferenceStore().removed if removed else PreferenceStore()
    found = _read(store)[::-1]
    if json_:
        for preference in found:
            print(json.dumps(preference.as_json()))
    elif found:
        ids = shortest_ids([preference.id for preference in found])
        print_table(HEADER, [_row(*row) for row in zip(ids, found, strict=True)], expendable=EXPENDABLE)
    elif removed:
        say("nothing was removed")
    else:
        say(f"no preferences in {store.path} yet; `mlxllm prefs judge` asks for some")


app.command("judge")(judge)


@app.command()
def rm(
    ids: Ids,
    for_good: Annotated[
        bool, typer.Option("--for-good", help="Keep no copy, also of what was removed before.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, with --for-good.")] = False,
    json_: Json = False,
) -> None:
    """Remove preferences; `prefs restore` brings them back."""
    from mlxllm.conversation.preference_store import PreferenceStore

    store = PreferenceStore()
    if not for_good:
        found = store.resolve(ids)
        _tell(store.remove(*found), f"removed; `mlxllm prefs restore {' '.join(found)}` brings back", json_)
        return
    found = store.resolve(ids, also_removed=True)
    confirm(f"delete {_count(len(found))} for good", yes)
    deleted = {preference.id: preference for each in (store, store.removed) for preference in each.drop(*found)}
    _tell(list(deleted.values()), "deleted for good", json_)


@app.command()
def restore(ids: Ids, json_: Json = False) -> None:
    """Bring back preferences that `prefs rm` took out."""
    from mlxllm.conversation.preference_store import PreferenceStore

    store = PreferenceStore()
    _tell(store.restore(*store.removed.resolve(ids)), "restored", json_)


@app.command()
def swap(ids: Ids, json_: Json = False) -> None:
    """Turn preferences around: the rejected answer becomes the chosen one, and the chosen one the rejected."""
    from mlxllm.conversation.preference_store import PreferenceStore

    store = PreferenceStore()
    _tell(store.swap(*store.resolve(ids)), "turned around", json_)


@app.command()
def edit(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its id, or how that begins.", show_default=False)],
    chosen: Annotated[str | None, typer.Option("--chosen", metavar="TEXT", help="The better answer.")] = None,
    rejected: Annotated[str | None, typer.Option("--rejected", metavar="TEXT", help="The other one.")] = None,
    json_: Json = False,
) -> None:
    """Put other answers in place of a preference's own; `prefs restore` brings the one before back, beside the new one."""
    from mlxllm.conversation.preference_store import PreferenceStore

    if chosen is None and rejected is None:
        raise ConfigError("say what to change: --chosen TEXT, --rejected TEXT, or both")
    store = PreferenceStore()
    (found,) = store.resolve([id_])
    made = store.edit(found, chosen=chosen, rejected=rejected)
    _tell([made], f"changed, now {made.id}; `mlxllm prefs restore {found}` brings back what it was", json_)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file, JSON lines.", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Only about answers of this model: RUN or RUN@STEP.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    json_: Json = False,
) -> None:
    """Write the preferences as `mlxllm dpo --data FILE` and TRL read them: prompt, chosen and rejected as messages."""
    from mlxllm.conversation.preference_store import PreferenceStore

    store = PreferenceStore()
    found = _read(store)
    if not found:
        raise DataError(f"there are no preferences in {store.path}, so there is nothing to export")
    if model is not None:
        found = _of_model(found, model)
    lines = [json.dumps(preference.as_trl(), ensure_ascii=False) + "\n" for preference in found]
    _write(file.expanduser(), "".join(lines), force)
    if json_:
        print(json.dumps({"exported": len(found), "file": str(file)}))
    say(f"{_count(len(found))} in {file}; `mlxllm dpo --model M --data {file}` learns from them")


@app.command("import")
def import_(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Files or folders with preferences.", show_default=False)
    ],
    json_: Json = False,
) -> None:
    """Add the preferences of files, in any format that `mlxllm dpo` reads; those that are there already stay as they are."""
    from mlxllm.conversation import Report, find_record_files, read_preferences
    from mlxllm.conversation.formats import UnusableRecordError
    from mlxllm.conversation.preference_store import PreferenceStore
    from mlxllm.conversation.stored_preference import from_preference

    store, report, parts = PreferenceStore(), Report(), find_record_files(files)
    for path in (*parts.val, *parts.test):
        say(f"{path} is held out for validation or testing, and left out here")
    known = {preference.content for preference in _read(store)}
    new: list[StoredPreference] = []
    for preference in read_preferences(parts.train, report):
        try:
            stored = from_preference(preference)
        except UnusableRecordError as error:
            report.drop(error.reason, preference.where, error.detail)
            continue
        report.used += 1
        if stored.content not in known:
            known.add(stored.content)
            new.append(stored)
    if not report.read:
        raise DataError(report.nothing_left("preferences"))
    if not report.used:
        raise DataError(f"none of {report.read:,} records in {', '.join(files)} can be stored: {report.reasons()}")
    store.add(*new)
    there = report.used - len(new)
    if json_:
        print(json.dumps({**report.as_dict(), "stored": len(new), "known": there}))
    say(f"{_count(len(new))} stored in {store.path}" + (f"; {there:,} were there already" if there else ""))
    for sentence in report.sentences():
        say(f"  {sentence}")


def beginning(text: str) -> str:
    """The first words of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _BEGINNING else line[: _BEGINNING - 1].rstrip() + "…"


def _read(store: "PreferenceStore") -> "list[StoredPreference]":
    reading = store.read()
    found = list(reading)
    if reading.damaged:
        lines = "1 line" if reading.damaged == 1 else f"{reading.damaged:,} lines"
        say(f"{lines} of {store.path} cannot be read and {'is' if reading.damaged == 1 else 'are'} passed over")
    return found


def _row(id_: str, preference: "StoredPreference") -> tuple[str, ...]:
    asked = next((m.content for m in reversed(preference.prompt) if m.role == "user"), preference.prompt[-1].content)
    when = "-"
    with suppress(OverflowError, OSError, ValueError):  # a time that no calendar has
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(preference.time))
    texts = (beginning(text) for text in (asked, preference.chosen, preference.rejected))
    return tuple(signs(cell) for cell in (id_, when, preference.model or "-", preference.how, *texts))


def _of_model(found: "list[StoredPreference]", model: str) -> "list[StoredPreference]":
    """Those about one model; a run means all of its steps."""
    chosen = [each for each in found if model in (each.model, each.model.rpartition("@")[0])]
    if not chosen:
        models = sorted({each.model for each in found if each.model})
        near = did_you_mean(model, models) or (
            f"there are some of {', '.join(models)}" if models else "all are imported"
        )
        raise ConfigError(f"no preference is about answers of {model!r}; {near}")
    return chosen


def _write(path: Path, text: str, force: bool) -> None:
    """The whole file or nothing."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is {'a folder' if path.is_dir() else 'no plain file'}; give the name of a file")
    if path.exists() and not force:
        raise DataError(f"{path} exists already and is left as it is; give another name, or --force")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


def _tell(changed: "list[StoredPreference]", what: str, json_: bool) -> None:
    if json_:
        for preference in changed:
            print(json.dumps(preference.as_json()))
    say(f"{_count(len(changed))} {what}")


def _count(number: int) -> str:
    return "1 preference" if number == 1 else f"{number:,} preferences"
