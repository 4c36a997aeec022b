"""`mlxllm cache`: what was downloaded or worked out and can be had again, and how to get rid of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mlxllm import paths
from mlxllm.cli.deleting import confirm, delete, folder_size
from mlxllm.cli.run_view import file_size
from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_table
from mlxllm.cli.terminal import did_you_mean
from mlxllm.errors import ConfigError, UserError

app = typer.Typer(no_args_is_help=True, help="See and clear what was downloaded and can be had again.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]

_SETS = "sets"
_SERVED = "served"
_ORIGINS = "origins"
_WHAT = {
    "answers": "answers of models to the prompts of `versus`, which would be written anew",
    "evaluations": "answers that `mlxllm eval` has had, and will ask for anew",
    "lm-eval": "the names of lm-eval's tasks, and where they are defined",
    "hub": "files of the Hugging Face Hub that a build has not read to their end",
    "judgements": "what judges said in `versus`, who would be asked again",
    "kernels": "operations of models, compiled for this processor; training compiles them again",
    "references": "scores of reference models, which dpo works out anew",
    "served-names": "the names that clients of `mlxllm serve` use, as links",
    "tinyshakespeare.txt": "the text of the source shakespeare",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache."""

    name: str
    """Its path there."""
    path: Path
    bytes: int
    what: str
    """What it is, for people."""


@app.command("ls")
def list_(json_: Json = False) -> None:
    """List what lies in the cache, with its size."""
    found = _entries()
    if json_:
        entries = [{"name": one.name, "path": str(one.path), "bytes": one.bytes, "what": one.what} for one in found]
        print(json.dumps({"path": str(paths.folder("cache")), "entries": entries}))
        return
    if not found:
        say(f"nothing lies in {paths.folder('cache')}")
        return
    print_table(("entry", "size", "what it is"), [(one.name, file_size(one.bytes), one.what) for one in found])
    say(f"{file_size(sum(one.bytes for one in found))} in {paths.folder('cache')}; `mlxllm cache clear` deletes it")


@app.command()
def clear(
    entry: Annotated[
        list[str] | None, typer.Argument(metavar="ENTRY...", help="As `mlxllm cache ls` has them; by default all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete what lies in the cache, or some entries of it. Datasets, tokenizers and runs are not in there."""
    found = _entries()
    by_name = {one.name: one for one in found}
    for name in entry or ():
        if name not in by_name:
            known = did_you_mean(name, by_name) or (f"there are {', '.join(by_name)}" if by_name else "it is empty")
            raise ConfigError(f"the cache has no entry {name!r}; {known}")
    chosen = [by_name[name] for name in dict.fromkeys(entry)] if entry else found
    if not chosen:
        say(f"nothing lies in {paths.folder('cache')}")
        return
    names = ", ".join(one.name for one in chosen)
    size = file_size(sum(one.bytes for one in chosen))
    confirm(f"delete {names} from {paths.folder('cache')} ({size})", yes)
    for one in chosen:
        if one.path.is_dir():
            delete(one.path, one.name)
        else:
            try:
                one.path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(f"cannot delete {one.path}: {error.strerror}") from None
    say(f"deleted {names} ({size})")


def _entries() -> list[Entry]:
    """Everything in the cache, ready sets and served models one by one; what was interrupted counts as well."""
    folder = paths.folder("cache")
    if not folder.is_dir():
        return []
    found: list[Entry] = []
    for path in sorted(folder.iterdir()):
        if path.name == _SETS and path.is_dir():
            sizes = [(each, _size(each)) for each in sorted(path.iterdir())]
            # What was given up before a byte came is nothing.
            found += [Entry(f"{_SETS}/{one.name}", one, size, _about_set(one.name)) for one, size in sizes if size]
        elif path.name == _SERVED and path.is_dir():
            about = "an export that `mlxllm serve` makes again when it is needed"
            found += [Entry(f"{_SERVED}/{one.name}", one, _size(one), about) for one in sorted(path.iterdir())]
        elif path.name == _ORIGINS and path.is_dir():
            found += [
                Entry(f"{_ORIGINS}/{one.name}", one, _size(one), _about_index(one)) for one in sorted(path.iterdir())
            ]
        else:
            found.append(Entry(path.name, path, _size(path), _WHAT.get(path.name, "made anew when it is needed")))
    return found


def _about_set(name: str) -> str:
    from mlxllm.data.ready_sets import is_here

    return (
        f"a ready set; `mlxllm data get {name}`" if is_here(name) else f"a part of it; `mlxllm data get {name}` goes on"
    )


def _about_index(path: Path) -> str:
    from mlxllm.data.origins.files import ABOUT_FILE

    name = path.name.rpartition("-")[0]
    if not (path / ABOUT_FILE).is_file():
        return "what an interrupted `mlxllm data index` has left"
    return f"the index of dataset {name}; `mlxllm data index {name}` builds it again"


def _size(path: Path) -> int:
    return folder_size(path) if path.is_dir() else path.lstat().st_size
