"""The token view: how sure the model was of each token of an answer, and what it could have said instead."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.talking.shown import Shown, percent
from tui.widgets.keys_bar import KeysBar
from tui.widgets.token_flow import TokenFlow

_BAR = 24


class TokenView(ModalScreen[None]):
    """Tokens with their probabilities, and the alternatives at the cursor."""

    DEFAULT_CSS = """
    TokenView { align: center middle; }
    TokenView > Vertical { width: 96%; height: 94%; background: $background; border: round $primary; }
    TokenView #about { height: 2; padding: 0 1; color: $text-muted; }
    TokenView #here { height: 7; padding: 0 1; border-top: solid $border-blurred; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,t", "leave", "Close", key_display="esc"),
    ]

    def __init__(self, tokens: Sequence[Shown], name: str) -> None:
        """Show the tokens of an answer of `name`."""
        super().__init__()
        self._tokens, self._name = tokens, name

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"{len(self._tokens):,} tokens of {self._name}")
            yield Static(
                Content(
                    "Below each token stands how likely the model found it: the stronger the shade, the more surprising. "
                    "n: the next surprise."
                ),
                id="about",
            )
            yield TokenFlow(self._tokens)
            yield Static(id="here", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin at the first token."""
        self.query_one(TokenFlow).focus()
        self._tell(0)

    def on_token_flow_moved(self, event: TokenFlow.Moved) -> None:
        """Tell of the token under the cursor."""
        self._tell(event.index)

    def _tell(self, index: int) -> None:
        token = self._tokens[index]
        probability = "not told" if token.probability is None else percent(token.probability)
        lines = [Content.assemble((token.label, "bold $accent"), f"   probability {probability}   token {index + 1:,}")]
        full = "#" if self.app.has_class("ascii") else "━"
        for piece, share in token.alternatives[:5]:
            drawn = piece == token.piece
            label = Shown(piece, share).label
            bar = full * max(round(share * _BAR), 0)
            mark = "> " if drawn else "  "
            lines.append(
                Content.assemble(
                    (f"{mark}{label:<18.18} ", "bold" if drawn else ""), f"{percent(share):>5} ", (bar, "$primary")
                )
            )
        if not token.alternatives:
            lines.append(Content("what else was likely here was not kept"))
        self.query_one("#here", Static).update(Content("\n").join(lines))

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()
