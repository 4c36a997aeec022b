"""The chat with the real engine and a model that was really tuned."""

from pathlib import Path

from typer.testing import CliRunner

from mlxllm.cli.app import app as cli
from mlxllm.config import SampleConfig
from mlxllm.conversation.asking import prompt_of
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.saved import SavedChats
from tests.cli.tuned import tuned_run
from tests.training.tiny import call, json_lines, succeeded
from tests.tui.chatting import messages, status, write
from tests.tui.harness import new_app, wait_for, wait_for_text
from tui.screens.chat.ab import ABScreen
from tui.screens.chat.blind import BlindScreen
from tui.screens.chat.blind_setup import BlindTest
from tui.screens.chat.machine import TimeMachine
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.settings import ChatSettings
from tui.screens.chat.tokens import TokenView
from tui.screens.chat.versus import SIDES
from tui.widgets.columns import Columns


async def test_a_tuned_model_and_its_base(tmp_path: Path, mlxllm_home: Path) -> None:
    run = tuned_run(tmp_path)
    app = new_app()
    async with app.run_test(size=(80, 24)) as pilot:
        app.open_chat(str(run))
        await wait_for_text(pilot, "answers (SFT)")
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await write(pilot, "hi", "enter")
        await wait_for(pilot, lambda: "tok/s" in status(screen))
        answer = messages(screen)[1]
        assert answer
        await pilot.press("escape", "t")
        await wait_for(pilot, lambda: isinstance(app.screen, TokenView))
        await wait_for_text(pilot, "probability")
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen)
        # The cache goes on where the first answer ended, and the conversation is whole on the disk.
        await write(pilot, "and more", "enter")
        await wait_for(pilot, lambda: len(messages(screen)) == 4)
        saved = SavedChats()
        await wait_for(pilot, lambda: len(saved.read(saved.entries()[0].id).said) == 4)
        (said, *_) = [turn for turn in saved.read(saved.entries()[0].id).said if turn.role == "assistant"]
        assert said.content == answer
        assert said.about["step"] == 1
        await pilot.press("escape", "A")
        await wait_for(pilot, lambda: isinstance(app.screen, ABScreen))
        versus = app.screen
        assert isinstance(versus, ABScreen)
        await wait_for(pilot, lambda: versus.trial.current is not None and versus.trial.current.is_complete)
        current = versus.trial.current
        assert current is not None
        written = {answer.text for answer in current.answers.values()}
        twin = versus.twin
        if not current.is_same and not current.shown("a").cut_off:
            await pilot.press("a")
            await wait_for(pilot, lambda: list(PreferenceStore().read()))
            (pair,) = PreferenceStore().read()
            assert [message.content for message in pair.prompt if message.role == "user"] == ["hi", "and more"]
            assert len(pair.fingerprint) == 64
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen)
        app.open_chat(str(run), compare=[str(tmp_path / "base")])
        await wait_for(pilot, lambda: isinstance(app.screen, TimeMachine))
        await write(pilot, "", "enter")
        columns = app.screen.query_one(Columns)
        await wait_for(pilot, lambda: all(column.text for column in columns.all))
        await wait_for_text(pilot, "asks again")
        assert "continues the text" in str(columns.all[1].border_title)
        compared, compare = [column.text for column in columns.all], app.screen.twin  # type: ignore[attr-defined]
        test = BlindTest(str(run), str(tmp_path / "base"), [prompt_of("Who?")], 5, 1, str(tmp_path / "prompts.txt"))
        blind = BlindScreen(test, ChatSettings("Be kind.", SampleConfig(max_tokens=20), None))
        app.push_screen(blind)
        await wait_for(pilot, lambda: blind.trial.rounds[0].is_complete)
        tasted = blind.trial.rounds[0]

    # What the screens show as their commands says the same in a shell.
    (found,) = json_lines(succeeded(call(*compare, "--json")).stdout)
    assert [answer["text"] for answer in found["answers"]] == compared
    kept = json_lines(piped("w\nMine.\n", *twin, "--json"))
    assert {pair["rejected"] for pair in kept} == {text for text in written if text}
    assert {message["content"] for message in kept[0]["prompt"]} == {"hi", answer, "and more"}
    (tmp_path / "prompts.txt").write_text("Who?\n")
    (verdict,) = json_lines(piped("t\n", *blind.twin, "--json"))
    assert verdict["rounds"][0]["sides"] == list(tasted.sides)
    for side in SIDES:
        assert verdict["rounds"][0][side]["text"] == tasted.shown(side).text


def piped(lines: str, *arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, input=lines)
    assert done.exit_code == 0, done.stderr
    return done.stdout
