"""`mlxllm chat` with a tuned model: turns, and answers that are compared."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlxllm.cli.app import app
from mlxllm.cli.chat_turns import TurnsChat
from mlxllm.config import SampleConfig
from mlxllm.conversation import Conversation, Message, OwnFormat, Report, read_conversations
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import ConfigError, DataError
from mlxllm.inference.generate import generate
from mlxllm.inference.session import Session
from mlxllm.model.loading import LoadedModel, load_model
from tests.cli.tuned import tuned_run
from tests.inference.tiny import TOKENIZER
from tests.training.tiny import call, succeeded

FORMAT = OwnFormat(TOKENIZER)
WARM = 2.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def loaded(run: Path) -> LoadedModel:
    return load_model(str(run))


def said(loaded: LoadedModel, *turns: str, seed: int = 0, temperature: float = 0, max_tokens: int = 100) -> str:
    """What the model answers to these turns, user first and last."""
    roles = ("user", "assistant") * len(turns)
    prompt = FORMAT.generation_prompt([Message(r, t) for r, t in zip(roles, turns, strict=False)])
    sample = SampleConfig(temperature=temperature, max_tokens=max_tokens, seed=seed)
    return "".join(t.text for t in generate(loaded.model, TOKENIZER, prompt, sample, stop_ids=FORMAT.stop_ids))


def piped(run: Path, lines: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["chat", "--model", str(run), "--temp", "0", *options], input=lines)


def test_turns_from_a_pipe(run: Path, loaded: LoadedModel) -> None:
    done = piped(run, 'hi\n\n"""\nwho\nare you\n"""\n/text\n')
    assert done.exit_code == 0, done.stderr
    first = said(loaded, "hi")
    second = said(loaded, "hi", first, "who\nare you")
    text = f"user: hi\n\nassistant: {first}\n\nuser: who\nare you\n\nassistant: {second}"
    assert first
    assert done.stdout == f"{first}\n{second}\n{text}\n"
    assert f"{run}, step 1 was tuned to answer (base, then sft): it is your turn" in done.stderr
    assert "there is nothing to answer" in done.stderr, "what an empty line gets"
    assert "Try one" not in done.stderr, "this run suggests nothing"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (["Tell me.", "Who?", "Where?", "When?"], ["Tell me.", "Who?", "Where?"]),
        (["a\x1b[31m", 3, "", "Who?"], ["Who?"]),
        ({"a": 1}, []),
        (None, []),
    ],
)
def test_the_opening_shows_what_the_run_suggests(run: Path, content: object, shown: list[str]) -> None:
    file = run / "suggestions.json"
    file.write_text("[" if content is None else json.dumps(content))
    try:
        opening = piped(run, "").stderr
    finally:
        file.unlink()
    assert [line.strip() for line in opening.splitlines() if line.startswith("  ")] == shown


def test_an_answer_that_is_cut_off_goes_on_with_enter(run: Path, loaded: LoadedModel) -> None:
    whole = said(loaded, "hi")
    done = piped(run, "hi\n/max-tokens 200\n\n/text\n", "--max-tokens", "4")
    assert done.stdout == f"{whole[:4]}\n{whole[4:]}\nuser: hi\n\nassistant: {whole}\n"
    assert "cut off here; Enter lets it go on" in done.stderr


def test_what_was_fed_is_what_would_be_trained(loaded: LoadedModel) -> None:
    session = Session(loaded.model, TOKENIZER)
    chat = TurnsChat(session, loaded, SampleConfig(temperature=WARM, max_tokens=300))
    messages = [Message("system", "Be kind.")]
    chat.obey("/system Be kind.")
    for asked in ("hi", "bye"):
        messages += [Message("user", asked), Message("assistant", say(chat, asked))]
    [pieces] = FORMAT.sequences(Conversation(tuple(messages)))
    assert session.cached_ids == [i for piece in pieces for i in piece.token_ids]


def say(chat: TurnsChat, typed: str) -> str:
    assert chat.obey(typed)
    assert chat.wants_answer
    with chat.answer() as tokens:
        return "".join(token.text for token in tokens)


def stored() -> list[StoredPreference]:
    return list(PreferenceStore().read())


class TestCommands:
    """The commands by themselves."""

    @pytest.fixture
    def chat(self, loaded: LoadedModel) -> TurnsChat:
        return TurnsChat(
            Session(loaded.model, TOKENIZER), loaded, SampleConfig(temperature=WARM, max_tokens=300, seed=1)
        )

    def text(self, chat: TurnsChat, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        chat.obey("/text")
        return capsys.readouterr().out.removesuffix("\n")

    def test_the_second_answer_is_better(
        self, chat: TurnsChat, loaded: LoadedModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chat.obey("/system Be good.")
        first, second = say(chat, "hi"), say(chat, "/again")
        assert first != second
        capsys.readouterr()
        chat.obey("/better")
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert f"stored in {PreferenceStore().path}: " in shown
        [preference] = stored()
        assert preference.prompt == (Message("system", "Be good."), Message("user", "hi"))
        assert (preference.chosen, preference.rejected, preference.how) == (second, first, "picked")
        assert (preference.model, preference.step) == (loaded.address, 1)
        assert preference.fingerprint == loaded.fingerprint
        assert preference.seed == {"chosen": 2, "rejected": 1}
        assert (preference.sample["temperature"], preference.sample["max_tokens"]) == (WARM, 300)
        with pytest.raises(ConfigError, match="/better compares"):
            chat.obey("/better")  # it was judged
        third = say(chat, "/again")
        chat.obey("/better")
        assert (stored()[1].chosen, stored()[1].rejected) == (third, second)

    def test_the_first_answer_is_better_and_the_conversation_goes_on_with_it(
        self, chat: TurnsChat, loaded: LoadedModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second = say(chat, "hi"), say(chat, "/again")
        chat.obey("/worse")
        [preference] = stored()
        assert (preference.chosen, preference.rejected) == (first, second)
        assert preference.seed == {"chosen": 1, "rejected": 2}
        assert self.text(chat, capsys) == f"user: hi\n\nassistant: {first}"
        chat.obey("/temp 0")
        assert say(chat, "bye") == said(loaded, "hi", first, "bye", max_tokens=300)

    def test_my_own_words_are_better(
        self, chat: TurnsChat, loaded: LoadedModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer = say(chat, "hi")
        chat.obey("/rewrite Hello,\n  dear friend ")
        [preference] = stored()
        assert (preference.chosen, preference.rejected, preference.how) == (
            "Hello,\n  dear friend",
            answer,
            "rewritten",
        )
        assert preference.seed == {"rejected": 1}
        assert self.text(chat, capsys) == "user: hi\n\nassistant: Hello,\n  dear friend"
        with pytest.raises(ConfigError, match="no answer of the model"):
            chat.obey("/rewrite again")
        chat.obey("/temp 0")
        assert say(chat, "bye") == said(loaded, "hi", "Hello,\n  dear friend", "bye", max_tokens=300)

    def test_answers_to_different_questions_are_not_compared(self, chat: TurnsChat) -> None:
        for between in ("other", "/system Be kind.", "/undo", "/reset"):
            say(chat, "hi")
            say(chat, "/again")
            chat.obey(between)
            if chat.wants_answer:
                with chat.answer() as tokens:
                    list(tokens)
            for command in ("/better", "/worse"):
                with pytest.raises(ConfigError, match=command):
                    chat.obey(command)
        assert not stored()

    def test_equal_and_unfinished_answers_are_not_stored(self, chat: TurnsChat) -> None:
        chat.obey("/temp 0")
        whole = say(chat, "hi")
        say(chat, "/again")
        with pytest.raises(ConfigError, match="both answers are the same"):
            chat.obey("/better")
        chat.obey("/max-tokens 3")
        assert say(chat, "/again") == whole[:3]
        with pytest.raises(ConfigError, match="cut off"):
            chat.obey("/better")
        chat.obey("/worse")  # the whole one is better than its beginning
        assert (stored()[0].chosen, stored()[0].rejected) == (whole, whole[:3])

    def test_an_answer_that_went_on_is_one_answer(self, chat: TurnsChat) -> None:
        first = say(chat, "hi")
        chat.obey("/max-tokens 3")
        begun = say(chat, "/again")
        chat.obey("/max-tokens 300")
        rest = say(chat, "")
        chat.obey("/better")
        assert (stored()[0].chosen, stored()[0].rejected) == (begun + rest, first)
        assert stored()[0].seed == {"chosen": 2, "rejected": 1}

    def test_undo_again_and_system(
        self, chat: TurnsChat, loaded: LoadedModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for command in ("/again", "/undo"):
            with pytest.raises(ConfigError, match=command):
                chat.obey(command)
        first = say(chat, "hi")
        say(chat, "bye")
        chat.obey("/undo")
        assert self.text(chat, capsys) == f"user: hi\n\nassistant: {first}"
        chat.obey("/system Be brief.")
        assert self.text(chat, capsys) == f"system: Be brief.\n\nuser: hi\n\nassistant: {first}"
        chat.obey("/reset")
        assert self.text(chat, capsys) == "system: Be brief."
        chat.obey("/system")
        assert capsys.readouterr().err == "system: Be brief.\n"
        chat.obey("/system off")
        chat.obey("/temp 0")
        assert say(chat, "//etc") == said(loaded, "/etc", max_tokens=300)

    def test_save_as_text_and_as_a_record(
        self, chat: TurnsChat, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chat.obey("/system Sois gentil, né?")
        answer = say(chat, "hi")
        chat.obey(f"/save {tmp_path}/talk.txt")
        assert (tmp_path / "talk.txt").read_text() == self.text(chat, capsys)
        chat.obey(f"/save {tmp_path}/talk.jsonl")
        [record] = read_conversations([tmp_path / "talk.jsonl"], Report())
        assert isinstance(record, Conversation)
        assert [message.content for message in record.messages] == ["Sois gentil, né?", "hi", answer]
        with pytest.raises(DataError, match="exists already"):
            chat.obey(f"/save {tmp_path}/talk.jsonl")

    def test_help_names_every_command(self, chat: TurnsChat, capsys: pytest.CaptureFixture[str]) -> None:
        chat.obey("/help")
        shown = capsys.readouterr().err
        for command in chat.commands:
            assert command in shown or command in ("/exit", "/help")
        with pytest.raises(ConfigError, match="/better takes no value"):
            chat.obey("/better yes")
        with pytest.raises(ConfigError, match="did you mean /rewrite"):
            chat.obey("/rewrit it")
        with pytest.raises(ConfigError, match="/rewrite needs the answer"):
            chat.obey("/rewrite")


def test_preferences_of_a_chat_train_the_next_model(run: Path, tmp_path: Path, mlxllm_home: Path) -> None:
    """The whole way: chat, export, import elsewhere, dpo."""
    lines = 'hi\n/again\n/better\nwho are you\n/rewrite """\nI am\nyours\n"""\n'
    done = piped(run, lines, "--temp", str(WARM), "--max-tokens", "300")
    assert done.stderr.count("stored in") == 2, done.stderr
    assert [each.how for each in stored()] == ["picked", "rewritten"]
    assert stored()[1].chosen == "I am\nyours"
    succeeded(call("prefs", "export", tmp_path / "pairs.jsonl"))
    command = ["dpo", "--model", run, "--data", tmp_path / "pairs.jsonl", "--run", "next", "--max-steps", 1]
    ended = succeeded(call(*command, "--set", "train.sample_every=0"))
    assert "left out" not in ended.stderr
    assert load_model("next").history == ("base", "sft", "dpo")
    assert "(base, then sft, then dpo)" in piped(mlxllm_home / "runs" / "next", "").stderr
