"""Which of two answers to a question was the better one, or what would have been."""

from typing import ClassVar, Literal

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.screens.chat.write import Drafts, WriteAnswer
from tui.widgets.keys_bar import KeysBar
from tui.words import visible

Judgement = Literal["last", "earlier"] | tuple[Literal["rewritten"], str]


class JudgeAnswer(ModalScreen[Judgement | None]):
    """A judgement on the last answer; None where there was none."""

    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    JudgeAnswer { align: center middle; }
    JudgeAnswer > Vertical { width: 90; max-width: 96%; height: 85%; background: $surface; border: round $primary; }
    JudgeAnswer > Vertical { padding: 0 1; }
    JudgeAnswer VerticalScroll { height: 1fr; }
    JudgeAnswer .side { height: auto; margin-bottom: 1; border-left: solid $accent; padding: 0 1; }
    .ascii JudgeAnswer .side { border-left: ascii $accent; }
    JudgeAnswer #why { height: auto; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "judge('last')", "This is better"),
        Binding("x", "judge('earlier')", "The one before is better"),
        Binding("w", "write", "Write a better one"),
        Binding("escape", "leave", "Never mind"),
    ]

    def __init__(self, question: str, last: str, earlier: str | None, drafts: Drafts) -> None:
        """Ask about the last answer to `question`, and the one before it where there is one."""
        super().__init__()
        self._question, self._last, self._earlier, self._drafts = question, last, earlier, drafts

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "What do you prefer?"
            with VerticalScroll():
                yield Static(_side("This answer", self._last), classes="side")
                if self._earlier is not None:
                    yield Static(_side("The one before it", self._earlier), classes="side")
            told = "What you prefer is kept as a preference pair, which `mlxllm dpo` learns from (7 Preferences)."
            if self._earlier is None:
                told = f"ctrl+r in the chat asks for a second answer to compare with. {told}"
            yield Static(Content(told), id="why")
        yield KeysBar()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Two answers are compared where there are two."""
        return action != "judge" or self._earlier is not None

    def action_judge(self, which: Literal["last", "earlier"]) -> None:
        """One is better."""
        self.dismiss(which)

    @work
    async def action_write(self) -> None:
        """A better one is written."""
        text: str | None = await self.app.push_screen_wait(WriteAnswer(self._question, self._last, self._drafts))
        if text is not None:
            self.dismiss(("rewritten", text))

    def action_leave(self) -> None:
        """No judgement."""
        self.dismiss(None)


def _side(title: str, text: str) -> Content:
    return Content.assemble((title, "bold $primary"), "\n", visible(text))
