"""The Monitor over run directories in every state."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

import tui.app
from mlxllm.runs import ControlInbox, Request, RunDirectory, truncate_after, write_json_atomic
from mlxllm.runs.state import Launch, write_launch
from tests.tui import runs
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text
from tui import commands
from tui.screens.monitor import words as monitor_words
from tui.screens.monitor.runs import RunPicker
from tui.screens.monitor.screen import MonitorScreen
from tui.screens.monitor.talk import TalkPanel
from tui.widgets.chart import Chart


@contextmanager
def in_state(state: str, name: str = "first") -> Iterator[RunDirectory | None]:
    """A run that is as the word says."""
    with ExitStack() as stack:
        if state == "none":
            yield None
            return
        ended = {"finished", "stopped", "crashed", "diverged", "out_of_memory"}
        known: Any = state if state in ended else "running"
        run = runs.make_run(
            name,
            steps=0 if state == "starting" else 300,
            max_steps=300 if state == "finished" else 500,
            status=known,
            checkpoint_every=150 if state == "crashed" else 0,
            reason={"crashed": "ValueError: no", "diverged": "the loss was nan"}.get(state),
        )
        if state in ("running", "paused", "starting", "stopping"):
            stack.enter_context(runs.living(run, state))  # type: ignore[arg-type]  # checked by the line above
        if state == "damaged":
            run.state.write_text("{")
        yield run


STATES = {
    "none": "There are no runs yet",
    "starting": "compiling take 10 to 30 s",
    "running": "step 300 of 500",
    "paused": "p goes on",
    "stopping": "stops after the current step and saves",
    "finished": "Training finished at step 300. c talks to it, r trains it further",
    "stopped": "Stopped as asked at step 300. r begins it anew, for nothing was saved yet",
    "crashed": "The trainer crashed at step 300: ValueError: no. r goes on from the last checkpoint",
    "gone": "The trainer ended without a last word at step 300",
    "diverged": "Training diverged at step 300: the loss was nan",
    "damaged": "the state of run '{}' is damaged",
}


def screen_of(pilot: Pilot[Any]) -> MonitorScreen:
    found = pilot.app.screen_stack[0]
    assert isinstance(found, MonitorScreen)
    return found


async def opened(pilot: Pilot[Any], text: str = "step 300 of") -> MonitorScreen:
    await wait_for_text(pilot, text)
    screen = screen_of(pilot)
    await wait_for(pilot, lambda: screen.view is not None and screen.view.complete)
    return screen


def text_in(pilot: Pilot[Any], selector: str) -> str:
    """What a part of the screen shows, as one line: where it wraps makes no difference."""
    region = screen_of(pilot).query_one(selector).region
    strips = pilot.app.screen._compositor.render_strips()[region.y : region.bottom]
    return " ".join(" ".join(strip.crop(region.x, region.right).text for strip in strips).split())


async def wait_in(pilot: Pilot[Any], selector: str, text: str) -> None:
    await wait_for(pilot, lambda: text in text_in(pilot, selector), f"{text!r} in {selector}")


def requests(run: RunDirectory) -> list[Request]:
    return ControlInbox(run).poll()


async def test_each_state_says_what_it_is_and_no_key_does_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one application, a run for each state; the first state is that there are none."""
    started: list[Any] = []
    monkeypatch.setattr(tui.app, "start_detached", lambda *args: started.append(args))
    async with new_app(run="").run_test(size=(100, 30), notifications=True) as pilot:
        for state in STATES:
            await press_everything(pilot, state)
            resumed = state in ("stopped", "crashed", "gone", "diverged", "damaged")
            await wait_for(pilot, lambda expected=int(resumed): len(started) == expected)
            if resumed:
                assert started.pop()[0][-3:] == ["mlxllm", "resume", state]
                assert screen_of(pilot).twin == ("resume", state)


async def press_everything(pilot: Pilot[Any], state: str) -> None:
    """Watch a run that is in a state, and press every key there."""
    with in_state(state, name=state) as run:
        if run is not None:
            pilot.app.open_monitor(state)  # type: ignore[attr-defined]
        await wait_in(pilot, "#body", STATES[state].format(state))
        screen = screen_of(pilot)
        await wait_for(pilot, lambda: run is None or (screen.view is not None and screen.view.complete))
        shown = {binding.binding.action for binding in screen.active_bindings.values() if binding.enabled}
        live = state in ("running", "paused", "starting")
        assert ("stop" in shown) == ("save" in shown) == ("sample" in shown) == live
        assert ("resume" in shown) == (state not in "none running paused starting stopping missing".split())
        for key in "pwmnvlsgt":  # much faster than the pilot's own keys, which wait after each
            pilot.app.simulate_key(key)
            pilot.app.simulate_key("escape")
        await pilot.pause()
        screen.set_focus(screen.chart)
        for key in "xroac":  # Esc last would put away what c says
            await pilot.pause()
            pilot.app.simulate_key(key)
            await pilot.pause(0.05)
            if key != "c":
                pilot.app.simulate_key("escape")
        await wait_for(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert pilot.app.current_mode == "monitor"
        if run is None:
            return
        words = (
            "yet: w writes one" if live else "yet: it writes one now" if state == "stopping" else "so there is no model"
        )
        told = re.compile(rf"{state} has no checkpoint,? {words}")
        await wait_for(pilot, lambda: any(told.search(n.message) for n in pilot.app._notifications), told.pattern)
        expected = {"checkpoint", "sample"} if live else set()
        if state in ("running", "paused"):
            expected.add("pause" if state == "running" else "resume")
        await wait_for(pilot, lambda: {request.name for request in requests(run)} == expected)
        pilot.app.clear_notifications()


async def test_talk_while_it_trains() -> None:
    with in_state("running") as run:
        assert run is not None
        async with new_app(run="first").run_test(size=(120, 36)) as pilot:
            screen = await opened(pilot)
            await pilot.press("t", *"pwx")  # letters typed into the line are no keys
            assert isinstance(screen.focused, Input)
            assert screen.query_one(Input).value == "pwx"
            screen.query_one(Input).value = "Once upon"
            await pilot.press("enter")
            await wait_in(pilot, "#talk", "waiting: the trainer answers")
            (request,) = requests(run)
            assert (request.name, request.payload) == ("sample", {"prompt": "Once upon"})
            assert screen.twin == commands.ask_trainer("first", "Once upon")
            assert screen.query_one(Input).value == ""
            runs.append(run, runs.sample_event(301, "Once upon", text=" zzz", request=request.id))
            await wait_for_text(pilot, "Once upon zzz")
            assert "waiting: the trainer" not in text_in(pilot, "#talk")
            screen.query_one(Input).value = "Once upon"
            await pilot.press("enter")
            await wait_for(pilot, lambda: len(requests(run)) == 2)
            later = requests(run)[-1]
            runs.append(
                run, runs.train_event(400), runs.sample_event(400, "Once upon", text=" a time", request=later.id)
            )
            order = re.compile("step 301.* zzz.*step 400.* a time")
            await wait_for(pilot, lambda: order.search(text_in(pilot, "#talk")), order.pattern)
            for words, end in (("x", ""), ("y", "stopped")):
                screen.query_one(Input).value = words
                await pilot.press("enter")
                await wait_in(pilot, "#talk", "waiting: the trainer answers")
                if end:  # with a question open
                    runs.set_status(run, "stopped")
                    await wait_in(pilot, "#talk", "no answer: the run ended before")
                    assert screen.query_one(Input).value == words  # nothing typed is lost
                    screen.query_one(Input).value = ""
                    await pilot.pause(0.3)
                    assert screen.query_one(Input).value == ""  # once is enough
                else:
                    error = {"text": "", "error": "the prompt is empty", "request": requests(run)[-1].id}
                    runs.append(run, runs.sample_event(401, words, **error))
                    await wait_in(pilot, "#talk", "! the prompt is empty")
            assert {request.name for request in requests(run)} == {"sample"}
            await pilot.press("escape")
            assert screen.focused is screen.chart


async def test_nobody_answers_where_nobody_trains_and_what_was_typed_stays() -> None:
    with in_state("finished") as run:
        assert run is not None
        async with new_app(run="first").run_test(size=(120, 36), notifications=True) as pilot:
            screen = await opened(pilot)
            await pilot.press("t")
            await wait_in(pilot, "#talk", "nobody answers here: c talks to it")
            screen.query_one(Input).value = "Once upon"
            await pilot.press("enter")
            await wait_for_text(pilot, "nobody trains this run")
            assert screen.query_one(Input).value == "Once upon"
            assert requests(run) == []


async def test_pause_go_on_save_and_stop_are_requests_with_their_commands() -> None:
    with in_state("running") as run:
        assert run is not None
        async with new_app(run="first").run_test(size=(100, 30), notifications=True) as pilot:
            screen = await opened(pilot)
            for key, name, told in (
                ("p", "pause", "first pauses"),
                ("w", "checkpoint", "first writes a checkpoint"),
            ):
                await pilot.press(key)
                await wait_for_text(pilot, told)
                assert screen.twin == commands.steer(name, "first")
                assert requests(run)[-1].name == name
            runs.set_status(run, "paused")
            await wait_for_text(pilot, "Paused: the model stays in memory")
            await pilot.press("p")
            await wait_for(pilot, lambda: requests(run)[-1].name == "resume")
            await pilot.press("x")
            await wait_for_text(pilot, "It saves after the current step")
            await pilot.press("n")
            await pilot.press("x")
            await wait_for_text(pilot, "It saves after the current step")
            await pilot.press("y")
            await wait_for(pilot, lambda: requests(run)[-1].name == "stop")
            assert sum(request.name == "stop" for request in requests(run)) == 1


async def test_samples_with_a_slider_back_through_training() -> None:
    with in_state("running") as run:
        assert run is not None
        async with new_app(run="first").run_test(size=(120, 36)) as pilot:
            screen = await opened(pilot)
            await pilot.press("s")
            await wait_for_text(pilot, "step 300  3 of 3")
            assert "seen 300 steps" in screen_text(pilot.app)
            await pilot.press("left")
            await wait_for_text(pilot, "seen 200 steps")
            assert screen.chart.cursor == 200
            runs.append(run, runs.sample_event(310))
            await wait_for_text(pilot, "step 200  2 of 4")  # who looks back is left there
            await pilot.press("home")
            await wait_for_text(pilot, "step 100  1 of 4")
            await pilot.press("left")
            await wait_for_text(pilot, "step 100  1 of 4")
            await pilot.press("end")
            await wait_for_text(pilot, "step 310  4 of 4")
            assert screen.chart.cursor is None
            runs.append(run, runs.sample_event(320))
            await wait_for_text(pilot, "step 320  5 of 5")
            await pilot.press("left", "m")
            assert requests(run)[-1].payload == {"prompt": "Once upon a time"}
            await wait_for_text(pilot, "step 320  5 of 5")


async def test_a_finished_run_is_asked_how_much_further(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(tui.app, "start_detached", lambda *args: started.append(args))
    with in_state("finished"):
        async with new_app(run="first").run_test(size=(100, 30)) as pilot:
            screen = await opened(pilot)
            await pilot.press("r")
            await wait_for_text(pilot, "How much further should first train?")
            line = pilot.app.screen.query_one(Input)
            line.value = "soon"
            await pilot.press("enter")
            await wait_for_text(pilot, "is neither a time")
            assert started == []
            line.value = "500 steps"
            await pilot.press("enter")
            await wait_for(pilot, lambda: started)
            assert screen.twin == ("resume", "first", "--max-steps", "800")


async def test_another_run_is_watched() -> None:
    runs.make_run("second", steps=50, val_every=0, sample_every=0)
    with in_state("running"):
        async with new_app(run="").run_test(size=(100, 30)) as pilot:
            screen = await opened(pilot)  # the one that trains, though the other is no older
            await pilot.press("a")
            await wait_for(pilot, lambda: isinstance(pilot.app.screen, RunPicker))
            await wait_for_text(pilot, "second")
            assert "first" not in [line.split()[1:2] for line in screen_text(pilot.app).splitlines()]
            await pilot.press("enter")
            await opened(pilot, "step 50 of 50")
            assert "this run holds no samples" in screen_text(pilot.app) or screen.query_one(TalkPanel).has_class(
                "-front"
            )
            assert screen.twin == commands.monitor("second")


async def test_other_runs_beside_it() -> None:
    for name in ("second", "third"):
        runs.make_run(name, steps=200)
    with in_state("finished"):
        app = new_app(run="first")
        app.remembered.set("baseline", "third")
        async with app.run_test(size=(140, 40)) as pilot:
            screen = await opened(pilot)
            await pilot.press("o")
            await wait_for_text(pilot, "third")
            await pilot.press("tab", "down", "tab", "enter")
            await wait_for(pilot, lambda: len(screen.chart.traces) == 3)
            others = {trace.name: trace for trace in screen.chart.traces[1:]}
            assert {trace.letter for trace in others.values()} == {"a", "b"}
            assert [name for name, trace in others.items() if trace.dashed] == ["third"]
            await wait_for_text(pilot, "⠒⠒a second")
            await pilot.press("o")
            await wait_for_text(pilot, "[x]")
            await pilot.press("tab", "down", "tab", "enter")
            await wait_for(pilot, lambda: len(screen.chart.traces) == 1)


async def test_the_chart_can_show_other_numbers_axes_and_scales() -> None:
    runs.make_run("first", steps=300, method="dpo")
    async with new_app(run="first").run_test(size=(120, 28)) as pilot:
        screen = await opened(pilot)
        titles = []
        for _ in range(7):
            titles.append(screen.chart.title)
            await pilot.press("n")
        assert titles == [
            *("loss", "rewards", "accuracy of rewards", "bits per byte", "learning rate", "gradient norm"),
            "tokens a second",
        ]
        await pilot.press("n", "n")
        assert screen.chart.title == "rewards"
        await wait_for_text(pilot, "⠒⠒m margins")
        await pilot.press("v")
        assert screen.chart.axis == "tokens"
        await pilot.press("l")
        assert screen.chart.log_scale
        await pilot.press("l", "v", "v")
        assert (screen.chart.axis, screen.chart.log_scale) == ("step", False)
        second = screen.query_one("#second", Chart)
        assert not second.display
        await pilot.press("n")
        await pilot.resize_terminal(120, 40)  # room for a chart of their own
        await wait_for(pilot, lambda: second.display)
        assert [trace.name for trace in second.traces] == ["chosen", "rejected", "margins"]


async def test_alerts_log_and_samples_show_what_is_in_files_as_it_is() -> None:
    run = runs.make_run("first", steps=300, nonfinite=(290,), checkpoint_every=150)
    runs.append(
        run, runs.sample_event(300, "[b]", text="[red]x[/] \x1b[2J\ttab\nnext"), runs.train_event(301, loss=30.0)
    )
    run.log.write_text("--- started\nTraceback: \x1b[31mred[/red]\n")
    async with new_app(run="first").run_test(size=(140, 35)) as pilot:
        await opened(pilot, "step 301 of")
        await wait_in(pilot, "#alerts", "! non-finite 1 step was not finite")
        await wait_in(pilot, "#alerts", "! spike the loss jumped to 30 at step 301")
        await wait_in(pilot, "#samples", "[b][red]x[/] [2J tab next")
        await pilot.press("g")  # at this height there is one part at a time
        for text in (
            "checkpoint saved at step 150",
            "the run ended at step 300, finished",
            "the end of log.txt",
            "[31mred[/red]",
        ):
            await wait_in(pilot, "#log", text)
        assert "\x1b" not in screen_text(pilot.app)


async def test_a_resumed_run_begins_its_curve_anew_and_a_deleted_one_is_told() -> None:
    with in_state("running") as run:
        assert run is not None
        async with new_app(run="first").run_test(size=(100, 30)) as pilot:
            screen = await opened(pilot)
            truncate_after(run.events, 120)
            runs.append(run, {"kind": "run_started", "time": 2e9, "step": 120, "attempt": 2, "max_steps": 500})
            runs.append(run, runs.train_event(121, at=2e9 + 1))
            runs.set_status(run, "running", step=121)
            await wait_for(pilot, lambda: len(screen.chart.traces[0].line or ()) == 121)
            await wait_for_text(pilot, "attempt 2")
            shutil.rmtree(run.path)
            await wait_in(pilot, "#sentence", "it was renamed or deleted. a shows another run")
            await pilot.press("n", "s", "left", "t", "escape", "c")
            assert pilot.app.current_mode == "monitor"


async def test_the_first_run_appears_while_one_looks() -> None:
    async with new_app(run="").run_test(size=(100, 30)) as pilot:
        await wait_for_text(pilot, "There are no runs yet")
        runs.make_run("first", steps=300)
        await opened(pilot)


async def test_an_unknown_run_is_told_and_the_newest_shown() -> None:
    runs.make_run("first", steps=300)
    async with new_app(run="frist").run_test(size=(100, 30), notifications=True) as pilot:
        await wait_for_text(pilot, "there is no run")
        await pilot.press("escape")  # what is said lies over the line that is waited for
        await opened(pilot)


async def test_a_run_that_goes_on_from_this_one_is_named() -> None:
    runs.make_run("first", steps=300)
    other = runs.make_run("first-sft", steps=5, status="running", method="sft", about={"model": "first@300"})
    with runs.living(other):
        async with new_app(run="first").run_test(size=(100, 30)) as pilot:
            await opened(pilot)
            await wait_in(pilot, "#sentence", "first-sft goes on from it")


async def test_the_stages_of_a_quickstart_are_followed_to_the_end() -> None:
    run = runs.make_run("first", steps=300)
    launch = Launch(os.getpid(), socket.gethostname(), runs.STARTED - 5, ["mlxllm", "quickstart"])
    write_launch(run, launch)
    async with new_app(run="first").run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot)
        await wait_in(pilot, "#sentence", "The command that started it has more to do: g shows what it says.")
        assert screen.check_action("resume", ()) is False  # it is not disturbed
        run.log.write_text("1/3  measuring; soon\n2/3  lessons: conversations\n     8,854 of them\n")
        await wait_in(pilot, "#sentence", "goes on: stage 2 of 3, lessons: conversations. c talks to it meanwhile.")
        # The other stages have no launch of their own.
        before = "first"
        for name, method in (("first-sft", "sft"), ("first-dpo", "dpo")):
            stage = runs.make_run(name, steps=5, status="running", method=method, about={"model": f"{before}@5"})
            write_json_atomic(stage.config, {"method": method, "base_model": before}, durable=False)
            with runs.living(stage):
                await wait_for(pilot, lambda name=name: screen.twin == commands.monitor(name))
                await opened(pilot, "step 5 of 5")
                await wait_in(pilot, "#sentence", "Quick start, stage 2 of 3, lessons: conversations.")
                runs.set_status(stage, "finished")
            await wait_in(pilot, "#sentence", "goes on: stage 2 of 3")
            before = name
        write_launch(run, replace(launch, returncode=0))
        await wait_in(pilot, "#sentence", "c talks to it, r trains it further.")
        assert screen.check_action("resume", ())


async def test_before_the_first_step_the_log_is_in_front() -> None:
    with in_state("starting") as run:
        assert run is not None
        run.log.write_text("learning a tokenizer\n")
        async with new_app(run="first").run_test(size=(100, 30)) as pilot:
            await wait_in(pilot, "#log", "learning a tokenizer")
            runs.append(run, runs.train_event(1))
            runs.set_status(run, "running", step=1)
            await wait_in(pilot, "#talk", "Talk while it trains")


async def test_a_run_in_another_folder(tmp_path: Path) -> None:
    made = runs.make_run("first", steps=300)
    moved = tmp_path / "else where"
    made.path.rename(moved)
    async with new_app(run=str(moved)).run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot)
        assert screen.twin == commands.monitor(str(moved))


async def test_on_a_mac_one_line_tells_about_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_words.sys, "platform", "darwin")
    with in_state("running"):
        async with new_app(run="first").run_test(size=(100, 30)) as pilot:
            await wait_for_text(pilot, "closing the lid still sends")


async def test_any_size() -> None:
    runs.make_run("first", steps=300, method="dpo")
    async with new_app(run="first").run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert screen.chart.size.height >= 7
        for size in ((60, 15), (30, 8), (1, 1), (200, 60)):
            await pilot.resize_terminal(*size)
            await pilot.press("s", "n")
        await wait_in(pilot, "#log", "the run ended")
        await wait_in(pilot, "#talk", "nobody answers")
        assert screen.query_one("#second").display


async def test_a_long_run_is_there_at_once_and_grows() -> None:
    with in_state("running") as run:
        assert run is not None
        runs.append(run, *[runs.train_event(step) for step in range(301, 20_001)])
        async with new_app(run="first").run_test(size=(100, 30)) as pilot:
            screen = screen_of(pilot)
            await wait_for(pilot, lambda: screen.view is not None and screen.view.steps_logged == 20_000)
            runs.append(run, *[runs.train_event(step) for step in range(20_001, 20_051)])
            await wait_for_text(pilot, "step 20,050")
