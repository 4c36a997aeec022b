"""A task put to a model: its items are asked, judged and counted."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlxllm.errors import ConfigError
from mlxllm.evaluation.item_cache import cache_of
from mlxllm.evaluation.tasks import answers, metrics
from mlxllm.evaluation.tasks.asking import Asking, Progress
from mlxllm.evaluation.tasks.examinee import Examinee
from mlxllm.evaluation.tasks.items import Choice, Code, Ending, Item, Sum, Task, asked
from mlxllm.evaluation.tasks.sandbox import Sandbox

_SUM_TOKENS = 256
_CODE_TOKENS = 512
_DRAWN_TEMPERATURE = 0.8
_KS = (1, 10, 100)
_WORDING = 1
"""Raise it when the wording of a prompt or the way of judging changes: what was found before counts no more."""

Sample = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How tasks are put."""

    shots: int | None = None
    """Solved examples before each question; by default those of the public definition."""
    limit: int | None = None
    """Questions of each task at most."""
    max_tokens: int | None = None
    """That an answer may have; by default 256 of a word problem, 512 of a function, and half of the model's length."""
    samples_per_task: int = 1
    """Programs that are written for each puzzle."""
    temperature: float | None = None
    """Of what is written; by default 0, and 0.8 where several programs are."""
    seed: int = 0
    fresh: bool = False
    """Ask everything anew."""
    sandbox: Sandbox | None = None
    """Where programs run; without one there are no puzzles."""


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    task: Task
    metrics: dict[str, float | None]
    """As in `scores.Result`."""
    samples: list[Sample]
    """Each item: its number, prompt, what was found, and its part of each metric."""
    shots: int
    reused: int
    """Items that were known from before."""
    decides: dict[str, Any]
    """What decides the figures, but for the limit."""
    count: int
    """Items that were scored."""
    cut: int = 0
    """Items whose prompt lost its beginning, as it was longer than the model is made for."""


def run_task(
    task: Task, examinee: Examinee, fingerprint: str, settings: Settings, progress: Progress | None = None
) -> Outcome:
    """Put a task to a model.

    Args:
        task: its questions.
        examinee: the model.
        fingerprint: of its weights; with the task's file and the settings it finds what is known already.
        settings: how.
        progress: told how far it is.

    Raises:
        ConfigError: there are fewer examples than `shots`, or programs are to be run without a sandbox.
        ModelError: the model's scores are not numbers.
        UserError: results cannot be kept.
    """
    chosen = asked(task, settings.shots, settings.limit)
    kind = type(task.items[0])
    decides: dict[str, Any] = {
        "file": task.sha256,
        "shots": chosen.shots,
        "chat": examinee.chat_format.fingerprint if examinee.chat_format is not None else None,
        "tokenizer": examinee.tokenizer.fingerprint,
        "max_length": examinee.max_length,
    }
    if kind in (Sum, Code):
        temperature = settings.temperature
        if temperature is None:
            temperature = _DRAWN_TEMPERATURE if kind is Code and settings.samples_per_task > 1 else 0.0
        usual = _SUM_TOKENS if kind is Sum else _CODE_TOKENS
        decides |= {
            "max_tokens": settings.max_tokens or max(1, min(usual, examinee.max_length // 2)),
            "temperature": temperature,
        }
        if temperature:
            decides["seed"] = settings.seed
    told = hashlib.sha256(json.dumps([_WORDING, decides], sort_keys=True).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", task.name).strip("-.")[:60]
    with cache_of(fingerprint, f"{name}-{told}", fresh=settings.fresh) as cache:
        count = settings.samples_per_task if kind is Code else 1
        asking = Asking(task.name, examinee, chosen, cache, count=count, progress=progress)
        judged: list[tuple[Sample, dict[str, float]]]
        if kind is Choice:
            judged = _choices(task, chosen.items, asking)
        elif kind is Ending:
            judged = _endings(chosen.items, asking)
        elif kind is Sum:
            judged = _sums(chosen.items, asking, decides)
        else:
            judged = _codes(task, chosen.items, asking, decides, settings, chat=examinee.chat_format is not None)
        samples = [
            {
                "task": task.name,
                "item": number,
                "prompt": asking.context(item),
                "cut": asking.found(number)["cut"],
                **about,
                "metrics": counted,
            }
            for (number, item), (about, counted) in zip(chosen.items, judged, strict=True)
        ]
    figures = metrics.means([sample["metrics"] for sample in samples])
    if kind is Ending:
        figures |= metrics.perplexity([sample["logprob"] for sample in samples])
    cut = sum(sample["cut"] for sample in samples)
    return Outcome(task, figures, samples, chosen.shots, asking.known, decides, len(samples), cut)


Items = tuple[tuple[int, Item], ...]
Judged = list[tuple[Sample, dict[str, float]]]
"""What is told of each item, and its part of each metric."""


def _choices(task: Task, items: Items, asking: Asking) -> Judged:
    """Which of several answers the model finds likeliest: as they are, and by their length in characters."""
    asking.score(lambda item: item.choices if isinstance(item, Choice) else ())
    judged: Judged = []
    for number, item in items:
        assert isinstance(item, Choice)
        logprobs = np.array(asking.found(number)["logprobs"])
        best = {"acc": int(logprobs.argmax())}
        if not task.letters:
            lengths = np.array([float(len(choice)) for choice in item.choices])
            best["acc_norm"] = int((logprobs / lengths).argmax())
        about = {"choices": list(item.choices), "gold": item.gold, "logprobs": logprobs.tolist(), "chosen": best["acc"]}
        judged.append((about, {name: float(choice == item.gold) for name, choice in best.items()}))
    return judged


def _endings(items: Items, asking: Asking) -> Judged:
    """Whether the word that comes is the one that the model would have written."""
    asking.score(lambda item: (item.target,) if isinstance(item, Ending) else ())
    judged: Judged = []
    for number, item in items:
        assert isinstance(item, Ending)
        found = asking.found(number)
        judged.append(({"target": item.target, "logprob": found["logprobs"][0]}, {"acc": float(found["greedy"][0])}))
    return judged


def _sums(items: Items, asking: Asking, decides: dict[str, Any]) -> Judged:
    """Whether the number that an answer comes to is right."""
    asking.write(decides["max_tokens"], answers.SUM_STOPS, decides["temperature"], decides.get("seed", 0), _as_it_is)
    judged: Judged = []
    for number, item in items:
        assert isinstance(item, Sum)
        written = asking.found(number)["written"][0]
        right = answers.plain_number(item.answer.rsplit("####", 1)[1])
        strict, flexible = answers.marked_number(written), answers.last_number(written)
        about = {"written": written, "answer": right, "found": strict, "last_number": flexible}
        judged.append(
            (about, {"exact_match": float(strict == right), "exact_match_flexible": float(flexible == right)})
        )
    return judged


def _as_it_is(item: Item, written: str) -> Sample:
    return {}


def _codes(
    task: Task, items: Items, asking: Asking, decides: dict[str, Any], settings: Settings, *, chat: bool
) -> Judged:
    """Whether programs do what was asked for."""
    sandbox, count = settings.sandbox, settings.samples_per_task
    if sandbox is None:
        raise ConfigError(f"the answers to {task.name} are programs, and programs are only run where that is allowed")

    def judge(item: Item, written: str) -> Sample:
        assert isinstance(item, Code)
        ran = sandbox.run(answers.program_of(item, written, chat=chat))
        return {"passed": ran.passed, "how": ran.how}

    stop = () if chat else answers.CODE_STOPS
    asking.write(decides["max_tokens"], stop, decides["temperature"], decides.get("seed", 0), judge)
    judged: Judged = []
    for number, item in items:
        assert isinstance(item, Code)
        found = {name: asking.found(number)[name][:count] for name in ("written", "passed", "how")}
        passed = sum(found["passed"])
        counted = {f"pass@{k}": metrics.pass_at(count, passed, k) for k in _KS if k <= count}
        judged.append(({"task_id": item.name, **found}, counted))
    return judged
