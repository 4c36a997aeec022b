"""The new_run screen, still to come."""

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.base import ModeScreen


class NewRunScreen(ModeScreen):
    """Still to come."""

    MODE = "new"

    def compose_body(self) -> ComposeResult:
        yield Static("still to come")

    def show_run(self, run: str, *, overlay: Any = ()) -> None:
        """Nothing yet."""
