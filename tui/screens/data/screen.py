"""Data: what there is to read, what it looks like in text and in tokens, and datasets made of it."""

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.worker import get_current_worker

from mlxllm.errors import UserError
from tui import commands
from tui.data.entries import BYTES, Entry, Group, KnownTokenizer, list_entries, list_tokenizers
from tui.data.library import Library, find
from tui.data.mixture import suggested_name, suggested_tokenizer, total_bytes
from tui.jobs import Job
from tui.screens.base import ModeScreen
from tui.screens.data.build import BuildBar, BuildDialog, Builder, Order
from tui.screens.data.mixture import MixtureList
from tui.screens.data.preview import TOKENS, Preview, twin_of
from tui.screens.data.tree import SourceTree
from tui.widgets.bars import Hint
from tui.widgets.pick import Pick
from tui.words import file_size

_TOKENIZER = "data_tokenizer"
_ADD = (
    "A file or folder of text, or a file of conversations or preferences (JSON, JSON lines, parquet). "
    "KIND:SPEC, such as stories:2000, adds a source of the catalogue with options."
)


class DataScreen(ModeScreen):
    """Sources, previews, the mixture, and building."""

    MODE = "data"
    ABOUT = (
        "Data shows what a model can read: on the left what there is, on the right what it looks like. Take sources into "
        "a mixture, then build a dataset of it, which new runs train on."
    )
    HINT = "space takes the source under the cursor, b builds a dataset of what was taken. a adds your own files."
    WORDS = (
        *("source", "document", "mixture", "source weight", "dataset", "data label", "token", "tokenizer", "BPE"),
        *("bytes a token", "validation", "packing", "loss mask", "preference pair", "shard"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "take", "Take", id="data.take"),
        Binding("plus,equals_sign", "weigh(True)", "More", key_display="+", id="data.heavier"),
        Binding("minus", "weigh(False)", "Less", key_display="-", id="data.lighter"),
        Binding("a", "add", "Add", id="data.add"),
        Binding("b", "build", "Build", id="data.build"),
        Binding("n", "new_run", "New run", id="data.new_run"),
        Binding("x", "stop", "Stop", id="data.stop"),
        Binding("right", "turn(1)", "Tab", key_display="←→", id="data.next_tab"),
        Binding("left", "turn(-1)", "Tab before", show=False, id="data.previous_tab"),
        Binding("enter", "read", "Read", id="data.read"),
        Binding("k", "tokenizer", "Tokenizer", id="data.tokenizer"),
        Binding("i", "ids", "Ids", id="data.ids"),
        Binding("D", "delete", "Delete", id="data.delete"),
    ]
    DEFAULT_CSS = """
    DataScreen #left { width: 34; }
    DataScreen #tree { height: 1fr; padding: 0; }
    DataScreen.-normal #left { width: 42; }
    DataScreen.-wide #left { width: 52; }
    """

    def __init__(self) -> None:
        """Nothing has been looked at."""
        super().__init__()
        self._entries: dict[Group, list[Entry]] = {"catalogue": [], "yours": [], "datasets": [], "records": []}
        self._tokenizers: list[KnownTokenizer] = []
        self._select = ""
        self._built_from: dict[str, float] = {}
        """The mixture of the last build."""

    def compose_body(self) -> ComposeResult:
        preview = Preview(ascii_only=self.mlx.marks == "ascii")
        self._library = Library(self.mlx.remembered)
        with Vertical():
            with Horizontal():
                with Vertical(id="left"):
                    yield SourceTree(ascii_only=self.mlx.marks == "ascii")
                    yield MixtureList(self._library, preview.looker)
                yield preview
            yield BuildBar()

    def on_mount(self) -> None:
        """Look what there is."""
        self.twin = commands.data_sources()
        self._builder = Builder(self.mlx, self.query_one(BuildBar), self._ended)
        self.query_one(SourceTree).focus()

    def on_screen_resume(self) -> None:
        """Runs, files and datasets may have come and gone meanwhile."""
        self.query_one(Preview).looker.forget()
        self._list()

    def home_focus(self) -> Widget:
        """The tree."""
        return self.query_one(SourceTree)

    def show_source(self, name: str) -> None:
        """Put the cursor on a dataset, or on a source that was added."""
        self._select = name
        self._list()

    # What there is.

    @work(thread=True, exclusive=True, group="list")
    def _list(self) -> None:
        worker, select = get_current_worker(), self._select
        entries = list_entries(self._library.sources, self._library.records)
        tokenizers = list_tokenizers()
        if not worker.is_cancelled:
            self.app.call_from_thread(self._listed, entries, tokenizers, select)

    def _listed(self, entries: dict[Group, list[Entry]], tokenizers: list[KnownTokenizer], select: str) -> None:
        tree = self.query_one(SourceTree)
        self._tokenizers = tokenizers
        if entries != self._entries:
            self._entries = entries
            tree.show(entries, self._library.mixture)
        groups: tuple[Group, ...] = ("datasets", "yours", "records")
        if select and select == self._select:
            any(tree.select(group, select) for group in groups)
            self._select = ""
        if not self._builder.name:  # else it is that of the build
            self._show_twin()
        self._look()
        self.refresh_bindings()
        self.query_one(MixtureList).show()

    @property
    def _entry(self) -> Entry | None:
        return self.query_one(SourceTree).entry

    @property
    def _tokenizer(self) -> KnownTokenizer:
        """The tokenizer that texts are looked at with: the one that was chosen, else the first that is there."""
        chosen = self.mlx.remembered.get(_TOKENIZER, "")
        known = self._tokenizers or [BYTES]
        return next((each for each in known if each.argument == chosen), known[0])

    # What it looks like.

    def on_tree_node_highlighted(self) -> None:
        """Look at what is under the cursor."""
        self._show_twin()
        self.refresh_bindings()
        self._look()

    def _look(self) -> None:
        """Show what is under the cursor."""
        entry, preview = self._entry, self.query_one(Preview)
        if entry is None:
            preview.tell(self.query_one(SourceTree).group)
        elif entry.spec and not self._library.may_read(entry.key):
            preview.tell(entry.group, entry, f"Enter downloads {entry.key} once and shows it.")
        else:
            preview.look(entry, self._tokenizer)

    def _show_twin(self) -> None:
        tree = self.query_one(SourceTree)
        self.twin = twin_of(tree.entry, tree.group, self.query_one(Preview).section, self._tokenizer.argument)

    def action_turn(self, by: int) -> None:
        """The next tab, or the one before."""
        self.action_section(self.query_one(Preview).section + by)

    def action_section(self, number: int) -> None:
        """One of the tabs."""
        self.query_one(Preview).open_section(number)
        self._show_twin()
        self.refresh_bindings()

    def action_ids(self) -> None:
        """Every token above its id, or between separators."""
        self.query_one(Preview).toggle_ids()

    def action_read(self) -> None:
        """Scroll the preview with the arrow keys; a source that has to be downloaded is, now that it is asked for."""
        entry, tree = self._entry, self.query_one(SourceTree)
        if entry is None:
            if tree.cursor_node is not None and tree.cursor_node.allow_expand:
                tree.cursor_node.toggle()
            return
        if entry.spec and not self._library.may_read(entry.key):
            self._library.allow(entry.key)
            self._look()
            return
        self.query_one(Preview).scroll.focus()

    @work(exclusive=True, group="pick")
    async def action_tokenizer(self) -> None:
        """Look at texts with another tokenizer."""
        known = self._tokenizers
        names = [each.argument for each in known]
        about = "Texts are shown in the tokens of this tokenizer. A dataset always has its own."
        chosen = await self.app.push_screen_wait(
            Pick("Tokenizer", about, [each.label for each in known], known.index(self._tokenizer))
        )
        if chosen is not None:
            self.mlx.remembered.set(_TOKENIZER, names[chosen])
            self._look()
            self._show_twin()

    # The mixture.

    def action_take(self) -> None:
        """Take the source under the cursor into the mixture, or out of it."""
        entry = self._entry
        if entry is None or not entry.spec:
            why = entry.problem if entry is not None and entry.problem else "only sources of text can be taken"
            self.mlx.warn(why)
            return
        self._library.toggle(entry.spec)
        self._mixture_changed()

    def action_weigh(self, more: bool) -> None:
        """More or less of the source under the cursor."""
        entry = self._entry
        if entry is None or entry.spec not in self._library.mixture:
            self.mlx.warn("put the cursor on a source that is taken; space takes it")
            return
        try:
            self._library.weigh(entry.spec, more)
        except UserError as error:
            self.mlx.warn(str(error))
        self._mixture_changed()

    def _mixture_changed(self) -> None:
        self.query_one(SourceTree).relabel(self._library.mixture)
        self.query_one(MixtureList).show()
        self.refresh_bindings()

    # Adding and deleting.

    @work(exclusive=True, group="add")
    async def action_add(self) -> None:
        """Add a path; what cannot be added stays in the line, below the sentence that says why."""
        entry = self._entry
        value = entry.kind.example if entry is not None and entry.kind is not None and ":" in entry.kind.example else ""
        question = _ADD
        while (answer := await self.mlx.ask(question, value, "~/notes")) is not None:
            try:
                found = await asyncio.to_thread(find, answer)
            except UserError as error:
                question, value = f"! {error}", answer
                continue
            self._library.add(found)
            self.mlx.tell(f"added: {found.what}")
            self._select = found.key
            self._list()
            return

    @work(exclusive=True, group="delete")
    async def action_delete(self) -> None:
        """Delete a dataset; take a path off its list."""
        entry = self._entry
        if entry is None or entry.group == "catalogue":
            return
        if entry.group != "datasets":
            if await self.mlx.confirm(f"Take {entry.title} off this list? The file stays where it is.", "Take off"):
                self._library.remove(entry)
                self._mixture_changed()
                self._list()
            return
        question = f"Delete the dataset {entry.title} for good? Runs that were trained on it cannot be resumed then."
        if await self.mlx.confirm(question, "Delete"):
            self.twin = commands.data_rm(entry.key)
            self.mlx.run_job(self.twin, lambda _: None, self._deleted)

    def _deleted(self, job: Job) -> None:
        if job.returncode:
            self.mlx.fail(job.error)
        self._list()

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
        if not mixture and entry is not None and entry.spec:
            mixture = {entry.spec: 1.0}
        stopped = self._builder.stopped
        if stopped is not None and mixture == self._built_from:  # the same text once more: go on where it was
            self._build(stopped)
            return
        if not mixture:
            self.mlx.warn("take a source with space first; a adds your own")
            return
        size = total_bytes(mixture.items(), self._library.sizes)
        about = "From " + ", ".join(spec if weight == 1 else f"{spec} x{weight:g}" for spec, weight in mixture.items())
        about += f"; about {file_size(size)} of text" if size else ""
        titles = [
            each.title for group in ("catalogue", "yours") for each in self._entries[group] if each.spec in mixture
        ]
        name = suggested_name(titles, [each.key for each in self._entries["datasets"]])
        dialog = BuildDialog(list(mixture.items()), about, name, suggested_tokenizer(size), self._tokenizers)
        order: Order | None = await self.app.push_screen_wait(dialog)
        if order is not None:
            self._built_from = dict(mixture)
            self._build(order)

    def _build(self, order: Order) -> None:
        self._builder.start(order)
        self.twin = order.args
        self.refresh_bindings()

    def _ended(self, name: str) -> None:
        """A build has ended, one way or another."""
        self.query_one(Preview).looker.forget()
        self._select = name
        self._list()

    def action_stop(self) -> None:
        """Stop the build; what is done is kept."""
        self._builder.stop()

    @work(exclusive=True, group="new_run")
    async def action_new_run(self) -> None:
        """A run on the dataset or the records under the cursor, else on what was built last."""
        entry = self._entry
        if entry is not None and entry.group == "records" and not entry.problem:
            self.mlx.open_new_run("dpo" if entry.pairs else "sft", data=(entry.key,))
        elif entry is not None and entry.manifest is not None:
            self.mlx.open_new_run(data=(entry.key,))
        elif self._builder.built:
            self.mlx.open_new_run(data=(self._builder.built,))
        else:
            self.mlx.warn("a run learns from a dataset: build one with b, or put the cursor on one")

    def action_leave(self) -> None:
        """From the preview back to the tree; then the hint away; then stop a build; then its line away."""
        if self.focused is self.query_one(Preview).scroll:
            self.query_one(SourceTree).focus()
        elif self.query(Hint):
            super().action_leave()
        elif self._builder.name:
            self._builder.stop()
        else:
            self.query_one(BuildBar).hide()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that can do nothing just now are not offered."""
        entry = self._entry if self.is_mounted else None
        if action == "stop":
            return self.is_mounted and bool(self._builder.name)
        if action == "delete":
            return entry is not None and entry.group != "catalogue" and not entry.held
        if action == "weigh":
            return entry is not None and entry.spec in self._library.mixture
        if action == "take":
            return entry is not None and bool(entry.spec)
        if action == "ids":
            return self.is_mounted and self.query_one(Preview).section == TOKENS
        return True
