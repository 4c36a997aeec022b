"""A task put to a model: what is not known yet is asked, kept item by item, and counted."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from mlxllm.errors import ConfigError, ModelError
from mlxllm.evaluation.generating import write_until
from mlxllm.evaluation.item_cache import ItemCache, cache_of
from mlxllm.evaluation.scoring import Request, Scored, Scorer
from mlxllm.evaluation.tasks import answers, metrics
from mlxllm.evaluation.tasks.examinee import Examinee
from mlxllm.evaluation.tasks.items import Asked, Choice, Code, Ending, Item, Sum, Task, asked
from mlxllm.evaluation.tasks.sandbox import Sandbox

_ITEMS_AT_ONCE = 512
"""Questions whose ids are in memory; those that share a preamble are scored together."""
_SUM_TOKENS = 256
_CODE_TOKENS = 512
_DRAWN_TEMPERATURE = 0.8
_KS = (1, 10, 100)
_WORDING = 1
"""Raise it when the wording of a prompt or the way of judging changes: what was found before counts no more."""

Progress = Callable[[int, int], None]
"""(items that are known, items in all)."""
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
    with cache_of(fingerprint, f"{task.name}-{told}", fresh=settings.fresh) as cache:
        run = _Run(task, examinee, chosen, settings, decides, cache, progress)
        known = run.known
        samples = {Choice: run.choices, Ending: run.endings, Sum: run.sums, Code: run.codes}[kind]()
    figures = metrics.means([sample["metrics"] for sample in samples])
    if kind is Ending:
        figures |= metrics.perplexity([sample["logprob"] for sample in samples])
    return Outcome(task, figures, samples, chosen.shots, known, decides, len(samples))


@dataclass
class _Run:
    """One task on its way."""

    task: Task
    examinee: Examinee
    chosen: Asked
    settings: Settings
    decides: dict[str, Any]
    cache: ItemCache
    progress: Progress | None
    known: int = field(init=False)

    def __post_init__(self) -> None:
        answers = self.settings.samples_per_task if isinstance(self.task.items[0], Code) else 1
        self.known = len(self.chosen.items) - len(self._unknown(answers - 1))
        self._done = self.known
        self._tell()

    def choices(self) -> list[Sample]:
        """Which of several answers the model finds likeliest: as they are, and by their length in characters."""
        self._score(lambda item: item.choices if isinstance(item, Choice) else ())
        samples = []
        for number, item in self.chosen.items:
            assert isinstance(item, Choice)
            found = self._found(number)
            logprobs = np.array(found["logprobs"])
            lengths = np.array([float(len(choice)) for choice in item.choices])
            best = {"acc": int(logprobs.argmax())}
            if not self.task.letters:
                best["acc_norm"] = int((logprobs / lengths).argmax())
            about = {"choices": list(item.choices), "gold": item.gold, "logprobs": found["logprobs"]}
            counted = {name: float(choice == item.gold) for name, choice in best.items()}
            samples.append(self._sample(number, item, about | {"chosen": best["acc"]}, counted))
        return samples

    def endings(self) -> list[Sample]:
        """Whether the word that comes is the one that the model would have written."""
        self._score(lambda item: (item.target,) if isinstance(item, Ending) else ())
        samples = []
        for number, item in self.chosen.items:
            assert isinstance(item, Ending)
            found = self._found(number)
            about = {"target": item.target, "logprob": found["logprobs"][0]}
            samples.append(self._sample(number, item, about, {"acc": float(found["greedy"][0])}))
        return samples

    def sums(self) -> list[Sample]:
        """Whether the number that an answer comes to is right."""
        self._write(answers.SUM_STOPS, 1, lambda item, written: {})
        samples = []
        for number, item in self.chosen.items:
            assert isinstance(item, Sum)
            written = self._found(number)["written"][0]
            right = answers.plain_number(item.answer.rsplit("####", 1)[1])
            strict, flexible = answers.marked_number(written), answers.last_number(written)
            about = {"written": written, "answer": right, "found": strict, "last_number": flexible}
            counted = {"exact_match": float(strict == right), "exact_match_flexible": float(flexible == right)}
            samples.append(self._sample(number, item, about, counted))
        return samples

    def codes(self) -> list[Sample]:
        """Whether programs do what was asked for."""
        sandbox, count = self.settings.sandbox, self.settings.samples_per_task
        if sandbox is None:
            raise ConfigError(
                f"the answers to {self.task.name} are programs, and programs are only run where that is allowed"
            )
        chat = self.examinee.chat_format is not None

        def judge(item: Item, written: str) -> dict[str, Any]:
            assert isinstance(item, Code)
            ran = sandbox.run(answers.program_of(item, written, chat=chat))
            return {"passed": ran.passed, "how": ran.how}

        self._write(() if chat else answers.CODE_STOPS, count, judge)
        samples = []
        for number, item in self.chosen.items:
            assert isinstance(item, Code)
            found = self._found(number)
            passed = sum(found["passed"][:count])
            about = {"task_id": item.name, "written": found["written"][:count], "how": found["how"][:count]}
            counted = {f"pass@{k}": metrics.pass_at(count, passed, k) for k in _KS if k <= count}
            samples.append(self._sample(number, item, about, counted))
        return samples

    def _score(self, targets: Callable[[Item], Sequence[str]]) -> None:
        """Find the log-probability of each target of the items that are not known."""
        scorer = Scorer(self.examinee.model, self.examinee.max_length)
        for block in _blocks(self._unknown(0), _ITEMS_AT_ONCE):
            requests: list[Request] = []
            places: list[tuple[int, int]] = []
            waiting: dict[int, list[Scored | None]] = {}
            for number, item in block:
                wanted = targets(item)
                requests += [self.examinee.request(self.chosen.preamble + item.context, each) for each in wanted]
                places += [(number, place) for place in range(len(wanted))]
                waiting[number] = [None] * len(wanted)
            scorer(requests, partial(self._scored, places, waiting))

    def _scored(
        self, places: Sequence[tuple[int, int]], waiting: dict[int, list[Scored | None]], at: int, scored: Scored
    ) -> None:
        number, place = places[at]
        waiting[number][place] = scored
        found = [each for each in waiting[number] if each is not None]
        if len(found) == len(waiting[number]):
            self._keep_scores(number, found)

    def _keep_scores(self, number: int, scored: Sequence[Scored]) -> None:
        if not all(math.isfinite(each.logprob) for each in scored):
            raise ModelError(
                f"the model's scores of item {number} of {self.task.name} are not numbers; its weights cannot be used "
                f"(did the run diverge?)"
            )
        found = {"logprobs": [each.logprob for each in scored], "greedy": [each.is_greedy for each in scored]}
        self._keep(number, found)

    def _write(self, stops: Sequence[str], count: int, judge: Callable[[Item, str], dict[str, Any]]) -> None:
        """Have the model write `count` answers to each item, and keep them with what `judge` says."""
        for turn in range(count):
            unknown = self._unknown(turn)
            if not unknown:
                continue

            def done(at: int, written: str, unknown: list[tuple[int, Item]] = unknown, turn: int = turn) -> None:
                number, item = unknown[at]
                known = self._found(number) if str(number) in self.cache else {}
                lists = {"written": written, **judge(item, written)}
                self._keep(
                    number, {key: [*known.get(key, ()), value] for key, value in lists.items()}, turn + 1 == count
                )

            write_until(
                self.examinee.model,
                self.examinee.tokenizer,
                [self.examinee.prompt(self._context(item)) for _, item in unknown],
                max_tokens=self.decides["max_tokens"],
                stop=(*stops, *self.examinee.stops),
                temperature=self.decides["temperature"],
                seed=self.settings.seed + turn,
                done=done,
            )

    def _context(self, item: Item) -> str:
        if isinstance(item, Code) and self.examinee.chat_format is not None:
            return self.chosen.preamble + answers.chat_request(item)
        return self.chosen.preamble + item.context

    def _unknown(self, turn: int) -> list[tuple[int, Item]]:
        """The items of which not so many answers are known; anything that is scored has one."""
        return [
            (number, item)
            for number, item in self.chosen.items
            if str(number) not in self.cache or len(self._found(number).get("written", (None,))) <= turn
        ]

    def _found(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.cache.get(str(number))
        return found

    def _keep(self, number: int, found: dict[str, Any], last: bool = True) -> None:
        self.cache.put(str(number), found)
        if last:
            self._done += 1
            self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(min(self._done, len(self.chosen.items)), len(self.chosen.items))

    def _sample(self, number: int, item: Item, about: Sample, counted: dict[str, float]) -> Sample:
        prompt = self._context(item)
        return {"task": self.task.name, "item": number, "prompt": prompt, **about, "metrics": counted}


def _blocks(items: Sequence[tuple[int, Item]], size: int) -> Iterator[list[tuple[int, Item]]]:
    rest = iter(items)
    while block := list(islice(rest, size)):
        yield block
