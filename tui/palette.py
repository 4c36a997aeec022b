"""The command palette over all actions, of the screen that is open and of all others."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from textual import on
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.widgets import Input
from textual.worker import Worker, WorkerError, WorkerState

from tui.keys import written
from tui.screens.base import TITLES

if TYPE_CHECKING:  # the application has this provider
    from tui.app import MlxllmApp
    from tui.keys import NamedKey

_NOT_LISTED = ("app.palette", "app.leave")
"""What makes no sense from here."""


class Palette(CommandPalette):
    """The palette; Enter waits for the list that belongs to what is written, however quickly that was typed."""

    @on(Input.Submitted)
    def _take_when_found(self, event: Input.Submitted) -> None:
        searching = [
            worker
            for worker in self.workers
            if worker.node is self and worker.group == self._GATHER_COMMANDS_GROUP and not worker.is_finished
        ]
        if searching:
            event.stop()
            event.prevent_default()
            self.run_worker(self._take(searching[-1]), group="take", exclusive=True)

    async def _take(self, search: Worker[object]) -> None:
        with suppress(WorkerError):
            await search.wait()
        if search.state == WorkerState.SUCCESS:
            self._select_or_command()


class AllActions(Provider):
    """Screens, and every named action; one of another screen goes there first."""

    @property
    def mlx(self) -> "MlxllmApp":
        """The application."""
        return cast("MlxllmApp", self.app)

    async def discover(self) -> Hits:
        """Without a search: the screens, then what the open one can do."""
        for title, action, help_ in self._everything():
            if ":" not in title or title.startswith(f"{self._here()}:"):
                yield DiscoveryHit(title, partial(self._do, action), help=help_)
        for command in self.mlx.get_system_commands(self.mlx.screen):
            yield DiscoveryHit(command.title, command.callback, help=command.help)

    async def search(self, query: str) -> Hits:
        """All actions whose words are like the query."""
        matcher = self.matcher(query)
        for title, action, help_ in self._everything():
            if (score := matcher.match(title)) > 0:
                yield Hit(score, matcher.highlight(title), partial(self._do, action), help=help_)
        for command in self.mlx.get_system_commands(self.mlx.screen):
            if (score := matcher.match(command.title)) > 0:
                yield Hit(score, matcher.highlight(command.title), command.callback, help=command.help)

    def _here(self) -> str:
        return dict(TITLES)[self.mlx.current_mode]

    def _everything(self) -> Iterator[tuple[str, "NamedKey", str]]:
        """Title, action and key of each, the open screen's first."""
        titles = dict(TITLES)
        found = list(self.mlx.named_keys().values())
        found.sort(key=lambda key: key.mode != self.mlx.current_mode)
        for key in found:
            if not key.description or key.id in _NOT_LISTED:
                continue
            title = f"{titles[key.mode]}: {key.description}" if key.mode else key.description
            yield title, key, f"key {written(self.mlx.user_keys.get(key.id, key.key))}"

    async def _do(self, key: "NamedKey") -> None:
        if key.mode and key.mode != self.mlx.current_mode:
            await self.mlx.switch_mode(key.mode)
        name = key.action.partition("(")[0]
        screen = self.mlx.screen
        if hasattr(screen, f"action_{name}"):
            if screen.check_action(name, ()) is not True:
                self.mlx.warn(f"{key.description}: not possible here just now; ? says what is")
                return
            await screen.run_action(key.action)
            return
        await self.mlx.run_action(key.action)
