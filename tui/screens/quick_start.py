"""The question that a quick start asks: how long it may take."""

from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.widgets.option_list import Option

from mlxllm import paths
from tui import commands
from tui.widgets.choices import Choices
from tui.widgets.keys_bar import KeysBar

_TIMES = (
    (4.0, "it babbles, then tells, then answers a little"),
    (6.0, "the usual one: whole stories, most answers right"),
    (15.0, "a better one"),
    (30.0, "better still; go and have a coffee"),
    (60.0, "an hour"),
)


@dataclass(frozen=True)
class Choice:
    """What is to be started."""

    run: str
    minutes: float


class QuickStart(ModalScreen[Choice | None]):
    """How many minutes; Enter starts."""

    DEFAULT_CSS = """
    QuickStart { align: center middle; }
    QuickStart > Vertical { width: 84; max-width: 96%; height: auto; max-height: 96%; padding: 0 2; }
    QuickStart > Vertical { background: $surface; border: round $primary; }
    QuickStart OptionList { height: auto; margin: 1 0; }
    QuickStart Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start"),
        Binding("escape", "leave", "Not now"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Quick start"
            yield Static(
                "A model's whole life on this machine, without network: it reads a small world of children's stories, "
                "is taught to answer, and then which answers are kinder. You watch, and can talk to it while it learns. "
                "How long may it take?"
            )
            yield Choices(*(Option(Content(f"{minutes:3.0f} minutes   {what}")) for minutes, what in _TIMES))
            yield Static(id="command", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """The shortest is the first."""
        self._name = ""
        self.query_one(Choices).highlighted = 0
        self._find_name()

    @work(thread=True)
    def _find_name(self) -> None:
        number = 1
        while any((paths.folder(kind) / f"stories-{number}").exists() for kind in ("runs", "datasets")):
            number += 1
        self.app.call_from_thread(self._named, f"stories-{number}")

    def _named(self, name: str) -> None:
        self._name = name
        self._show()

    def _minutes(self) -> float:
        return _TIMES[self.query_one(Choices).highlighted or 0][0]

    def _show(self) -> None:
        if self._name:
            text = commands.as_text(commands.quickstart(self._name, self._minutes()))
            self.query_one("#command", Static).update(Content.assemble((f"$ {text}", "$text-muted")))

    def on_option_list_option_highlighted(self) -> None:
        """Another time is another command."""
        self._show()

    def on_option_list_option_selected(self) -> None:
        """Enter on a time, or a click."""
        self.action_start()

    def action_start(self) -> None:
        """Start it."""
        if self._name:
            self.dismiss(Choice(self._name, self._minutes()))

    def action_leave(self) -> None:
        """Not now."""
        self.dismiss(None)
