"""The part of the chat that has models loaded, sends what was written, streams the answers and saves what was said."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mlxllm.config import SampleConfig
from mlxllm.conversation.saved import ChatWriter, SavedChats
from mlxllm.errors import UserError
from mlxllm.runs import short_name
from tui.engine_replies import Answer, AnswerToken, Done, EngineError, LoadedInfo
from tui.screens.base import ModeScreen
from tui.screens.chat.opening import NO_MODEL, Starters, failure, heading, opening, starters
from tui.screens.chat.settings import ChatSettings
from tui.talking import sampling
from tui.talking.answering import ALTERNATIVES, follow, speed
from tui.talking.models import check_model, first_model, sampling_of
from tui.talking.shown import Shown, shown
from tui.talking.talk import Talk, save
from tui.widgets.conversation import Conversation
from tui.widgets.writing import Writing
from tui.words import printable

MODEL = "chat_model"
"""Of `Remembered`: the model that was talked to last."""

_MOST_TOKEN_VIEWS = 20


class TalkingScreen(ModeScreen):
    """A conversation with a model; what the keys do to it is `ChatScreen`'s."""

    DEFAULT_CSS = """
    TalkingScreen #model { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    TalkingScreen #older { height: auto; max-height: 3; padding: 0 1; color: $warning; }
    TalkingScreen #status { height: 1; padding: 0 1; color: $text-muted; }
    """

    def __init__(self) -> None:
        """No model yet, and nothing said."""
        super().__init__()
        self._model = ""
        self._loaded: LoadedInfo | None = None
        self._stage: Literal["none", "loading", "ready", "failed"] = "none"
        self._talk = Talk()
        self._settings = ChatSettings("", SampleConfig(), None)
        self._chats = SavedChats()
        self._writer: ChatWriter | None = None
        self._unsaved = ""
        self._answer: Answer | None = None
        self._busy = False
        self._waiting = False
        self._anew = False
        """A new conversation is wanted as soon as there is a model."""
        self._views: dict[int, list[Shown]] = {}
        """Turn -> the tokens of the answer there, of the newest ones."""

    def compose_body(self) -> ComposeResult:
        yield Static(id="model", markup=False)
        yield Static(id="older", markup=False)
        yield Conversation(id="log")
        yield Starters()
        yield Static(id="status", markup=False)
        yield Writing(placeholder="write to the model; enter sends", id="writing")

    @property
    def log_(self) -> Conversation:
        """The messages."""
        return self.query_one(Conversation)

    @property
    def writing(self) -> Writing:
        """The input."""
        return self.query_one(Writing)

    def home_focus(self) -> Widget | None:
        return self.log_

    def on_mount(self) -> None:
        """Open the model that was open last, unless another is asked for."""
        self.query_one(Starters).show([])
        self.query_one("#older").display = False
        self.writing.focus()

    def on_screen_resume(self) -> None:
        """There may be a model by now."""
        if self._stage == "none" and self._model == "":
            self._open_first()

    @work(exclusive=True, group="model")
    async def _open_first(self) -> None:
        remembered = self.mlx.remembered.get(MODEL, "")
        model = await asyncio.to_thread(first_model, remembered)
        if self._stage == "none":
            if model:
                self.open_model(model)
            elif not self.log_.query(".note"):
                self._show_model("no model yet")
                await self.log_.note(NO_MODEL)

    # Models.

    def open_model(self, model: str) -> None:
        """Talk to a model."""
        if model != self._model or self._stage == "failed":
            self._load(model)

    @work(exclusive=True, group="model")
    async def _load(self, model: str, *, anew: bool = False) -> None:
        """Have the engine load a model; the conversation goes on with it where that is possible."""
        self._model, self._stage, self._loaded = model, "loading", None
        self._anew = self._anew or anew
        self._show_model(f"{model}   is being loaded ...")
        # What was said of the former model, and what could be asked it, is not true of this one.
        if not self._talk.said:
            self._settings = ChatSettings(self._settings.system, SampleConfig(), self._settings.seed)
        self._set_twin()
        self.query_one(Starters).show([])
        await self.log_.forget_notes()
        self._status("the model is being loaded; what you send meanwhile waits for it")
        try:
            await asyncio.to_thread(check_model, model)
            loaded = await self.mlx.engine.load(model)
        except UserError as error:
            told = await asyncio.to_thread(failure, model, error)
            if self._is_gone:
                return
            self._stage, self._waiting = "failed", False
            self._show_model(f"{model}   cannot be used")
            self._status("no model is loaded: m chooses one; enter tries this one again")
            await self.log_.note(told)
            return
        if self._is_gone:
            return
        self._loaded = loaded
        self.mlx.remembered.set(MODEL, model)
        self._show_model(heading(loaded), loaded.note)
        form: Literal["turns", "text"] = "text" if loaded.kind == "base" else "turns"
        if self._anew or not self._talk.said or self._talk.form != form:
            if self._talk.said and not self._anew:
                self.mlx.tell("a new conversation begins: the other one was with another kind of model (f finds it)")
            suits = await asyncio.to_thread(sampling_of, loaded.address)
            self._settings = ChatSettings(self._settings.system, suits, self._settings.seed)
            await self._begin(Talk(form, self._settings.system))
        else:
            self._set_twin()
        # Only now: an answer that came while the conversation was laid out anew would lose its place.
        self._stage = "ready"
        self._status("ready")
        if self._waiting:
            self._waiting = False
            self._send(self.writing.text)

    async def _begin(self, talk: Talk, writer: ChatWriter | None = None) -> None:
        """Show a conversation; a new one with what may be said first."""
        self._talk, self._views, self._unsaved, self._anew = talk, {}, "", False
        self._writer = writer or self._chats.begin(self._address, talk.form)
        self._set_twin()
        await self.log_.show(talk.said, self._address, markdown=talk.form == "turns")
        loaded = self._loaded
        if loaded is not None and not talk.said:
            lines = await asyncio.to_thread(starters, loaded)
            await self.log_.note(opening(loaded, lines))
            self.query_one(Starters).show(lines)
        else:
            self.query_one(Starters).show([])
        self.refresh_bindings()

    @property
    def _is_gone(self) -> bool:
        """The application is closing, and has taken away what is shown here."""
        return not self.query("#model") or not self.query(Conversation)

    @property
    def _address(self) -> str:
        return self._loaded.address if self._loaded is not None else self._model

    def _show_model(self, text: str, note: str = "") -> None:
        """The heading; below it, for as long as the model is open, what is unusual about it."""
        self.query_one("#model", Static).update(Content(text))
        older = self.query_one("#older", Static)
        older.update(Content(f"! {printable(note)}"))
        older.display = bool(note)
        self.refresh_bindings()

    def _status(self, text: str) -> None:
        for line in self.query("#status").results(Static):  # none where the application is closing
            line.update(Content(text))

    def _set_twin(self) -> None:
        self.twin = sampling.twin(self._address or "RUN", self._settings.sample, self._settings.seed)

    # Sending and answers.

    def on_writing_sent(self, event: Writing.Sent) -> None:
        """Send what was written, or keep it until it can be."""
        text = self.query_one(Starters).numbered(event.text)
        if self._busy:
            self._waiting = bool(text.strip())
            self._status("yours is sent when this answer is at its end; esc stops it")
        elif self._stage == "none":
            self._status("there is no model to send this to: m chooses one")
        elif self._stage == "loading":
            self._waiting = True
            self._status("this is sent as soon as the model is loaded")
        elif self._stage == "failed":
            self._waiting = bool(text.strip())
            self._load(self._model)
        else:
            self._send(text)

    def on_starters_chosen(self, event: Starters.Chosen) -> None:
        """A starter is sent as if it had been written."""
        self.writing.focus()
        if self._stage == "ready" and not self._busy:
            self._send(event.text)

    def _send(self, text: str) -> None:
        """Ask; an empty line lets an answer that was cut off go on."""
        text = self.query_one(Starters).numbered(text)
        if not text.strip() and not (self._talk.said and (self._talk.is_cut_off or self._talk.answer is None)):
            self._status("write something first; an empty line lets an answer go on that was cut off")
            return
        if text.strip():
            self._talk.ask(text)
            self.writing.taken()
        self._converse()

    @work(group="answer")
    async def _converse(self) -> None:
        """One answer, from the question to what it took."""
        if self._busy:
            return
        self._busy = True
        self.query_one(Starters).show([])
        tokens: list[AnswerToken] = []
        done: Done | None = None
        try:
            await self.log_.follow()
            await self._save()
            request = self._talk.request(self._settings.sample, self._settings.seed)
            before = self._talk.answer
            messages = [message.as_dict() for message in request.messages] if request.messages is not None else None
            self._answer = self.mlx.engine.generate(
                self._model,
                messages=messages,
                text=request.text,
                sample=request.sample,
                top=ALTERNATIVES,
                go_on=request.go_on,
            )
            streaming = await self.log_.begin_answer(
                short_name(self._address), before.content if before is not None else ""
            )
            self._status("reading ...   esc stops")

            async def show(fresh: Sequence[AnswerToken]) -> None:
                tokens.extend(fresh)
                await streaming.add("".join(token.text for token in fresh))
                then = "   then yours is sent" if self._waiting else ""
                self._status(f"writing ... {len(tokens):,} tokens   esc stops{then}")

            done = await follow(self._answer, show)
            self._take(done.text, tokens, done)
            await self.log_.end_answer()
            self._status(speed(done))
            if done.note:
                await self.log_.note(done.note)
        except (EngineError, asyncio.CancelledError) as error:
            if done is None:
                self._take("".join(token.text for token in tokens), tokens, None)
            if isinstance(error, asyncio.CancelledError) or not self.is_attached:  # the application is closing
                with suppress(UserError):
                    save(self._talk, self._writer or self._chats.begin(self._address))
                raise asyncio.CancelledError from None
            self._status("the last answer did not come to its end")
            question = self._talk.question
            if not tokens and question is not None and not self.writing.text:
                self.writing.text = question.content  # enter asks it again; another message would take its place
            await self.log_.end_answer()
            await self.log_.note(f"! {error}")
        finally:
            self._answer, self._busy = None, False
        await self.log_.end_answer()
        await self._save()
        self.refresh_bindings()
        if done is not None:
            self.answered()
        if self._waiting and self.writing.text.strip():
            self._send(self.writing.text)
        self._waiting = False

    def answered(self) -> None:
        """An answer is at its end."""

    def _take(self, text: str, tokens: list[AnswerToken], done: Done | None) -> None:
        """Make an answer, or as much as there is of it, a part of the conversation."""
        if not text and done is None:
            return
        loaded = self._loaded
        about: dict[str, Any] = {
            "model": self._address,
            "finish_reason": done.finish_reason if done is not None else "cancelled",
            "sample": self._settings.sample.model_dump(exclude={"seed"}),
        }
        if loaded is not None:
            about |= {"fingerprint": loaded.fingerprint, "step": loaded.step}
        if done is not None:
            about |= {"seed": done.seed, "tokens": done.tokens, "tok_per_sec": round(done.tok_per_sec, 1)}
        goes_on = self._talk.answer is not None
        self._talk.answered(text, about)
        turn = len(self._talk.said) - 1
        self._views[turn] = [*(self._views.get(turn, []) if goes_on else []), *shown(tokens)]
        self._views = {n: view for n, view in self._views.items() if turn - 2 * _MOST_TOKEN_VIEWS < n <= turn}

    async def _save(self) -> None:
        """Bring the file to where the conversation stands; say once that it cannot be."""
        writer = self._writer
        if writer is None:
            return
        try:
            await asyncio.to_thread(save, self._talk, writer)
            self._unsaved = ""
        except UserError as error:
            if not self._unsaved:
                self.mlx.fail(error)
            self._unsaved = str(error)
