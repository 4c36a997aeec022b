"""What a model writes after many prompts, each text up to a stop string: what generation tasks rest on."""

from collections.abc import Callable, Sequence

from mlxllm.config import SampleConfig
from mlxllm.inference.batch import generate_batch
from mlxllm.inference.stopping import StopMatcher
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import StreamDecoder, Tokenizer


def write_until(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    stop: Sequence[str] = (),
    temperature: float = 0.0,
    seed: int = 0,
    max_length: int | None = None,
    done: Callable[[int, str], None] | None = None,
) -> list[str]:
    """The continuation of each prompt, computed side by side: the text that each would have alone.

    Args:
        model: it runs in evaluation mode and is left as it was.
        tokenizer: the one that the model was trained with; its `stop_ids` end a text as well.
        prompts: ids, at least one each. One so long that its continuation might not fit loses its beginning.
        max_tokens: tokens of a continuation at most.
        stop: strings that end a text; they are not part of it.
        temperature: 0 takes the likeliest token.
        seed: of the draws. A prompt's draws depend on it and on the prompt's number, not on its neighbours.
        max_length: positions of a prompt and its continuation together; by default what the model was made for.
        done: told of each text as soon as it has ended, with its number.

    Raises:
        ConfigError: a stop string is empty.
    """
    made_for = model.config.max_position_embeddings
    if max_length is None or (model.config.positions in ("learned", "sinusoidal") and max_length > made_for):
        max_length = made_for
    # lm-eval leaves the same room, so that both read the same prompt.
    room = max(1, max_length - max_tokens)
    max_tokens = min(max_tokens, max_length - room + 1)
    writers = [_Writer(tokenizer, stop) for _ in prompts]

    def watch(number: int, token: int | None) -> bool:
        writer = writers[number]
        if token is not None:
            return writer.add(token)
        writer.end(cut_off=writer.tokens == max_tokens)
        if done is not None:
            done(number, writer.text)
        return True

    sample = SampleConfig(temperature=temperature, max_tokens=max_tokens, seed=seed)
    generate_batch(model, tokenizer, [list(prompt)[-room:] for prompt in prompts], sample, watch=watch)
    return [writer.text for writer in writers]


class _Writer:
    """One text as its tokens come."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.text = ""
        self.tokens = 0
        self._decoder, self._stop = StreamDecoder(tokenizer), StopMatcher(stop)

    def add(self, token: int) -> bool:
        """Whether a stop string has come."""
        self.tokens += 1
        self.text += self._stop.add(self._decoder.add(token))
        return self._stop.stopped

    def end(self, *, cut_off: bool) -> None:
        """Nothing more comes; a character that was cut off for lack of room is not shown, as in `generate`."""
        self.text += ("" if cut_off else self._stop.add(self._decoder.flush())) + self._stop.flush()
