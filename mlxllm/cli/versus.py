"""`mlxllm versus`: two models answer the same prompts, and a program, a model or you judge which answers are better."""

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli import sampling
from mlxllm.cli.taste import prompts_for
from mlxllm.cli.terminal import fold
from mlxllm.errors import EXIT_FAILED, ConfigError, DataError
from mlxllm.visible import counted, in_a_line

if TYPE_CHECKING:  # MLX is imported by the command
    from mlxllm.config import SampleConfig
    from mlxllm.conversation.trials import Prompt
    from mlxllm.evaluation.versus.side_by_side import Comparison, Contest, Judged
    from mlxllm.model.loading import LoadedModel

_EVERY = 5.0
"""Seconds between two lines about how far it is."""
_JUDGED_ROUNDS = 100
"""Prompts, where no person has to read the answers."""
_COIN = 0.5
"""Share of the pairs of which a coin says the same in both orders."""
_SAME = 1e-9
"""What rounding may make of a win rate."""


def versus(
    first: Annotated[str, typer.Argument(metavar="A", help="The model that the win rate is of.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.", show_default=False)],
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="WHERE",
            help="A file with one a line, or with records; or stories, docs, own (what began your chats) or suggested. "
            "By default the first of these four that there is for A.",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", metavar="N", help="How many prompts at most. [default: 100 for a judge, 10 for you]"),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="CMD",
            help="A program that reads pairs of answers as JSON, one a line, and writes for each which is better (the "
            "README says how). Without a judge you are asked.",
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", metavar="M", help="A model that judges, in place of a program.")
    ] = None,
    judge_timeout: Annotated[
        float | None,
        typer.Option("--judge-timeout", metavar="S", help="Seconds until its next reply at most. [default: 120]"),
    ] = None,
    swap: Annotated[
        bool, typer.Option("--swap/--no-swap", help="Ask about each pair in both orders, so that places do not count.")
    ] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask the judge again what it was asked before.")] = False,
    system: sampling.System = "",
    max_tokens: sampling.MaxTokens = None,
    temp: sampling.Temp = None,
    top_p: sampling.TopP = None,
    top_k: sampling.TopK = None,
    min_p: sampling.MinP = None,
    repetition_penalty: sampling.RepetitionPenalty = None,
    repetition_context_size: sampling.RepetitionContext = None,
    seed: sampling.Seed = None,
    device: sampling.Device = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print all that was found as one object; all else is on stderr.")
    ] = False,
) -> None:
    """Compare two models on many prompts by a judge: win rate with its interval, also at equal lengths of the answers.

    Answers and judgements are kept as they come: the same command goes on where it was interrupted.

    For example: mlxllm versus tales-dpo tales-sft --judge scripts/judges/longer.py
    """
    config = sampling.sample_config(**sampling.chosen(locals()))
    sampling.check_text(system, "--system")
    if judge is not None and judge_model is not None:
        raise ConfigError("--judge and --judge-model both say who judges; give one of them")
    if judge is None and (judge_timeout is not None or (fresh and judge_model is None)):
        given = "--judge-timeout" if judge_timeout is not None else "--fresh"
        raise ConfigError(f"{given} is about a judge; name one with --judge CMD")
    if judge_timeout is not None and not judge_timeout > 0:
        raise ConfigError(f"--judge-timeout is {judge_timeout:g}; it should be greater than 0")
    if first == second:
        raise ConfigError(f"both are {first}; `mlxllm prefs judge` compares two answers of one model")
    from mlxllm.conversation.trials import MOST_ROUNDS, USUAL_ROUNDS

    by_hand = judge is None and judge_model is None
    rounds = (USUAL_ROUNDS if by_hand else _JUDGED_ROUNDS) if rounds is None else rounds
    if rounds < 1 or (by_hand and rounds > MOST_ROUNDS):
        raise ConfigError(f"--rounds is {rounds}; it should be from 1" + (f" to {MOST_ROUNDS}" if by_hand else ""))

    from mlxllm.conversation.asking import with_system
    from mlxllm.evaluation.versus.judge_command import (  # here: MLX is loaded after the options
        USUAL_SECONDS,
        CommandJudge,
    )
    from mlxllm.evaluation.versus.side_by_side import compare
    from mlxllm.model.naming import find_model

    program = CommandJudge(judge, judge_timeout or USUAL_SECONDS, sampling.say) if judge is not None else None
    for name in (first, second, *([judge_model] if judge_model is not None else [])):
        find_model(name)
    asked = [with_system(prompt, system) for prompt in prompts_for(prompts, (first, second), rounds, config.seed)]
    if len(asked) < rounds and (by_hand or prompts is None):
        sampling.say(f"only {counted(len(asked), 'round')}: there are no more new prompts")
    if program is not None:
        program.check()
    begun = time.monotonic()
    contest, about = _contest(first, second, asked, config, device)
    if same := sum(contest.is_same(number) for number in range(len(asked))):
        sampling.say(
            f"{same:,} of {len(asked):,} pairs of answers are the same, word for word: ties, and nobody is asked"
        )
    if by_hand:
        judged, who = _by_hand(contest, (first, second), config, json_), "you"
    else:
        from mlxllm.evaluation.versus.judge_model import ModelJudge
        from mlxllm.evaluation.versus.judges import Judgements
        from mlxllm.evaluation.versus.side_by_side import judge_pairs

        asks = program or ModelJudge(sampling.load(str(judge_model), device))
        progress = _Progress("judged")
        judged = judge_pairs(
            contest, asks, Judgements(asks.identity), progress, both_orders=swap, seed=config.seed, fresh=fresh
        )
        who = " ".join(str(judge or judge_model).split())
        if judged.agreed is not None and judged.agreed < _COIN:
            sampling.say(
                f"warning: the judge says the same in both orders of {_percent(judged.agreed)} of the pairs, more rarely "
                f"than a coin: it goes by the place of an answer (position bias), and the win rate says little; ask another"
            )
    found = compare(contest, judged.preferences)
    if found.win_rate is None:
        why = f": {in_a_line(judged.reason)}" if judged.reason else ""
        raise DataError(f"the judge could not tell of any of {counted(len(asked), 'pair')}{why}; no result is kept")
    _keep(about, found, contest, who, config, swap and not by_hand, time.monotonic() - begun)
    if json_:
        print(json.dumps(_as_json((first, second), who, found, judged, contest)))
    else:
        _tell((first, second), who, found, judged, swap and not by_hand)


class _Progress:
    """How many are done, told now and then."""

    def __init__(self, what: str) -> None:
        self._what, self._told, self._last = what, -1, time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        if done == of or self._told < 0 or time.monotonic() - self._last > _EVERY:
            if done != self._told and of:
                sampling.say(f"{self._what} {done:,} of {of:,}")
            self._told, self._last = done, time.monotonic()


def _contest(
    first: str, second: str, asked: "list[Prompt]", config: "SampleConfig", device: str | None
) -> "tuple[Contest, tuple[LoadedModel, LoadedModel]]":
    """The answers of both, one model in memory at a time."""
    from mlxllm.evaluation.versus.answering import Answering
    from mlxllm.evaluation.versus.side_by_side import Contest

    answers, loaded = [], []
    for name in (first, second):
        each = sampling.load(name, device)
        progress = _Progress(f"{name} answered")

        def told(done: int, progress: Callable[[int, int], None] = progress) -> None:
            progress(done, len(asked))

        answers.append(Answering(each, config)(asked, told))
        loaded.append(each)
    return Contest(asked, *answers), (loaded[0], loaded[1])


def _by_hand(contest: "Contest", players: tuple[str, str], config: "SampleConfig", json_: bool) -> "Judged":
    """Have a person judge all pairs that differ, with names hidden."""
    from mlxllm.cli.judging import LEAVE, Judging, pairs
    from mlxllm.conversation.trials import Trial
    from mlxllm.evaluation.versus.side_by_side import Judged

    numbers = [number for number in range(len(contest.prompts)) if not contest.is_same(number)]
    trial = Trial(players, [contest.prompts[number] for number in numbers], config.seed)
    for each, number in zip(trial.rounds, numbers, strict=True):
        each.answers.update({0: contest.first[number], 1: contest.second[number]})
    judging = Judging(trial, None, config, json_, reveals=False)
    ended = judging.judge_all()
    sampling.say(f"{pairs(len(judging.kept))} kept; `mlxllm prefs ls` lists them")
    if ended == LEAVE:
        sampling.say(f"left after {trial.number} of {len(trial.rounds)} rounds, without a verdict")
        raise typer.Exit(EXIT_FAILED)
    preferences: list[float | None] = [0.5 if contest.is_same(n) else None for n in range(len(contest.prompts))]
    for each, number in list(zip(trial.rounds, numbers, strict=True))[: trial.number]:
        preferences[number] = 0.5 if each.winner is None else 1.0 - each.winner
    return Judged(preferences)


def _keep(
    models: "tuple[LoadedModel, LoadedModel]",
    found: "Comparison",
    contest: "Contest",
    judge: str,
    config: "SampleConfig",
    swap: bool,
    seconds: float,
) -> None:
    from hashlib import sha256

    from mlxllm import scores

    first, second = models
    asked = json.dumps([[message.as_dict() for message in prompt] for prompt in contest.prompts])
    scores.keep(
        scores.Result.of(
            first,
            task=f"versus:{second.name}",
            metrics=found.metrics,
            samples=len(contest.prompts) - found.unjudged,
            settings={
                "against": second.fingerprint,
                "judge": judge,
                "prompts": sha256(asked.encode("utf-8", "backslashreplace")).hexdigest(),
                "both_orders": swap,
                "sample": config.model_dump(mode="json"),
            },
            seconds=seconds,
        )
    )


def _as_json(
    names: tuple[str, str], judge: str, found: "Comparison", judged: "Judged", contest: "Contest"
) -> dict[str, Any]:
    rounds = [
        {"prompt": prompt[-1].content, "first": a.text, "second": b.text, "preference": p}
        for prompt, a, b, p in zip(contest.prompts, contest.first, contest.second, judged.preferences, strict=True)
    ]
    about = {"first": names[0], "second": names[1], "judge": judge, **found.as_dict()}
    return {**about, "agreed": judged.agreed, "shown_first": judged.shown_first, "rounds": rounds}


def _tell(names: tuple[str, str], judge: str, found: "Comparison", judged: "Judged", swap: bool) -> None:
    """What was found, a line each."""
    count = found.wins + found.losses + found.ties
    assert found.win_rate is not None
    assert found.win_rate_interval is not None
    assert found.mean_lengths is not None
    title = f"{names[0]} against {names[1]}: {counted(count, 'prompt')}, judged by {judge}{' in both orders' if swap else ''}"
    print(sampling.bold(fold(title, sys.stdout), sys.stdout))
    chance = f"; a coin does that, or more, {_percent(found.chance)} of the time" if found.wins != found.losses else ""
    print(f"won {found.wins:,}, lost {found.losses:,}, ties {found.ties:,}{chance}")
    low, high = found.win_rate_interval
    graded = abs(found.win_rate * count - found.wins - found.ties / 2) > _SAME * count
    label = "win rate, by sureness" if graded else "win rate"
    print(f"{label:<27}{_percent(found.win_rate)} (95 %: {_percent(low)} to {_percent(high)})")
    if found.length_controlled_win_rate is not None and found.length_controlled_interval is not None:
        low, high = found.length_controlled_interval
        told = f"{_percent(found.length_controlled_win_rate)} (95 %: {_percent(low)} to {_percent(high)})"
        print(f"at equal lengths           {told}")
    print(f"characters of an answer    {found.mean_lengths[0]:,.0f} and {found.mean_lengths[1]:,.0f}")
    if judged.agreed is not None:
        print(f"the same in both orders    {_percent(judged.agreed)}")
    if judged.shown_first is not None:
        print(f"shown first is preferred   {_percent(judged.shown_first)}")
    if found.unjudged:
        why = f" ({in_a_line(judged.reason)})" if judged.reason else ""
        print(f"not judged                 {found.unjudged:,}{why}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
