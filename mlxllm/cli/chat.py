"""`mlxllm chat`: write with a model, turn by turn."""

from typing import TYPE_CHECKING

from mlxllm.cli import sampling
from mlxllm.cli.chat_input import LineReader, StopKeys
from mlxllm.cli.model_defaults import with_model_defaults
from mlxllm.cli.streaming import Stream
from mlxllm.errors import DataError, UserError
from mlxllm.runs.suggestions import read_suggestions

if TYPE_CHECKING:  # MLX is imported by the command
    from mlxllm.cli.chat_commands import Chat
    from mlxllm.inference.length import Length
    from mlxllm.model.loading import LoadedModel

PROMPT = "> "
CONTINUED = ". "
JOINT = "|"
"""Where there are no colours, this stands between what was there and what the model adds."""


def chat(
    model: sampling.Model,
    adapter: sampling.AdapterName = None,
    max_tokens: sampling.MaxTokens = None,
    temp: sampling.Temp = None,
    top_p: sampling.TopP = None,
    top_k: sampling.TopK = None,
    min_p: sampling.MinP = None,
    repetition_penalty: sampling.RepetitionPenalty = None,
    repetition_context_size: sampling.RepetitionContext = None,
    seed: sampling.Seed = None,
    stop: sampling.Stop = None,
    logit_bias: sampling.LogitBias = None,
    device: sampling.Device = None,
    kv_bits: sampling.KvBits = None,
    max_kv_size: sampling.MaxKvSize = None,
) -> None:
    """Write with a model, turn by turn; Esc or Ctrl-C stops it, Ctrl-D leaves, /help shows the rest.

    A base model continues your text; one that was tuned answers, and /again, /better and /rewrite store which answers
    you prefer. Lines can also be piped in: what the model writes is on stdout.
    """
    given = sampling.chosen(locals())
    sampling.sample_config(**given)  # what cannot be is refused before a model is loaded
    biases = sampling.logit_biases(logit_bias or ())
    for each in stop or ():
        sampling.check_text(each, "--stop")
    loaded = sampling.load(model, device, adapter)
    config = with_model_defaults(loaded, **given)
    from mlxllm.cli.chat_commands import Chat
    from mlxllm.cli.chat_turns import TurnsChat
    from mlxllm.inference.length import Length  # here: MLX is loaded after the options were looked at
    from mlxllm.inference.session import Session
    from mlxllm.model.hf_folder import BASE

    session = Session(loaded.model, loaded.tokenizer, max_kv_size=max_kv_size, kv_bits=kv_bits)
    reader = LineReader()
    if loaded.kind == BASE:
        sampling.say(_base_opening(loaded))
        begun = Chat(session, loaded.tokenizer, config, stop or (), biases)
    else:
        sampling.say(_opening(loaded))
        begun = TurnsChat(session, loaded, config, stop or (), biases)
    length = Length(loaded, max_kv_size=max_kv_size, kv_bits=kv_bits)
    try:
        _loop(begun, reader, length)
    finally:
        reader.close()


def _loop(chat: "Chat", reader: LineReader, length: "Length") -> None:
    leaving = False
    while True:
        try:
            typed = reader.read(PROMPT, CONTINUED)
        except EOFError:
            if reader.interactive:
                print()
            return
        except KeyboardInterrupt:
            if not reader.interactive:
                raise
            if leaving:
                print()
                return
            leaving = True
            print()
            sampling.say("Ctrl-C again, Ctrl-D or /quit leaves")
            continue
        except DataError as error:
            if not reader.interactive:
                raise
            sampling.say(f"{error}")
            continue
        leaving = False
        try:
            if not chat.obey(typed):
                return
            if chat.wants_answer:
                if note := length.check(chat.num_tokens):
                    sampling.say(note)
                _answer(chat, reader)
        except UserError as error:
            sampling.say(f"{error}")


def _answer(chat: "Chat", reader: LineReader) -> None:
    """Stream one answer and what it took; Esc and Ctrl-C end it."""
    # A base model's continuation begins in the middle of a line: on a terminal what it joins is shown before it.
    joined = chat.last_words() if reader.interactive else ""
    with StopKeys(reader.interactive, reader.type_ahead) as keys, chat.answer() as tokens:
        stream = Stream()
        stream.given(joined, JOINT)
        for token in tokens:
            stream.add(token.text)
            if keys.pressed:
                break
        stream.end()
    if end := chat.how_it_ended():
        sampling.say(end)
    sampling.say(f"[{chat.last_turn()}]")


def _base_opening(loaded: "LoadedModel") -> str:
    return (
        f"{_named(loaded)} is a base model, which has not been tuned to answer: it continues your text. "
        f"Enter alone lets it go on; /help shows the commands."
    )


def _opening(loaded: "LoadedModel") -> str:
    from mlxllm.model.hf_folder import INSTRUCT

    stages = ", then ".join(loaded.history)
    answers = "came with a chat template" if loaded.kind == INSTRUCT else f"was tuned to answer ({stages})"
    lines = [f"{_named(loaded)} {answers}: it is your turn; /help shows the commands."]
    suggestions = read_suggestions(loaded.path.parent.parent) if loaded.step is not None else []
    if suggestions:
        lines += ["Try one of these:", *(f"  {text}" for text in suggestions)]
    return "\n".join(lines)


def _named(loaded: "LoadedModel") -> str:
    return loaded.name + (f", step {loaded.step:,}" if loaded.step is not None else "")
