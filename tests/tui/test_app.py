"""The application's shell: screens by number, keys that can be changed, leaving, and what it must never load."""

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlxllm import paths
from mlxllm.data.draft import unfinished
from tests.tui.harness import PATIENCE, crashed_run, ended_run, new_app, screen_text, wait_for, wait_for_text
from tui import commands
from tui.jobs import Line
from tui.screens.base import TITLES

ALL_SCREENS = """
import asyncio, sys
from tui.app import MlxllmApp
from tui.screens.base import TITLES
async def main():
    app = MlxllmApp()
    async with app.run_test() as pilot:
        for number in range(1, len(TITLES) + 1):
            await pilot.press("escape", str(number))
            await pilot.pause()
        await pilot.press("escape", "question_mark", "escape")
asyncio.run(main())
sys.exit("mlx" in sys.modules or "mlx.core" in sys.modules)
"""


def test_with_all_its_screens_open_it_has_not_loaded_mlx() -> None:
    done = subprocess.run([sys.executable, "-c", ALL_SCREENS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_numbers_change_the_screen(size: tuple[int, int]) -> None:
    async with new_app().run_test(size=size) as pilot:
        for number, (mode, title) in enumerate(TITLES, 1):
            await pilot.press("escape", str(number))  # out of an input, if there is one
            await wait_for(pilot, lambda mode=mode: pilot.app.current_mode == mode)
            await wait_for_text(pilot, f"[{number} {title}]")


async def test_it_lives_in_a_tiny_window_and_with_names_that_break_lines() -> None:
    ended_run("two\nlines\x1b[31m")
    async with new_app().run_test(size=(80, 24)) as pilot:
        await wait_for_text(pilot, "$ mlxllm chat --model 'two lines [31m'  y copies")
        for number, (mode, _) in enumerate(TITLES, 1):
            await pilot.press("escape", str(number))
            await wait_for(pilot, lambda mode=mode: pilot.app.current_mode == mode)
            for size in ((60, 16), (40, 12), (20, 5)):
                await pilot.resize_terminal(*size)
                await wait_for(pilot, lambda small=size[0] < 60: ("make the window" in screen_text(pilot.app)) == small)
                assert "\x1b" not in screen_text(pilot.app)
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: "make the window" not in screen_text(pilot.app))


async def test_help_explains_keys_and_words() -> None:
    async with new_app().run_test(size=(100, 60)) as pilot:
        await wait_for_text(pilot, "Press t")
        await pilot.press("question_mark")
        await wait_for_text(pilot, "Words on this screen")
        text = screen_text(pilot.app)
        assert text.index("Focus  The arrows") < text.index("Home shows this machine") < text.index("? or f1")
        quick = next(line for line in text.splitlines() if "Quick start" in line)
        assert "y            Copy command" in quick or "ctrl+q  Quit" in quick  # the other column
        await pilot.press("f1")
        await wait_for(pilot, lambda: "Words on this screen" not in screen_text(pilot.app))
        await pilot.press("question_mark")
        await wait_for_text(pilot, "Words on this screen")
        await pilot.press("5")
        await wait_for_text(pilot, "[5 Runs]")
        assert "Words on this screen" not in screen_text(pilot.app)


async def test_what_is_said_stands_below_the_tabs_and_goes_with_esc() -> None:
    ended_run("letters")
    async with new_app().run_test(size=(80, 24), notifications=True) as pilot:
        await wait_for_text(pilot, "$ mlxllm chat --model letters")
        for number in range(9):
            pilot.app.fail(f"number {number} of many things that went wrong, each in a sentence of some length")
        await wait_for_text(pilot, "number 8")
        lines = screen_text(pilot.app).splitlines()
        assert "[1 Home]" in lines[0]
        assert not any("number" in line for line in lines[-8:])
        await pilot.press("escape")
        await wait_for(pilot, lambda: "number 8" not in screen_text(pilot.app))
        pilot.app.tell("in passing")
        await wait_for_text(pilot, "in passing")
        await pilot.click("Toast")
        await wait_for(pilot, lambda: "in passing" not in screen_text(pilot.app))


async def test_a_key_can_be_changed_and_a_wrong_line_is_told(mlxllm_home: Path) -> None:
    lines = ("[keys]", '"home.quick_start" = "f5"', '"home.quikstart" = "x"', '"app.palette" = "foobar"')
    (mlxllm_home / "keys.toml").write_text("\n".join(lines))
    async with new_app().run_test(size=(100, 30), notifications=True) as pilot:
        await wait_for_text(pilot, "home.quick_start")
        await wait_for(pilot, lambda: any("'foobar' for 'app.palette'" in n.message for n in pilot.app._notifications))
        await pilot.press("t")
        await pilot.pause()
        assert "How long may it take" not in screen_text(pilot.app)
        await pilot.press("f5")
        await wait_for_text(pilot, "How long may it take")


async def test_the_hint_goes_away_for_good() -> None:
    async with new_app().run_test(size=(100, 30)) as pilot:
        await wait_for_text(pilot, "Hint")
        await pilot.press("escape")
        await wait_for(pilot, lambda: "Hint" not in screen_text(pilot.app))
    async with new_app().run_test(size=(100, 30)) as pilot:
        await wait_for_text(pilot, "No runs yet")
        assert "Hint" not in screen_text(pilot.app)


async def test_what_is_found_while_it_closes_is_left_out() -> None:
    app = new_app()
    shown: list[str] = []

    def find() -> None:
        deadline = time.monotonic() + PATIENCE
        while app.is_running and time.monotonic() < deadline:
            time.sleep(0.001)
        app.call_from_thread(shown.append, "too late")

    async with app.run_test(size=(80, 24)):
        found_in_time: list[str] = []
        await asyncio.to_thread(app.call_from_thread, found_in_time.append, "in time")
        late = asyncio.create_task(asyncio.to_thread(find))
    await late
    assert (found_in_time, shown) == (["in time"], [])


async def test_the_twin_command_is_shown_and_copied() -> None:
    ended_run("letters")
    async with new_app().run_test(size=(100, 30)) as pilot:
        await wait_for_text(pilot, "$ mlxllm chat --model letters")
        await pilot.press("y")
        await wait_for(pilot, lambda: pilot.app.clipboard == "mlxllm chat --model letters")


async def test_home_knows_what_to_do_next() -> None:
    async with new_app().run_test(size=(100, 30)) as pilot:
        await wait_for_text(pilot, "Press t: in a few minutes")
    crashed_run("broken")
    async with new_app().run_test(size=(100, 30)) as pilot:
        await wait_for_text(pilot, "broken ended early (crashed)")


async def test_quick_start_shows_and_starts_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, tuple[str, ...]]] = []
    app = new_app()

    async def launch(run: str, args: tuple[str, ...]) -> bool:
        started.append((run, args))
        return True

    monkeypatch.setattr(app, "launch", launch)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("t")
        await wait_for_text(pilot, "$ mlxllm quickstart --minutes 4 --corpus stories --run stories-1")
        await pilot.press("down", "enter")
        await wait_for(pilot, lambda: started)
        assert started == [("stories-1", commands.quickstart("stories-1", 6.0))]
        await wait_for(pilot, lambda: app.current_mode == "monitor")


async def test_what_is_said_and_asked_steers_no_terminal() -> None:
    app = new_app()
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        for say in (app.tell, app.warn, app.fail):
            say(f"{say.__name__} a\x1b[31mb")
        await wait_for(pilot, lambda: screen_text(app).count("a␛[31mb") == 3)
        app.run_worker(app.confirm("delete a\x1b[32mb?"))
        await wait_for_text(pilot, "a␛[32mb?")
        assert "\x1b" not in screen_text(app)


async def test_the_palette_reaches_actions_of_other_screens(mlxllm_home: Path) -> None:
    async with new_app().run_test(size=(100, 30)) as pilot:
        await pilot.press("5")
        await wait_for(pilot, lambda: pilot.app.current_mode == "runs")
        await pilot.press("ctrl+p")
        await pilot.press(*"data more")
        await wait_for_text(pilot, "key + or =")
        await pilot.press("end", *(["backspace"] * 9), *"home quick")
        await wait_for_text(pilot, "Home: Quick start")
        await pilot.press("enter")
        await wait_for_text(pilot, "How long may it take")
        await pilot.press("escape")
        await pilot.press("ctrl+p")
        for key in (*"keys", "full_stop", *"toml", "enter"):  # faster than the list is made
            pilot.app.simulate_key(key)
        await wait_for(pilot, lambda: (mlxllm_home / "keys.toml").exists(), "keys.toml")
        await pilot.press("escape", "ctrl+p", *"theme")
        await wait_for_text(pilot, "Choose the colours")
        await pilot.press("enter")
        await wait_for_text(pilot, "daylight")
        await pilot.press(*"daylight", "enter")
        await wait_for(pilot, lambda: pilot.app.theme == "daylight")


async def test_leaving_says_what_goes_on_and_what_was_stopped(
    monkeypatch: pytest.MonkeyPatch, mlxllm_home: Path
) -> None:
    """A build that is running is stopped as Ctrl-C does it, so that it can go on."""
    with ended_run("letters", status="running").lock():
        app = new_app()
        said: list[object] = []
        monkeypatch.setattr(app, "exit", lambda message=None: said.append(message))
        async with app.run_test(size=(100, 30)) as pilot:
            seen: list[Line] = []
            build = commands.data_build("long", [("stories:200000", None)], "byte")
            app.run_job((*build, "--json", "--progress"), seen.append)
            await wait_for(pilot, lambda: any('"writing"' in json.dumps(line) for line in seen), "the build to write")
            await pilot.press("q")
            await wait_for(pilot, lambda: said)
        first, second = str(said[0]).splitlines()
    assert first == "letters goes on training; `mlxllm monitor letters` shows it again"
    assert "the build of long was stopped; what is done is kept, and `mlxllm data build long` goes on" in second
    deadline = time.monotonic() + PATIENCE  # on a busy machine it saves for longer than the application waits
    while (found := [(name, at_work) for name, _, at_work in unfinished(mlxllm_home / "datasets")]) != [
        ("long", False)
    ]:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


def test_what_is_remembered_survives_damage(mlxllm_home: Path) -> None:
    from tui.remembered import Remembered

    one = Remembered()
    one.set("theme", "ember")
    assert Remembered().get("theme", "") == "ember"
    (mlxllm_home / "tui.json").write_text("{broken")
    damaged = Remembered()
    assert damaged.get("theme", "midnight") == "midnight"
    assert "tui.json is not valid JSON" in damaged.problem
    assert "was kept as tui.json.damaged" in damaged.problem
    assert (mlxllm_home / "tui.json.damaged").read_text() == "{broken"
    assert Remembered().problem == ""  # told once
    Remembered().set("theme", "daylight")
    assert json.loads((mlxllm_home / "tui.json").read_text()) == {"theme": "daylight"}
    for number, text in enumerate(("[1]", "\x00"), 2):
        (mlxllm_home / "tui.json").write_text(text)
        assert f"was kept as tui.json.damaged-{number}" in Remembered().problem
        assert (mlxllm_home / f"tui.json.damaged-{number}").read_text() == text


def said(app: Any) -> str:
    """What stands at the top right."""
    return "\n".join(toast.message for toast in app._notifications)


async def test_damaged_files_are_told_in_a_sentence_each(mlxllm_home: Path) -> None:
    (mlxllm_home / "tui.json").write_text("{broken")
    lines = "".join(f'"no.such.action{number}" = "x"\n' for number in range(20))
    (mlxllm_home / "keys.toml").write_text(f"[keys]\n{lines}")
    async with new_app().run_test() as pilot:
        await wait_for(pilot, lambda: "was kept as tui.json.damaged" in said(pilot.app))
        await wait_for(pilot, lambda: "and 18 more lines that cannot be used" in said(pilot.app))
        assert pilot.app.current_mode == "home"
    (mlxllm_home / "keys.toml").write_text("[keys\n")
    async with new_app().run_test() as pilot:
        await wait_for(pilot, lambda: "the keys are the usual ones" in said(pilot.app))
        assert "damaged" not in said(pilot.app)
    assert (mlxllm_home / "keys.toml").read_text() == "[keys\n"


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, *args: str) -> None:
        self.master, follower = pty.openpty()
        env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "28"}
        self.process = subprocess.Popen(
            args, stdin=follower, stdout=follower, stderr=follower, env=env, start_new_session=True
        )
        os.close(follower)
        self.seen = b""

    def read_until(self, text: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} never came:\n{self.seen.decode(errors='replace')}"
            self.read(0.1)

    def read(self, seconds: float) -> None:
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.master, 1 << 16)
            except OSError:  # its other end is closed: the process has gone
                return

    def end(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        self.read(0.05)
        os.close(self.master)
        return self.process.wait(1)


ALTERNATE_SCREEN_OFF, CURSOR_ON = b"\x1b[?1049l", b"\x1b[?25h"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(number: signal.Signals) -> None:
    terminal = Terminal(sys.executable, "-m", "mlxllm")
    terminal.read_until(b"No runs yet")
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert ALTERNATE_SCREEN_OFF in terminal.seen
    assert CURSOR_ON in terminal.seen
    assert b"Traceback" not in terminal.seen


@pytest.mark.parametrize(("number", "hangs"), [(signal.SIGTERM, "thread"), (signal.SIGHUP, "engine")])
def test_it_ends_though_something_hangs(number: signal.Signals, hangs: str) -> None:
    """A thread that waits for ever, or an engine that cannot be closed: the terminal is restored, and the process gone."""
    program = f"""
import asyncio, sys, time
from tui.app import MlxllmApp
class Hanging(MlxllmApp):
    def on_ready(self):
        self.run_worker(lambda: time.sleep(600), thread=True)
class Engine:
    async def close(self):
        await asyncio.sleep(600)
app = Hanging(engine=None if {hangs!r} == "thread" else Engine())
app.leave_within = 2.0
app.run()
sys.exit(app.return_code)
"""
    terminal = Terminal(sys.executable, "-c", program)
    terminal.read_until(b"No runs yet")
    begun = time.monotonic()
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert time.monotonic() - begun < PATIENCE / 2
    assert ALTERNATE_SCREEN_OFF in terminal.seen
    assert CURSOR_ON in terminal.seen


def test_an_unexpected_error_restores_the_terminal_and_ends_in_a_sentence() -> None:
    program = (
        "import sys\nfrom tui.app import MlxllmApp\n"
        "class Broken(MlxllmApp):\n    def action_help(self):\n        raise ValueError('nobody expected this')\n"
        "app = Broken()\napp.run()\nsys.exit(app.return_code)"
    )
    terminal = Terminal(sys.executable, "-c", program)
    terminal.read_until(b"No runs yet")
    os.write(terminal.master, b"?")
    assert terminal.end() == 1
    after = terminal.seen[terminal.seen.rindex(ALTERNATE_SCREEN_OFF) :]
    assert b"nobody expected this" in after
    assert b"Traceback" not in after
    assert "nobody expected this" in (paths.folder("cache") / "tui-crash.log").read_text()


def test_without_a_terminal_it_prints_help_and_ends_with_2() -> None:
    done = subprocess.run([sys.executable, "-m", "mlxllm"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2
    assert "quickstart" in done.stdout


def test_monitor_without_a_terminal() -> None:
    command = [sys.executable, "-m", "mlxllm", "monitor"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no run to watch yet" in done.stderr
    ended_run("letters")
    done = subprocess.run([*command, "letters"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2
    assert "not a terminal" in done.stderr
    done = subprocess.run([*command, "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds == ["run_started", "train", "train", "train", "run_finished"]
