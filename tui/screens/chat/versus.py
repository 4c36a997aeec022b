"""Two answers with hidden names, and the keys that choose between them: what A/B and the blind taste test share."""

import asyncio
from typing import ClassVar, Literal

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static, TextArea

from mlxllm.conversation.judging import judge
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.trials import Answer, Choice, Round, Trial
from mlxllm.errors import UserError
from tui.engine_replies import Answer as Coming
from tui.engine_replies import AnswerToken, LoadedInfo
from tui.screens.base import ModeScreen
from tui.screens.chat.settings import ChatSettings
from tui.screens.chat.write import Drafts, WriteAnswer
from tui.talking.answering import asked, follow
from tui.widgets.asked import Asked
from tui.widgets.columns import Column, Columns

Side = Literal["a", "b"]
SIDES: tuple[Side, Side] = ("a", "b")


class StoppedError(Exception):
    """Somebody wants no more answers."""


class Versus(ModeScreen):
    """One round after another: both answers, a choice, and what comes of it."""

    MODE = "chat"
    WORDS = ("A/B", "coin", "DPO", "preference pair", "seed", "SFT", "temperature")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "choose('a')", "A better", id="versus.a"),
        Binding("b", "choose('b')", "B better", id="versus.b"),
        Binding("equals_sign", "choose('tie')", "Tie", key_display="=", id="versus.tie"),
        Binding("0,x", "choose('both bad')", "Both bad", key_display="0", id="versus.both_bad"),
        Binding(
            "w", "write_better", "Write one", id="versus.write", tooltip="Write an answer that is better than both"
        ),
        Binding("u", "undo", "Undo", id="versus.undo", tooltip="Take the last choice back"),
    ]
    DEFAULT_CSS = """
    Versus #status { height: auto; max-height: 3; padding: 0 1; color: $text-muted; }
    """

    def __init__(self, trial: Trial, settings: ChatSettings) -> None:
        """Compare the trial's players.

        Args:
            trial: its rounds may still have no answers.
            settings: how answers are drawn.
        """
        super().__init__()
        self.trial, self.settings = trial, settings
        self.loaded: dict[str, LoadedInfo] = {}
        self.stored = 0
        """Preference pairs that were made here."""
        self.busy = False
        """An answer is being written that the screen waits for."""
        self.stored_in_all: int | None = None
        """Preference pairs of this home; None where they could not be counted."""
        self._drafts: Drafts = {}
        self._coming: Coming | None = None
        self._judging = self._stopped = False

    def compose_body(self) -> ComposeResult:
        yield Asked(id="asked")
        with Columns():
            yield Column("A")
            yield Column("B")
        yield Static(id="status", markup=False)

    # What the two kinds of comparison do in their own way.

    def judged(self, number: int) -> None:
        """A round was judged."""
        raise NotImplementedError

    def what_to_do(self) -> str:
        """What the status says while a round waits for a choice."""
        raise NotImplementedError

    def undone(self) -> None:
        """A judgement was taken back."""

    async def drawn_anew(self, number: int) -> bool:
        """Whether the answers of a round are to be written once more; it has none then."""
        return False

    def why_not(self) -> str:
        """Why no answer can be chosen now, in a sentence; "" where one can."""
        each = self.shown
        if each is None:
            return "there is no choice to make now"
        if not each.is_complete:
            return "both answers have to be there before one can be chosen: they are still being written"
        return f"{each.alike}: = calls it a tie, 0 both bad, w writes a better one" if each.is_same else ""

    # Answers.

    @property
    def shown(self) -> Round | None:
        """The round that is on the screen, if it waits for a choice."""
        return self.trial.current

    def status(self, text: str) -> None:
        """The line below the answers."""
        self.query_one("#status", Static).update(Content(text))

    def show_state(self) -> None:
        """Have the line say what can be done now."""
        self.status(self.what_to_do())

    def column(self, side: Side) -> Column:
        """The answer on a side."""
        return self.query_one(Columns).all[SIDES.index(side)]

    async def load_players(self) -> None:
        """Both models, before the first word: how long loading takes would tell which is which.

        Raises:
            EngineError: one of them cannot be used.
        """
        self._stopped = False
        for model in dict.fromkeys(self.trial.players):
            self.status(f"{model} is being loaded ...")
            self.loaded[model] = await self.mlx.engine.load(model)
            if self.loaded[model].note:
                self.mlx.warn(self.loaded[model].note)

    async def show_round(self, each: Round) -> None:
        """The prompt of a round, and its answers as far as they are there."""
        self.query_one(Asked).show(each.prompt[-1].content)
        for side in SIDES:
            self.column(side).title(side.upper())
            await self.column(side).begin()
        if each.is_complete:
            await self._show_answers(each)
        else:
            self.call_after_refresh(self._share_room)

    def on_resize(self, event: events.Resize) -> None:
        """Share the room anew."""
        self.call_after_refresh(self._share_room)

    def _share_room(self) -> None:
        asked, columns = self.query_one(Asked), self.query_one(Columns)
        each = self.trial.current or (self.trial.rounds[-1] if self.trial.rounds else None)
        rows = asked.outer_size.height + columns.outer_size.height
        asked.fit(columns, rows, complete=each is not None and each.is_complete)

    async def write_round(self, number: int) -> None:
        """Have both answers of a round written, the left one first.

        Raises:
            EngineError: one of them did not come to its end.
            StoppedError: see `stop`.
        """
        each = self.trial.rounds[number]
        while True:
            for player in each.sides:
                if player not in each.answers:
                    each.answers[player] = await self._write(number, player)
            if not await self.drawn_anew(number):
                break
            if self._stopped:
                raise StoppedError
        if each is self.shown:
            await self._show_answers(each)

    async def _write(self, number: int, player: int) -> Answer:
        each, model = self.trial.rounds[number], self.trial.players[player]
        side = SIDES[each.sides.index(player)]
        loaded = self.loaded[model]
        messages, text = asked(loaded, each.prompt)
        sample = self.settings.sample.model_dump() | {"seed": self.trial.seed_of(number, player)}
        self._coming = self.mlx.engine.generate(model, messages=messages, text=text, sample=sample)

        async def show(tokens: list[AnswerToken]) -> None:
            if each is self.shown:
                await self.column(side).add(tokens)

        try:
            done = await follow(self._coming, show)  # type: ignore[arg-type]  # a list is a sequence
        finally:
            self._coming = None
        if self._stopped:
            raise StoppedError
        sample.pop("seed")
        return Answer(
            done.text.strip(),
            loaded.address,
            done.seed,
            loaded.fingerprint,
            loaded.step,
            sample,
            cut_off=done.finish_reason != "stop",
        )

    async def _show_answers(self, each: Round) -> None:
        for side in SIDES:
            answer = each.shown(side)
            foot = "(cut off here)" if answer.cut_off else ""
            await self.column(side).finish(answer.text, markdown=True, foot=foot)
        self.call_after_refresh(self._share_room)
        self.show_state()
        self.refresh_bindings()

    # Keys.

    def on_key(self, event: events.Key) -> None:
        """A key that would choose an answer says why it cannot; that it is off does not."""
        if event.key in SIDES and not isinstance(self.focused, TextArea) and (why := self.why_not()):
            event.stop()
            self.mlx.warn(why)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to choose when both answers are there, and to take back when something was chosen."""
        each = self.shown
        if action in ("choose", "write_better"):
            possible = each is not None and each.is_complete
            return not self.why_not() if parameters[:1] in (("a",), ("b",)) else possible
        if action == "undo":
            return self.trial.number > 0 and not self.busy
        return True

    def action_choose(self, choice: Choice) -> None:
        """Judge the round."""
        self._judge(choice)

    @work
    async def action_write_better(self) -> None:
        """Write an answer that is better than both."""
        each = self.shown
        if each is None or not each.is_complete:
            return
        draft = _draft_key(each)
        text: str | None = await self.app.push_screen_wait(WriteAnswer(*draft, self._drafts))
        if text is not None:
            self._judge("rewritten", text)
        elif draft in self._drafts:
            self.mlx.tell("w goes on with the answer that you began to write")

    @work(group="judge")
    async def _judge(self, choice: Choice, rewritten: str = "") -> None:
        if self._judging:
            return
        self._judging = True
        number = self.trial.number
        try:
            outcome = await asyncio.to_thread(judge, self.trial, PreferenceStore(), choice, rewritten)
            self.stored += len(outcome.preferences)
            self.stored_in_all = await asyncio.to_thread(_stored_in_all)
            if outcome.left_out:
                self.mlx.warn(outcome.left_out)
        except UserError as error:
            self.mlx.fail(error)
            return
        finally:
            self._judging = False
        self.judged(number)
        self.refresh_bindings()

    @work(group="judge")
    async def action_undo(self) -> None:
        """Take the last choice back, and the pair that came of it."""
        if self._judging or self.busy or self.trial.number == 0:
            return
        taken = self.trial.rounds[self.trial.number - 1]
        if taken.rewritten:
            self._drafts[_draft_key(taken)] = taken.rewritten
        stored = self.trial.undo() or ()
        self.undone()
        try:
            if stored:
                await asyncio.to_thread(PreferenceStore().drop, *stored)
                self.stored -= len(stored)
        except UserError as error:
            self.mlx.fail(f"{error}; the pair is still there, and can be dropped on 7")
        each = self.trial.current
        assert each is not None
        await self.show_round(each)
        self.refresh_bindings()

    def stop(self) -> None:
        """End what is being written."""
        self._stopped = True
        if self._coming is not None:
            self._coming.cancel()


def _draft_key(each: Round) -> tuple[str, str]:
    """What is asked, and the longer of the two answers, which a better one begins with."""
    return each.prompt[-1].content, max((each.shown(side).text for side in SIDES), key=len)


def _stored_in_all() -> int | None:
    try:
        return sum(1 for _ in PreferenceStore().read())
    except UserError:
        return None
