"""`mlxllm sample`: continue a text."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.cli.model_defaults import with_model_defaults
from mlxllm.cli.streaming import Stream
from mlxllm.cli.trace import open_origins, tell_traced, traced
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # MLX is imported by the command
    from mlxllm.config import SampleConfig
    from mlxllm.inference.generate import Generation

SEPARATOR = "<|endoftext|>"
"""The line between two samples; the `text` source of `mlxllm data build` splits files on it."""


def sample(
    model: sampling.Model,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="P", help="What to continue, as it stands; - reads stdin. Empty: a new text."),
    ] = None,
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
    num_samples: Annotated[
        int, typer.Option("--num-samples", metavar="N", help="How many; they have the seeds S, S+1, ...")
    ] = 1,
    device: sampling.Device = None,
    kv_bits: sampling.KvBits = None,
    max_kv_size: sampling.MaxKvSize = None,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Tell what of it stands word for word in the run's training data, and where."),
    ] = False,
    json_: Annotated[
        bool,
        typer.Option("--json", help="Print one object a sample; its text is the continuation without the prompt."),
    ] = False,
) -> None:
    """Continue a text: prompt and continuation on stdout, speed on stderr.

    No template is added, and no special token but what the model's own tokenizer
    puts before every text. The text ends before <|endoftext|>, before a --stop
    string, or after --max-tokens. --trace looks for the continuation as `mlxllm trace`
    does, in the index that `mlxllm data index` has built.
    """
    if num_samples < 1:
        raise ConfigError(f"--num-samples is {num_samples}; it should be 1 or more")
    given = sampling.chosen(locals())
    config = sampling.sample_config(**given)
    last_seed = sampling.sample_config(seed=config.seed + num_samples - 1).seed
    biases = sampling.logit_biases(logit_bias or ())
    for option, typed in (("--prompt", prompt or ""), *(("--stop", each) for each in stop or ())):
        sampling.check_text(typed, option)
    text = sampling.stdin_text() if prompt == "-" else prompt or ""
    origins = open_origins((), model) if trace else None

    loaded = sampling.load(model, device, adapter)
    config = with_model_defaults(loaded, **given)
    from mlxllm.inference.length import Length  # here: it loads MLX, and the errors above need not wait for it
    from mlxllm.inference.session import Session

    # A session keeps the prompt's keys and values from sample to sample.
    session = Session(loaded.model, loaded.tokenizer, max_kv_size=max_kv_size, kv_bits=kv_bits)
    prompt_ids = loaded.tokenizer.encode_begun(text) if text else []
    if note := Length(loaded, max_kv_size=max_kv_size, kv_bits=kv_bits).check(len(prompt_ids)):
        sampling.say(note)
    for at in range(config.seed, last_seed + 1):
        one = config.model_copy(update={"seed": at})
        generation = session.generate(prompt_ids, one, stop=stop or (), logit_bias=biases)
        if json_:
            told = _as_object(generation, one, loaded.tokenizer.stop_ids)
            if origins is not None:
                told["trace"] = traced(origins, str(told["text"]))
            print(json.dumps(told), flush=True)
            continue
        written = _show(text, generation)
        sampling.say(_summary(generation, one, num_samples))
        if origins is not None:
            tell_traced(origins, written)
        if at != last_seed:
            print(SEPARATOR, flush=True)


def _show(prompt: str, generation: "Generation") -> str:
    """Show the text as it comes, and return it; a last line feed is shown where the text has none."""
    stream, written = Stream(), ""
    try:
        stream.given(prompt)
        for token in generation:
            stream.add(token.text)
            written += token.text
    finally:  # after Ctrl-C as well
        stream.end()
    return written


def _as_object(generation: "Generation", config: "SampleConfig", stop_ids: Sequence[int]) -> dict[str, object]:
    tokens = list(generation)
    # The token that says "no more" is no part of the text.
    ids = [token.id for token in tokens]
    if ids and ids[-1] in stop_ids:
        ids.pop()
    text = "".join(token.text for token in tokens)
    return {"text": text, "token_ids": ids, **asdict(generation.stats), "seed": config.seed}


def _summary(generation: "Generation", config: "SampleConfig", num_samples: int) -> str:
    stats = generation.stats
    seed = f", seed {config.seed}" if num_samples > 1 else ""
    line = f"{stats.prompt_tokens:,} prompt tokens, {sampling.speed(stats)}, peak {stats.peak_memory / 2**20:,.0f} MiB"
    return f"{line}{seed}" + (f"; {stats.note}" if stats.note else "")
