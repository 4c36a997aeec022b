"""The blind taste test: round after round on new prompts, then the verdict with its chance, and who was who."""

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mlxllm.conversation.asking import with_system
from mlxllm.conversation.trial_log import TrialLog
from mlxllm.conversation.trials import STANDS, Trial
from mlxllm.errors import UserError
from tui import commands
from tui.screens.chat.blind_setup import BlindTest
from tui.screens.chat.settings import ChatSettings
from tui.screens.chat.versus import StoppedError, Versus
from tui.talking import sampling
from tui.words import printable

_AHEAD = 3
"""So many rounds are written while one is judged."""


class BlindScreen(Versus):
    """Rounds whose models are told at the end."""

    ABOUT = (
        "The blind taste test asks two models the same new prompts and hides their names. What you choose is counted, and "
        "the verdict says how often a coin would have been as sure: below 5 % you hardly chose by chance."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "retry", "Go on", key_display="^r", id="blind.retry"),
        Binding("v", "verdict", "Verdict", id="blind.verdict", tooltip="End the test here and see who was who"),
    ]
    DEFAULT_CSS = """
    BlindScreen #verdict { height: 1fr; padding: 1 2; display: none; }
    BlindScreen #verdict Static { height: auto; }
    BlindScreen.ended #verdict { display: block; }
    BlindScreen.ended #asked, BlindScreen.ended Columns { display: none; }
    """

    def __init__(self, test: BlindTest, settings: ChatSettings, trial: Trial | None = None) -> None:
        """Begin a test, or go on with the `trial` of one that was left."""
        prompts = [with_system(prompt, settings.system) for prompt in test.prompts]
        super().__init__(trial or Trial((test.tuned, test.untuned), prompts, test.seed, test.rounds), settings)
        self.stored = sum(len(each.stored) for each in self.trial.rounds)
        self.test = test
        self._ended = self._broken = False
        self._next = asyncio.Event()

    def compose_body(self) -> ComposeResult:
        yield from super().compose_body()
        with VerticalScroll(id="verdict"):
            yield Static(markup=False)

    def on_mount(self) -> None:
        """Have the answers written."""
        test, system = self.test, self.settings.system.strip() or None
        how = sampling.changed(self.settings.sample)
        self.twin = commands.taste(
            test.tuned, test.untuned, rounds=test.rounds, prompts=test.source, system=system, **how, seed=test.seed
        )
        self._write_all()

    @work(exclusive=True, group="blind")
    async def _write_all(self) -> None:
        """The answers of all rounds, a few rounds ahead of the one that is judged."""
        self._broken = False
        try:
            await self.load_players()
            for number, each in enumerate(self.trial.rounds):
                if number < self.trial.number:
                    continue  # judged before the test was left
                while number > self.trial.number + _AHEAD:
                    self._next.clear()
                    await self._next.wait()
                if number == self.trial.number:
                    await self.show_round(each)
                    self._tell_writing()
                await self.write_round(number)
        except UserError as error:
            self._broken = True
            self.status(f"! {error}   ^r goes on with the test")
            self.refresh_bindings()
        except StoppedError:
            return

    def _tell_writing(self) -> None:
        each, place = self.trial.current, f"round {self.trial.number + 1} of {len(self.trial.rounds)}"
        same = "both answers were the same, word for word: " if each is not None and each.draws > 1 else ""
        self.status(f"{place}   {same}two {'others' if same else 'answers'} are being written ...")

    async def drawn_anew(self, number: int) -> bool:
        """Answers that are the same cost no round."""
        anew = self.trial.draw_anew(number)
        if anew and self.trial.rounds[number] is self.shown:
            await self.show_round(self.trial.rounds[number])
            self._tell_writing()
        return anew

    def why_not(self) -> str:
        return "the test is over: u takes the last choice back" if self._ended else super().why_not()

    def what_to_do(self) -> str:
        each, place = self.shown, f"round {self.trial.number + 1} of {len(self.trial.rounds)}"
        if each is not None and each.is_same:
            return f"{place}   {each.alike}   = tie   0 both bad   w write a better one   v ends the test"
        return f"{place}   which one is better?   a   b   = tie   0 both bad   w write a better one"

    def judged(self, number: int) -> None:
        """The next round, or the verdict."""
        self._next.set()
        self._go_on()

    @work(group="show", exclusive=True)
    async def _go_on(self) -> None:
        each = self.trial.current
        if each is None:
            await self._end()
            return
        await self.show_round(each)
        if not each.is_complete and not self._broken:  # how to go on is told already
            self._tell_writing()

    def undone(self) -> None:
        self._ended = False
        self.remove_class("ended")

    async def _end(self) -> None:
        """The verdict."""
        self._ended = True
        self.stop()
        self.add_class("ended")
        self.query_one("#verdict Static", Static).update(self._verdict())
        self.query_one("#verdict").focus()
        told = "u takes the last choice back   esc leaves"
        if self.stored:
            pairs = "1 preference pair is" if self.stored == 1 else f"{self.stored} preference pairs are"
            told = f"{pairs} kept of this test, under 7   {told}"
        self.status(told)
        if self.trial.number:
            try:
                await asyncio.to_thread(TrialLog().add, self.trial)
            except UserError as error:
                self.mlx.fail(error)
        self.refresh_bindings()

    def _verdict(self) -> Content:
        trial = self.trial
        lines = [
            Content.assemble((trial.taste(), "bold")),
            Content(trial.verdict().meaning),
            Content(""),
            Content.assemble(("Round  A                         B                         you chose", "bold $primary")),
        ]
        for number, each in enumerate(trial.rounds[: trial.number], 1):
            names = [f"{STANDS[player]:<8}{_begin(each.answers[player].text)}" for player in each.sides]
            lines.append(Content(f"{number:>5}  {names[0]:<25.25} {names[1]:<25.25} {each.told}"))
        return Content("\n").join(lines)

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The verdict comes by itself when all is judged."""
        if action == "verdict":
            return not self._ended
        if action == "retry":
            return self._broken
        if self._ended and action in ("choose", "write_better"):
            return False
        return super().check_action(action, parameters)

    async def action_verdict(self) -> None:
        """End the test here."""
        del self.trial.rounds[self.trial.number :]
        await self._end()

    def action_retry(self) -> None:
        """Go on where the engine failed."""
        self._write_all()

    def action_leave(self) -> None:
        """Leave the test; one that is not at its end is given up after a question."""
        self._leave()

    @work(exclusive=True, group="leave")
    async def _leave(self) -> None:
        if not self._ended and self.trial.number:
            question = (
                f"Leave the test after {self.trial.number} of {len(self.trial.rounds)} rounds? B in the chat goes on "
                "with it, as long as the application is open."
            )
            if not await self.mlx.confirm(question, "Leave"):
                return
        self.stop()
        self.dismiss()


def _begin(text: str) -> str:
    return printable(" ".join(text.split()))
