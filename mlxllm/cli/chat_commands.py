"""What can be typed in a chat: text, and commands that begin with a slash."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlxllm.cli import sampling
from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, DataError
from mlxllm.inference.generate import Generation, Token
from mlxllm.inference.session import GrowingText, Session
from mlxllm.tokenizer import Tokenizer

HELP = '''\
text                 is appended, and the model goes on; Enter alone lets it just go on
"""                  begins and ends several lines; so does a backslash at the end of a line
//text               text that begins with a slash
/again               another continuation in place of the last one
/undo                take the last continuation back
/text                show the whole text
/save FILE           write the whole text to a new file
/reset               begin a new text
/temp X              temperature; so do /top-p /top-k /min-p /repetition-penalty /max-tokens
/seed N              seed of the next continuation; each one after it has the next number
/stats               settings, context and memory
/quit                leave (also Ctrl-D, or Ctrl-C twice)
Esc or Ctrl-C        stop the model'''

# Command, spelled as the flag is -> field of SampleConfig, type.
_SETTINGS: dict[str, tuple[str, type[int] | type[float]]] = {
    "/temp": ("temperature", float),
    "/top-p": ("top_p", float),
    "/top-k": ("top_k", int),
    "/min-p": ("min_p", float),
    "/repetition-penalty": ("repetition_penalty", float),
    "/max-tokens": ("max_tokens", int),
    "/seed": ("seed", int),
}


class Chat:
    """The state of a chat, and what each input does to it."""

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        sample: SampleConfig,
        stop: Sequence[str] = (),
        logit_bias: Mapping[int, float] | None = None,
    ) -> None:
        """Begin with an empty text."""
        self.wants_answer = False
        """Whether the model is to go on after the last input."""
        self._session = session
        self._text = GrowingText(tokenizer)
        self._sample, self._stop, self._logit_bias = sample, tuple(stop), logit_bias
        self._generation: Generation | None = None

    def obey(self, typed: str) -> bool:
        """Take in text or a command; False if the chat is to end.

        Raises:
            ConfigError: a command that does not exist, or a value that cannot be.
            DataError: a file that cannot be written.
        """
        self.wants_answer = False
        if not typed.startswith("/") or typed.startswith("//"):
            self._text.add_user(typed[1:] if typed.startswith("//") else typed)
            self.wants_answer = True
            return True
        command, _, value = typed.strip().partition(" ")
        return self._command(command, value.strip())

    @contextmanager
    def answer(self) -> Iterator[Iterator[Token]]:
        """The model's continuation; however far it was read becomes part of the text.

        Raises:
            ConfigError: there is no room for it.
        """
        generation = self._session.generate(self._text.ids, self._sample, stop=self._stop, logit_bias=self._logit_bias)
        self._generation = generation
        self._sample = self._sample.model_copy(update={"seed": (self._sample.seed + 1) % 2**32})
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

    def last_turn(self) -> str:
        """One line on what the last continuation took."""
        assert self._generation is not None
        stats = self._generation.stats
        return f"{sampling.speed(stats)}" + (f"; {stats.note}" if stats.note else "")

    def _command(self, command: str, value: str) -> bool:
        if command in _SETTINGS:
            self._set(command, value)
        elif command == "/save":
            self._save(value)
        elif value:
            raise ConfigError(f"{command} takes no value; /help shows the commands")
        elif command in ("/quit", "/exit"):
            return False
        elif command == "/help":
            sampling.say(HELP)
        elif command == "/text":
            print(self._text.text)
        elif command == "/stats":
            sampling.say(self._stats())
        elif command == "/reset":
            self._text.reset()
            self._session.reset()
            sampling.say("a new text begins")
        elif command in ("/again", "/undo"):
            if not self._text.take_back_answer():
                raise ConfigError(f"{command}: there is no last continuation to take back")
            self.wants_answer = command == "/again"
        else:
            raise ConfigError(f"there is no command {command}; /help shows them, // begins a text with a slash")
        return True

    def _set(self, command: str, value: str) -> None:
        field, kind = _SETTINGS[command]
        try:
            number = kind(value)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ConfigError(
                f"{command} {value!r} is not {what}; for example {command} {'1' if kind is int else '0.8'}"
            ) from None
        try:
            self._sample = sampling.sample_config(**{**self._sample.model_dump(), field: number})
        except ConfigError as error:
            raise ConfigError(str(error).replace("--", "/", 1)) from None
        sampling.say(f"{field} is {number}")

    def _save(self, value: str) -> None:
        if not value:
            raise ConfigError("/save needs a file name, such as /save story.txt")
        path = Path(value).expanduser()
        try:
            with open(path, "x", encoding="utf-8", newline="") as file:
                file.write(self._text.text)
        except FileExistsError:
            raise DataError(f"{path} exists already and is left as it is; give another name") from None
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from None
        sampling.say(f"saved to {path}")

    def _stats(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self._sample.model_dump().items())
        cached = len(self._session.cached_ids)
        lines = [
            f"settings  {settings}",
            f"text      {len(self._text.ids):,} tokens, {len(self._text.text):,} characters",
            f"cache     {cached:,} positions computed, {self._session.nbytes / 2**20:,.1f} MiB",
        ]
        if self._generation is not None:
            lines.append(f"last      {self.last_turn()}")
            lines.append(f"memory    {self._generation.stats.peak_memory / 2**20:,.0f} MiB at most")
        return "\n".join(lines)
