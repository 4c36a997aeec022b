"""`mlxllm compare`: the same prompt to several models."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli import sampling
from mlxllm.cli.streaming import Stream
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # MLX is imported by the command
    from mlxllm.config import SampleConfig
    from mlxllm.conversation.trials import Prompt
    from mlxllm.inference.engine_models import Models

Compared = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="Two or more: RUN, RUN@STEP, RUN@best, a folder, or OWNER/NAME of the Hub.",
        show_default=False,
    ),
]


def compare(
    models: Compared,
    prompt: Annotated[
        str,
        typer.Option("--prompt", metavar="P", help="What all of them are asked; - reads stdin.", show_default=False),
    ],
    system: sampling.System = "",
    max_tokens: sampling.MaxTokens = None,
    temp: sampling.Temp = None,
    top_p: sampling.TopP = None,
    top_k: sampling.TopK = None,
    min_p: sampling.MinP = None,
    repetition_penalty: sampling.RepetitionPenalty = None,
    repetition_context_size: sampling.RepetitionContext = None,
    seed: sampling.Seed = None,
    stop: sampling.Stop = None,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one object: the prompt, and all answers.")] = False,
) -> None:
    """Ask several models the same, with the same seed: the stages of one life, or the checkpoints of a run.

    A tuned model answers, a base model continues the prompt on the next line. One after the other is in memory.

    For example: mlxllm compare tales tales-sft tales-dpo --prompt "Tell me a story."
    """
    config = sampling.sample_config(**sampling.chosen(locals()))
    names = list(dict.fromkeys(models))
    if len(names) < 2:
        raise ConfigError(f"{names[0]!r} alone has nothing to be compared with; name two models or more")
    for option, given in (("--prompt", prompt), ("--system", system), *(("--stop", each) for each in stop or ())):
        sampling.check_text(given, option)
    text = sampling.stdin_text() if prompt == "-" else prompt
    if not text.strip():
        raise ConfigError("the prompt is empty; give what all of them are asked, such as --prompt 'Tell me a story.'")

    from mlxllm.conversation.asking import prompt_of
    from mlxllm.inference.engine_models import Models  # here: MLX is loaded after the options were looked at
    from mlxllm.model.naming import find_model
    from mlxllm.runtime import select_device

    for name in names:
        find_model(name)  # before the first one is asked
    select_device(device)
    held = Models(room_bytes=0)
    asked = prompt_of(text, system)
    answers = []
    for name in names:
        answers.append(_ask(held, name, asked, config, stop or (), json_))
        if not json_ and name != names[-1]:
            print()
    if json_:
        print(json.dumps({"prompt": text, "system": system, "seed": config.seed, "answers": answers}))


def _ask(
    models: "Models", name: str, prompt: "Prompt", config: "SampleConfig", stop: list[str] | tuple[()], json_: bool
) -> dict[str, Any]:
    """One model's answer, shown as it comes unless it is wanted as JSON; when it returns, the model can leave memory."""
    from mlxllm.inference.asking import ask
    from mlxllm.model.hf_folder import BASE

    held = models.load(name)
    loaded = held.loaded
    does = "continues the text" if loaded.kind == BASE else "answers"
    if not json_:
        print(sampling.bold(f"[{sampling.signs(loaded.address)}, {loaded.kind}: {does}]", sys.stdout), flush=True)
    generation, note = ask(held, prompt, config, stop)
    for told in (loaded.note, note):
        if told:
            sampling.say(f"warning: {told}")
    text, stream = "", Stream()
    try:
        for token in generation:
            text += token.text
            if not json_:
                stream.add(token.text)
    finally:  # after Ctrl-C as well
        if not json_:
            stream.end()
    stats = generation.stats
    if not json_:
        cut_off = "" if stats.finish_reason == "stop" else "; cut off here"
        sampling.say(f"[{sampling.speed(stats)}{cut_off}]" + (f" {stats.note}" if stats.note else ""))
    about = {"model": name, "address": loaded.address, "step": loaded.step, "kind": loaded.kind}
    return {**about, "text": text, **asdict(stats)}
