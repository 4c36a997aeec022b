"""`mlxllm chat`, in a real terminal (a pty) and with lines piped in."""

import os
import pty
import re
import readline
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlxllm.cli.app import app
from mlxllm.cli.chat_commands import Chat
from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, DataError
from mlxllm.inference.generate import generate
from mlxllm.inference.session import Session
from mlxllm.tokenizer import train_tokenizer
from tests.inference.tiny import TOKENIZER, write_folder, writing_letters

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "mlxllm", "chat"]
MODEL = writing_letters()
WARM = 9.0  # at which this model no longer says the same for every seed


def continuation(prompt: str, max_tokens: int, seed: int = 0, temperature: float = 0) -> str:
    sample = SampleConfig(temperature=temperature, max_tokens=max_tokens, seed=seed)
    return "".join(t.text for t in generate(MODEL, TOKENIZER, TOKENIZER.encode(prompt), sample))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_folder(tmp_path_factory.mktemp("models") / "letters", MODEL))


@pytest.fixture
def environment(mlxllm_home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "INPUTRC": os.devnull}


class Terminal:
    """A chat on a pty, and what it has shown."""

    def __init__(self, folder: str, environment: dict[str, str], *options: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        command = [*COMMAND, "--model", folder, "--temp", "0", *options]
        self.process = subprocess.Popen(
            command,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=self._take_terminal,
        )
        self.seen = ""

    def _take_terminal(self) -> None:
        import fcntl

        fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

    def interrupt_prompt(self) -> None:
        """Ctrl-C at a prompt that has been there for a moment: readline loses a signal that comes while it sets up."""
        time.sleep(0.5)
        self.type(b"\x03")

    def wait_for(self, pattern: str, seconds: float = 30.0) -> str:
        """Read until `pattern` is seen; returns and forgets what came up to its end."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.ours], [], [], left)[0]:
                self.seen += os.read(self.ours, 4096).decode(errors="replace").replace("\r\n", "\n")
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, text: str | bytes) -> None:
        os.write(self.ours, text if isinstance(text, bytes) else text.encode())

    def settings(self) -> list[object]:
        return termios.tcgetattr(self.theirs)

    def is_streaming(self) -> bool:
        """Whether keys come one by one and unseen."""
        return not self.settings()[3] & (termios.ICANON | termios.ECHO)

    def leaves_with(self, code: int) -> None:
        end = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self.ours], [], [], 0.05)[0]:
                self.seen += os.read(self.ours, 4096).decode(errors="replace")
        assert self.process.poll() == code, self.seen
        assert self.settings() == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(folder: str, environment: dict[str, str]) -> Iterator[Terminal]:
    one = Terminal(folder, environment, "--max-tokens", "1000000")
    yield one
    one.close()


def test_ctrl_c_and_esc_stop_the_answer_and_not_the_program(
    terminal: Terminal, mlxllm_home: Path, tmp_path: Path
) -> None:
    opening = " ".join(terminal.wait_for("> ").split())
    assert "base model" in opening
    assert "it continues your text" in opening

    terminal.type("once\n")
    terminal.wait_for("\nonce[|][a-z ]{30}")  # where the user's text ends
    assert terminal.is_streaming()
    terminal.type(b"\x03")  # Ctrl-C, as the terminal's own signal
    assert "tok/s" in terminal.wait_for(r"\[.* tokens, .*\]\n.*> ")

    # An arrow key is no Esc, and letters typed meanwhile wait for the next prompt.
    terminal.type("and\n")
    terminal.wait_for("[ …]and[|][a-z]{5}")  # with what came before, unless that is one long word
    terminal.type(b"\x1b[A")
    terminal.wait_for("[a-z ]{60}")
    terminal.type("LATER")
    time.sleep(0.2)
    terminal.type(b"\x1b")
    terminal.wait_for(r"tok/s.*\]\n.*> .*LATER")

    # What was stopped is part of the text.
    terminal.type(b"\x15")  # delete the line
    terminal.type(f"/save {tmp_path}/story.txt\n")
    terminal.wait_for("saved to")
    terminal.wait_for("> ")
    story = (tmp_path / "story.txt").read_text()
    assert re.fullmatch("once[a-z ]{30,} and[a-z ]{60,}", story), story

    terminal.interrupt_prompt()
    terminal.wait_for("Ctrl-C again")
    terminal.wait_for("> ")
    terminal.type("/seed 3\n")
    terminal.wait_for("seed is 3")
    terminal.wait_for("> ")
    terminal.interrupt_prompt()  # the first one again, since something was typed in between
    terminal.wait_for("Ctrl-C again")
    terminal.wait_for("> ")
    terminal.interrupt_prompt()
    terminal.leaves_with(0)
    history = (mlxllm_home / "chat_history").read_text()
    assert "once\n" in history
    assert (mlxllm_home / "chat_history").stat().st_mode & 0o777 == 0o600


def test_history_is_there_and_ctrl_d_leaves(folder: str, environment: dict[str, str], mlxllm_home: Path) -> None:
    # Written by the library: GNU readline and libedit have different files.
    readline.clear_history()
    readline.add_history("/seed 77")
    readline.write_history_file(mlxllm_home / "chat_history")
    one = Terminal(folder, environment)
    try:
        one.wait_for("> ")
        one.type(b"\x1b[A\n")
        one.wait_for("seed is 77")
        one.wait_for("> ")
        one.type(b"\x04")
        one.leaves_with(0)
    finally:
        one.close()


def test_a_terminated_chat_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.type("once\n")
    terminal.wait_for("[a-z ]{30}")
    assert terminal.is_streaming()
    terminal.process.send_signal(signal.SIGTERM)
    terminal.leaves_with(143)


def test_bytes_that_are_no_text_are_refused_and_the_chat_goes_on(terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.type(b"/nonsense\xff\xfe\n")
    terminal.wait_for("that line is not UTF-8 text")
    terminal.wait_for("> ")
    terminal.type("/seed 3\n")
    terminal.wait_for("seed is 3")


def piped(folder: str, lines: str | bytes) -> Result:
    options = ["chat", "--model", folder, "--temp", "0", "--max-tokens", "8"]
    return CliRunner().invoke(app, options, input=lines)


def test_lines_from_a_pipe(folder: str, mlxllm_home: Path) -> None:
    lines = 'once\n\n/nonsense\n/temp hot\n"""\ntwo\nlines\n"""\nback\\\nslash\n/text\n/quit\nnever\n'
    done = piped(folder, lines)
    assert done.exit_code == 0
    text = "once"
    answers = []
    for typed in ("", "", " two\nlines", " back\nslash"):
        text += typed
        answers.append(continuation(text, 8))
        text += answers[-1]
    # No prompts and no colours among the data.
    assert done.stdout == "".join(f"{answer}\n" for answer in answers) + text + "\n"
    assert "there is no command /nonsense" in done.stderr
    assert "/temp 'hot' is not a number" in done.stderr
    assert done.stderr.count("tok/s") == 4
    assert "\x1b" not in done.stdout + done.stderr
    assert not (mlxllm_home / "chat_history").exists()


def test_a_text_longer_than_the_model_was_made_for_is_said_once(folder: str) -> None:
    done = piped(folder, "a" * 50 + "\n\n\n\n")
    assert done.exit_code == 0
    assert re.findall("the text has .*:", done.stderr) == ["the text has 66 tokens and the model was made for 64:"]


@pytest.mark.parametrize("lines", ["once", "once\r\n", '"""once', "once\\"])
def test_a_pipe_that_ends_ends_the_chat(folder: str, lines: str) -> None:
    done = piped(folder, lines)
    assert done.exit_code == 0
    assert done.stdout == continuation("once", 8) + "\n"


def test_a_pipe_with_other_bytes_than_text_is_refused_in_a_sentence(folder: str) -> None:
    error = piped(folder, b"\xff\n").exception
    assert isinstance(error, DataError)
    assert "a line on stdin is not UTF-8 text" in str(error)


def test_a_reader_that_leaves_is_quiet(folder: str, environment: dict[str, str]) -> None:
    command = [*COMMAND, "--model", folder, "--max-tokens", "1000000"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"once\n")
        process.stdin.flush()
        process.stdout.read(10)
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert errors.count(b"\n") == 1  # the opening, nothing else


class TestCommands:
    """The commands by themselves, without a terminal."""

    @pytest.fixture
    def chat(self) -> Chat:
        return Chat(Session(MODEL, TOKENIZER), TOKENIZER, SampleConfig(temperature=WARM, max_tokens=10))

    def say(self, chat: Chat, typed: str) -> str:
        assert chat.obey(typed)
        assert chat.wants_answer
        with chat.answer() as tokens:
            return "".join(token.text for token in tokens)

    def text(self, chat: Chat, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        chat.obey("/text")
        return capsys.readouterr().out.removesuffix("\n")

    def test_again_takes_the_next_seed_and_replaces_the_answer(
        self, chat: Chat, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chat.obey("/seed 5")
        assert self.say(chat, "once") == continuation("once", 10, 5, WARM)
        again = self.say(chat, "/again")
        assert again == continuation("once", 10, 6, WARM) != continuation("once", 10, 5, WARM)
        assert self.text(chat, capsys) == "once" + again
        assert chat.obey("/undo")
        assert not chat.wants_answer
        assert self.text(chat, capsys) == "once"
        with pytest.raises(ConfigError, match="/again: there is no last continuation"):
            chat.obey("/again")

    def test_reset_begins_anew(self, chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
        chat.obey("/temp 0")
        first = self.say(chat, "once")
        chat.obey("/reset")
        assert self.text(chat, capsys) == ""
        assert self.say(chat, "once") == first

    def test_two_slashes_are_a_text_with_one(self, chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
        answer = self.say(chat, "//etc")
        assert self.text(chat, capsys) == "/etc" + answer

    def test_settings_take_effect(self, chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("/temp 0", "/max-tokens 3", "/top-k 4", "/top-p 0.5", "/min-p 0.1"):
            chat.obey(command)
        assert self.say(chat, "once") == continuation("once", 3)
        chat.obey("/stats")
        shown = capsys.readouterr().err
        assert "temperature 0.0, top_k 4, top_p 0.5, min_p 0.1" in shown
        assert re.search(r"text +7 tokens, 7 characters", shown)
        assert re.search(r"cache +6 positions", shown)

    def test_a_setting_without_a_value_is_shown_and_left_alone(
        self, chat: Chat, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for command, told in (
            ("/temp", "temperature is 9.0 (default 0.8); /temp X changes it\n"),
            ("/max-tokens", "max_tokens is 10 (default 200); /max-tokens X changes it\n"),
            ("/seed ", "seed is 0 (default 0); /seed X changes it\n"),
        ):
            assert chat.obey(command)
            assert capsys.readouterr().err == told
        assert self.say(chat, "once") == continuation("once", 10, 0, WARM)

    def test_a_space_at_the_end_is_warned_of_once_where_pieces_bring_their_own(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pieces = train_tokenizer("bpe", ["once upon a time " * 50], vocab_size=280)
        one = Chat(Session(MODEL, TOKENIZER), pieces, SampleConfig())
        one.obey("once")
        assert capsys.readouterr().err == ""
        one.obey(" upon ")
        assert "ends in a space" in capsys.readouterr().err
        one.obey(" a ")
        assert capsys.readouterr().err == ""
        assert one.last_words() == "once upon  a ", "and the text is as it was typed"

    def test_the_last_words_are_the_end_of_the_last_line(self, chat: Chat) -> None:
        assert chat.last_words() == ""
        chat.obey("First line.\n")
        assert chat.last_words() == ""
        chat.obey("The little dog was happy.")
        assert chat.last_words() == "The little dog was happy."
        chat.obey(" It ran home and its friend came, too.")
        assert chat.last_words() == "…It ran home and its friend came, too."

    def test_help_names_every_command(self, chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
        chat.obey("/help")
        shown = capsys.readouterr().err
        for command in ("/again", "/undo", "/text", "/save", "/reset", "/temp", "/seed", "/stats", "/quit", "/top-p"):
            assert command in shown
        assert not chat.obey("/quit")

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("/temp -1", "/temp is -1.0; it should be greater than or equal to 0; for example /temp 0.8"),
            ("/temp 99999", "/temp is 99999; it should be from 0 to 100; for example /temp 0.8"),
            ("/temp nan", "/temp is nan; it should be a finite number; for example /temp 0.8"),
            ("/temp hot", "/temp 'hot' is not a number; for example /temp 0.8"),
            ("/seed 1.5", "/seed '1.5' is not a whole number"),
            ("/top-p 7", "/top-p is 7.0; it should be less than or equal to 1; for example /top-p 1.0"),
            ("/repetition-context-size 0", "/repetition-context-size is 0; it should be greater than 0"),
            ("/tmep 0.5", "there is no command /tmep; did you mean /temp?"),
            ("/what", "there is no command /what; /help shows them, and // begins a text with a slash"),
            ("/reset now", "/reset takes no value"),
            ("/save", "/save needs a file name"),
            ("/undo", "no last continuation"),
        ],
    )
    def test_mistakes_are_one_sentence_and_change_nothing(self, chat: Chat, typed: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            chat.obey(typed)
        assert said in str(caught.value)
        assert self.say(chat, "once") == continuation("once", 10, 0, WARM)

    def test_save_never_overwrites(self, chat: Chat, tmp_path: Path) -> None:
        answer = self.say(chat, "once")
        chat.obey(f"/save {tmp_path}/a story.txt")
        assert (tmp_path / "a story.txt").read_text() == "once" + answer
        with pytest.raises(DataError, match="exists already"):
            chat.obey(f"/save {tmp_path}/a story.txt")
        with pytest.raises(DataError, match="cannot write"):
            chat.obey(f"/save {tmp_path}/missing/story.txt")
