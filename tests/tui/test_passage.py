"""The held-out passage of a run, in the Monitor and from the table of runs: scrubbed, played, followed."""

from typing import Any

import pytest
from textual.pilot import Pilot

from mlxllm.runs import Event, RunDirectory
from tests.tui import runs
from tests.tui.harness import new_app, screen_text, wait_for, wait_for_text
from tests.tui.table_of_runs import wait_for_toast
from tests.tui.test_themes import _assert_readable
from tui.screens.monitor.passage import PassageView
from tui.themes import THEMES
from tui.widgets.passage import PassageText

PIECES = ["<|endoftext|>", "Once", " upon", " a", " time", "\n", "\x1b[31mzebra"]


def probe_event(step: int, losses: list[float | None], **fields: Any) -> Event:
    return {"kind": "probe", "time": runs.STARTED + step, "step": step, "losses": losses, **fields}


def watched_run(name: str = "first", **options: Any) -> RunDirectory:
    """A run that learns " a" at step 100 and " upon" at step 200."""
    run = runs.make_run(name, steps=300, **options)
    runs.append(
        run,
        probe_event(0, [None, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0], token_ids=list(range(7)), pieces=PIECES),
        probe_event(100, [None, 3.0, 3.0, 0.2, 2.0, 5.0, 6.0]),
        probe_event(200, [None, 2.0, 0.3, 0.1, 1.0, 4.0, 6.0]),
    )
    return run


async def opened(pilot: Pilot[Any]) -> PassageView:
    await wait_for_text(pilot, "step 300 of")
    await wait_for(pilot, lambda: pilot.app.screen.view is not None and pilot.app.screen.view.complete)  # type: ignore[attr-defined]
    await pilot.press("h")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, PassageView))
    view = pilot.app.screen
    assert isinstance(view, PassageView)
    return view


async def test_the_arrows_go_through_all_validations() -> None:
    watched_run()
    async with new_app(run="first").run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await wait_for_text(pilot, "step 200   2.233 nats a token, 6 at step 0   validation 3 of 3")
        text = screen_text(pilot.app)
        assert "Once upon a time⏎" in text
        assert "\\x1b[31mzebra" in text  # what data wrote steers no terminal
        assert "2 of 6 tokens: 50 % likely or more from some step on" in text
        assert "step 100: ·a" in text
        assert "step 200: ·upon" in text
        assert "mlxllm runs probe first" in text
        await pilot.press("left")
        await wait_for_text(pilot, "step 100   3.2 nats a token")
        await pilot.press("left", "left", "left")
        await wait_for_text(pilot, "step 0   6 nats a token   validation 1 of 3")
        await pilot.press("end")
        await wait_for_text(pilot, "validation 3 of 3")
        await pilot.press("home", "space")
        await wait_for_text(pilot, "validation 2 of 3")
        await wait_for_text(pilot, "validation 3 of 3")
        await pilot.press("escape")
        await wait_for(pilot, lambda: not isinstance(pilot.app.screen, PassageView))


async def test_a_token_changes_its_ground_as_it_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    watched_run()
    app = new_app(run="first")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)

        def ground_of(word: str) -> str:
            found = [span.style for span in app.screen.query_one(PassageText).content.spans if word in _part(app, span)]
            return str(found[0])

        late = ground_of(" upon")
        await pilot.press("home")
        await wait_for_text(pilot, "validation 1 of 3")
        assert ground_of(" upon") != late
        assert "underline" in ground_of(" upon")  # told without colour as well
        await pilot.press("end")
        await wait_for_text(pilot, "validation 3 of 3")
        for theme in THEMES:
            app.theme = theme.name
            await pilot.pause(0.05)
            _assert_readable(app, "passage", theme.name)


def _part(app: Any, span: Any) -> str:
    return str(app.screen.query_one(PassageText).content.plain[span.start : span.end])


async def test_a_run_that_trains_is_followed() -> None:
    run = watched_run(max_steps=500, status="running")
    with runs.living(run):
        async with new_app(run="first").run_test(size=(120, 40)) as pilot:
            await opened(pilot)
            await wait_for_text(pilot, "validation 3 of 3")
            runs.append(run, probe_event(300, [None, 0.1, 0.3, 0.1, 1.0, 4.0, 6.0]))
            await wait_for_text(pilot, "step 300   1.917 nats a token, 6 at step 0   validation 4 of 4")
            await pilot.press("home")
            runs.append(run, probe_event(400, [None, 0.1, 0.3, 0.1, 1.0, 0.1, 6.0]))
            await wait_for_text(pilot, "4 of 6 tokens")
            assert "validation 1 of 5" in screen_text(pilot.app)  # who looks back is left there


async def test_an_old_run_is_one_sentence() -> None:
    runs.make_run("old", steps=300)
    async with new_app(run="old").run_test(size=(120, 40)) as pilot:
        await wait_for_text(pilot, "step 300 of")
        await wait_for(pilot, lambda: pilot.app.screen.view is not None and pilot.app.screen.view.complete)  # type: ignore[attr-defined]
        await pilot.press("h")
        await wait_for_toast(pilot, "old has kept no losses of single tokens, for nothing was held out")
        await pilot.press("5")
        await wait_for_text(pilot, "best val")
        await pilot.press("h")
        await wait_for_toast(pilot, "run 'old' has kept no losses of single tokens: it was trained by an older version")


async def test_the_table_of_runs_opens_it_as_well() -> None:
    watched_run()
    async with new_app().run_test(size=(120, 40)) as pilot:
        await pilot.press("5")
        await wait_for_text(pilot, "best val")
        await pilot.press("h")
        await wait_for_text(pilot, "validation 3 of 3")
