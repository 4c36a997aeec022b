"""What `sample` and `chat` share: the options that choose the next token, and text that is safe on a terminal."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from mlxllm.cli.terminal import fold, tell
from mlxllm.errors import ConfigError, DataError

if TYPE_CHECKING:  # pydantic and MLX are imported by the commands that use them
    from mlxllm.config import SampleConfig
    from mlxllm.inference.generate import Stats
    from mlxllm.model.loading import LoadedModel

# In a help text {sample.top_k} stands for what the configuration says about that setting, and its default.

Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="M",
        help="A run (RUN, RUN@STEP, RUN@best), a folder with a model, or OWNER/NAME[@REVISION] of the Hub.",
        show_default=False,
    ),
]
AdapterName = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        metavar="DIR",
        help="Put this adapter on the model: a folder of ours, mlx-lm's or PEFT's, or a run that trained one.",
    ),
]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", metavar="N", help="{sample.max_tokens}")]
Temp = Annotated[float | None, typer.Option("--temp", metavar="X", help="{sample.temperature}")]
TopP = Annotated[float | None, typer.Option("--top-p", metavar="P", help="{sample.top_p}")]
TopK = Annotated[int | None, typer.Option("--top-k", metavar="K", help="{sample.top_k}")]
MinP = Annotated[float | None, typer.Option("--min-p", metavar="P", help="{sample.min_p}")]
RepetitionPenalty = Annotated[
    float | None, typer.Option("--repetition-penalty", metavar="X", help="{sample.repetition_penalty}")
]
RepetitionContext = Annotated[
    int | None, typer.Option("--repetition-context-size", metavar="N", help="{sample.repetition_context_size}")
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="S", help="{sample.seed}")]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="STR", help="End before this string; can be given several times."),
]
LogitBias = Annotated[
    list[str] | None,
    typer.Option("--logit-bias", metavar="ID=V", help="Add V to a token's score, -inf forbids it; several times."),
]
Device = Annotated[str | None, typer.Option("--device", metavar="D", help="cpu or gpu; by default the GPU, if any.")]
System = Annotated[
    str, typer.Option("--system", metavar="TEXT", help="Told to a tuned model before the prompt.", show_default=False)
]
NewSeed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="S", help="Decides the sides and the draws; by default a new one.", show_default=False
    ),
]
KvBits = Annotated[int | None, typer.Option("--kv-bits", metavar="N", help="Keep keys and values in 4 or 8 bits.")]
MaxKvSize = Annotated[
    int | None,
    typer.Option("--max-kv-size", metavar="N", help="Keep at most N positions, the first 4 and the newest."),
]

FIELDS = {
    "--max-tokens": "max_tokens",
    "--temp": "temperature",
    "--top-p": "top_p",
    "--top-k": "top_k",
    "--min-p": "min_p",
    "--repetition-penalty": "repetition_penalty",
    "--repetition-context-size": "repetition_context_size",
    "--seed": "seed",
}
"""Flag -> field of `SampleConfig`."""


def chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Field of `SampleConfig` -> what was given, None where nothing was; from all parameters of a command."""
    return {field: options[flag.removeprefix("--").replace("-", "_")] for flag, field in FIELDS.items()}


def sample_config(**given: float | None) -> "SampleConfig":
    """The `SampleConfig` of these fields; None leaves a default as it is.

    Raises:
        ConfigError: a value cannot be; the message has the flag, the value and what would be right.
    """
    from pydantic import ValidationError

    from mlxllm.config import HOTTEST, SampleConfig

    try:
        config = SampleConfig.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        flag = next(flag for flag, field in FIELDS.items() if field == first["loc"][0])
        right = first["msg"].replace("Input should be", "it should be")
        raise ConfigError(f"{flag} is {first['input']!r}; {right}") from None
    if config.temperature > HOTTEST:
        raise ConfigError(f"--temp is {config.temperature:g}; it should be from 0 to {HOTTEST}")
    return config


def logit_biases(given: Sequence[str]) -> dict[int, float]:
    """Token id -> bias, from texts like `42=-3.5`; which ids exist is for the sampler to say.

    Raises:
        ConfigError: a text is not of that form.
    """
    biases: dict[int, float] = {}
    for text in given:
        token_id, equals, value = text.partition("=")
        try:
            if not equals or not (token_id.isascii() and token_id.isdigit()):
                raise ValueError
            biases[int(token_id)] = float(value)
        except ValueError:
            raise ConfigError(
                f"--logit-bias {text!r} is not ID=V; give a token id and a number, such as 42=-3.5 or 42=-inf"
            ) from None
    return biases


def check_text(text: str, where: str) -> None:
    """Refuse what was typed in another encoding; Python keeps a byte that is no UTF-8 as half of a surrogate pair.

    Args:
        text: what came as an argument, or from a terminal.
        where: it came from, for the message.

    Raises:
        DataError: it holds such a byte.
    """
    for at, char in enumerate(text):
        if "\udc80" <= char <= "\udcff":
            raise DataError(
                f"{where} is not UTF-8 text: byte 0x{ord(char) - 0xDC00:02X} at character {at:,}; convert it first"
            )


def stdin_text() -> str:
    """The prompt for `--prompt -`: all of stdin, byte for byte.

    Raises:
        ConfigError: stdin is a terminal.
        DataError: it is not UTF-8.
    """
    if sys.stdin.isatty():
        raise ConfigError("--prompt - reads the prompt from stdin, but stdin is a terminal; pipe a text in")
    try:
        # Bytes, because text mode would turn CRLF into LF.
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the prompt on stdin is not UTF-8 text: {error.reason} at byte {error.start:,}; convert it first"
        ) from None


def load(name: str, device: str | None, adapter: str | None = None) -> "LoadedModel":
    """The model on the device that was asked for, with an adapter if one is named.

    Raises:
        UserError: there is no such device or model, or it cannot be used.
    """
    from mlxllm.model.loading import load_model
    from mlxllm.runtime import select_device

    select_device(device)
    loaded = load_model(name, adapter=adapter)
    if loaded.note:
        say(f"warning: {loaded.note}")
    return loaded


def speed(stats: "Stats") -> str:
    """One line on what a continuation took."""
    return f"{stats.tokens:,} tokens, {stats.tok_per_sec:,.1f} tok/s, the first after {stats.time_to_first_token:.2f} s"


def use_colour(stream: TextIO) -> bool:
    """Whether the stream is a terminal that wants colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, stream: TextIO) -> str:
    """`text` in a fainter colour where the stream shows colours."""
    return f"\x1b[2m{text}\x1b[0m" if text and use_colour(stream) else text


def bold(text: str, stream: TextIO) -> str:
    """`text` as a title where the stream shows colours."""
    return f"\x1b[1m{text}\x1b[0m" if text and use_colour(stream) else text


# C0 and C1 without tab and line feed, and DEL. A model can write anything; a terminal obeys some of it.
_CONTROLS = {c: 0x2400 + c for c in range(0x20) if chr(c) not in "\t\n"}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(128, 160), 65533)


def shown(text: str, stream: TextIO) -> str:
    """`text` as it is, or for a terminal with control characters as signs."""
    return signs(text) if stream.isatty() else text


def signs(text: str) -> str:
    """`text` with control characters as signs."""
    return text.translate(_CONTROLS)


def say(message: str) -> None:
    """Narrate on stderr; a terminal gets lines that are folded between words."""
    tell(dim(fold(message, sys.stderr), sys.stderr), sys.stderr)
