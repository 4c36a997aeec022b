"""The parts beside the Monitor's chart: its samples and the log; talking is in `monitor_talk.py`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tui.following.run_view import Note, RunView, Sample
from tui.marks import Marks

_SHOWN_NOTES = 200
_SHOWN_LOG_LINES = 60
_SLIDER: dict[Marks, tuple[str, str]] = {"braille": ("─", "┃"), "block": ("─", "┃"), "ascii": ("-", "|")}


def clean(text: str) -> str:
    """A text of several lines without control characters."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\t", "    "))


_TITLES = {"talk": ("Talk while it trains", "t"), "samples": ("Samples", "s"), "log": ("Log", "g")}


class PanelTitle(Static):
    """The name of a part, its key, and those of the others; a click on one brings it to the front."""

    def __init__(self, own: str) -> None:
        """The title of the part `own`."""
        title, key = _TITLES[own]
        parts = [Content.assemble((title, "bold"), f" {key}")]
        for name, (_, other) in _TITLES.items():
            if name != own:
                link = f"@click=screen.panel('{name}')"
                parts.append(Content.assemble(f"{other} {name.capitalize()}").stylize(link))
        super().__init__(Content("   ").join(parts), classes="panel-title")


class Panel(Vertical):
    """A titled part; where there is room for one only, its key brings it to the front."""

    DEFAULT_CSS = """
    Panel { height: 1fr; }
    Panel > .panel-title { height: 1; color: $foreground; background: $panel; padding: 0 1; }
    Panel.-inside > .panel-title, Panel:focus > .panel-title {
        color: $block-cursor-foreground; background: $block-cursor-background;
    }
    Panel VerticalScroll { height: 1fr; padding: 0 1; background: $background; }
    """

    def on_descendant_focus(self) -> None:
        """The title shows where the keys go; `:focus-within` would not reach it."""
        self.add_class("-inside")

    def on_descendant_blur(self) -> None:
        """The keys go elsewhere."""
        self.remove_class("-inside")


def said(sample: Sample, tuned: bool) -> Content:
    """A prompt and what the model made of it: an answer, or a continuation of the same text."""
    answer = (
        Content(clean(sample.text)) if sample.error is None else Content.styled(f"! {clean(sample.error)}", "$error")
    )
    if tuned or sample.error is not None:
        parts = (("you  ", "$text-muted"), (clean(sample.prompt), "bold"), "\n", ("it   ", "$text-muted"), answer)
        return Content.assemble(*parts)
    return Content.assemble((clean(sample.prompt), "bold"), answer)


class SamplesPanel(Panel):
    """What the model wrote while it learned, one sample at a time, with a slider back through training."""

    @dataclass
    class Chosen(Message):
        """Another sample is looked at; None when it is the newest one."""

        step: int | None

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "slide(-1)", "Earlier sample", show=False, id="samples.earlier"),
        Binding("right", "slide(1)", "Later sample", show=False, id="samples.later"),
        Binding("home", "slide(-100000)", "First sample", show=False, id="samples.first"),
        Binding("end", "slide(100000)", "Newest sample", show=False, id="samples.newest"),
        Binding("down", "read_on(1)", "Read on", show=False, id="samples.read_on"),
        Binding("up", "read_on(-1)", "Read back", show=False, id="samples.read_back"),
    ]
    HELP = (
        "Samples: left and right go back and forth through training, home and end to the first and the newest, up and down "
        "through a long one."
    )
    DEFAULT_CSS = """
    SamplesPanel #slider { height: 1; padding: 0 1; color: $accent; }
    SamplesPanel #sample { height: auto; }
    """

    can_focus = True

    def __init__(self, marks: Marks, *, id: str | None = None) -> None:
        """Without samples.

        Args:
            marks: what the slider is made of.
            id: of the widget.
        """
        super().__init__(id=id)
        self._marks = marks
        self._samples: Sequence[Sample] = ()
        self._looked_at: Sample | None = None
        """None: the newest."""
        self._empty = ""
        self._tuned = False

    def compose(self) -> ComposeResult:
        yield PanelTitle("samples")
        yield Static("", id="slider", markup=False)
        with VerticalScroll(can_focus=False):
            yield Static("", id="sample", markup=False)

    @property
    def current(self) -> Sample | None:
        """The sample that is shown."""
        if self._looked_at is not None:
            return self._looked_at
        return self._samples[-1] if self._samples else None

    def forget(self) -> None:
        """Another run."""
        self._samples, self._looked_at = (), None

    def show(self, view: RunView) -> None:
        """The samples of a run; the newest comes to the front unless somebody looks at an earlier one."""
        empty = "no sample yet; m asks for one now" if view.active else "this run holds no samples"
        if view.samples is self._samples and empty == self._empty:
            return
        self._samples, self._empty = view.samples, empty
        self._tuned = view.about.get("method") in ("sft", "dpo")
        if self._looked_at is not None and not any(sample is self._looked_at for sample in self._samples):
            self._looked_at = None
        self._draw()

    def action_slide(self, by: int) -> None:
        """So many samples on or back."""
        if not self._samples:
            return
        at = min(max(self._position() + by, 0), len(self._samples) - 1)
        newest = at == len(self._samples) - 1
        self._looked_at = None if newest else self._samples[at]
        self._draw()
        self.post_message(self.Chosen(None if newest else self._samples[at].step))

    def action_read_on(self, lines: int) -> None:
        """Scroll a long sample."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def _position(self) -> int:
        if self._looked_at is None:
            return len(self._samples) - 1
        return next(number for number, sample in enumerate(self._samples) if sample is self._looked_at)

    def look_at_newest(self) -> None:
        """The newest sample comes to the front, and so will those that follow."""
        self._looked_at = None
        self._draw()

    def on_resize(self) -> None:
        """The slider has another width."""
        self._draw()

    def _draw(self) -> None:
        sample = self.current
        slider, body = self.query_one("#slider", Static), self.query_one("#sample", Static)
        if sample is None:
            slider.update(Content(""))
            body.update(Content(self._empty))
            return
        total, at = len(self._samples), self._position()
        told = f" step {sample.step:,}  {at + 1} of {total}"
        room = max(5, self.size.width - len(told) - 3)
        rail, knob = _SLIDER[self._marks]
        place = round(at / max(1, total - 1) * (room - 1))
        slider.update(Content.assemble((rail * place + knob + rail * (room - 1 - place), "$accent"), (told, "bold")))
        body.update(said(sample, self._tuned))
        self.query_one(VerticalScroll).scroll_home(animate=False)


class LogPanel(Panel):
    """What happened, in words, and the end of log.txt."""

    DEFAULT_CSS = """
    LogPanel Static { height: auto; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Nothing has happened."""
        super().__init__(id=id)
        self._shown: tuple[Sequence[Note], str, str] = ((), "", "")

    def compose(self) -> ComposeResult:
        yield PanelTitle("log")
        with VerticalScroll():
            yield Static("nothing has happened yet", id="notes", markup=False)

    def on_mount(self) -> None:
        """The newest line stays in sight, until somebody scrolls up."""
        self.query_one(VerticalScroll).anchor()

    def show(self, view: RunView) -> None:
        """The newest notes and lines."""
        if self._shown[0] is view.notes and self._shown[1:] == (view.log, view.trouble):
            return
        self._shown = (view.notes, view.log, view.trouble)
        lines = [
            Content.assemble((_clock(note.time), "$text-muted"), _coloured(note)) for note in view.notes[-_SHOWN_NOTES:]
        ]
        if len(view.notes) > _SHOWN_NOTES:
            lines.insert(0, Content.styled("earlier ones are in events.jsonl", "$text-muted"))
        if view.trouble:
            lines.append(Content.styled(f"! {clean(view.trouble)}", "$error"))
        said = [line for line in clean(view.log.replace("\r", "\n")).splitlines() if line.strip()]
        if said:
            lines.append(Content.styled("the end of log.txt:", "bold"))
            lines += [Content(line) for line in said[-_SHOWN_LOG_LINES:]]
        scroll = self.query_one(VerticalScroll)
        at_end = scroll.max_scroll_y - scroll.scroll_y <= 1
        self.query_one("#notes", Static).update(
            Content("\n").join(lines) if lines else Content("nothing has happened yet")
        )
        if at_end:
            scroll.scroll_end(animate=False)


def _coloured(note: Note) -> Content | tuple[str, str]:
    text = clean(note.text)
    return (f"! {text}", "$warning") if note.kind == "warning" else Content(text)


def _clock(at: float | None) -> str:
    return time.strftime("%H:%M:%S  ", time.localtime(at)) if at is not None and 0 <= at < 1e11 else ""
