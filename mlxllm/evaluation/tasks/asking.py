"""Asking what is not known yet: log-probabilities of targets, and written answers; each is kept as soon as it is there."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from mlxllm.errors import ModelError
from mlxllm.evaluation.generating import write_until
from mlxllm.evaluation.item_cache import ItemCache
from mlxllm.evaluation.scoring import Request, Scored, Scorer
from mlxllm.evaluation.tasks import answers
from mlxllm.evaluation.tasks.examinee import Examinee
from mlxllm.evaluation.tasks.items import Asked, Code, Item

_ITEMS_AT_ONCE = 512
"""Questions whose ids are in memory; those that share a preamble are scored together."""

Progress = Callable[[int, int], None]
"""(items that are known, items in all)."""
Found = dict[str, Any]


class Asking:
    """The items of one task and what is found about them.

    Args:
        name: of the task.
        examinee: who is asked.
        chosen: what is asked.
        cache: what is known, by the item's number.
        count: answers that are wanted of each item.
        progress: told how far it is.
    """

    def __init__(
        self,
        name: str,
        examinee: Examinee,
        chosen: Asked,
        cache: ItemCache,
        *,
        count: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self._name, self._examinee, self._chosen, self._cache = name, examinee, chosen, cache
        self._count, self._progress = count, progress
        self.known = len(chosen.items) - len(self._unknown(count - 1))
        """Items that were known from before."""
        self._done = self.known
        self._tell()

    def found(self, number: int) -> Found:
        """What was found about an item: `logprobs` and `greedy` of its targets, or `written`; and whether its prompt was
        `cut`.
        """
        found: Found = self._cache.get(str(number))
        return found

    def context(self, item: Item) -> str:
        """What stands before an answer."""
        if isinstance(item, Code) and self._examinee.chat_format is not None:
            return self._chosen.preamble + answers.chat_request(item)
        return self._chosen.preamble + item.context

    def score(self, targets: Callable[[Item], Sequence[str]]) -> None:
        """Find the log-probability of each target of the items that are not known.

        Raises:
            ModelError: it is not a number.
        """
        examinee = self._examinee
        scorer = Scorer(examinee.model, examinee.max_length)
        for block in _blocks(self._unknown(0), _ITEMS_AT_ONCE):
            requests: list[Request] = []
            places: list[tuple[int, int]] = []
            waiting: dict[int, list[Scored | None]] = {}
            cut: set[int] = set()
            for number, item in block:
                asked = [examinee.request(self.context(item), each) for each in targets(item)]
                requests += asked
                places += [(number, place) for place in range(len(asked))]
                waiting[number] = [None] * len(asked)
                if any(len(each.context) + len(each.target) > examinee.max_length + 1 for each in asked):
                    cut.add(number)
            scorer(requests, partial(self._scored, places, waiting, cut))

    def write(self, max_tokens: int, stop: Sequence[str], temperature: float, seed: int, judge: "Judge") -> None:
        """Have the model write as many answers to each item as are wanted, and keep them with what `judge` says."""
        examinee = self._examinee
        for turn in range(self._count):
            unknown = self._unknown(turn)
            prompts = [examinee.prompt(self.context(item)) for _, item in unknown]
            write_until(
                examinee.model,
                examinee.tokenizer,
                prompts,
                max_tokens=max_tokens,
                stop=(*stop, *examinee.stops),
                temperature=temperature,
                seed=seed + turn,
                max_length=examinee.max_length,
                done=partial(self._written, unknown, prompts, examinee.max_length - max_tokens, judge),
            )

    def _scored(
        self,
        places: Sequence[tuple[int, int]],
        waiting: dict[int, list[Scored | None]],
        cut: set[int],
        at: int,
        scored: Scored,
    ) -> None:
        number, place = places[at]
        waiting[number][place] = scored
        known = [each for each in waiting[number] if each is not None]
        if len(known) < len(waiting[number]):
            return
        if not all(math.isfinite(each.logprob) for each in known):
            raise ModelError(
                f"the model's scores of item {number} of {self._name} are not numbers; its weights cannot be used (did the "
                f"run diverge?)"
            )
        logprobs, greedy = [each.logprob for each in known], [each.is_greedy for each in known]
        self._keep(number, {"logprobs": logprobs, "greedy": greedy, "cut": number in cut})

    def _written(
        self,
        unknown: Sequence[tuple[int, Item]],
        prompts: Sequence[Sequence[int]],
        room: int,
        judge: "Judge",
        at: int,
        text: str,
    ) -> None:
        number, item = unknown[at]
        before = self.found(number) if str(number) in self._cache else {}
        now = {"written": text, **judge(item, text)}
        found = {name: [*before.get(name, ()), value] for name, value in now.items()}
        self._keep(number, found | {"cut": len(prompts[at]) > room})

    def _unknown(self, turn: int) -> list[tuple[int, Item]]:
        """The items of which not more than `turn` answers are known; anything that is scored has one."""
        return [
            (number, item)
            for number, item in self._chosen.items
            if str(number) not in self._cache or len(self.found(number).get("written", (None,))) <= turn
        ]

    def _keep(self, number: int, found: Found) -> None:
        self._cache.put(str(number), found)
        if len(found.get("written", (None,))) >= self._count:
            self._done += 1
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done, len(self._chosen.items))


Judge = Callable[[Item, str], Found]
"""(item, what was written) -> what is kept beside it."""


def _blocks(items: Sequence[tuple[int, Item]], size: int) -> Iterator[list[tuple[int, Item]]]:
    rest = iter(items)
    while block := list(islice(rest, size)):
        yield block
