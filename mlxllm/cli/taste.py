"""`mlxllm taste`: the blind taste test of a tuned model against an untuned one."""

import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.cli.prefs import beginning
from mlxllm.cli.table import print_table
from mlxllm.cli.terminal import fold
from mlxllm.errors import EXIT_FAILED, ConfigError
from mlxllm.visible import counted

if TYPE_CHECKING:  # the chat formats and MLX are imported by the command
    from mlxllm.conversation.trials import Prompt, Trial


def taste(
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The model that is tested.", show_default=False)],
    untuned: Annotated[str, typer.Argument(metavar="UNTUNED", help="What it is tested against.", show_default=False)],
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", help="How many prompts, at most 200. [default: 10]")
    ] = None,
    seed: sampling.NewSeed = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="WHERE",
            help="A file with one a line, or with records; or stories, docs, own (what began your chats) or suggested. "
            "By default the first of these four that there is for the model.",
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
    device: sampling.Device = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the verdict with all rounds as one object; all else is on stderr.")
    ] = False,
) -> None:
    """Compare two models on new prompts without knowing which is which; in the end a verdict, with its chance.

    Answer each round with a letter and Enter: a or b is the better one, t a tie, n both are bad, w writes a better one,
    u takes the last choice back, v ends with the verdict now, q leaves without one. Lines can also be piped in. Each
    choice is stored as a preference as well. Where both answers are the same, others are drawn, then to another prompt.

    For example: mlxllm taste tales-dpo tales-sft --rounds 20
    """
    config = sampling.sample_config(**sampling.chosen(locals()))
    sampling.check_text(system, "--system")
    if tuned == untuned:
        raise ConfigError(f"both are {tuned}; `mlxllm prefs judge` compares two answers of one model")
    from mlxllm.conversation.trials import MOST_ROUNDS, PROMPTS_A_ROUND, USUAL_ROUNDS, Trial

    rounds = USUAL_ROUNDS if rounds is None else rounds
    if not 1 <= rounds <= MOST_ROUNDS:
        raise ConfigError(f"--rounds is {rounds}; it should be from 1 to {MOST_ROUNDS}")

    from mlxllm.cli.judging import LEAVE, UNDO, VERDICT, Judging, pairs
    from mlxllm.conversation.asking import with_system
    from mlxllm.conversation.trial_log import TrialLog
    from mlxllm.inference.engine_models import Models  # here: MLX is loaded after the options were looked at
    from mlxllm.model.naming import find_model
    from mlxllm.runtime import select_device

    for name in (tuned, untuned):
        find_model(name)
    seed = secrets.randbelow(1 << 32) if seed is None else config.seed
    asked = prompts_for(prompts, (tuned, untuned), PROMPTS_A_ROUND * rounds, seed)
    if len(asked) < rounds:
        sampling.say(f"only {counted(len(asked), 'round')}: there are no more new prompts")
    select_device(device)
    trial = Trial((tuned, untuned), [with_system(prompt, system) for prompt in asked], seed, rounds)
    judging = Judging(trial, Models(), config, json_, reveals=False)
    while not (ended := judging.judge_all()):
        typed = judging.read("that was the last round: Enter shows the verdict, u takes the last choice back")
        if typed != UNDO:
            ended = LEAVE if typed == LEAVE else VERDICT
            break
        judging.undo()
    judged, kept = trial.number, f"{pairs(len(judging.kept))} kept"
    if ended == LEAVE:
        sampling.say(f"left after {judged} of {len(trial.rounds)} rounds, without a verdict; {kept}")
        raise typer.Exit(EXIT_FAILED)
    del trial.rounds[judged:]
    if judged:
        TrialLog().add(trial)
    _tell(trial, json_)
    sampling.say(f"{kept}; `mlxllm prefs ls` lists them")


def prompts_for(where: str | None, models: tuple[str, str], count: int, seed: int) -> "list[Prompt]":
    """Up to `count` prompts that are new to both models, from where they are wanted; by default from the first one's."""
    from mlxllm.conversation.saved import SavedChats
    from mlxllm.conversation.trial_prompts import KINDS, kinds_for, new_prompts, prompts_in
    from mlxllm.runs import run_of

    model = models[0]
    run, other, chats = run_of(model), run_of(models[1]), SavedChats()
    there = [kind for kind in kinds_for(run, chats) if kind != "file"]
    if where is None and not there:
        raise ConfigError(f"it is not known what {model} could be asked; give --prompts FILE, with one a line")
    if where is None:
        kind = there[0]
    elif where in KINDS and where != "file":
        if where not in there:
            known = f"there are {' and '.join(there)} ones, or give" if there else "give"
            raise ConfigError(f"there are no {where} prompts for {model}; {known} a file with one a line")
        kind = next(kind for kind in there if kind == where)
    else:
        path = Path(where).expanduser()
        found, there_are = new_prompts("file", count, seed, run, chats, path, other=other), len(prompts_in(path))
        if left_out := min(count, there_are) - len(found):
            out_of = counted(there_are, "prompt")
            who = f"{model} or {models[1]}"
            sampling.say(f"{left_out} of {out_of} left out: {who} was trained on them, or they stand there twice")
        return found
    sampling.say(f"prompts: {KINDS[kind]}")
    return new_prompts(kind, count, seed, run, chats, other=other)


def _tell(trial: "Trial", json_: bool) -> None:
    """The verdict, and who was who."""
    from mlxllm.conversation.trials import STANDS

    sentence, meaning = trial.taste(), trial.verdict().meaning
    if json_:
        print(json.dumps({**trial.as_json(), "sentence": sentence, "meaning": meaning}))
        return
    print(sampling.bold(fold(sentence, sys.stdout), sys.stdout))
    if meaning:
        print(fold(meaning, sys.stdout))
    rows = []
    for number, each in enumerate(trial.rounds, 1):
        sides = [f"{STANDS[player]}: {beginning(each.answers[player].text)}" for player in each.sides]
        rows.append([str(number), *map(sampling.signs, sides), each.told])
    if rows:
        print_table(["round", "A", "B", "you chose"], rows)
