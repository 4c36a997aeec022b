"""A tokenizer at work: BPE's merges on a text, forward and back, and the same text in tokenizers of several sizes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from mlxllm.tokenizer.known import Known
from tui import commands
from tui.data.tokenizing import LONGEST, TEXTS, Bench, Cell, Work
from tui.widgets.keys_bar import KeysBar

if TYPE_CHECKING:  # the application imports its screens
    from tui.app import MlxllmApp

_FRAME_SECONDS = 0.3
_LONGEST_PLAY = 20.0
_LINES = 3
"""Of the text in each tokenizer, at most."""
_MADE, _NEXT = "bold $block-cursor-foreground on $block-cursor-background", "bold underline $accent"


class Symbols(Static, can_focus=True):
    """The symbols of a text at a step; here the arrow keys are the screen's."""

    HELP = "The arrows go through the merges one by one; home and end are the first symbols and the tokens. t: another text."
    DEFAULT_CSS = """
    Symbols { height: auto; min-height: 3; }
    """


class TokenizerWork(ModalScreen[None]):
    """A text, its merges, and how others would cut it."""

    DEFAULT_CSS = """
    TokenizerWork { align: center middle; }
    TokenizerWork > Vertical { width: 98%; height: 96%; background: $background; border: round $primary; padding: 0 1; }
    TokenizerWork Input { height: 3; }
    TokenizerWork #told { height: 1; margin-bottom: 1; color: $accent; text-style: bold; text-wrap: nowrap; }
    TokenizerWork #walk { height: 1fr; min-height: 3; }
    TokenizerWork #beside { height: auto; max-height: 60%; border-top: solid $border-blurred; }
    TokenizerWork #rows { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,comma", "move(-1)", "Back", key_display="←", id="tokenizer.back"),
        Binding("right,full_stop", "move(1)", "Merge", key_display="→", id="tokenizer.forward"),
        Binding("space", "play", "Play", id="tokenizer.play"),
        Binding("home", "move_to(0)", "Characters", id="tokenizer.first"),
        Binding("end", "move_to(-1)", "Tokens", id="tokenizer.last"),
        Binding("t", "type", "Text", id="tokenizer.text", tooltip="Write another text"),
        Binding("n", "example", "Next example", id="tokenizer.example", tooltip="Numbers, spaces, code, other scripts"),
        Binding("k", "tokenizer", "Tokenizer", id="tokenizer.next", tooltip="The next BPE tokenizer that is there"),
        Binding("escape,q", "leave", "Close", key_display="esc"),
    ]

    def __init__(self, preferred: str = "") -> None:
        """Open with a tokenizer.

        Args:
            preferred: its `Known.argument`, if it is BPE; else the first that is.
        """
        super().__init__()
        self._preferred = preferred
        self._bench = Bench()
        self._chosen: Known | None = None
        self._example = 0
        self._text = TEXTS[0][1]
        self._work = Work()
        self._step = 0
        self._playing: Timer | None = None

    @property
    def mlx(self) -> "MlxllmApp":
        """The application."""
        return cast("MlxllmApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "A tokenizer at work"
            yield Input(self._text, placeholder="a text", max_length=LONGEST)
            yield Static(id="told", markup=False)
            with VerticalScroll(id="walk"):
                yield Symbols(markup=False)
            with VerticalScroll(id="beside"):
                yield Static(id="rows", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Look which tokenizers there are."""
        for scroll in self.query(VerticalScroll):
            scroll.can_focus = False
        self.query_one(Symbols).focus()
        self._find()

    @work(thread=True, exclusive=True, group="find")
    def _find(self) -> None:
        self._bench.look_again()
        self.app.call_from_thread(self._found)

    def _found(self) -> None:
        known = self._bench.known
        self._chosen = next((each for each in known if each.argument == self._preferred), known[0] if known else None)
        self._anew()

    def _anew(self) -> None:
        """Another text or tokenizer."""
        self._stop()
        self._compute(self._chosen, self._text)

    @work(thread=True, exclusive=True, group="work")
    def _compute(self, chosen: Known | None, text: str) -> None:
        worker, found = get_current_worker(), self._bench.work(chosen, text)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._computed, found)

    def _computed(self, found: Work) -> None:
        if not self.is_mounted:
            return
        self._work, self._step = found, 0
        name = self._chosen.label if self._chosen is not None else ""
        box = self.query_one("TokenizerWork > Vertical", Vertical)
        box.border_title = Content(
            f"A tokenizer at work: {name} of {self._chosen.vocab_size:,}" if self._chosen else ""
        )
        if self._chosen is not None:
            box.border_subtitle = Content(commands.as_text(commands.tokenizer_merges(self._chosen.argument, "TEXT")))
        self._show_rows()
        self._show()

    def on_resize(self) -> None:
        """Rows are as wide as there is room."""
        self.call_after_refresh(self._show_rows)

    def _show(self) -> None:
        self.query_one("#told", Static).update(Content(self._work.told(self._step)))
        self.query_one(Symbols).update(_symbols(self._work.cells(self._step)))

    def _show_rows(self) -> None:
        rows = self._work.rows
        if not rows:
            self.query_one("#rows", Static).update("")
            return
        room = _LINES * max(20, self.query_one("#beside").size.width - 2)
        lines = []
        for row in rows:
            head = f"{row.name}: {row.vocab} ids, {row.tokens:,} tokens, {row.rate} bytes a token"
            lines.append(Content.assemble((head, "$text-muted"), "\n", *_cut(row.pieces, room)))
        self.query_one("#rows", Static).update(Content("\n").join(lines))

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a text is written, letters and arrows are the line's."""
        if isinstance(self.focused, Input):
            return action == "leave" or action not in _OWN
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        """The merges of what is written so far."""
        if event.value != self._text:
            self._text = event.value
            self._anew()

    def on_input_submitted(self) -> None:
        """The text is written."""
        self.query_one(Symbols).focus()

    def action_move(self, by: int) -> None:
        """A merge forward or back."""
        self.action_move_to(min(max(self._step + by, 0), self._work.steps))

    def action_move_to(self, step: int) -> None:
        """Behind so many merges; -1 is all of them."""
        self._stop()
        self._go(self._work.steps if step < 0 else step)

    def _go(self, step: int) -> None:
        self._step = step
        self._show()

    def action_play(self) -> None:
        """One merge after the other; again to stop."""
        if self._playing is not None:
            self._stop()
            return
        if self._step >= self._work.steps:
            self._go(0)
        seconds = min(_FRAME_SECONDS, _LONGEST_PLAY / max(1, self._work.steps))
        self._playing = self.set_interval(seconds, self._next)

    def _next(self) -> None:
        if self._step >= self._work.steps:
            self._stop()
        else:
            self._go(self._step + 1)

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.stop()
            self._playing = None

    def action_type(self) -> None:
        """Write another text."""
        self.query_one(Input).focus()

    def action_example(self) -> None:
        """The next text on which tokenizers part."""
        self._example = (self._example + 1) % len(TEXTS)
        name, text = TEXTS[self._example]
        self._text = text
        line = self.query_one(Input)
        with line.prevent(Input.Changed):
            line.value = text.replace("\n", " ")  # a line holds no line ends, but the text that is cut has them
        line.border_title = name
        self._anew()

    def action_tokenizer(self) -> None:
        """The next BPE tokenizer."""
        known = self._bench.known
        if len(known) < 2 or self._chosen is None:
            self.mlx.tell("there is no other BPE tokenizer; building a dataset can make one")
            return
        self._chosen = known[(known.index(self._chosen) + 1) % len(known)]
        self._anew()

    def action_leave(self) -> None:
        """Leave the line; then close the screen."""
        if isinstance(self.focused, Input):
            self.query_one(Symbols).focus()
        else:
            self.dismiss()


_OWN = frozenset({"move", "move_to", "play", "type", "example", "tokenizer"})


def _symbols(cells: Sequence[Cell]) -> Content:
    """Symbols between bars; the one that was made and the two that are next in colours of their own."""
    parts: list[tuple[str, str]] = []
    for cell in cells:
        style = _MADE if cell.made else _NEXT if cell.next else ""
        # In brackets as well, so that no colour is needed.
        parts += [
            (f"[{cell.text}]" if cell.made else cell.text, style),
            ("|" if cell.text != "⏎" else "|\n", "$text-muted"),
        ]
    return Content.assemble(*parts[:-1])


def _cut(pieces: Sequence[str], room: int) -> list[tuple[str, str] | str]:
    """As many pieces as there is room for, between bars."""
    parts: list[tuple[str, str] | str] = []
    used = 0
    for number, piece in enumerate(pieces):
        used += cell_len(piece) + 1
        if used + 3 > room and number < len(pieces) - 1:
            return [*parts, ("...", "$text-muted")]
        parts += [piece, ("|", "$text-muted")]
    return parts[:-1]
