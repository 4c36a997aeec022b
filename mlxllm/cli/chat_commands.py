"""What can be typed in a chat with a base model: text, and commands that begin with a slash."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlxllm.cli import sampling
from mlxllm.cli.streaming import Stream
from mlxllm.cli.table import field_lines
from mlxllm.cli.terminal import did_you_mean
from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, DataError
from mlxllm.inference.generate import Generation, Token
from mlxllm.inference.session import Dialogue, GrowingText, Session
from mlxllm.tokenizer import Tokenizer

_SETTINGS = {f"/{flag.removeprefix('--')}": field for flag, field in sampling.FIELDS.items()}
"""Command, spelled as the flag is -> field of `SampleConfig`."""

LINES_HELP = (
    ('"""', "begins and ends several lines; so does a backslash at the end of a line"),
    ("//text", "text that begins with a slash"),
)
END_HELP = (
    ("/temp X", f"set the temperature; without X, show it; so do {' '.join(c for c in _SETTINGS if c != '/temp')}"),
    ("/seed N", "seed of what the model writes next; each time after it has the next number"),
    ("/stats", "settings, context and memory"),
    ("/quit", "leave; so do Ctrl-D, and Ctrl-C twice"),
    ("Esc or Ctrl-C", "stop the model"),
)

_SHOWN_BEFORE = 40
"""Characters of the text that are shown before its continuation."""


class Chat:
    """The state of a chat in which both sides write one text, and what each input does to it."""

    help: Sequence[tuple[str, str]] = (
        ("text", "is appended, after a space where two words would meet, and the model goes on"),
        ("Enter alone", "lets the model just go on"),
        *LINES_HELP,
        ("/again", "another continuation in place of the last one"),
        ("/undo", "take the last continuation back"),
        ("/text", "show the whole text"),
        ("/save FILE", "write the whole text to a new file"),
        ("/reset", "begin a new text"),
        *END_HELP,
    )
    commands: Sequence[str] = (
        *_SETTINGS,
        *("/again", "/exit", "/help", "/quit", "/reset", "/save", "/stats", "/text", "/undo"),
    )
    with_text: Sequence[str] = ("/save",)
    """Commands that take a text, besides the settings."""

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        sample: SampleConfig,
        stop: Sequence[str] = (),
        logit_bias: Mapping[int, float] | None = None,
        dialogue: Dialogue | None = None,
    ) -> None:
        """Begin with an empty text, or another empty dialogue."""
        self.wants_answer = False
        """Whether the model is to go on after the last input."""
        self._session = session
        self._text: Dialogue = GrowingText(tokenizer) if dialogue is None else dialogue
        self._sample, self._stop, self._logit_bias = sample, tuple(stop), logit_bias
        self._generation: Generation | None = None
        # Learned pieces begin with their space, so a text that ends in one is rarely gone on with well.
        self._warns_of_space = dialogue is None and tokenizer.kind == "bpe"

    def obey(self, typed: str) -> bool:
        """Take in text or a command; False if the chat is to end.

        Raises:
            ConfigError: a command that does not exist, or a value that cannot be.
            DataError: a file that cannot be written.
        """
        self.wants_answer = False
        if not typed.startswith("/") or typed.startswith("//"):
            self._take_text(typed[1:] if typed.startswith("//") else typed)
            return True
        command, *value = typed.split(maxsplit=1)
        return self._command(command, value[0].rstrip() if value else "")

    @property
    def num_tokens(self) -> int:
        """Length of what the model is to continue."""
        return len(self._text.ids)

    def last_words(self) -> str:
        """The end of the last line of the text: what the next continuation is joined to."""
        line = self._text.text.rpartition("\n")[2]
        if len(line) <= _SHOWN_BEFORE:
            return line
        end = line[-_SHOWN_BEFORE:]
        return "…" + (end.partition(" ")[2] or end)

    @contextmanager
    def answer(self) -> Iterator[Iterator[Token]]:
        """The model's continuation; however far it was read becomes part of the text.

        Raises:
            ConfigError: there is no room for it.
        """
        generation = self._session.generate(
            self._text.ids,
            self._sample,
            stop=self._stop,
            stop_ids=self._text.stop_ids,
            logit_bias=self._logit_bias,
        )
        self._generation = generation
        used, self._sample = self._sample, self._sample.model_copy(update={"seed": (self._sample.seed + 1) % 2**32})
        tokens: list[Token] = []

        def recorded() -> Iterator[Token]:
            for token in generation:
                tokens.append(token)
                yield token

        try:
            yield recorded()
        finally:
            generation.close()
            self._text.add_answer(tokens)
            self._answered(used)

    def last_turn(self) -> str:
        """One line on what the last continuation took."""
        assert self._generation is not None
        stats = self._generation.stats
        return f"{sampling.speed(stats)}" + (f"; {stats.note}" if stats.note else "")

    def how_it_ended(self) -> str:
        """A sentence about the end of the last continuation, where one is due."""
        assert self._generation is not None
        ended = self._generation.stats.finish_reason == "stop"
        return "the text ends here; write on, or /reset begins a new one" if ended else ""

    def _answered(self, sample: SampleConfig) -> None:
        """What was written with these settings has become part of the text."""

    def _take_text(self, text: str) -> None:
        self._text.add_user(text)
        self.wants_answer = True
        if self._warns_of_space and text.endswith(" "):
            self._warns_of_space = False
            sampling.say("that text ends in a space; the model brings its own, and goes on better without it")

    def _command(self, command: str, value: str) -> bool:
        if command not in self.commands:
            near = did_you_mean(command, self.commands) or "/help shows them, and // begins a text with a slash"
            raise ConfigError(f"there is no command {command}; {near}")
        if value and command not in (*_SETTINGS, *self.with_text):
            raise ConfigError(f"{command} takes no value; /help shows the commands")
        if command in ("/quit", "/exit"):
            return False
        if command in _SETTINGS:
            self._set(command, value)
        else:
            self._do(command, value)
        return True

    def _do(self, command: str, value: str) -> None:
        """Obey a command that exists and is no setting."""
        if command == "/save":
            self._save(value)
        elif command == "/help":
            sampling.say("\n".join(field_lines(self.help, sys.stderr)))
        elif command == "/text":
            stream = Stream()
            stream.add(self._text.text)
            stream.end()
        elif command == "/stats":
            sampling.say(self._stats())
        elif command == "/reset":
            self._text.reset()
            self._session.reset()
            sampling.say("a new text begins")
        elif not self._text.take_back_answer():
            raise ConfigError(f"{command}: there is no last continuation to take back")
        else:
            self.wants_answer = command == "/again"

    def _set(self, command: str, value: str) -> None:
        field = _SETTINGS[command]
        info = SampleConfig.model_fields[field]
        if not value:
            sampling.say(f"{field} is {getattr(self._sample, field)} (default {info.default}); {command} X changes it")
            return
        kind, what = (int, "a whole number") if info.annotation is int else (float, "a number")
        try:
            number = kind(value)
        except ValueError:
            raise ConfigError(f"{command} {value!r} is not {what}; for example {command} {info.default}") from None
        try:
            self._sample = sampling.sample_config(**{**self._sample.model_dump(), field: number})
        except ConfigError as error:
            told = str(error).replace("--", "/", 1)
            raise ConfigError(f"{told}; for example {command} {info.default}") from None
        sampling.say(f"{field} is {number}")

    def _save(self, value: str) -> None:
        if not value:
            raise ConfigError("/save needs a file name, such as /save story.txt")
        path = Path(value).expanduser()
        try:
            with open(path, "x", encoding="utf-8", newline="") as file:
                file.write(self._saved(path))
        except FileExistsError:
            raise DataError(f"{path} exists already and is left as it is; give another name") from None
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from None
        sampling.say(f"saved to {path}")

    def _saved(self, path: Path) -> str:
        """What is written to a file of that name."""
        return self._text.text

    def _stats(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self._sample.model_dump().items())
        cached = len(self._session.cached_ids)
        rows = [
            ("settings", settings),
            ("text", f"{len(self._text.ids):,} tokens, {len(self._text.text):,} characters"),
            ("cache", f"{cached:,} positions computed, {self._session.nbytes / 2**20:,.1f} MiB"),
        ]
        if self._generation is not None:
            rows.append(("last", self.last_turn()))
            rows.append(("memory", f"{self._generation.stats.peak_memory / 2**20:,.0f} MiB at most"))
        return "\n".join(field_lines(rows, sys.stderr))
