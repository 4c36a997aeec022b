"""The terminal application: its screens over the run directory, the engine process and our own commands."""

import asyncio
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs import RunDirectory, start_detached
from tui import keys
from tui.jobs import command
from tui.leaving import Leaving
from tui.marks import Terminal, this_terminal
from tui.palette import AllActions, Palette
from tui.remembered import Remembered
from tui.screens.base import TITLES, ModeScreen
from tui.screens.help import HelpScreen
from tui.themes import THEMES, default_theme

if TYPE_CHECKING:  # it is loaded when a model is first asked for
    from tui.engine import EngineClient

CRASH_FILE = "tui-crash.log"
"""In `<home>/cache`: what an unexpected error left, for a report."""

_LEAST_SIZE = Size(60, 16)

_SETTLED_SECONDS = 0.5
"""After the first screen is there, until the others are loaded."""
_SCREENS = {
    "home": "tui.screens.home:HomeScreen",
    "data": "tui.screens.data.screen:DataScreen",
    "new": "tui.screens.new_run.screen:NewRunScreen",
    "monitor": "tui.screens.monitor.screen:MonitorScreen",
    "runs": "tui.screens.runs.screen:RunsScreen",
    "chat": "tui.screens.chat.screen:ChatScreen",
    "preferences": "tui.screens.preferences.screen:PreferencesScreen",
    "xray": "tui.screens.xray.screen:XrayScreen",
    "learn": "tui.screens.learn.screen:LearnScreen",
}


def screen_class(mode: str) -> type[ModeScreen]:
    """The class of a screen; it is imported when it is first opened, so that the application is there at once."""
    module, _, name = _SCREENS[mode].partition(":")
    found: type[ModeScreen] = getattr(import_module(module), name)
    return found


def _opener(mode: str) -> Callable[[], ModeScreen]:
    return lambda: screen_class(mode)()


class WholeCells(ScrollBarRender):
    """A scroll bar without parts of blocks, which macOS's Terminal draws out of line and ASCII does not have."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


ScrollBar.renderer = WholeCells

_MODES: dict[str, str | Callable[[], Screen[Any]]] = {mode: _opener(mode) for mode, _ in TITLES}


class MlxllmApp(Leaving):
    """All screens, and what they ask of the application."""

    TITLE = "mlxllm"
    MODES = _MODES
    DEFAULT_MODE = "home"
    COMMANDS: ClassVar[set[Any]] = {AllActions}
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (150, "-wide")]  # noqa: RUF012  # App declares it without ClassVar
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"go('{mode}')", title, show=False, id=f"app.{mode}")
            for number, (mode, title) in enumerate(TITLES, 1)
        ),
        Binding("question_mark", "help", "Help", key_display="?", id="app.help"),
        Binding("ctrl+p", "command_palette", "All actions", key_display="^p", id="app.palette"),
        Binding("q", "quit", "Quit", id="app.quit"),
        # In an input, where a letter is typed.
        Binding("f1", "help", "Help", show=False),
        Binding("ctrl+q", "quit", "Quit", key_display="^q", show=False, priority=True),
    ]
    CSS = """
    /* Lines, not half blocks: where rows do not touch each other those fall apart. */
    Input, TextArea, Select > SelectCurrent, OptionList, DataTable, Tree { border: round $border-blurred; }
    Input:focus, TextArea:focus, OptionList:focus, DataTable:focus, Tree:focus { border: round $border; }
    TextArea .text-area--placeholder { color: $text-muted; }
    TextArea .text-area--cursor { color: $input-cursor-foreground; background: $input-cursor-background; }
    Input, TextArea, OptionList, DataTable, Tree, Tree:focus, OptionList:focus { background: $background; }
    .ascii Input, .ascii TextArea, .ascii OptionList, .ascii DataTable, .ascii Tree { border: ascii $border-blurred; }
    .ascii Input:focus, .ascii TextArea:focus, .ascii OptionList:focus { border: ascii $border; }
    .ascii DataTable:focus, .ascii Tree:focus { border: ascii $border; }
    .ascii ModalScreen > Vertical, .ascii HelpScreen > VerticalScroll { border: ascii $primary; }
    .ascii Static { text-overflow: clip; }
    .ascii SearchIcon { display: none; }
    .too-small TooSmall { display: block; }
    /* Below the tabs: the input and the command at the bottom are in use. */
    ToastRack { dock: top; align: right top; margin: 1 0 0 0; max-height: 60%; scrollbar-size: 0 0; }
    Toast { width: auto; max-width: 66; margin: 0; padding: 0 1; color: $foreground; background: $panel; }
    .-narrow Toast { max-width: 75%; }
    .ascii Toast.-information { border-left: ascii $success; }
    .ascii Toast.-warning { border-left: ascii $warning; }
    .ascii Toast.-error { border-left: ascii $error; }
    """

    def __init__(
        self,
        *,
        run: str | None = None,
        terminal: Terminal | None = None,
        engine: "EngineClient | None" = None,
    ) -> None:
        """Open at Home, or at the Monitor of a run.

        Args:
            run: its name or path; "" is the newest one.
            terminal: what the terminal can show, by default found out.
            engine: the client of the engine process, by default one of its own.
        """
        super().__init__(engine)
        self.remembered = Remembered()
        self.terminal = terminal or this_terminal()
        self._first_run = run
        self.marks = self.terminal.marks
        self.user_keys: dict[str, str] = {}
        """Those of keys.toml by the name of their action."""
        self.measures = True
        """Whether New run may measure the machine without being asked."""
        for theme in THEMES:
            self.register_theme(theme)
        for name in [name for name in self.available_themes if name not in {theme.name for theme in THEMES}]:
            self.unregister_theme(name)  # Textual's own do not have the contrast
        wanted = self.remembered.get("theme", "")
        self.theme = wanted if wanted in self.available_themes else default_theme(self.terminal)
        self.set_class(self.terminal.marks == "ascii", "ascii")

    def call_from_thread(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `callback` in the thread of the application; what was found too late, while it closes, is left out.

        By then its widgets are being taken away one after another, so that nobody could tell where to show it.
        """
        return super().call_from_thread(lambda: callback(*args, **kwargs) if self.is_running else None)

    def on_mount(self) -> None:
        """Take over what the terminal and the system say to a process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is under `nohup`
                with suppress(RuntimeError, ValueError):  # not the main thread: a test, or a server
                    loop.add_signal_handler(number, self._leave_by_signal, number)
        self.user_keys, self._key_problems = keys.read_keys(self.named_keys())
        self.set_keymap(self.user_keys)
        if self._first_run is not None:
            self.open_monitor(self._first_run)
        self.theme_changed_signal.subscribe(self, lambda theme: self.remembered.set("theme", theme.name))

    def on_resize(self, event: Resize) -> None:
        """Of a very small window nothing but a sentence is shown."""
        self.set_class(event.size.width < _LEAST_SIZE.width or event.size.height < _LEAST_SIZE.height, "too-small")

    def on_ready(self) -> None:
        """Now there is a screen to say something on."""
        for problem in [*self._key_problems, self.remembered.problem]:
            if problem:
                self.warn(problem)
        if not self.is_headless:
            self.set_timer(_SETTLED_SECONDS, self._load_screens)

    @work(thread=True)
    def _load_screens(self) -> None:
        """Import what the screens are made of while Home is being read, so that each opens at once."""
        for mode, _ in TITLES:
            screen_class(mode)

    # What screens ask for.

    def action_go(self, mode: str) -> None:
        """Show a screen."""
        self.switch_mode(mode)

    def open_monitor(self, run: str, *, overlay: Sequence[str] = ()) -> None:
        """Watch a run; with `overlay`, the curves of others in the same chart."""
        self._open("monitor", lambda screen: screen.show_run(run, overlay=overlay))

    def open_chat(self, model: str, *, compare: Sequence[str] = ()) -> None:
        """Talk to a model; with `compare`, the time machine over it and those."""
        self._open("chat", lambda screen: screen.open_model(model, compare=compare))

    def open_new_run(
        self,
        method: str = "pretrain",
        *,
        model: str = "",
        data: Sequence[str] = (),
        preset: str = "",
        epochs: float | None = None,
    ) -> None:
        """Prepare a run: pretrain, sft or dpo."""
        self._open("new", lambda screen: screen.prefill(method, model=model, data=data, preset=preset, epochs=epochs))

    def open_data(self, name: str = "") -> None:
        """Show a dataset or source."""
        self._open("data", lambda screen: screen.show_source(name))

    def open_runs(self, select: str = "") -> None:
        """Show the table of runs with the cursor on one."""
        self._open("runs", lambda screen: screen.select_run(select))

    def _open(self, mode: str, then: Callable[[Any], object]) -> None:
        async def go() -> None:
            await self.switch_mode(mode)
            then(self.screen_stack[0])

        self.run_worker(go(), group="open", exclusive=True)

    async def launch(self, run: str, args: Sequence[str]) -> bool:
        """Start a trainer for run `run` in a session of its own; says what is wrong where it cannot be started.

        Args:
            run: name or path of the run.
            args: what stands behind `mlxllm`.

        Returns:
            Whether it was started.
        """
        try:
            directory = RunDirectory(paths.new("runs", run))
            await asyncio.to_thread(start_detached, command(args), directory)
        except UserError as error:
            self.fail(error)
            return False
        return True

    # Keys, palette, leaving.

    def get_key_display(self, binding: Binding) -> str:
        """A key as it is written in the last line of a screen."""
        return (
            keys.in_ascii(super().get_key_display(binding))
            if self.marks == "ascii"
            else super().get_key_display(binding)
        )

    def named_keys(self) -> dict[str, keys.NamedKey]:
        """Every action that has a name, of all screens."""
        found = list(keys.named_keys(self.BINDINGS))
        found += keys.named_keys(ModeScreen.BINDINGS)
        for mode, _ in TITLES:
            screen = screen_class(mode)
            found += keys.named_keys(screen.__dict__.get("BINDINGS", ()), mode)
            for (
                part
            ) in screen.PARTS:  # without a description the palette leaves them out: they work in their place only
                own = keys.named_keys(part.__dict__.get("BINDINGS", ()), mode)
                found += [replace(key, description="") for key in own]
        return {key.id: key for key in found}

    def action_help(self) -> None:
        """What is on the screen, in plain words."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen), lambda mode: self.action_go(mode) if mode else None)

    def action_command_palette(self) -> None:
        """All actions."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_write_keys(self) -> None:
        """Write keys.toml with all actions, unless there is one."""
        path = keys.file()
        if path.exists():
            self.tell(f"{path} exists already; change it there and start anew")
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(keys.template(self.named_keys()), encoding="utf-8")
        except OSError as error:
            self.fail(f"cannot write {path}: {error.strerror or error}")
            return
        self.tell(f"written: {path}; change keys there and start anew")

    def get_system_commands(self, screen: Screen[Any]) -> Any:
        """What the palette offers beside the actions of the screens."""
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)
        yield SystemCommand("Write keys.toml", "A file in which every key can be changed", self.action_write_keys)

    def _fatal_error(self) -> None:
        """An error of ours that nobody expected: the terminal is restored, a sentence says where the details are."""
        error = self._exception or sys.exception()
        text = "".join(traceback.format_exception(error)) if error is not None else ""
        place = paths.folder("cache") / CRASH_FILE
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}", encoding="utf-8")
        except OSError:
            self.panic(text)
            return
        kind = type(error).__name__
        self.panic(
            f"error: this should not have happened: {kind}: {error} (the details are in {place}; please report it). "
            f"Training is not touched by it."
        )
