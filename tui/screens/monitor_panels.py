"""The parts beside the Monitor's chart: talking to the model while it trains, its samples, and the log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from mlxllm.runs import Request
from tui.marks import Marks
from tui.run_view import Note, RunView, Sample
from tui.screens.monitor_words import train_hint

_SHOWN_TALKS = 30
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
    Panel:focus-within > .panel-title, Panel:focus > .panel-title {
        color: $block-cursor-foreground; background: $block-cursor-background;
    }
    Panel VerticalScroll { height: 1fr; padding: 0 1; background: $background; }
    """


@dataclass
class Waiting:
    """A prompt that the trainer has not answered yet."""

    request: Request
    prompt: str
    step: int
    """At which it was asked."""


class TalkPanel(Panel):
    """Prompts that the trainer answers between two steps, and what it said at which step."""

    @dataclass
    class Asked(Message):
        """Somebody wants an answer."""

        prompt: str

    DEFAULT_CSS = """
    TalkPanel Input { height: 3; }
    TalkPanel #told { height: auto; }
    TalkPanel #hint { height: auto; color: $text-muted; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Nothing was said yet."""
        super().__init__(id=id)
        self.waiting: list[Waiting] = []
        self._shown: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield PanelTitle("talk")
        with VerticalScroll(can_focus=False):
            yield Static("", id="told", markup=False)
        yield Static("", id="hint", markup=False)
        yield Input(id="prompt")

    def on_mount(self) -> None:
        """The newest answer stays in sight."""
        self.query_one(VerticalScroll).anchor()

    @property
    def text(self) -> str:
        """What stands in the line."""
        return self.query_one(Input).value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask; the line is emptied by whoever could pass it on."""
        event.stop()
        if event.value.strip():
            self.post_message(self.Asked(event.value))

    def asked(self, waiting: Waiting) -> None:
        """A prompt is on its way."""
        self.waiting.append(waiting)
        self.query_one(Input).value = ""

    def forget(self) -> None:
        """Another run."""
        self.waiting, self._shown = [], ()

    def show(self, view: RunView) -> None:
        """What was asked and answered in this run, by whomever; and what is still waited for."""
        talks = [sample for sample in view.samples[-1000:] if sample.request is not None]
        answered = {sample.request for sample in talks}
        self.waiting = [each for each in self.waiting if each.request.id not in answered]
        line = self.query_one(Input)
        if (hint := train_hint(view)) != line.placeholder:
            line.placeholder = hint
        self._say_hint(view, bool(talks))
        # Identity, not equality: a view keeps the samples that were there.
        state = (view.status, len(talks), id(talks[-1]) if talks else 0, tuple(w.request.id for w in self.waiting))
        if state == self._shown:
            return
        self._shown = state
        tuned = view.about.get("method") in ("sft", "dpo")
        parts = [
            Content.assemble((f"step {sample.step:,}\n", "bold $accent"), said(sample, tuned))
            for sample in talks[-_SHOWN_TALKS:]
        ]
        for each in self.waiting:
            told = (
                "waiting: the trainer answers after the current step, and training waits for the answer"
                if view.active
                else "no answer: the run ended before it came to that"
            )
            parts.append(
                Content.assemble(
                    (f"asked at step {each.step:,}\n", "bold $accent"),
                    f"{clean(each.prompt)}\n",
                    (told, "$text-muted"),
                )
            )
        self.query_one("#told", Static).update(Content("\n\n").join(parts))

    def _say_hint(self, view: RunView, any_talk: bool) -> None:
        hint = self.query_one("#hint", Static)
        if view.active:
            told = "" if any_talk or self.waiting else "Ask now and again later: step 100 babbles, step 1,000 tells."
        else:
            told = "It does not train now, so nobody answers here: c talks to it (esc first, if you are in the line)."
        if hint.content != told:
            hint.update(told)
        hint.display = bool(told)


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
    ]
    HELP = "Samples: left and right go back and forth through training, home and end to the first and the newest."
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
