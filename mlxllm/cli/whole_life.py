"""What comes after pre-training in `quickstart`: lessons, preferences, examinations, and the stages side by side."""

import json
import math
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm.cli.progress import TrainingView
from mlxllm.cli.table import table_lines
from mlxllm.cli.worlds import Prompt, Record, World
from mlxllm.config import RunConfig, SampleConfig
from mlxllm.errors import UserError
from mlxllm.runs import RunDirectory, read_json, write_json_atomic
from mlxllm.runs.suggestions import SUGGESTIONS_FILE

if TYPE_CHECKING:  # heavy modules are imported by the command
    from mlxllm.conversation import Message
    from mlxllm.data.shards import TokenDataset
    from mlxllm.model.loading import LoadedModel
    from mlxllm.training.trainer import Outcome

TEMPERATURE = 0.5
"""Of what a small model writes: at 1 it loses the thread."""
BITS = "bits_per_byte"
_SHOWN_TOKENS = 230
_FEWEST_RECORDS = 200
_SCORED_BATCHES = 4
_LEAVING_SECONDS = 4.0
_FEW_STEPS = 20
"""A stage with fewer updates than this has taught next to nothing."""
_EXAMINATIONS_LEFT = 1.5
"""After training: one examination, and the search for suggestions, which takes about half as long."""


@dataclass
class Life:
    """One model's stages, as they come to pass."""

    base: RunDirectory
    dataset: "TokenDataset"
    world: World
    begun: float
    """`time.monotonic()` at the start of the command."""
    seconds: float
    """For all of it."""
    view: TrainingView
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Stage -> metric -> value."""
    answers: dict[str, list[str]] = field(default_factory=dict)
    """Stage -> what it said to each of the world's prompts."""
    examined: float = 0.0
    """Seconds that an examination takes."""

    @cached_property
    def prompts(self) -> Sequence[Prompt]:
        """What every stage is asked."""
        return self.world.prompts()

    def deadline(self, stage: str) -> float:
        """`time.monotonic()` at which a stage that begins now has to be over, so that what comes after it has its time."""
        from mlxllm.training.stages import LEAST_SHARE, SFT_SHARE

        share = SFT_SHARE if stage == "sft" else 1.0
        over = self.begun + share * self.seconds - _EXAMINATIONS_LEFT * self.examined - _LEAVING_SECONDS
        return max(over, time.monotonic() + LEAST_SHARE * self.seconds)

    def run(self, stage: str) -> RunDirectory:
        """The run of a stage: the base's name with the stage behind it."""
        return self.base if stage == "base" else RunDirectory(self.base.path.with_name(f"{self.base.name}-{stage}"))

    def records(self, stage: str) -> Path:
        """What a stage learns from."""
        return self.dataset.directory / f"{stage}.jsonl"


def go_on(life: Life) -> "tuple[RunDirectory, Outcome]":
    """From the base model to one that answers, and answers as preferred; it is examined before and after each stage.

    Returns:
        The last run, and how it ended; where a stage is stopped, that is the last one.
    """
    from mlxllm.training.stages import LESSONS_PER_SECOND, PAIRS_PER_SECOND, dpo_recipe, sft_recipe

    view, world = life.view, life.world
    lessons = _write(life, "sft", world.lessons(_count(life, "sft", LESSONS_PER_SECOND)))
    pairs = _write(life, "dpo", world.pairs(_count(life, "dpo", PAIRS_PER_SECOND)))
    base = _examine(life, "base")
    assert base.run_config is not None
    ask = life.prompts[-1].text
    view.say("4/6  lessons: conversations to imitate")
    outcome = _train(life, "sft", sft_recipe([lessons], base.run_config, ask), "base")
    if outcome.status == "stopped":
        return life.run("sft"), outcome
    _examine(life, "sft")
    view.say(f"5/6  preferences: {world.preferred}")
    outcome = _train(life, "dpo", dpo_recipe([pairs], base.run_config, ask), "sft")
    if outcome.status == "stopped":
        return life.run("dpo"), outcome
    last = _examine(life, "dpo")
    view.say("6/6  the same prompts, before and after")
    _show_answers(life)
    _show_scores(life)
    write_json_atomic(life.run("dpo").path / SUGGESTIONS_FILE, world.suggestions(lambda turns: _converse(last, turns)))
    return life.run("dpo"), outcome


def what_is_left(life: Life, me: str) -> list[str]:
    """The commands by which a life that was stopped goes on, as far as there is anything to go on with."""
    from mlxllm.settings import parse_config
    from mlxllm.training.stages import dpo_recipe, sft_recipe

    base = parse_config(read_json(life.base.config), str(life.base.config))
    commands, before = [], "base"
    for stage, recipe, minutes in (("sft", sft_recipe, 2), ("dpo", dpo_recipe, 0.5)):
        run, data = life.run(stage), life.records(stage)
        if stage not in life.scores and data.exists():
            begin = f"{me} {stage} --model {life.run(before).address} --data {data} --run {run.address}"
            options = f"{_as_options(recipe([data], base, ''))} --minutes {minutes:g}"
            commands.append(f"{me} resume {run.address}" if run.config.exists() else f"{begin} {options}")
        before = stage
    return commands


def _as_options(config: RunConfig) -> str:
    """What a stage's recipe asks of optimizer and loss, as one types it."""
    train = config.train
    options = (
        f"--optimizer {train.optimizer} --learning-rate {train.learning_rate:g} "
        f"--set train.muon_learning_rate={train.muon_learning_rate:g} --max-seq-len {config.data.max_seq_len}"
    )
    return (
        options
        if config.dpo is None
        else f"{options} --beta {config.dpo.beta:g} --sft-weight {config.dpo.sft_weight:g}"
    )


def _count(life: Life, stage: str, a_second: int) -> int:
    """How many records a stage can read in its time."""
    from mlxllm.training.stages import SFT_SHARE

    begin = life.begun + SFT_SHARE * life.seconds if stage == "dpo" else time.monotonic()
    return max(_FEWEST_RECORDS, int((life.deadline(stage) - begin) * a_second))


def _write(life: Life, stage: str, records: Iterable[Record]) -> Path:
    """The records of a stage, beside the dataset: a resumed run finds them there, and anyone can read them."""
    file = life.records(stage)
    with open(file, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(json.dumps(record) + "\n" for record in records)
    return file


def _train(life: Life, stage: str, config: RunConfig, before: str) -> "Outcome":
    """One stage, from the model of the stage before."""
    from mlxllm.training.interrupts import Interrupts
    from mlxllm.training.plan import plan_run
    from mlxllm.training.start import start

    model = str(life.run(before).path)
    plan = plan_run(life.run(stage), config, model_name=model, deadline=life.deadline(stage), milestones=2)
    life.view.say(f"     {plan.material.summary}")
    return start(plan, life.view, Interrupts(life.view.interrupted))


def _examine(life: Life, stage: str) -> "LoadedModel":
    """Score a stage's model on what none has seen, and ask it the prompts that are shown in the end."""
    from mlxllm.conversation import Message
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.evaluation.perplexity import Evaluator
    from mlxllm.model.loading import load_model

    begun = time.monotonic()
    loaded, dataset = load_model(str(life.run(stage).path)), life.dataset
    chat = None if stage == "base" else chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    scores = life.world.examine(loaded.model, loaded.tokenizer, chat)
    length = loaded.run_config.data.max_seq_len if loaded.run_config is not None else 256
    text = Evaluator(dataset.val, dataset.tokenizer.byte_lengths(), length)(loaded.model, _SCORED_BATCHES)["all"]
    life.scores[stage] = {**scores, **({BITS: text.bits_per_byte} if text.bits_per_byte is not None else {})}
    _keep_scores(life, stage, loaded, time.monotonic() - begun)
    told = ", ".join(f"{name} {100 * scores[key]:.0f} %" for key, name in life.world.metrics.items())
    life.view.say(f"     examined on what it has never seen: {told}")
    if chat is None:
        life.answers[stage] = [continuation(loaded, f"{p.text}\n") for p in life.prompts]
    else:
        life.answers[stage] = [_answer(loaded, [Message("user", p.text)]) for p in life.prompts]
    life.examined = time.monotonic() - begun
    return loaded


def _keep_scores(life: Life, stage: str, loaded: "LoadedModel", seconds: float) -> None:
    """Keep what an examination found, for `mlxllm report`; of what was counted, with its standard error.

    That of a share p of n items is sqrt(p (1 - p) / n).
    """
    from mlxllm.scores import STDERR, Result, keep

    scores, counted = life.scores[stage], life.world.counted
    errors = {key + STDERR: math.sqrt(scores[key] * (1 - scores[key]) / n) for key, n in counted.items() if n}
    result = Result.of(
        loaded,
        task=f"exam:{life.world.name}",
        metrics={**scores, **errors},
        samples=max(counted.values(), default=0),
        meanings=life.world.metrics,
        settings={"items": dict(counted), "bits_of_batches": _SCORED_BATCHES},
        seconds=round(seconds, 3),
    )
    try:
        keep(result)
    except UserError as error:  # the examination is told of all the same
        life.view.say(f"warning: {error}")


def continuation(loaded: "LoadedModel", text: str, max_tokens: int = _SHOWN_TOKENS) -> str:
    """What a base model writes behind a text."""
    return _generate(loaded, loaded.tokenizer.encode(text), (loaded.tokenizer.eot_id,), max_tokens)


def _answer(loaded: "LoadedModel", messages: "Sequence[Message]") -> str:
    from mlxllm.conversation.choosing import chat_format_of

    chat = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    return _generate(loaded, chat.generation_prompt(messages), chat.stop_ids)


def _generate(
    loaded: "LoadedModel", ids: Sequence[int], stop_ids: Collection[int], max_tokens: int = _SHOWN_TOKENS
) -> str:
    from mlxllm.inference.generate import generate

    sample = SampleConfig(temperature=TEMPERATURE, max_tokens=max_tokens)
    return "".join(token.text for token in generate(loaded.model, loaded.tokenizer, ids, sample, stop_ids=stop_ids))


def _converse(loaded: "LoadedModel", turns: Sequence[str]) -> str:
    """The model's answer to the last of a user's turns."""
    from mlxllm.conversation import Message

    messages: list[Message] = []
    for turn in turns:
        messages.append(Message("user", turn))
        messages.append(Message("assistant", _answer(loaded, messages)))
    return messages[-1].content


def _show_answers(life: Life) -> None:
    view = life.view
    for number, prompt in enumerate(life.prompts):
        view.say()
        view.say_text(prompt.text, "  ")
        if prompt.expected:
            view.say(f"  (right: {prompt.expected})")
        for stage, answers in life.answers.items():
            view.say_text(answers[number], f"    {stage:>4} | ", most=8)


def _show_scores(life: Life) -> None:
    """Stages side by side, and what each was examined in."""
    rows = [
        (*(f"{100 * scores[key]:.0f} %" for scores in life.scores.values()), name)
        for key, name in life.world.metrics.items()
    ]
    if all(BITS in scores for scores in life.scores.values()):
        rows.append((*(f"{scores[BITS]:.3f}" for scores in life.scores.values()), "bits per byte of unseen text"))
    life.view.say()
    for line in table_lines((*life.scores, "on what none of them has seen"), rows, sys.stderr):
        life.view.say(f"  {line}")
    life.view.say()
    taught = {stage: int(read_json(life.run(stage).config)["train"]["max_steps"]) for stage in life.scores}
    if short := [f"{stage} ({steps})" for stage, steps in taught.items() if steps < _FEW_STEPS]:
        life.view.say(
            f"warning: the time was enough for a few updates only of {' and '.join(short)}, so these scores mean little; "
            f"give more --minutes, and let nothing else run beside"
        )
