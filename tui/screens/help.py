"""`?`: what has the focus, what the screen is for, the keys that work now, and each technical word in a plain sentence."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from tui import glossary
from tui.keys import written
from tui.screens.base import TITLES, ModeScreen
from tui.widgets.entries import Entries
from tui.widgets.keys_bar import KeysBar

_CHANGED = "Every key can be changed: ^p, then Write keys.toml. Esc puts away what is said at the top right."

_TOLD_ELSEWHERE = ("app.leave",)


class HelpScreen(ModalScreen[str | None]):
    """Help on the screen below it, and on what has the focus there; its result is the mode to go to, if any."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll { width: 112; max-width: 98%; height: auto; max-height: 92%; padding: 0 2; }
    HelpScreen > VerticalScroll { background: $surface; border: round $primary; }
    HelpScreen Static { height: auto; }
    HelpScreen .about, HelpScreen Entries { margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,f1", "leave", "Close", key_display="esc"),
        Binding("down", "scroll(1)", "Read on"),
        Binding("up", "scroll(-1)", "Back", show=False),
        *(Binding(str(n), f"go('{mode}')", title, show=False) for n, (mode, title) in enumerate(TITLES, 1)),
    ]

    def __init__(self, about: Screen[object]) -> None:
        """Help on `about`, as it is now."""
        super().__init__()
        self._parts = list(_parts(about))
        mode = about.MODE if isinstance(about, ModeScreen) else ""
        self._title = dict(TITLES).get(mode, "")

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = f"Help: {self._title}" if self._title else "Help"
            yield from self._parts
        yield KeysBar()

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss(None)

    def action_go(self, mode: str) -> None:
        """Close it, and have another screen shown."""
        self.dismiss(mode)

    def action_scroll(self, lines: int) -> None:
        """Where the text does not have the focus."""
        self.query_one(VerticalScroll).scroll_relative(y=lines)


def _parts(screen: Screen[object]) -> Iterable[Widget]:
    """The paragraphs of the help."""
    focused = screen.focused
    if focused is not None and focused.HELP:
        yield _paragraph("Focus  ", " ".join(focused.HELP.split()))
    elif isinstance(focused, (Input, TextArea)):
        yield _paragraph("Focus  ", "you type; esc leaves the input, and then the letters are keys.")
    if isinstance(screen, ModeScreen) and screen.ABOUT:
        yield _paragraph("", screen.ABOUT)
    yield _heading("Keys")
    yield Entries(_keys(screen), columns=2)
    yield Static(Content.styled(_CHANGED, "$text-muted"), classes="about")
    if isinstance(screen, ModeScreen) and screen.WORDS:
        yield _heading("Words on this screen")
        yield Entries(list(glossary.explain(screen.WORDS)))


def _paragraph(head: str, text: str) -> Widget:
    return Static(Content.assemble((head, "bold $primary"), text), classes="about")


def _heading(text: str) -> Widget:
    return Static(Content.styled(text, "bold $primary"))


def _keys(screen: Screen[object]) -> list[tuple[str, str]]:
    """The keys that work now, and what they do: those of the screen first, those of all screens last."""
    mode = screen.MODE if isinstance(screen, ModeScreen) else ""
    found: dict[str, tuple[Binding, list[str]]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if active.enabled and (binding.id or active.node is screen.app) and binding.id not in _TOLD_ELSEWHERE:
            found.setdefault(binding.action, (binding, []))[1].append(written(binding.key))
    own, rare, of_all, screens = (list[tuple[str, str]]() for _ in range(4))
    for binding, keys in found.values():
        line = " or ".join(sorted(set(keys), key=len)), binding.tooltip or binding.description
        name = binding.id or "app."
        if binding.action.startswith("go("):
            screens.append(line)
        else:
            (own if name.startswith(f"{mode}.") else of_all if name.startswith("app.") else rare).append(line)
    if screens:
        of_all.append((f"{screens[0][0]} to {screens[-1][0]}", "The screens"))
    return [*own, *rare, *of_all]
