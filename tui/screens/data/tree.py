"""The tree at the left of the data screen: kinds of sources, the user's own, datasets, files of records."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from tui.data.entries import GROUPS, Entry, Group
from tui.widgets.shortening import cut_middle
from tui.words import printable

_EMPTY: dict[Group, str] = {
    "catalogue": "",
    "formats": "",
    "yours": "none yet: a adds one",
    "datasets": "none yet: b builds one",
    "records": "none yet: a adds one",
}

_KINDS = ("catalogue", "formats")
"""Groups of kinds of sources, which are always there."""
_INDENT_AND_BAR = 3
_FEWEST_COLUMNS = 14
"""Of a title, before the note behind it is left out."""


class SourceTree(Tree[Entry | Group], inherit_bindings=False):
    """Groups and their entries; the keys that choose belong to the screen."""

    HELP = """On the left are sources of text, your datasets, and files of conversations or preferences. What is under the
    cursor is shown on the right. [x] marks what is taken into the mixture."""
    DEFAULT_CSS = """
    SourceTree { overflow-x: hidden; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "Up", show=False),
        Binding("down", "cursor_down", "Down", show=False),
        Binding("home", "scroll_home", "First", show=False),
        Binding("end", "scroll_end", "Last", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
    ]

    def __init__(self, *, ascii_only: bool) -> None:
        """An empty tree."""
        super().__init__("", id="tree")
        self.show_root = False
        self.guide_depth = 2
        self.show_guides = False
        self._ascii = ascii_only
        if ascii_only:
            self.ICON_NODE, self.ICON_NODE_EXPANDED = "+ ", "- "
        self._by_key: dict[tuple[Group, str], TreeNode[Entry | Group]] = {}
        self._weights: Mapping[str, float] = {}

    @property
    def entry(self) -> Entry | None:
        """Under the cursor; None on the title of a group."""
        node = self.cursor_node
        return node.data if node is not None and isinstance(node.data, Entry) else None

    @property
    def group(self) -> Group | None:
        """Of the line under the cursor."""
        node = self.cursor_node
        if node is None or node.data is None:
            return None
        return node.data.group if isinstance(node.data, Entry) else node.data

    def show(self, entries: Mapping[Group, Sequence[Entry]], weights: Mapping[str, float]) -> None:
        """Show these, the cursor where it was."""
        self._weights = weights
        here = self.entry
        at = (here.group, here.key) if here is not None else None
        line = self.cursor_line
        closed = (
            {node.data for node in self.root.children if not node.is_expanded} if self.root.children else {"formats"}
        )
        self.clear()
        self._by_key = {}
        for group, title in GROUPS.items():
            number = len(entries[group])
            head = Text(title if group in _KINDS else f"{title} ({number})", "bold")
            branch = self.root.add(head, group, expand=group not in closed)
            for entry in entries[group]:
                self._by_key[group, entry.key] = branch.add_leaf(entry.title, entry)
            if not number:
                branch.add_leaf(Text(_EMPTY[group], "italic dim"), group)
        if at is None or not self.select(*at):  # the first entry, or what stands now where the cursor was
            self.move_cursor_to_line(max(1, min(line, self.last_line)))

    def select(self, group: Group, key: str) -> bool:
        """Put the cursor on an entry; whether there is such a one."""
        node = self._by_key.get((group, key))
        if node is None:
            return False
        if node.parent is not None:
            node.parent.expand()
        if self.last_line > 0:  # which also lays out the lines, and only then a node has one
            self.move_cursor(node)
        return True

    def relabel(self, weights: Mapping[str, float]) -> None:
        """Show other weights."""
        self._weights = weights
        for node in self._by_key.values():
            if isinstance(node.data, Entry) and node.data.group in ("catalogue", "yours"):
                node.refresh()

    def render_label(self, node: TreeNode[Entry | Group], base_style: Style, style: Style) -> Text:
        """An entry with its marks, in the columns that there are."""
        if not isinstance(node.data, Entry):
            return super().render_label(node, base_style, style)
        label = self._label(node.data, max(_FEWEST_COLUMNS, self.size.width - _INDENT_AND_BAR))
        label.stylize(style)
        return label

    def _label(self, entry: Entry, room: int) -> Text:
        weights = self._weights
        mark = ""
        if entry.problem and entry.group not in _KINDS:
            mark = "x " if self._ascii else "✗ "
        elif entry.spec:
            mark = "[x] " if entry.spec in weights else "[ ] "
        weight = weights.get(entry.spec, 1.0) if entry.spec else 1.0
        times = f" x{weight:g}" if weight != 1 else ""
        note = printable(f"  {entry.note}") if entry.note else ""
        room -= len(mark) + len(times)
        title = printable(entry.title)
        if room - cell_len(note) < min(_FEWEST_COLUMNS, cell_len(title)):
            note = ""
        title = cut_middle(title, room - cell_len(note), ascii_only=self._ascii)
        return Text.assemble(mark, title, (times, "bold"), (note, "dim"))
