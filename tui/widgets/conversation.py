"""The messages of a chat, the newest at the bottom; old ones are put together into one line, however long the talk is."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.widgets import Static

from mlxllm.conversation.saved import Said
from mlxllm.data.origins.tracing import Trace
from mlxllm.runs import short_name
from tui.widgets.answers import Message, Streaming

MOST_SHOWN = 24
"""So many messages are mounted: with 50 each piece of a streaming answer takes twice as long to draw."""


class Conversation(VerticalScroll, can_focus=True):
    """What was said, and the answer that comes."""

    HELP = "What was said. The arrows and page keys scroll; enter goes back to writing."
    DEFAULT_CSS = """
    Conversation { height: 1fr; padding: 0 1; }
    Conversation #earlier { height: 1; color: $accent; }
    Conversation #past { height: auto; }
    """

    @dataclass
    class EarlierWanted(TextualMessage):
        """Somebody clicked the line of the old messages."""

    def __init__(self, *, id: str | None = None) -> None:
        """Begin with nothing said."""
        super().__init__(id=id)
        self._said: Sequence[Said] = ()
        self._model, self._markdown = "", True
        self._first = 0  # turn at which what is shown begins
        self._turns: list[tuple[Said, Message]] = []
        self._streaming: Streaming | None = None

    def compose(self) -> ComposeResult:
        # A box of its own, which is not laid out anew for each word of an answer that comes below it.
        yield Vertical(id="past")

    @property
    def _past(self) -> Vertical:
        return self.query_one("#past", Vertical)

    def on_mount(self) -> None:
        """Stay at the bottom until somebody scrolls."""
        self.anchor()

    async def show(self, said: Sequence[Said], model: str, *, markdown: bool) -> None:
        """Show a conversation from its end.

        Args:
            said: the turns; the list itself, which may grow: `follow` shows what is new.
            model: who answers, where a turn does not say.
            markdown: whether answers are Markdown; a base model's text is not.
        """
        self._said, self._model, self._markdown = said, model, markdown
        self._turns, self._streaming = [], None
        self._first = max(0, len(said) - MOST_SHOWN)
        for widget in [child for child in self.children if child.id != "past"]:
            await widget.remove()
        await self._past.remove_children()
        await self.follow()
        self.anchor()

    async def follow(self) -> None:
        """Show what was said since, and take away what was taken back or replaced."""
        self._first = min(self._first, len(self._said))
        now = self._said[self._first :]
        same = next((n for n, (a, b) in enumerate(zip(self._turns, now, strict=False)) if a[0] is not b), len(now))
        same = min(same, len(self._turns))
        gone, self._turns = self._turns[same:], self._turns[:same]
        new = [(said, self._widget(said)) for said in now[same:]]
        with self.app.batch_update():
            await self.forget_notes()
            for _, widget in gone:
                await widget.remove()
            await self._past.mount_all([widget for _, widget in new])
            self._turns += new
            await self._trim()
            await self._tell_earlier()

    async def begin_answer(self, who: str, before: str = "") -> Streaming:
        """An answer that comes now, in place of its beginning where it goes on."""
        if before and self._turns:
            await self._turns.pop()[1].remove()
        await self.forget_notes()
        self._streaming = Streaming(who, markdown=self._markdown, before=before)
        await self.mount(self._streaming)
        return self._streaming

    async def end_answer(self) -> None:
        """The answer is at its end, and has become a turn, or never came."""
        if self._streaming is not None:
            await self._streaming.finish()
            with self.app.batch_update():
                await self._streaming.remove()
                self._streaming = None
                await self.follow()

    def glow(self, said: Said, trace: Trace) -> None:
        """Mark what of an answer stands in training documents, if it is still shown."""
        for turn, widget in self._turns:
            if turn is said:
                widget.glow(trace)

    async def note(self, text: str) -> None:
        """Something that the application says, until more is said; what it says already is not said twice."""
        for before in [each for each in self.query("Message.note").results(Message) if each.source == text]:
            await before.remove()
        await self.mount(Message("", text, role="note", markdown=False))

    async def forget_notes(self) -> None:
        """Take away what the application said."""
        await self.query("Message.note").remove()

    async def show_earlier(self) -> int:
        """Mount more of the old messages; returns how many there were."""
        more = min(self._first, MOST_SHOWN)
        if not more:
            return 0
        self._first -= more
        new = [(said, self._widget(said)) for said in self._said[self._first : self._first + more]]
        self.release_anchor()
        await self._past.mount_all([widget for _, widget in new], before=self._turns[0][1] if self._turns else None)
        self._turns = [*new, *self._turns]
        await self._tell_earlier()
        return more

    async def _trim(self) -> None:
        """Put the oldest together again, unless somebody reads them."""
        if len(self._turns) > MOST_SHOWN and self.is_vertical_scroll_end:
            surplus = len(self._turns) - MOST_SHOWN
            for _, widget in self._turns[:surplus]:
                await widget.remove()
            del self._turns[:surplus]
            self._first += surplus

    async def _tell_earlier(self) -> None:
        lines = self.query("#earlier")
        if not self._first:
            await lines.remove()
            return
        many = "1 earlier message" if self._first == 1 else f"{self._first:,} earlier messages"
        text = Content(f"^ {many}; u, or a click here, shows more")
        if lines:
            lines.first(Static).update(text)
        else:
            await self.mount(EarlierLine(text, id="earlier"), before=0)

    def _widget(self, said: Said) -> Message:
        if said.role == "user":
            return Message("You", said.content, role="user", markdown=False)
        note = {
            "length": "(cut off here; enter on an empty line lets it go on)",
            "cancelled": "(stopped here; enter on an empty line lets it go on)",
        }.get(str(said.about.get("finish_reason")), "")
        who = short_name(str(said.about.get("model") or self._model))
        if said.about.get("rewritten"):
            who, note = "You, in its place", ""
        if not said.content.strip():
            note = "(an empty answer; ctrl+r asks for another)"
        return Message(who, said.content, role="assistant", markdown=self._markdown, note=note)


class EarlierLine(Static):
    """The line in place of the old messages."""

    def on_click(self) -> None:
        """Show more of them."""
        self.post_message(Conversation.EarlierWanted())
