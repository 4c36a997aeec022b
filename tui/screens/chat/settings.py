"""The drawer of a chat: what the model is told beforehand, and how its answers are drawn."""

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static, TextArea

from mlxllm.config import SampleConfig
from mlxllm.errors import UserError
from tui.talking.sampling import FIELDS, as_texts, from_texts
from tui.widgets.keys_bar import KeysBar


@dataclass(frozen=True)
class ChatSettings:
    """What the drawer holds."""

    system: str
    sample: SampleConfig
    seed: int | None
    """None is a new one each time."""


class Field(Input):
    """A value in one line; elsewhere inputs have a border."""

    def __init__(self, text: str, name: str) -> None:
        """With this text in it."""
        super().__init__(text, id=name, compact=True, select_on_focus=True)
        self.styles.border, self.styles.height = ("none", "transparent"), 1


class SettingsDrawer(ModalScreen[ChatSettings | None]):
    """Settings to change; None where they were put away as they were."""

    DEFAULT_CSS = """
    SettingsDrawer { align: right top; }
    SettingsDrawer > VerticalScroll { width: 60; max-width: 100%; height: 1fr; padding: 0 1; }
    SettingsDrawer > VerticalScroll { background: $surface; border: round $primary; }
    SettingsDrawer TextArea { height: 5; }
    SettingsDrawer Horizontal { height: 1; }
    SettingsDrawer .name { width: 13; text-style: bold; }
    SettingsDrawer Input { width: 14; background: $panel; }
    SettingsDrawer .scale { color: $text-muted; margin-left: 1; width: 1fr; }
    SettingsDrawer #wrong { color: $error; height: auto; min-height: 1; }
    SettingsDrawer #heading, SettingsDrawer #drawn { text-style: bold; color: $primary; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "Take", key_display="^s", priority=True),
        Binding("ctrl+d", "usual", "Usual values", key_display="^d", priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(self, now: ChatSettings, usual: SampleConfig, *, takes_system: bool) -> None:
        """Show the settings as they are.

        Args:
            now: as they are.
            usual: what suits the model.
            takes_system: a base model is told nothing beforehand.
        """
        super().__init__()
        self._now, self._usual, self._takes_system = now, usual, takes_system

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False) as box:
            box.border_title = "Settings of this conversation"
            if self._takes_system:
                yield Static("What the model is told before all turns (system prompt)", id="heading")
                yield TextArea(self._now.system, placeholder="such as: You answer in one sentence.")
            else:
                yield Static("A base model is told nothing beforehand: it goes on with your text.", id="heading")
            yield Static("How each token of an answer is drawn", id="drawn")
            for name, text in as_texts(self._now.sample, self._now.seed).items():
                label, scale = FIELDS[name]
                with Horizontal():
                    yield Label(label, classes="name")
                    yield Field(text, name)
                    yield Static(scale, classes="scale", markup=False)
            yield Static("", id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin with the temperature, which is changed most."""
        self.query_one("#temperature", Input).focus()

    def _read(self) -> ChatSettings:
        """What stands there now.

        Raises:
            ConfigError: a value cannot be.
        """
        texts = {name: self.query_one(f"#{name}", Input).value for name in FIELDS}
        sample, seed = from_texts(texts, self._now.sample)
        system = self.query_one(TextArea).text if self._takes_system else self._now.system
        return ChatSettings(system.strip(), sample, seed)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what cannot be."""
        try:
            self._read()
        except UserError as error:
            self.query_one("#wrong", Static).update(Content(f"! {error}"))
        else:
            self.query_one("#wrong", Static).update("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter takes all of it."""
        self.action_take()

    def action_take(self) -> None:
        """Take the settings, unless one of them cannot be."""
        try:
            settings = self._read()
        except UserError as error:
            self.query_one("#wrong", Static).update(Content(f"! {error}"))
            return
        self.dismiss(settings)

    def action_usual(self) -> None:
        """Put back what suits the model."""
        for name, text in as_texts(self._usual, None).items():
            self.query_one(f"#{name}", Input).value = text

    def action_leave(self) -> None:
        """Put it away."""
        self.dismiss(None)
