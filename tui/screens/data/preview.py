"""The right side of the data screen: what is under the cursor, in five tabs."""

from collections.abc import Callable

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import get_current_worker

from tui import commands
from tui.data.entries import Entry, Group, KnownTokenizer
from tui.data.look import Looker, about_kind
from tui.data.seen import Seen
from tui.screens.data.sections import SECTIONS, group_about, tokens_section
from tui.widgets.sections import Sections

TOKENS, STATISTICS, DROPPED = 1, 2, 3
"""Numbers of tabs that have a twin command of their own."""
_LOOK_SECONDS = 0.12
"""After the cursor has come to rest."""
_FEWEST_COLUMNS = 20


class Preview(Vertical):
    """Looks at entries in a thread and shows what was seen, as wide as there is room."""

    DEFAULT_CSS = """
    Preview { width: 1fr; padding: 0 1; }
    Preview Sections { margin: 0 0 1 0; }
    Preview VerticalScroll { height: 1fr; scrollbar-gutter: stable; scrollbar-size-vertical: 1; }
    Preview VerticalScroll:focus { background: $surface; }
    Preview #seen { height: auto; }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        """Nothing is looked at."""
        super().__init__(id="preview")
        self.looker = Looker()
        self._ascii = ascii_only
        self._seen = Seen()
        self._entry: Entry | None = None
        self._group: Group | None = None
        self._ids = False
        self._wait: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Sections([(title, short) for title, short, _ in SECTIONS])
        with VerticalScroll():
            yield Static(id="seen", markup=False)

    @property
    def scroll(self) -> VerticalScroll:
        """What can be scrolled."""
        return self.query_one(VerticalScroll)

    @property
    def section(self) -> int:
        """The number of the open tab."""
        return self.query_one(Sections).current

    def open_section(self, number: int) -> None:
        """Open a tab."""
        self.query_one(Sections).current = number % len(SECTIONS)
        self._show()
        self.scroll.scroll_home(animate=False)

    def toggle_ids(self) -> None:
        """Every token above its id, or between separators."""
        self._ids = not self._ids
        self._show()

    def look(self, entry: Entry, tokenizer: KnownTokenizer) -> None:
        """Look at an entry once the cursor has come to rest."""
        self._later(lambda: self._look_at(entry, tokenizer))

    def tell(self, group: Group | None, entry: Entry | None = None, sentence: str = "") -> None:
        """Show what a group is for, or a sentence about an entry that is not looked at."""
        self._group = group
        seen = Seen(waiting=sentence, about=about_kind(entry)) if entry is not None else Seen()

        def show() -> None:
            self.workers.cancel_group(self, "look")
            self._saw(entry, seen)

        self._later(show)

    def on_resize(self) -> None:
        """Bars and rows are as wide as there is room."""
        self._show()

    def _later(self, what: Callable[[], object]) -> None:
        if self._wait is not None:
            self._wait.stop()
        self._wait = self.set_timer(_LOOK_SECONDS, what)

    @work(thread=True, exclusive=True, group="look")
    def _look_at(self, entry: Entry, tokenizer: KnownTokenizer) -> None:
        worker = get_current_worker()
        if self._entry is None or self._entry.key != entry.key:
            self.app.call_from_thread(self._saw, entry, Seen(waiting="Reading ...", about=about_kind(entry)))
            first = self.looker.glance(entry, tokenizer, lambda: worker.is_cancelled)
            if first is not None and not worker.is_cancelled:
                self.app.call_from_thread(self._saw, entry, first)
        seen = self.looker.look(entry, tokenizer, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._saw, entry, seen)

    def _saw(self, entry: Entry | None, seen: Seen) -> None:
        new = entry is None or self._entry is None or entry.key != self._entry.key
        self._seen, self._entry = seen, entry
        self._show()
        if new:
            self.scroll.scroll_home(animate=False)

    def _show(self) -> None:
        scroll = self.scroll
        width = max(_FEWEST_COLUMNS, scroll.scrollable_content_region.width or scroll.size.width)
        if self._entry is None:
            content = group_about(self._group)
        elif self.section == TOKENS and self._seen.tokens:
            content = tokens_section(self._seen, width, self._ascii, self._ids)
        else:
            content = SECTIONS[self.section][2](self._seen, width, self._ascii)
        self.query_one("#seen", Static).update(content)


def twin_of(entry: Entry | None, group: Group | None, section: int, tokenizer: str) -> commands.Args:
    """The command that shows what a tab shows of an entry, or what there is of a group."""
    if entry is None:
        return commands.data_ls() if group == "datasets" else commands.data_sources()
    if entry.group == "records":
        return commands.data_masks(entry.key, "byte" if tokenizer == "char" else tokenizer)
    if entry.group != "datasets":
        shown = tokenizer if section in (TOKENS, STATISTICS) else None
        return commands.data_preview(entry.key, shown, tokens=section == TOKENS)
    if entry.state is not None:
        return commands.data_build(entry.key, (), "")
    if section == DROPPED:
        return commands.data_label(entry.key)
    return commands.data_inspect(entry.key, tokens=section == TOKENS)
