"""A held-out passage turning green: each token coloured by its loss, from step 0 to the newest validation, live."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Static

from mlxllm.runs import Probe
from tui import commands
from tui.following.passage import LEGEND, seen_at, story_of
from tui.marks import Marks
from tui.widgets.keys_bar import KeysBar
from tui.widgets.passage import PassageText
from tui.widgets.sparks import sparkline
from tui.words import printable

_LOOK_SECONDS = 0.5
_FRAME_SECONDS = 0.35
_LONGEST_PLAY = 12.0
"""Seconds in which all validations are played, however many there are."""


class PassageView(ModalScreen[None]):
    """The passage at one validation; the arrows go through all of them."""

    DEFAULT_CSS = """
    PassageView { align: center middle; }
    PassageView > Vertical { width: 96%; height: 94%; background: $background; border: round $primary; padding: 0 1; }
    PassageView #head { height: 1; color: $accent; text-style: bold; }
    PassageView #slider { height: 1; margin-bottom: 1; }
    PassageView VerticalScroll { height: 1fr; }
    PassageView #legend { height: auto; max-height: 2; margin-top: 1; }
    PassageView #story { height: auto; max-height: 40%; border-top: solid $border-blurred; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,comma", "move(-1)", "Earlier", key_display="←", id="passage.earlier"),
        Binding("right,full_stop", "move(1)", "Later", key_display="→", id="passage.later"),
        Binding("space", "play", "Play", id="passage.play"),
        Binding("home", "move_to(0)", "Step 0", id="passage.first"),
        Binding("end", "move_to(-1)", "Newest", id="passage.newest"),
        Binding("down", "read(1)", "Read on", show=False),
        Binding("up", "read(-1)", "Back", show=False),
        Binding("escape,q,h", "leave", "Close", key_display="esc"),
    ]

    def __init__(self, probe_of: Callable[[], Probe | None], name: str, typed: str, marks: Marks) -> None:
        """Show a passage and follow it.

        Args:
            probe_of: what is known of it now; there is one.
            name: of the run.
            typed: what stands for the run in a command.
            marks: that the terminal can draw.
        """
        super().__init__()
        self._probe_of, self._run_name, self._typed, self._marks = probe_of, name, typed, marks
        self._probe: Probe | None = None
        self._place = 0
        self._newest = True
        """The newest validation is shown, whichever that is."""
        self._playing: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"A held-out passage of {printable(self._run_name)}")
            box.border_subtitle = Content(commands.as_text(commands.runs_probe(self._typed)))
            yield Static(id="head", markup=False)
            yield Static(id="slider", markup=False)
            with VerticalScroll():
                yield PassageText(id="text")
            yield Static(id="legend", markup=False)
            yield Static(id="story", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin with what is known."""
        self.query_one(VerticalScroll).can_focus = False  # the arrow keys are the slider's
        self.query_one("#legend", Static).update(self.query_one(PassageText).legend(LEGEND))
        self.set_interval(_LOOK_SECONDS, self._look)
        self._look()

    def on_resize(self) -> None:
        """The slider is as wide as there is room."""
        self.call_after_refresh(self._show)

    def _look(self) -> None:
        """There may be another validation by now."""
        probe = self._probe_of()
        if probe is None or probe is self._probe:
            return
        self._probe = probe
        if self._newest and self._playing is None:
            self._place = len(probe.steps) - 1
        self._place = min(self._place, len(probe.steps) - 1)
        width = max(len(name) for name, _ in story_of(probe)) + 2
        told = [Content.assemble((f"{name:<{width}}", "$text-muted"), text) for name, text in story_of(probe)]
        self.query_one("#story", Static).update(Content("\n").join(told))
        self._show()

    def _show(self) -> None:
        if self._probe is None:
            return
        seen = seen_at(self._probe, self._place)
        self.query_one("#head", Static).update(Content(seen.head))
        self.query_one("#slider", Static).update(self._slider(seen.means, seen.place))
        self.query_one(PassageText).show_tokens(seen.tokens)

    def _slider(self, means: tuple[float, ...], place: int) -> Content:
        """The mean loss at each validation, the shown one marked."""
        room = max(10, self.query_one("#slider").size.width - 4)
        known = [value if value == value else 0.0 for value in means]
        drawn = sparkline(known, room, self._marks)
        at = min(len(drawn) - 1, place * len(drawn) // len(means))
        return Content.assemble(
            drawn[:at], ("[", "$accent"), (drawn[at], "bold $accent"), ("]", "$accent"), drawn[at + 1 :]
        )

    def action_move(self, by: int) -> None:
        """To the validation before or behind."""
        if self._probe is not None:
            self.action_move_to(min(max(self._place + by, 0), len(self._probe.steps) - 1))

    def action_move_to(self, place: int) -> None:
        """To a validation; -1 is the newest, which is followed from then on."""
        self._stop()
        if self._probe is None:
            return
        self._place = place % len(self._probe.steps)
        self._newest = self._place == len(self._probe.steps) - 1
        self._show()

    def action_play(self) -> None:
        """From here to the newest, one after the other, from the beginning where this is it; again to stop."""
        if self._playing is not None:
            self._stop()
            return
        if self._probe is None:
            return
        if self._place == len(self._probe.steps) - 1:
            self._place = 0
            self._show()
        seconds = min(_FRAME_SECONDS, _LONGEST_PLAY / len(self._probe.steps))
        self._playing = self.set_interval(seconds, self._next)

    def _next(self) -> None:
        if self._probe is None or self._place >= len(self._probe.steps) - 1:
            self._newest = True
            self._stop()
            return
        self._place += 1
        self._show()

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.stop()
            self._playing = None

    def action_read(self, lines: int) -> None:
        """Scroll a passage that is longer than there is room."""
        self.query_one(VerticalScroll).scroll_relative(y=lines)

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()
