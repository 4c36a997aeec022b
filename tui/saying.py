"""What the application says in passing, and what it asks in front of a screen."""

from collections.abc import Callable

from textual import events
from textual.app import App
from textual.notifications import Notify

from mlxllm.errors import UserError
from tui.widgets.dialogs import Ask, Confirm
from tui.words import visible

_ERROR_SECONDS = 20.0
"""An error is to be read in peace; Esc or a click puts it away."""
_WARNING_SECONDS = 10.0
_MOST_SAID = 4


class Saying(App[None]):
    """Messages at the top right, and questions."""

    def tell(self, text: str, title: str = "") -> None:
        """Say something in passing; Esc or a click puts it away, as all that is said."""
        self.notify(visible(text), title=title, markup=False)

    def warn(self, text: str) -> None:
        """Say something that may matter."""
        self.notify(f"! {visible(text)}", severity="warning", timeout=_WARNING_SECONDS, markup=False)

    def fail(self, error: UserError | str) -> None:
        """Say why something could not be done."""
        mark = "x" if self.has_class("ascii") else "✗"
        self.notify(f"{mark} {visible(str(error))}", severity="error", timeout=_ERROR_SECONDS, markup=False)

    async def confirm(self, question: str, yes: str = "Yes") -> bool:
        """Ask a question in front of the screen; to be awaited in a worker."""
        agreed: bool | None = await self.push_screen_wait(Confirm(question, yes))
        return agreed is True

    async def ask(
        self, question: str, value: str = "", placeholder: str = "", check: Callable[[str], object] | None = None
    ) -> str | None:
        """Ask for a line of text; None where it was put away. To be awaited in a worker."""
        return await self.push_screen_wait(Ask(question, value, placeholder, check))

    def on_notify(self, event: Notify) -> None:
        """Before Textual shows it: the newest few are enough, and nothing stands twice."""
        shown = list(self._notifications)
        for number, old in enumerate(shown, _MOST_SAID - len(shown)):
            if number <= 0 or old.message == event.notification.message:
                self._unnotify(old)

    async def on_event(self, event: events.Event) -> None:
        """Esc puts away what was said, besides what it does anyway."""
        if isinstance(event, events.Key) and event.key == "escape" and not event.is_forwarded:
            self.clear_notifications()
        await super().on_event(event)
