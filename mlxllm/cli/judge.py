"""`mlxllm prefs judge`: two answers with names hidden, of which the better one becomes a preference pair."""

import json
import secrets
from typing import Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.errors import ConfigError


def judge(
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="M",
            help="RUN, RUN@STEP, RUN@best, or a folder; given twice, one answer is of each.",
            show_default=False,
        ),
    ],
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="P", help="What is asked; may be repeated. By default it is typed."),
    ] = None,
    before: Annotated[
        list[str] | None,
        typer.Option(
            "--before",
            metavar="TEXT",
            help="Earlier turns of the conversation, in order: yours, the model's, and so on.",
        ),
    ] = None,
    system: sampling.System = "",
    max_tokens: sampling.MaxTokens = None,
    temp: sampling.Temp = None,
    top_p: sampling.TopP = None,
    top_k: sampling.TopK = None,
    min_p: sampling.MinP = None,
    repetition_penalty: sampling.RepetitionPenalty = None,
    repetition_context_size: sampling.RepetitionContext = None,
    seed: sampling.NewSeed = None,
    device: sampling.Device = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print each stored preference as an object a line; all else is on stderr.")
    ] = False,
) -> None:
    """Choose between two answers without knowing whose they are; the better one is stored as a preference.

    Both are of one model, with two seeds, or of two models. Answer each round with a letter and Enter: a or b is the
    better one, t a tie, n both are bad, w writes a better one, u takes the last choice back, q leaves. Lines can also
    be piped in.

    For example: mlxllm prefs judge --model tales-sft --prompt "Tell me a story."
    """
    config = sampling.sample_config(**sampling.chosen(locals()))
    if len(models) > 2:
        raise ConfigError(f"--model is given {len(models)} times; two answers are of one model or of two")
    if len(before or ()) % 2:
        raise ConfigError(f"--before is given {len(before or ()):,} times; give each turn of yours with its answer")
    texts = {"--prompt": prompts or (), "--before": before or (), "--system": (system,)}
    for option, given in [(option, each) for option, several in texts.items() for each in several]:
        sampling.check_text(given, option)
        if option == "--prompt" and not given.strip():
            raise ConfigError("--prompt is empty; give what is asked, such as --prompt 'Tell me a story.'")

    from mlxllm.cli.judging import LEAVE, UNDO, Judging, pairs
    from mlxllm.conversation.asking import prompt_of
    from mlxllm.conversation.trials import Trial
    from mlxllm.inference.engine_models import Models  # here: MLX is loaded after the options were looked at
    from mlxllm.model.naming import find_model
    from mlxllm.runs import short_name
    from mlxllm.runtime import select_device

    for name in models:
        find_model(name)
    select_device(device)
    trial = Trial((models[0], models[-1]), [], secrets.randbelow(1 << 32) if seed is None else config.seed)
    for text in prompts or ():
        trial.add(prompt_of(text, system, before or ()))
    judging = Judging(trial, Models(), config, json_, reveals=True)
    ends = (
        "Enter ends, u takes the last choice back"
        if prompts
        else "what is asked next? Enter alone ends, u takes the last choice back"
    )
    while judging.judge_all() != LEAVE:
        typed = judging.read(ends if trial.number or prompts else "what is asked? Enter alone ends")
        if typed == UNDO:
            judging.undo()
        elif typed and typed != LEAVE and not prompts:
            trial.add(prompt_of(typed, system, before or ()))
        else:
            break
    if json_:
        for preference in judging.kept.values():
            print(json.dumps(preference.as_json()))
    verdict = trial.verdict()
    if trial.players[0] != trial.players[1] and verdict.decided:
        sampling.say(verdict.sentence(*map(short_name, trial.players)))
    sampling.say(f"{pairs(len(judging.kept))} kept; `mlxllm prefs ls` lists them")
