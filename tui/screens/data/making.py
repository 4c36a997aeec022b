"""What the data screen makes: its list of sources, the mixture, and the datasets that are built of it."""

import asyncio
from collections.abc import Iterable, Mapping

from textual import work

from mlxllm import paths
from mlxllm.data.manifest import Manifest
from mlxllm.data.sources import list_sources
from mlxllm.errors import UserError
from tui import commands
from tui.data.entries import GROUPS, Entry, Group, KnownTokenizer, tokenizer_of
from tui.data.library import Library, find
from tui.data.mixture import (
    Size,
    all_thresholds,
    asked,
    short_spec,
    suggested_name,
    suggested_tokenizer,
    suggested_val_split,
    total_bytes,
)
from tui.jobs import Job
from tui.screens.base import ModeScreen
from tui.screens.data.asking import AddDialog, BuildDialog, Order
from tui.screens.data.build import Builder
from tui.screens.data.mixture import MixtureList
from tui.screens.data.preview import Preview
from tui.screens.data.tree import SourceTree
from tui.words import file_size

_ADD = (
    "A file or folder of text, or a file of conversations or preferences (JSON, JSON lines, parquet); owner/name of a data "
    "set on the Hugging Face Hub; or KIND:SPEC, such as stories:2000, a source of the catalogue with options."
)


class MakesDatasets(ModeScreen):
    """The part of the Data screen that changes something."""

    _library: Library
    _builder: Builder

    def __init__(self) -> None:
        """Nothing has been looked at."""
        super().__init__()
        self._entries: dict[Group, list[Entry]] = {group: [] for group in GROUPS}
        self._tokenizers: list[KnownTokenizer] = []
        self._select = ""
        self._built_from: dict[str, float] = {}
        """The mixture of the last build."""
        self._offered: tuple[bool | None, ...] = ()

    def list_again(self) -> None:
        """Look again what there is."""
        raise NotImplementedError

    def offer(self) -> None:
        """Other keys may make sense now."""
        raise NotImplementedError

    @property
    def _entry(self) -> Entry | None:
        return self.query_one(SourceTree).entry

    def _mixture_changed(self) -> None:
        self.query_one(SourceTree).relabel(self._library.mixture)
        self.query_one(MixtureList).show()
        self.offer()

    # Adding and deleting.

    @work(exclusive=True, group="add")
    async def action_add(self) -> None:
        """Add a path; what cannot be added stays in the line, below the sentence that says why."""
        entry = self._entry
        kind = entry.kind if entry is not None else None
        value = f"{kind.kind}:" if kind is not None and ":" in kind.example else ""
        question = _ADD
        while (answer := await self.app.push_screen_wait(AddDialog(question, value, "~/notes"))) is not None:
            try:
                found = await asyncio.to_thread(find, answer)
            except UserError as error:
                question, value = f"! {error}", answer
                continue
            self._library.add(found)
            self.mlx.tell(f"added: {found.what}")
            self._select = found.key
            self.list_again()
            return

    @work(exclusive=True, group="delete")
    async def action_delete(self) -> None:
        """Delete a dataset; take a path off its list."""
        entry = self._entry
        if entry is None or entry.group in ("catalogue", "formats"):
            return
        if entry.group != "datasets":
            if await self.mlx.confirm(f"Take {entry.title} off this list? The file stays where it is.", "Take off"):
                self._library.remove(entry)
                self._mixture_changed()
                self.list_again()
            return
        question = f"Delete the dataset {entry.title} for good? Runs that were trained on it cannot be resumed then."
        if await self.mlx.confirm(question, "Delete"):
            self.twin = commands.data_rm(entry.key)
            self.mlx.run_job(self.twin, lambda _: None, self._deleted)

    def _deleted(self, job: Job) -> None:
        if job.returncode:
            self.mlx.fail(job.error)
        self.list_again()

    # Building.

    @work(exclusive=True, group="build")
    async def action_build(self) -> None:
        """Ask how, then build; an unfinished dataset under the cursor goes on at once."""
        if self._builder.name:
            self.mlx.warn(f"{self._builder.name} is being built; x stops it")
            return
        entry, mixture = self._entry, self._library.mixture
        if entry is not None and entry.state is not None:
            self._build(Order(entry.key, commands.data_build(entry.key, (), "")))
            return
        again = _again(entry, mixture)
        if again is not None:
            mixture = {source.spec: round(source.epochs, 3) for source in again.sources.values()}
        elif not mixture and entry is not None and entry.spec:
            mixture = {entry.spec: 1.0}
        stopped = self._builder.stopped
        if stopped is not None and mixture == self._built_from:  # the same text once more: go on where it was
            self._build(stopped)
            return
        if not mixture:
            self.mlx.warn("take a source with space first; a adds your own")
            return
        # What was not taken, only pointed at, has not been measured yet.
        await asyncio.to_thread(self._library.measure_all, list(mixture), self.query_one(Preview).looker)
        size = total_bytes(mixture.items(), self._library.sizes)
        if again is not None and entry is not None:
            name, tokenizer = entry.key, tokenizer_of(paths.folder("datasets") / entry.key, again)
        else:
            name = suggested_name(list(mixture), [each.key for each in self._entries["datasets"]])
            tokenizer = suggested_tokenizer(size)
        about = "From " + ", ".join(
            short_spec(spec) + ("" if weight == 1 else f" x{weight:g}") for spec, weight in mixture.items()
        )
        about += f"; about {file_size(size)} of text" if size else ""
        sizes = [self._library.sizes.get(spec, Size(None, False)) for spec in mixture]
        share, thresholds = suggested_val_split(sizes), all_thresholds(sizes)
        weighted = [(spec, asked(weight)) for spec, weight in mixture.items()]
        usual, recipe = _recipes(mixture), _recipe_again(again) if again is not None else ""
        dialog = BuildDialog(weighted, about, name, tokenizer, self._tokenizers, share, thresholds, usual, recipe)
        order: Order | None = await self.app.push_screen_wait(dialog)
        if order is not None:
            self._built_from = dict(mixture)
            self._build(order)

    def _build(self, order: Order) -> None:
        self._builder.start(order)
        self.twin = order.args
        self.offer()

    def _ended(self, name: str) -> None:
        """A build has ended, one way or another."""
        self.query_one(Preview).looker.forget()
        self._select = name
        self.list_again()

    def action_stop(self) -> None:
        """Stop the build; what is done is kept."""
        self._builder.stop()


def _again(entry: Entry | None, mixture: Mapping[str, float]) -> Manifest | None:
    """The dataset under the cursor, where that is to be built again: without a mixture, or as it cannot be used."""
    manifest = entry.manifest if entry is not None else None
    if manifest is None or (mixture and manifest.train.tokens and manifest.val.tokens):
        return None
    return manifest


def _recipes(specs: Iterable[str]) -> list[tuple[str, str]]:
    """The kinds of these sources, each with the recipe by which it is cleaned unless another one is chosen."""
    kinds = {spec.partition(":")[0] for spec in specs}
    return [(kind.kind, kind.recipe) for kind in list_sources() if kind.kind in kinds]


def _recipe_again(manifest: Manifest) -> str:
    """What all sources were cleaned by; nothing where each was by that of its kind."""
    sources = manifest.sources.values()
    usual, names = dict(_recipes(source.spec for source in sources)), {source.recipe for source in sources}
    if all(usual.get(source.spec.partition(":")[0]) == source.recipe for source in sources):
        return ""
    return names.pop() if len(names) == 1 else ""
