"""The two lists of a new run's form: its rows, and beside them what the row in focus can be set to."""

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.marks import Marks
from tui.screens.new_run.rows import Choice, Row
from tui.widgets.choices import Choices
from tui.widgets.path_entry import PathSuggester
from tui.words import printable

_TITLE = 8
_BORDERS = 3


class Form(Choices):
    """The rows, one of which the arrow keys act on."""

    @dataclass
    class Reached(Message):
        """Another row has the cursor."""

        key: str

    def __init__(self) -> None:
        """No rows yet."""
        super().__init__(id="form", markup=False)
        self.border_title = "New run"
        self._rows: list[Row] = []
        self._shown: list[Content] = []

    def show(self, rows: list[Row], key: str, marks: Marks) -> None:
        """Show these rows, with the cursor on the one called `key`."""
        self._rows = rows
        lines = [self._line(row, marks) for row in rows]
        with self.prevent(OptionList.OptionHighlighted):
            if self.option_count == len(lines):
                for position, (line, before) in enumerate(zip(lines, self._shown, strict=True)):
                    if line != before:
                        self.replace_option_prompt_at_index(position, line)
            else:
                self.clear_options()
                self.add_options([Option(line) for line in lines])
            self._shown = lines
            self.highlighted = next((n for n, row in enumerate(rows) if row.key == key), 0)

    def _line(self, row: Row, marks: Marks) -> Content:
        left, right = ("<", ">") if marks == "ascii" else ("◂", "▸")
        turns = len(row.choices) > 1
        room = max(self.size.width, 30) - _TITLE - (4 if turns else 0) - 2
        value = shortened(printable(row.value), room)
        return Content.assemble(
            (f" {row.title:<{_TITLE}}", "$text-muted"), f"{left} {value} {right}" if turns else value
        )

    @on(OptionList.OptionHighlighted)
    def _cursor_moved(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index < len(self._rows):
            self.post_message(self.Reached(self._rows[event.option_index].key))


class Detail(Vertical):
    """What the row can be: a list, a line to type something else, a sentence."""

    DEFAULT_CSS = """
    Detail { border: round $border-blurred; }
    Detail:focus-within { border: round $border; }
    Detail #choices { height: 1fr; padding: 0; }
    Detail.-listed #about { max-height: 4; }
    Detail #about { height: auto; padding: 0 1; color: $text-muted; }
    """

    @dataclass
    class Chosen(Message):
        """A choice was taken in the list."""

        position: int

    @dataclass
    class Typed(Message):
        """The line holds this now."""

        text: str
        entered: bool
        """Whether Enter was pressed."""

    def __init__(self) -> None:
        """No row yet."""
        super().__init__(id="detail")
        self._row: Row | None = None
        self._lines: list[Content] = []

    def compose(self) -> ComposeResult:
        yield Choices(id="choices", markup=False)
        yield Input(id="entry", suggester=PathSuggester(), select_on_focus=False)
        yield Static(id="about", markup=False)

    @property
    def choices(self) -> Choices:
        """The list."""
        return self.query_one(Choices)

    @property
    def entry(self) -> Input:
        """The line."""
        return self.query_one(Input)

    def show(self, row: Row, typed: str) -> None:
        """Show a row's choices; `typed` is what its line begins with, unless one is typing there."""
        self._row = row
        self.border_title = Content(row.title)
        self.choices.display = bool(row.choices)
        self.set_class(bool(row.choices), "-listed")
        lines = [self._line(choice, len(row.choices)) for choice in row.choices]
        with self.prevent(OptionList.OptionHighlighted):
            if lines != self._lines:
                self.choices.clear_options()
                self.choices.add_options([Option(line) for line in lines])
                self._lines = lines
            self.choices.highlighted = row.at
        self.entry.display = bool(row.entry)
        if row.entry and not self.entry.has_focus:
            self.entry.placeholder = row.entry
            with self.prevent(Input.Changed):
                self.entry.value = typed
            self.entry.cursor_position = len(typed)

    def explain(self, text: Content) -> None:
        """The sentence below."""
        self.query_one("#about", Static).update(text)
        self.call_after_refresh(self.choices.scroll_to_highlight)  # a longer sentence leaves the list less room

    def on_resize(self) -> None:
        """Lines are as wide as the list."""
        if self._row is not None:
            self.show(self._row, self.entry.value)

    def _line(self, choice: Choice, of: int) -> Content:
        bar = 2 if of > self.choices.size.height > 0 else 0
        room = max(self.size.width, 30) - _BORDERS - bar
        label = shortened(printable(choice.label), max(8, room - len(choice.detail) - 1))
        gap = " " * max(1, room - len(label) - len(choice.detail) - 1)
        return Content.assemble(f" {label}{gap}", (choice.detail, "$text-muted"))

    @on(OptionList.OptionHighlighted)
    @on(OptionList.OptionSelected)
    def _taken(self, event: OptionList.OptionHighlighted | OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(event.option_index))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(event.value, entered=False))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Typed(event.value, entered=True))


def shortened(text: str, room: int) -> str:
    """`text` in so many columns, with a mark where its end is cut off."""
    return text if len(text) <= room else text[: max(1, room - 1)] + "…"


def problem(text: str) -> Content:
    """A sentence about what is wrong, with its mark."""
    return Content.assemble(("! ", "bold $error"), printable(text))
