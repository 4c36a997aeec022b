"""The beginning of a blind taste test: which two models, how many rounds, and where new prompts come from."""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from mlxllm.conversation.saved import SavedChats
from mlxllm.conversation.trial_log import TrialLog
from mlxllm.conversation.trial_prompts import KINDS, Kind, kinds_for, new_prompts
from mlxllm.conversation.trials import MOST_ROUNDS, PROMPTS_A_ROUND, USUAL_ROUNDS, Prompt
from mlxllm.conversation.verdict import needed
from mlxllm.errors import ConfigError, UserError
from mlxllm.runs import run_of, short_name
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.settings import Field
from tui.talking.models import check_model
from tui.widgets.keys_bar import KeysBar
from tui.words import ago


@dataclass(frozen=True)
class BlindTest:
    """What to do."""

    tuned: str
    untuned: str
    prompts: list[Prompt]
    """One a round, then those that take the place of some; there may be fewer than rounds were asked for."""
    seed: int
    rounds: int
    """So many were asked for."""
    source: str
    """Where prompts come from: a `Kind`, or the path of a file."""


class BlindSetup(ModalScreen[BlindTest | None]):
    """The questions before a test; None where it was put away."""

    DEFAULT_CSS = """
    BlindSetup { align: center middle; }
    BlindSetup > Vertical { width: 90; max-width: 96%; height: auto; max-height: 94%; padding: 0 1; }
    BlindSetup > Vertical { background: $surface; border: round $primary; }
    BlindSetup VerticalScroll { height: auto; max-height: 70vh; }
    BlindSetup Horizontal { height: 1; }
    BlindSetup Label { width: 15; text-style: bold; }
    BlindSetup Field { width: 1fr; background: $panel; }
    BlindSetup Static { height: auto; }
    BlindSetup #about, BlindSetup #past { color: $text-muted; }
    BlindSetup #about { margin-bottom: 1; }
    BlindSetup #from { margin-top: 1; text-style: bold; }
    BlindSetup OptionList { height: auto; max-height: 7; }
    BlindSetup #wrong, BlindSetup #enough.wrong { color: $error; min-height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "begin", "Begin", key_display="⏎ ^s", priority=True),
        Binding("ctrl+o", "pick", "Choose a model", key_display="^o", priority=True),
        Binding("escape", "leave", "Never mind", priority=True),
    ]

    def __init__(self, tuned: str, untuned: str, chats: SavedChats) -> None:
        """Ask, with these two models as the first choice."""
        super().__init__()
        self._tuned, self._untuned, self._chats = tuned, untuned, chats
        self._kinds: list[Kind] = []
        self._gathering = False

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Blind taste test"
            with VerticalScroll(can_focus=False):
                yield from self._questions()
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def _questions(self) -> ComposeResult:
        yield Static(
            "Each round shows two answers to a new prompt, without names; you choose the better one. In the end you learn "
            "which model you preferred, and how often a coin would have been as sure.",
            id="about",
            markup=False,
        )
        for name, label, text in (
            ("tuned", "tuned model", self._tuned),
            ("untuned", "against", self._untuned),
            ("rounds", "rounds", str(USUAL_ROUNDS)),
        ):
            with Horizontal():
                yield Label(label)
                yield Field(text, name)
        yield Static(id="enough", markup=False)
        yield Static("Prompts", id="from", markup=False)
        yield OptionList(markup=False)
        with Horizontal(id="file_row"):
            yield Label("file")
            yield Field("", "file")
        yield Static(id="past", markup=False)

    def on_mount(self) -> None:
        """Look where there are prompts, and what earlier tests said."""
        self.query_one("#file_row").display = False
        self._tell_enough()
        self.query_one("#untuned" if not self._untuned else "#rounds", Input).focus()
        self._look(self._tuned)
        self._look_back()

    @work(thread=True, exclusive=True, group="prompts")
    def _look(self, model: str) -> None:
        try:
            kinds = kinds_for(run_of(model), self._chats)
        except UserError as error:
            self.app.call_from_thread(self._say, str(error))
            kinds = ["file"]
        self.app.call_from_thread(self._found, kinds)

    def _found(self, kinds: list[Kind]) -> None:
        self._kinds = kinds
        listing = self.query_one(OptionList)
        listing.clear_options()
        listing.add_options([Option(Content(KINDS[kind])) for kind in kinds])
        listing.highlighted = 0

    @work(thread=True, group="past")
    def _look_back(self) -> None:
        try:
            past = TrialLog().read()
        except UserError:
            return
        if past:
            last = past[-1]
            told = f"Last test, {ago(last.time)}: {last.verdict.sentence(*map(short_name, last.players))}"
            self.app.call_from_thread(self.query_one("#past", Static).update, Content(told))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """A file needs a name."""
        self.query_one("#file_row").display = self._kinds[event.option_index] == "file"

    def on_input_changed(self, event: Input.Changed) -> None:
        """What it takes, and other prompts for another model."""
        self._say("")
        if event.input.id == "rounds":
            self._tell_enough()
        elif event.input.id == "tuned":
            self._look(event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter begins."""
        self.action_begin()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter on where prompts come from."""
        if self._kinds[event.option_index] == "file":
            self.query_one("#file", Input).focus()
        else:
            self.action_begin()

    def _tell_enough(self) -> None:
        enough = self.query_one("#enough", Static)
        try:
            rounds = self._rounds()
        except ConfigError as error:
            told = f"! {error}"
        else:
            wins = needed(rounds)
            told = (
                f"One of them has to be preferred {wins} of {rounds} times for a coin to do that in at most 5 % of the tests."
                if wins is not None
                else f"Even {rounds} of {rounds} is what a coin often does (more than 5 %): take 5 rounds or more."
            )
        enough.set_class(told.startswith("!"), "wrong")
        enough.update(Content(told))

    def _rounds(self) -> int:
        text = self.query_one("#rounds", Input).value.strip()
        if not (text.isdecimal() and 1 <= int(text) <= MOST_ROUNDS):
            raise ConfigError(
                f"rounds is {text!r}; give a whole number from 1 to {MOST_ROUNDS}, such as {USUAL_ROUNDS}"
            )
        return int(text)

    def _say(self, text: str) -> None:
        self.query_one("#wrong", Static).update(Content(f"! {text}" if text else ""))

    @work(exclusive=True, group="begin")
    async def action_begin(self) -> None:
        """Gather the prompts, and begin."""
        if self._gathering:
            return
        tuned, untuned = (self.query_one(f"#{name}", Input).value.strip() for name in ("tuned", "untuned"))
        at = self.query_one(OptionList).highlighted
        self._gathering = True
        try:
            rounds = self._rounds()
            if not untuned:
                raise ConfigError(
                    "there are two sides to a test: give the model to compare with, or choose one with ^o"
                )
            for model in (tuned, untuned):
                await asyncio.to_thread(check_model, model)
            if tuned == untuned:
                raise ConfigError("both are the same model; A/B compares two answers of one")
            if at is None:
                raise ConfigError("prompts are still being looked for; try again in a moment")
            path = Path(self.query_one("#file", Input).value.strip()).expanduser()
            seed = secrets.randbelow(1 << 32)
            self._say("gathering prompts ...")
            kind, count = self._kinds[at], PROMPTS_A_ROUND * rounds
            prompts = await asyncio.to_thread(
                new_prompts, kind, count, seed, run_of(tuned), self._chats, path, other=run_of(untuned)
            )
        except UserError as error:
            self._say(str(error))
            if self.query_one("#enough").has_class("wrong"):
                self.query_one("#rounds").focus()
            return
        finally:
            self._gathering = False
        source = str(path.absolute()) if kind == "file" else kind
        self.dismiss(BlindTest(tuned, untuned, prompts, seed, rounds, source))

    @work
    async def action_pick(self) -> None:
        """A model from the list, for the field with the focus."""
        field = self.query_one("#tuned" if self.query_one("#tuned").has_focus else "#untuned", Input)
        model: str | None = await self.app.push_screen_wait(ModelPicker(current=field.value))
        if model is not None:
            field.value = model

    def action_leave(self) -> None:
        """Never mind."""
        self.dismiss(None)
