"""What all screens share: tabs, a hint, the twin command, the footer, help, and leaving an input."""

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.dom import DOMNode
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

from tui import commands
from tui.widgets.bars import Hint, Tabs, TooSmall, Twin
from tui.widgets.keys_bar import KeysBar

if TYPE_CHECKING:  # the application imports its screens
    from tui.app import MlxllmApp

HINTS_READ = "hints_read"
"""Of `Remembered`: the screens whose hint was put away."""

TITLES: Sequence[tuple[str, str]] = (
    ("home", "Home"),
    ("data", "Data"),
    ("new", "New run"),
    ("monitor", "Monitor"),
    ("runs", "Runs"),
    ("chat", "Chat"),
    ("preferences", "Preferences"),
    ("xray", "X-ray"),
    ("learn", "Learn"),
)
"""Mode and title of each screen, in the order of their numbers."""


class ModeScreen(Screen[None]):
    """One of the numbered screens. A subclass says what it is, and composes what lies between the bars."""

    MODE: ClassVar[str] = ""
    """A mode of `TITLES`."""
    ABOUT: ClassVar[str] = ""
    """What the screen is for, in a sentence or two; stands in its help."""
    HINT: ClassVar[str] = ""
    """What to do first; stands at the top until it is put away."""
    WORDS: ClassVar[Sequence[str]] = ()
    """The technical words on it, all in `glossary.WORDS`."""
    PARTS: ClassVar[Sequence[type[DOMNode]]] = ()
    """What has keys of its own: widgets of it, and screens that open above it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_twin", "Copy command", show=False, id="app.copy"),
        Binding("escape", "leave", "Back", show=False, id="app.leave", tooltip="Leave the input"),
    ]
    DEFAULT_CSS = """
    ModeScreen { layers: default cover; }
    ModeScreen > #body { height: 1fr; }
    """

    twin: reactive[commands.Args] = reactive(())
    """The command that does what is in focus."""

    @property
    def mlx(self) -> "MlxllmApp":
        """The application."""
        return cast("MlxllmApp", self.app)

    def on_mount(self) -> None:
        """What a screen is made of stays: no collection of garbage need look at it again.

        A full collection over all modules, styles and widgets holds the event loop for a tenth of a second. Without a
        terminal (a test) many applications follow each other in one process, and are to be collected.
        """
        if not self.app.is_headless:
            self.call_after_refresh(gc.freeze)

    def compose(self) -> ComposeResult:
        yield Tabs(TITLES, self.MODE)
        if self.HINT and self.MODE not in self.mlx.remembered.get(HINTS_READ, []):
            yield Hint(self.HINT)
        with Container(id="body"):
            yield from self.compose_body()
        yield Twin()
        yield KeysBar()
        yield TooSmall()

    def compose_body(self) -> ComposeResult:
        """What lies between the bars."""
        raise NotImplementedError

    def home_focus(self) -> Widget | None:
        """Where the focus goes when an input is left; by default nowhere, so that the keys are the screen's."""
        return None

    def watch_twin(self, args: commands.Args) -> None:
        """Show the new one."""
        for line in self.query(Twin):
            line.args = args

    def action_copy_twin(self) -> None:
        """Copy the command to the clipboard of the terminal."""
        text = commands.as_text(self.twin)
        self.app.copy_to_clipboard(text)
        self.mlx.tell(f"copied: {text}")

    def action_leave(self) -> None:
        """Leave an input; outside of one, put the hint away."""
        if isinstance(self.focused, (Input, TextArea)):
            self.set_focus(self.home_focus())
            return
        if self.query(Hint):
            self.query(Hint).remove()
            self.mlx.remembered.add(HINTS_READ, self.MODE)
