"""Data: what there is to read, what it looks like in text and in tokens, and datasets made of it."""

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
from tui.data.library import Library
from tui.screens.data.build import BuildBar, Builder
from tui.screens.data.making import MakesDatasets
from tui.screens.data.mixture import MixtureList
from tui.screens.data.preview import TOKENS, Preview, twin_of
from tui.screens.data.tree import SourceTree
from tui.screens.tokenizer.screen import TokenizerWork
from tui.widgets.bars import Hint
from tui.widgets.pick import Pick

_TOKENIZER = "data_tokenizer"


class DataScreen(MakesDatasets):
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
    PARTS = (TokenizerWork,)
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
        Binding("m", "merges", "Merges", id="data.merges", tooltip="A tokenizer at work: its merges, one by one"),
        Binding("i", "ids", "Ids", id="data.ids"),
        Binding("D", "delete", "Delete", id="data.delete"),
    ]
    DEFAULT_CSS = """
    DataScreen #left { width: 34; }
    DataScreen #tree { height: 1fr; padding: 0; }
    DataScreen.-normal #left { width: 42; }
    DataScreen.-wide #left { width: 52; }
    """

    def compose_body(self) -> ComposeResult:
        ascii_only = self.mlx.marks == "ascii"
        preview = Preview(ascii_only=ascii_only)
        self._library = Library(self.mlx.remembered)
        with Vertical():
            with Horizontal():
                with Vertical(id="left"):
                    yield SourceTree(ascii_only=ascii_only)
                    yield MixtureList(self._library, preview.looker, ascii_only=ascii_only)
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
        self._library.sizes.clear()
        self.list_again()

    def home_focus(self) -> Widget:
        """The tree."""
        return self.query_one(SourceTree)

    def show_source(self, name: str) -> None:
        """Put the cursor on a dataset, or on a source that was added."""
        self._select = name
        self.list_again()

    # What there is.

    def list_again(self) -> None:
        """Look what there is."""
        self._list()

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
        self.offer()
        self.query_one(MixtureList).show()

    @property
    def _tokenizer(self) -> KnownTokenizer:
        """The tokenizer that texts are looked at with: the one that was chosen, else the first that is there."""
        chosen = self.mlx.remembered.get(_TOKENIZER, "")
        known = self._tokenizers or [BYTES]
        return next((each for each in known if each.argument == chosen), known[0])

    def offer(self) -> None:
        """The footer is made anew, key by key, which takes a while: only where other keys are offered."""
        offered = tuple(self.check_action(action, ()) for action in ("stop", "delete", "weigh", "take", "ids"))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    # What it looks like.

    def on_tree_node_highlighted(self) -> None:
        """Look at what is under the cursor."""
        self._show_twin()
        self.offer()
        self._look()

    def _look(self) -> None:
        """Show what is under the cursor."""
        entry, preview = self._entry, self.query_one(Preview)
        if entry is None:
            preview.tell(self.query_one(SourceTree).group)
        elif self._is_remote(entry):
            preview.tell(entry.group, entry, f"Enter fetches {entry.key} and shows its beginning.")
        else:
            preview.look(entry, self._tokenizer)

    def _is_remote(self, entry: Entry) -> bool:
        """It has to be downloaded first, and nobody has asked for that yet."""
        return bool(entry.spec or entry.group == "records") and not self._library.may_read(entry.key)

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
        self.offer()

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
        if self._is_remote(entry):
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

    def action_merges(self) -> None:
        """A BPE tokenizer at work: the one that texts are looked at with, if it is one."""
        self.app.push_screen(TokenizerWork(self._tokenizer.argument))

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

    @work(exclusive=True, group="new_run")
    async def action_new_run(self) -> None:
        """A run on the dataset or the records under the cursor, else on what was built last."""
        entry = self._entry
        if entry is not None and entry.group == "records" and not entry.problem:
            self.mlx.open_new_run("dpo" if entry.pairs else "sft", data=(entry.key,))
        elif entry is not None and entry.manifest is not None:
            self.mlx.open_new_run(data=(entry.key,))
        elif entry is not None and (entry.problem or entry.state is not None):
            self.mlx.warn(entry.problem or f"{entry.title} is not whole yet: b goes on with it")
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
            return entry is not None and entry.group not in ("catalogue", "formats") and not entry.held
        if action == "weigh":
            return entry is not None and entry.spec in self._library.mixture
        if action == "take":
            return entry is not None and bool(entry.spec)
        if action == "ids":
            return self.is_mounted and self.query_one(Preview).section == TOKENS
        return True
