"""The time machine: the same prompt to checkpoints or stages of one life, with the same seed, side by side."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mlxllm.conversation.asking import prompt_of
from mlxllm.errors import UserError
from mlxllm.runs import short_name
from tui import commands
from tui.engine_replies import Answer, LoadedInfo
from tui.screens.base import ModeScreen
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.settings import ChatSettings
from tui.talking import sampling
from tui.talking.answering import asked, follow
from tui.talking.models import stage_name
from tui.widgets.columns import Column, Columns
from tui.widgets.writing import Writing

MOST_MODELS = 6
_SEEDS = 1 << 32


class TimeMachine(ModeScreen):
    """One prompt, several models."""

    MODE = "chat"
    ABOUT = (
        "The time machine asks several models the same, with the same seed: the stages of one life (base, SFT, DPO), or the "
        "checkpoints of a run. What differs between the answers is what was learned in between."
    )
    WORDS = ("base model", "checkpoint", "DPO", "seed", "SFT", "temperature", "tok/s", "token")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,i", "write", "Write", key_display="⏎", id="machine.write"),
        Binding("a", "add", "Add a model", id="machine.add"),
        Binding(
            "x", "remove", "Remove one", id="machine.remove", tooltip="Remove the column with the focus, else the last"
        ),
        Binding("ctrl+r", "again", "Another seed", key_display="^r", id="machine.again"),
        Binding(
            "tab",
            "next",
            "Scroll the answers",
            key_display="tab",
            id="machine.next",
            tooltip="To the next answer, which the arrows then scroll",
        ),
        Binding("shift+tab", "next(-1)", "The answer before", show=False, id="machine.before"),
    ]
    DEFAULT_CSS = """
    TimeMachine #status { height: 1; padding: 0 1; color: $text-muted; }
    TimeMachine Columns.rows > Column:focus-within { height: 3fr; }
    """

    def __init__(self, models: Sequence[str], settings: ChatSettings, prompt: str, *, at_once: bool) -> None:
        """Compare these.

        Args:
            models: addresses, the earliest first.
            settings: of the chat: how answers are drawn.
            prompt: what stands in the input first.
            at_once: ask it without waiting.
        """
        super().__init__()
        self._models = list(dict.fromkeys(models))[:MOST_MODELS]
        self._settings, self._prompt, self._at_once = settings, prompt, at_once
        self._loaded: dict[str, LoadedInfo] = {}
        self._asked = ""
        self._seed = settings.seed if settings.seed is not None else secrets.randbelow(_SEEDS)
        self._answer: Answer | None = None
        self._busy = self._stopped = False

    def compose_body(self) -> ComposeResult:
        with Columns():
            for model in self._models:
                yield Column(short_name(model))
        yield Static(id="status", markup=False)
        yield Writing(placeholder="ask all of them; enter sends", id="writing")

    def on_mount(self) -> None:
        """Begin with the prompt."""
        writing = self.query_one(Writing)
        writing.focus()
        self._set_twin()
        if self._prompt:
            writing.remember(self._prompt)
            writing.put(self._prompt, selected=True)
        if self._at_once and self._prompt.strip() and len(self._models) > 1:
            self._ask(self._prompt)
        else:
            self._status(self._what_to_do())

    def _what_to_do(self) -> str:
        if len(self._models) < 2:
            return "esc, then a adds a second model to compare with"
        return f"enter asks all {len(self._models)}, with the same seed; typing replaces the text"

    def _status(self, text: str) -> None:
        self.query_one("#status", Static).update(Content(text))

    def _set_twin(self) -> None:
        models = [*self._models, *("RUN",) * (2 - len(self._models))]
        how = sampling.changed(self._settings.sample)
        system = self._settings.system.strip() or None
        self.twin = commands.compare(
            models, self._asked or self._prompt or "TEXT", system=system, **how, seed=self._seed
        )

    @property
    def _columns(self) -> list[Column]:
        return self.query_one(Columns).all

    def on_writing_sent(self, event: Writing.Sent) -> None:
        """Ask all of them."""
        if self._busy:
            self._status("answers are being written: esc stops them")
        elif not event.text.strip():
            self._status("write something that all of them are asked")
        elif not self._models:
            self._status("there is no model here: esc, then a adds one")
        else:
            self._ask(event.text)

    @work(exclusive=True, group="machine")
    async def _ask(self, text: str) -> None:
        """The same to each, one after another; columns fill from left to right."""
        self._asked, self._busy, self._stopped = text, True, False
        self.query_one(Writing).remember(text)
        sample = {**self._settings.sample.model_dump(), "seed": self._seed}
        waiting = list(zip(self._models, self._columns, strict=True))
        for _, column in waiting:
            await column.begin("waiting for its turn")
        self._status(f"seed {self._seed}   esc stops")
        self._set_twin()
        failed = 0
        try:
            while waiting and not self._stopped:
                model, column = waiting.pop(0)
                try:
                    await self._one(model, column, text, sample)
                except UserError as error:
                    failed += 1
                    if column.text:
                        await column.finish(column.text, markdown=False)
                    column.foot(f"! {error}")
        finally:
            self._busy, self._answer = False, None
        for _, column in waiting:
            column.foot("not asked")
        said = f"seed {self._seed}   ^r asks again with another one"
        self._status(said if not failed else f"{said}   {failed} could not answer")
        self.refresh_bindings()

    async def _one(self, model: str, column: Column, text: str, sample: dict[str, float]) -> None:
        if model not in self._loaded:
            column.foot("is being loaded ...")
            self._loaded[model] = await self.mlx.engine.load(model)
            column.title(await asyncio.to_thread(_title, self._loaded[model]))
            if self._loaded[model].note:
                self.mlx.warn(self._loaded[model].note)
        loaded = self._loaded[model]
        column.foot("reading ...")
        messages, begin = asked(loaded, prompt_of(text, self._settings.system))
        self._answer = self.mlx.engine.generate(model, messages=messages, text=begin, sample=sample)
        done = await follow(self._answer, column.add)
        told = f"{done.tokens:,} tokens   {done.tok_per_sec:,.0f} tok/s"
        told += "" if done.finish_reason == "stop" else "   (cut off here)"
        await column.finish(done.text, markdown=loaded.kind == "chat", foot=told)

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters are keys only outside of the input."""
        if isinstance(self.focused, Writing) and action in ("write", "add", "remove"):
            return False
        return bool(self._asked) if action == "again" else True

    def action_write(self) -> None:
        """To the input."""
        self.query_one(Writing).focus()

    def action_next(self, by: int = 1) -> None:
        """To the next answer; behind the last one, to the input."""
        columns = self._columns
        here = next((n for n, column in enumerate(columns) if column.has_focus_within), None)
        at = (0 if by > 0 else len(columns) - 1) if here is None else here + by
        if not 0 <= at < len(columns):
            self.query_one(Writing).focus()
            return
        columns[at].query_one(VerticalScroll).focus()
        if not self._busy:
            self._status("the arrows and page keys scroll this answer; tab goes to the next one")

    def action_leave(self) -> None:
        """Stop the answers; else leave the input; else leave the time machine."""
        if self._busy:
            self._stopped = True
            if self._answer is not None:
                self._answer.cancel()
            self._status("stopping ...")
        elif isinstance(self.focused, Writing):
            self.set_focus(None)
        else:
            self.dismiss()

    @work
    async def action_add(self) -> None:
        """One more model."""
        if self._busy or len(self._models) >= MOST_MODELS:
            self._status("wait for the answers" if self._busy else f"{MOST_MODELS} are the most; x removes one")
            return
        model: str | None = await self.app.push_screen_wait(ModelPicker("Which model shall be asked as well?"))
        if model is None:
            return
        if model in self._models:
            self._status(f"{model} is here already; ^o in the list shows other checkpoints of its run")
            return
        self._models.append(model)
        columns = self.query_one(Columns)
        await columns.mount(Column(short_name(model)))
        columns.lay_out()
        self._set_twin()
        self._status(self._what_to_do())

    async def action_remove(self) -> None:
        """One model fewer."""
        if self._busy or not self._models:
            self._status("wait for the answers, or stop them with esc" if self._busy else "there is none to remove")
            return
        columns = self._columns
        at = next((n for n, column in enumerate(columns) if column.has_focus_within), len(columns) - 1)
        del self._models[at]
        await columns[at].remove()
        self.query_one(Columns).lay_out()
        self._set_twin()
        self._status(self._what_to_do())

    def action_again(self) -> None:
        """The same with another seed."""
        if self._busy:
            self._status("answers are being written: esc stops them")
        elif self._asked and self._models:
            self._seed = (self._seed + 1) % _SEEDS
            self._ask(self._asked)


def _title(loaded: LoadedInfo) -> str:
    stage = stage_name(loaded.address)
    does = "continues the text" if loaded.kind == "base" else "answers"
    return f"{stage + ': ' if stage else ''}{short_name(loaded.address)} ({does})"
