"""`?`: what this screen is for, the keys that work now, and each technical word on it in one plain sentence."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui import glossary
from tui.screens.base import ModeScreen
from tui.widgets.keys_bar import KeysBar


class HelpScreen(ModalScreen[None]):
    """Help on the screen below it, and on what has the focus there."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Vertical { width: 96; max-width: 96%; height: 92%; padding: 0 1; }
    HelpScreen > Vertical { background: $surface; border: round $primary; }
    HelpScreen VerticalScroll { height: 1fr; }
    HelpScreen Static { height: auto; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "leave", "Close", key_display="esc")]

    def __init__(self, about: Screen[object]) -> None:
        """Help on `about`, as it is now."""
        super().__init__()
        self._parts = list(_parts(about))
        self._title = about.title or type(about).__name__

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Help"
            with VerticalScroll():
                for part in self._parts:
                    yield Static(part)
        yield KeysBar()

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()


def _parts(screen: Screen[object]) -> Iterable[Content]:
    """The paragraphs of the help."""
    if isinstance(screen, ModeScreen) and screen.ABOUT:
        yield Content.assemble((screen.ABOUT, "bold"))
    focused = screen.focused
    if focused is not None and focused.HELP:
        yield Content(" ".join(focused.HELP.split()))
    yield _keys(screen)
    if isinstance(screen, ModeScreen) and screen.WORDS:
        yield Content.assemble(("Words on this screen", "bold $primary"))
        for word, sentence in glossary.explain(screen.WORDS):
            yield Content.assemble((word, "bold $accent"), f"  {sentence}")


def _keys(screen: Screen[object]) -> Content:
    """The keys that work now, with the name under which keys.toml knows each."""
    own, of_all, rare = list[Content](), list[Content](), list[Content]()
    mode = screen.MODE if isinstance(screen, ModeScreen) else ""
    moving: list[str] = []
    seen: set[str] = set()
    for active in screen.active_bindings.values():
        binding = active.binding
        if not binding.description or not active.enabled or binding.action in seen:
            continue
        seen.add(binding.action)
        key = screen.app.get_key_display(binding)
        if not binding.id:  # of the list or input that has the focus
            moving.append(f"{key} {binding.description.lower()}")
            continue
        text = binding.tooltip or binding.description
        lines = own if binding.id.startswith(f"{mode}.") else of_all if binding.id.startswith("app.") else rare
        lines.append(Content.assemble((f"{key:>10}", "bold $accent"), f"  {text:<40}  ", (binding.id, "$text-muted")))
    lines = [
        Content.assemble(("Keys", "bold $primary"), ("   (name in keys.toml)", "$text-muted")),
        *own,
        *of_all,
        *rare,
    ]
    if moving:
        lines.append(Content.assemble("           in what has the focus: ", (", ".join(moving), "$text-muted")))
    return Content("\n").join(lines)
