"""The preferences screen, still to come."""

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.base import ModeScreen


class PreferencesScreen(ModeScreen):
    """Still to come."""

    MODE = "preferences"

    def compose_body(self) -> ComposeResult:
        yield Static("still to come")

    def show_run(self, run: str, *, overlay: Any = ()) -> None:
        """Nothing yet."""
