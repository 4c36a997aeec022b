"""What the data screen lists: kinds of sources, the user's own, datasets, and files of records."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlxllm import paths
from mlxllm.conversation.recognising import is_hub_name
from mlxllm.data.draft import BuildState, unfinished
from mlxllm.data.manifest import Manifest, read_manifest
from mlxllm.data.sources import SourceKind, list_sources, open_source
from mlxllm.errors import UserError
from mlxllm.tokenizer.known import inside, known_tokenizers
from tui.data.mixture import short_spec
from tui.words import count

Group = Literal["catalogue", "formats", "yours", "datasets", "records"]

GROUPS: dict[Group, str] = {
    "catalogue": "Catalogue",
    "formats": "For files of your own",
    "yours": "Your sources",
    "datasets": "Datasets",
    "records": "Conversations, preferences",
}
"""Each group of the tree with its title, in order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the tree."""

    group: Group
    key: str
    """What it is called on the command line: a specification, the name of a dataset, the path of a file."""
    title: str
    note: str = ""
    """A few words behind the title."""
    problem: str = ""
    """Why it cannot be used, in a sentence; nothing where it can."""
    kind: SourceKind | None = None
    """Of the catalogue."""
    manifest: Manifest | None = None
    """Of a dataset."""
    state: BuildState | None = None
    """Of a dataset whose build was interrupted."""
    held: bool = False
    """A build is at work on it."""
    pairs: bool = False
    """Records: preferences rather than conversations."""

    @property
    def spec(self) -> str:
        """The source that can be taken into a mixture; nothing for what is none, or cannot be read."""
        return self.key if self.group in ("catalogue", "yours") and not self.problem else ""


@dataclass(frozen=True, slots=True)
class KnownTokenizer:
    """A tokenizer that texts can be looked at with."""

    argument: str
    """What `--tokenizer` is given."""
    label: str


def tokenizer_of(directory: Path, manifest: Manifest) -> str:
    """What `--tokenizer` is given to build a dataset again: the same recipe, or the very tokenizer where it had none."""
    kind, size = manifest.tokenizer.kind, manifest.tokenizer.vocab_size
    return {"byte": kind, "char": kind, "bpe": f"bpe:{size}"}.get(kind, str(directory / "tokenizer"))


_SHORT = 10
BYTES = KnownTokenizer("byte", "byte: every byte is a token, 261 in all")
"""It is always there."""


def list_entries(sources: Sequence[str], records: Sequence[tuple[str, str]]) -> dict[Group, list[Entry]]:
    """Everything there is; reads manifests, so call it off the event loop.

    Args:
        sources: specifications that the user has added.
        records: path and kind (`conversations` or `preferences`) of the files that the user has added.
    """
    kinds = [_of_kind(kind) for kind in list_sources()]
    return {
        "catalogue": [entry for entry in kinds if entry.group == "catalogue"],
        "formats": [entry for entry in kinds if entry.group == "formats"],
        "yours": [_own(spec) for spec in sources],
        "datasets": list(_datasets()),
        "records": [_records(path, kind) for path, kind in records],
    }


def list_tokenizers() -> list[KnownTokenizer]:
    """Tokenizers by name, then those of datasets and runs, each once; then those that need nothing."""
    return [
        *(KnownTokenizer(t.argument, f"{t.label}: {t.kind} of {t.vocab_size:,}") for t in known_tokenizers()),
        BYTES,
        KnownTokenizer("char", "char: the characters of the text at hand"),
    ]


def _of_kind(kind: SourceKind) -> Entry:
    try:
        open_source(kind.kind)
    except UserError as error:
        wanted = str(error).removeprefix(f"source {kind.kind!r} ")
        problem = f"{kind.kind} {wanted}; a adds one"
        return Entry("formats", kind.kind, kind.kind, "a adds them", problem, kind)
    # How much it is that large sources fetch is told beside them, where there is room.
    note = "" if not kind.download else f"downloads {kind.download}" if len(kind.download) < _SHORT else "downloads"
    return Entry("catalogue", kind.kind, kind.kind, note, kind=kind)


def _own(spec: str) -> Entry:
    path, title = spec.removeprefix("text:"), short_spec(spec)
    if path != spec and not (os.path.exists(path) or (glob.has_magic(path) and glob.glob(path, recursive=True))):
        problem = f"{path} is not there any more; put it back, or take it off this list with D"
        return Entry("yours", spec, title, "gone", problem)
    return Entry("yours", spec, title)


def _records(path: str, kind: str) -> Entry:
    title = os.path.basename(path.rstrip("/")) or path
    if not os.path.exists(path) and is_hub_name(path):
        return Entry("records", path, path, f"{kind}, on the Hub", pairs=kind == "preferences")
    if not os.path.exists(path):
        problem = f"{path} is not there any more; put it back, or take it off this list with D"
        return Entry("records", path, title, "gone", problem, pairs=kind == "preferences")
    return Entry("records", path, title, kind, pairs=kind == "preferences")


def _datasets() -> list[Entry]:
    found = {}
    for directory in inside("datasets"):
        try:
            manifest = read_manifest(directory)
        except UserError as error:
            found[directory.name] = Entry("datasets", directory.name, directory.name, "damaged", str(error))
            continue
        tokens = f"{count(manifest.train.tokens + manifest.val.tokens)} tokens"
        found[directory.name] = Entry("datasets", directory.name, directory.name, tokens, manifest=manifest)
    for name, state, held in unfinished(paths.folder("datasets")):
        if name not in found:
            note = "being built" if held else "unfinished: b goes on"
            found[name] = Entry("datasets", name, name, note, state=state, held=held)
    return [found[name] for name in sorted(found)]
