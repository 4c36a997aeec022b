"""`mlxllm data index`: an index over a dataset's training documents, and looking for a text in it."""

import json
from typing import Annotated

import typer

from mlxllm import paths
from mlxllm.cli.deleting import folder_size
from mlxllm.cli.item_line import ItemLine
from mlxllm.cli.run_view import file_size
from mlxllm.cli.sampling import check_text, say
from mlxllm.cli.trace import Least, look_for
from mlxllm.errors import ConfigError
from mlxllm.visible import counted


def index(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a dataset, or the path of its folder.")],
    find: Annotated[
        str | None, typer.Option("--find", metavar="TEXT", help="Look for this text in the index that is there.")
    ] = None,
    words: Least = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Build it anew, also where it is there.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Build an index over the words of a dataset's training documents, in which one sees where a model got that.

    `trace`, `sample --trace`, `eval --copied` and the chat of the application look into it. It lies in the cache, is
    told to be stale when the dataset changes, and goes with it (`data rm`, `cache clear`).
    """
    if words is not None and find is None:
        raise ConfigError("--words is about what is looked for; give that, too, with --find TEXT")
    if find is not None:
        check_text(find, "--find")
        look_for(find, [name], None, words, json_)
        return
    from mlxllm.data.origins.building import build_index
    from mlxllm.data.origins.files import find_index, has_index
    from mlxllm.data.shards import TokenDataset

    directory = paths.existing("datasets", name)
    built = fresh or not has_index(directory)
    if built:
        line = ItemLine(f"index of {directory.name}, tokens")
        try:
            folder, about = build_index(TokenDataset.open(directory), progress=line)
        finally:
            line.clear()
    else:
        folder, about = find_index(directory)
    size = folder_size(folder)
    if json_:
        told = {"dataset": directory.name, "fingerprint": about.fingerprint, "path": str(folder), "built": built}
        told |= {"documents": about.documents, "words": about.words, "bytes": size, "seconds": about.seconds}
        print(json.dumps(told))
        return
    done = f"built in {about.seconds:,.1f} s" if built else "is there already (--fresh builds it anew)"
    holds = f"{about.words:,} words of {counted(about.documents, 'training document')}, {file_size(size)}"
    say(f"index of dataset {directory.name!r} {done}: {holds}; `mlxllm data index {name} --find TEXT` looks into it")
