"""Talking to a model while it trains: prompts that the trainer answers between two steps."""

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from mlxllm.runs import Request
from tui.following.run_view import RunView
from tui.screens.monitor.panels import Panel, PanelTitle, clean, said
from tui.screens.monitor.words import train_hint

_SHOWN_TALKS = 30


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
        self._given_back = False
        """What the trainer did not answer any more stands in the line again."""

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

    def refused(self) -> None:
        """Nobody could pass the prompt on: it stays, and what is typed next takes its place."""
        self.query_one(Input).action_select_all()

    def forget(self) -> None:
        """Another run."""
        self.waiting, self._shown, self._given_back = [], (), False
        if not (line := self.query_one(Input)).has_focus:
            line.value = ""  # it was meant for the other one

    def show(self, view: RunView) -> None:
        """What was asked and answered in this run, by whomever; and what is still waited for."""
        talks = [sample for sample in view.samples[-1000:] if sample.request is not None]
        answered = {sample.request for sample in talks}
        self.waiting = [each for each in self.waiting if each.request.id not in answered]
        line = self.query_one(Input)
        if (hint := train_hint(view)) != line.placeholder:
            line.placeholder = hint
        self._say_hint(view, bool(talks))
        if not view.active and not self._given_back and self.waiting and not line.value:
            line.value = self.waiting[-1].prompt  # it may be asked again when training goes on
        self._given_back = not view.active
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
            how = (
                "Ask it now and again later: it learns to answer."
                if view.about.get("method") in ("sft", "dpo")
                else "Begin a text for it, now and again later: early steps babble, later ones tell."
            )
            told = "" if any_talk or self.waiting else how
        else:
            told = "It does not train now, so nobody answers here: c talks to it (esc first, if you are in the line)."
        if hint.content != told:
            hint.update(told)
        hint.display = bool(told)
