"""The application in the terminal of this process, and how late its event loop is; a JSON object goes to a file.

tui_app.py RUN MODEL ENGINE SECONDS OUT: the Monitor of RUN for SECONDS, then the chat with MODEL while an answer streams,
then the Monitor again while it still streams. ENGINE is a script that is started in place of the engine process.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui.app import MlxllmApp
from tui.engine import EngineClient
from tui.screens.chat.screen import ChatScreen
from tui.screens.monitor.screen import MonitorScreen

TOKENS_PER_SECOND = 200
WORDS_A_PARAGRAPH = 60
SEPARATORS = (" ", "\n\n")
MOST_WORDS = 18_000
"""An argument of a command cannot be much longer."""
_NAP = 0.002
_PATIENCE = 60.0


class Measured(MlxllmApp):
    """Goes through the phases by itself."""

    model = ""
    seconds = 0.0
    results: dict[str, Any]

    def on_mount(self) -> None:
        """Begin."""
        super().on_mount()
        self.results = {}
        self.run_worker(self.phases(), exit_on_error=True)

    async def phases(self) -> None:
        """One after the other."""
        await until(lambda: isinstance(self.screen, MonitorScreen) and self.screen.view is not None)
        monitor = self.screen
        assert isinstance(monitor, MonitorScreen)
        await until(lambda: monitor.view is not None and monitor.view.complete)
        await self.measure("monitor")
        self.open_chat(self.model)
        await until(lambda: isinstance(self.screen, ChatScreen) and self.screen._stage == "ready")
        chat = self.screen
        assert isinstance(chat, ChatScreen)
        chat.writing.insert("Tell me a story.")
        chat.writing.focus()
        self.simulate_key("enter")
        await until(lambda: chat._answer is not None)
        await self.measure("chat")
        self.action_go("monitor")
        await self.measure("both")
        assert chat._answer is not None, "the answer was over too soon"
        self.exit()

    async def measure(self, phase: str) -> None:
        """How late the loop is, in seconds, every few milliseconds."""
        late = []
        end = time.perf_counter() + self.seconds
        while (before := time.perf_counter()) < end:
            await asyncio.sleep(_NAP)
            late.append(time.perf_counter() - before - _NAP)
        self.results[phase] = late


async def until(condition: Callable[[], object]) -> None:
    """Wait."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def answer(seconds: float) -> str:
    """An answer in paragraphs, as long as it has to stream."""
    count = min(MOST_WORDS, int(TOKENS_PER_SECOND * (2 * seconds + 20)))
    return "".join(f"{SEPARATORS[(number % WORDS_A_PARAGRAPH == 0)]}w{number}" for number in range(count)).strip()


def main() -> None:
    """Run the application."""
    run, model, engine, seconds, out = sys.argv[1:]
    command = [sys.executable, engine, "--rate", str(TOKENS_PER_SECOND), "--answer", answer(float(seconds))]
    app = Measured(run=run, engine=EngineClient(command))
    app.model, app.seconds = model, float(seconds)
    app.run()
    Path(out).write_text(json.dumps(app.results))
    sys.exit(app.return_code)


if __name__ == "__main__":
    main()
