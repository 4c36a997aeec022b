"""Chat: a conversation with any model, streamed; and from here the time machine, A/B and the blind taste test."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from mlxllm.config import SampleConfig
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.saved import ChatWriter
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import UserError
from tui.screens.chat.ab import ABScreen
from tui.screens.chat.blind import BlindScreen
from tui.screens.chat.blind_setup import BlindSetup, BlindTest
from tui.screens.chat.judge import JudgeAnswer, Judgement
from tui.screens.chat.looking import LooksAtAnswers
from tui.screens.chat.machine import TimeMachine
from tui.screens.chat.opening import Starters
from tui.screens.chat.origin import OriginView
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.saved import SavedPicker
from tui.screens.chat.settings import ChatSettings, SettingsDrawer
from tui.screens.chat.versus import Versus
from tui.screens.chat.write import Drafts
from tui.talking.models import check_model, relatives, sampling_of, untuned
from tui.talking.talk import Talk
from tui.widgets.token_flow import TokenFlow
from tui.widgets.writing import Writing


class ChatScreen(LooksAtAnswers):
    """Talk to a model."""

    MODE = "chat"
    ABOUT = (
        "Chat talks to any model that you have: a run, one of its checkpoints, or a folder. Everything that is said is saved "
        "as it goes. T asks several models the same, A and B compare two answers without telling you whose they are."
    )
    HINT = "Write below, enter sends; esc, then m takes another model."
    WORDS = (
        *(
            "A/B",
            "base model",
            "checkpoint",
            "context",
            "copied span",
            "DPO",
            "logprob",
            "max tokens",
            "min-p",
            "model",
            "parameters",
        ),
        *("preference pair", "seed", "SFT", "system prompt", "temperature", "time to first token", "tok/s", "token"),
        *("top-k", "top-p"),
    )
    PARTS = (Writing, TokenFlow, OriginView, TimeMachine, Versus, ABScreen, BlindScreen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,i", "write", "Write", key_display="⏎", id="chat.write"),
        Binding("m", "model", "Model", id="chat.model"),
        Binding("n", "new", "New", id="chat.new", tooltip="Begin a new conversation"),
        Binding("f", "find", "Find", id="chat.find", tooltip="Find a saved conversation"),
        Binding("s", "settings", "Settings", id="chat.settings", tooltip="System prompt and sampling"),
        Binding(
            "t", "tokens", "Tokens", id="chat.tokens", tooltip="Each token of the last answer, and how likely it was"
        ),
        Binding(
            "g",
            "judge",
            "Better?",
            show=False,
            id="chat.judge",
            tooltip="Say which answer is better, or write a better one",
        ),
        Binding("e", "edit", "Edit", show=False, id="chat.edit", tooltip="Take your last message back into the input"),
        Binding(
            "ctrl+r",
            "again",
            "Again",
            key_display="^r",
            id="chat.again",
            tooltip="Another answer in place of the last one",
        ),
        Binding(
            "T",
            "machine",
            "Compare",
            id="chat.machine",
            tooltip="Time machine: the same prompt to stages or checkpoints",
        ),
        Binding(
            "A",
            "versus",
            "A/B",
            id="chat.versus",
            tooltip="Two answers with names hidden; the better one becomes a pair",
        ),
        Binding(
            "B", "blind", "Blind", id="chat.blind", tooltip="Blind taste test: tuned against untuned, with a verdict"
        ),
        Binding(
            "o",
            "origin",
            "Where from",
            id="chat.origin",
            tooltip="What of the answer stands in the training text, and the documents where it does",
        ),
        Binding("u", "earlier", "Earlier messages", show=False, id="chat.earlier"),
    ]

    def __init__(self) -> None:
        """No test was left yet, and no answer begun."""
        super().__init__()
        self._left: BlindScreen | None = None
        """The last test, which can go on where it was left."""
        self._drafts: Drafts = {}
        self._tells_keys = False
        """The line names keys that are letters in the input."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters are keys only outside of the input; a key that can do nothing just now is not shown."""
        inside = isinstance(self.focused, Writing)
        if action in ("again", "leave", "copy_twin"):
            return action != "again" or bool(self._talk.said and self._stage == "ready")
        if inside and action in _LETTERS:
            return False
        if action == "edit":
            return self._talk.question is not None
        if action in ("tokens", "origin"):
            return self._talk.answer is not None
        if action == "judge":
            return self._talk.form == "turns" and self._talk.answer is not None
        return True

    def action_leave(self) -> None:
        """Stop an answer; else leave the input."""
        if self._answer is not None:
            self._answer.cancel()
            self._waiting = False
            self._status("stopping ...")
            return
        if isinstance(self.focused, Writing) and self._talk.answer is not None:
            judge = "g judges the answer   " if self._talk.form == "turns" else ""
            self._status(f"e edits your last message   {judge}^r asks for another")
            self._tells_keys = True
        super().action_leave()

    def action_write(self) -> None:
        """To the input."""
        if self._tells_keys and not self._busy:
            self._status("enter sends, the arrow up brings back what you wrote")
        self.writing.focus()

    def _status(self, text: str) -> None:
        super()._status(text)
        self._tells_keys = False

    @work
    async def action_model(self) -> None:
        """Another model."""
        if self._busy:
            self.mlx.tell("an answer is being written: esc stops it")
            return
        model: str | None = await self.app.push_screen_wait(ModelPicker(current=self._address))
        if model is not None:
            self._load(model)

    def action_new(self) -> None:
        """A new conversation, with the newest checkpoint of the run."""
        if self._busy:
            self.mlx.tell("an answer is being written: esc stops it")
        elif self._stage == "none":
            self._status("there is no model yet: m chooses one")
        else:
            self.writing.focus()
            self._load(self._model, anew=True)

    @work
    async def action_find(self) -> None:
        """A saved conversation."""
        if self._busy:
            self.mlx.tell("an answer is being written: esc stops it")
            return
        chat_id: str | None = await self.app.push_screen_wait(SavedPicker(self._chats))
        if chat_id is None:
            return
        try:
            writer = await asyncio.to_thread(self._chats.resume, chat_id)
        except UserError as error:
            self.mlx.fail(error)
            return
        await self._resume(writer)

    async def _resume(self, writer: ChatWriter) -> None:
        """Go on with a saved conversation, and with its model where that is still there."""
        talk = Talk.of(writer.chat)
        self._settings = ChatSettings(talk.system, self._settings.sample, self._settings.seed)
        await self._begin(talk, writer)
        self.writing.remember(*(said.content for said in talk.said if said.role == "user"))
        if writer.chat.damaged:
            self.mlx.warn(f"{writer.chat.damaged} lines of this conversation cannot be read and are left out")
        if writer.chat.model and writer.chat.model != self._address:
            try:
                await asyncio.to_thread(check_model, writer.chat.model)
            except UserError:
                await self.log_.note(
                    f"Its model {writer.chat.model} is no longer there; it goes on with {self._address}."
                )
            else:
                self._load(writer.chat.model)

    @work
    async def action_settings(self) -> None:
        """System prompt and sampling."""
        usual = await asyncio.to_thread(sampling_of, self._address) if self._model else SampleConfig()
        drawer = SettingsDrawer(self._settings, usual, takes_system=self._talk.form == "turns")
        settings: ChatSettings | None = await self.app.push_screen_wait(drawer)
        if settings is None:
            return
        self._settings, self._talk.system = settings, settings.system
        self._talk.earlier = None  # it answered under another system prompt
        self._set_twin()
        if self._talk.said:
            await self._save()

    def open_model(self, model: str, *, compare: Sequence[str] = ()) -> None:
        """Talk to a model; with `compare`, ask it and those the same."""
        while self.app.screen is not self and self in self.app.screen_stack:
            self.app.pop_screen()
        super().open_model(model)
        self.writing.focus()
        if compare:
            self._open_machine([model, *compare], at_once=False)

    @work
    async def action_machine(self) -> None:
        """The same prompt to the stages of one life, or else to the checkpoints of the run."""
        if self._busy or not self._model:
            self._status(
                "an answer is being written: esc stops it" if self._busy else "there is no model yet: m chooses one"
            )
            return
        self._open_machine(await asyncio.to_thread(relatives, self._address), at_once=True)

    def _open_machine(self, models: Sequence[str], *, at_once: bool) -> None:
        question = self._talk.question
        prompt = question.content.strip() if question is not None else next(iter(self.query_one(Starters).lines), "")
        at_once = at_once and question is not None
        self.app.push_screen(TimeMachine(models, self._settings, self.writing.text or prompt, at_once=at_once))

    def action_versus(self) -> None:
        """Two answers to what was asked last, or to what is written there."""
        if self._busy or not self._model:
            self._status(
                "an answer is being written: esc stops it" if self._busy else "there is no model yet: m chooses one"
            )
            return
        prompt = self._talk.question_prompt() if self._talk.form == "turns" else ()
        begin = next(iter(self.query_one(Starters).lines), "")
        self.app.push_screen(ABScreen(self._model, self._model, self._settings, prompt, begin))

    @work
    async def action_blind(self) -> None:
        """Tuned against untuned, on new prompts."""
        if self._busy or not self._model:
            self._status(
                "an answer is being written: esc stops it" if self._busy else "there is no model yet: m chooses one"
            )
            return
        if (left := self._left) is not None and left.trial.current is not None and left.trial.number > 0:
            place = f"round {left.trial.number + 1} of {len(left.trial.rounds)}"
            if await self.mlx.confirm(f"Go on with the test that you left at {place}? No begins another.", "Go on"):
                self._left = BlindScreen(left.test, left.settings, left.trial)
                self.app.push_screen(self._left)
                return
        before = await asyncio.to_thread(untuned, self._address)
        test: BlindTest | None = await self.app.push_screen_wait(BlindSetup(self._address, before, self._chats))
        if test is not None:
            self._left = BlindScreen(test, self._settings)
            self.app.push_screen(self._left)

    async def action_earlier(self) -> None:
        """Older messages."""
        if not await self.log_.show_earlier():
            self._status("there are no earlier messages")

    async def on_conversation_earlier_wanted(self) -> None:
        """The line of the old messages was clicked."""
        await self.action_earlier()

    def action_again(self) -> None:
        """Another answer."""
        if self._busy:
            self._status("an answer is being written: esc stops it")
            return
        try:
            self._talk.again()
        except UserError as error:
            self._status(str(error))
            return
        self._converse()

    async def action_edit(self) -> None:
        """The last message back into the input."""
        if self._busy:
            self._status("an answer is being written: esc stops it")
            return
        try:
            text = self._talk.take_back()
        except UserError as error:
            self._status(str(error))
            return
        if self.writing.text.strip():
            self.writing.remember(self.writing.text)  # the arrow up brings it back
        self.writing.put(text)
        self.writing.focus()
        await self.log_.follow()
        await self._save()
        self._status("change it and press enter")

    @work
    async def action_judge(self) -> None:
        """A preference on the last answer."""
        talk, answer = self._talk, self._talk.answer
        if answer is None or self._busy:
            self._status("there is no answer to judge yet")
            return
        earlier = talk.earlier[1].content if talk.earlier is not None else None
        question = talk.question.content if talk.question is not None else ""
        judged: Judgement | None = await self.app.push_screen_wait(
            JudgeAnswer(question, answer.content, earlier, self._drafts)
        )
        if judged is None:
            return
        try:
            made = talk.rewrite(judged[1]) if isinstance(judged, tuple) else talk.prefer(judged == "last")
            await self._keep(made)
        except UserError as error:
            self.mlx.fail(error)
            return
        await self.log_.follow()
        await self._save()

    async def _keep(self, preference: StoredPreference) -> None:
        await asyncio.to_thread(PreferenceStore().add, preference)
        self.mlx.tell("kept as a preference pair; 7 shows them all")


_LETTERS = frozenset(
    binding.action
    for binding in ChatScreen.BINDINGS
    if isinstance(binding, Binding) and not binding.key.startswith("ctrl+")
)
