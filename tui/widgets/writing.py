"""Where one writes to a model: several lines, Enter sends, the arrows recall what was sent before."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from tui.words import visible

_MOST_RECALLED = 200


class Writing(TextArea):
    """Text to send. It grows with its lines, and what was typed is only gone when it was taken."""

    HELP = "Here you write. Enter sends, ctrl+j begins a new line, the arrow up brings back what you wrote, esc leaves."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="chat.send"),
        Binding("ctrl+j,shift+enter", "newline", "New line", key_display="^j", id="chat.newline"),
    ]
    DEFAULT_CSS = """
    Writing { height: auto; min-height: 3; max-height: 9; padding: 0 1; }
    """

    @dataclass
    class Sent(Message):
        """Somebody wants this to be sent; `clear` says that it was."""

        writing: "Writing"
        text: str

        @property
        def control(self) -> "Writing":
            """Where it was written."""
            return self.writing

    def __init__(self, placeholder: str = "", *, id: str | None = None) -> None:
        """Begin empty."""
        super().__init__(id=id, placeholder=placeholder, soft_wrap=True, show_line_numbers=False)
        self._before: list[str] = []
        self._at = 0
        self._draft = ""

    def action_send(self) -> None:
        """Ask for what stands here to be sent; it stays until it is taken."""
        self.post_message(self.Sent(self, self.text))

    def action_newline(self) -> None:
        """A new line."""
        self.insert("\n")

    def taken(self) -> None:
        """What stands here was sent: keep it for later, and begin anew."""
        self.remember(self.text)
        self.clear()

    def remember(self, *texts: str) -> None:
        """Texts that the arrow up brings back, the last one first."""
        for text in texts:
            if text.strip() and (not self._before or self._before[-1] != text):
                self._before.append(text)
        del self._before[:-_MOST_RECALLED]
        self._at, self._draft = len(self._before), ""

    def put(self, text: str, *, selected: bool = False) -> None:
        """Have this here to be changed, with the cursor behind it; `selected`: typing takes its place."""
        self.load_text(text)
        self.move_cursor(self.document.end)
        if selected:
            self.select_all()

    def on_paste(self, event: events.Paste) -> None:
        """All of it, as text: signs in place of control characters; it is never sent by itself."""
        event.stop()
        event.prevent_default()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")  # terminals paste the end of a line as Enter
        text = "\t".join(visible(part) for part in text.split("\t"))
        self.replace(text, *self.selection, maintain_selection_offset=False)

    def on_key(self, event: events.Key) -> None:
        """Send, begin a line; at the edges the arrows go through what was sent before."""
        if not event.is_printable and (active := self.screen.active_bindings.get(event.key)) is not None:
            # Here and not by priority, which would be ahead of letters that were typed before.
            own = {"send": self.action_send, "newline": self.action_newline}.get(active.binding.action)
            if own is not None and active.node is self:
                event.stop()
                event.prevent_default()
                own()
                return
        row = self.cursor_location[0]
        back = event.key == "up" and row == 0 and self._at > 0
        forth = event.key == "down" and row == self.document.line_count - 1 and self._at < len(self._before)
        if not back and not forth:
            return
        event.stop()
        event.prevent_default()
        if self._at == len(self._before):
            self._draft = self.text
        self._at += -1 if back else 1
        self.put(self._before[self._at] if self._at < len(self._before) else self._draft)
