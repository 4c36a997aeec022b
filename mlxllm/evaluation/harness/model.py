"""A model of ours as EleutherAI's lm-eval asks models: log-likelihoods, rolling log-likelihoods, texts up to a stop.

It is registered with lm-eval as `mlxllm`. It needs neither torch nor transformers. Tokens are made as lm-eval's class for
models of transformers makes them, but for one thing: what spells a special token in a task's text stays text, and is
a special token only where a chat template put it.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from mlxllm.conversation import ChatFormat, Message
from mlxllm.errors import DataError, ModelError
from mlxllm.evaluation.generating import write_until
from mlxllm.evaluation.harness.apart import Progress
from mlxllm.evaluation.item_cache import ItemCache
from mlxllm.evaluation.scoring import Request, Scored, Scorer
from mlxllm.model.loading import LoadedModel, load_model

MAX_GEN_TOKENS = 256
"""Of a continuation whose task names no bound: lm-eval's own number."""


@register_model("mlxllm")
class MlxllmLM(TemplateLM):
    """Answers lm-eval's requests with a model of ours.

    Args:
        model: one that is loaded, or what `--model` calls one.
        max_length: positions of context and target together, by default all that the model was made for.
        chat: the format that chat templates are written in; None where no chat is asked for.
        cache: items that are known already, and where new ones go.
        progress: told of items as they are done.
        batch_size: and others that lm-eval hands to every model; batches are made by tokens here.
    """

    def __init__(
        self,
        model: LoadedModel | str,
        *,
        max_length: int | None = None,
        chat: ChatFormat | None = None,
        cache: ItemCache | None = None,
        progress: Progress | None = None,
        batch_size: object = None,
        max_batch_size: object = None,
        device: object = None,
    ) -> None:
        super().__init__()
        loaded = load_model(model) if isinstance(model, str) else model
        self._model, self._words, self._chat = loaded.model, loaded.tokenizer, chat
        self._max_length = max_length or loaded.config.max_position_embeddings
        self._cache, self._progress = cache, progress
        self.working = False
        """Whether the model computes: what goes wrong then is no fault of a task."""

    @property
    def eot_token_id(self) -> int:
        """The end of a text."""
        return self._words.eot_id

    @property
    def prefix_token_id(self) -> int:
        """What a text without context is scored after."""
        return self._words.start_ids[-1]

    @property
    def max_length(self) -> int:
        """Positions of a request."""
        return self._max_length

    @property
    def tokenizer_name(self) -> str:
        """Tells prompts that were written for different tokenizers and templates apart."""
        return self._chat.fingerprint if self._chat is not None else self._words.fingerprint

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
        """The ids of a text: of a rendered template those it spells, else with what stands before every text.

        Args:
            string: the text.
            add_special_tokens: False leaves out what stands before every text.
            **kwargs: what others take.
        """
        if self._chat is not None:
            return self._words.encode_with_specials(string)
        return self._words.encode(string) if add_special_tokens is False else self._words.encode_begun(string)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a conversation up to where the assistant speaks, or goes on with what it has begun to say.

        A template that refuses a system's turn gets the conversation without it, as in lm-eval's own class.
        """
        assert self._chat is not None
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]  # type: ignore[arg-type]
        begun = "" if add_generation_prompt else messages.pop().content
        try:
            return self._chat.generation_text(messages) + begun
        except DataError:
            if not any(message.role == "system" for message in messages):
                raise
            return self._chat.generation_text([one for one in messages if one.role != "system"]) + begun

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """log p(continuation | context) in nats, and whether greedy decoding would write it."""
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: object
    ) -> list[tuple[float, bool]]:
        asked = []
        for texts, context, target in requests:
            if not target:
                raise DataError(f"a continuation has no token of its own, so it cannot be scored: {texts!r:.200}")
            asked.append(Request(tuple(context), tuple(target)))
        return [(found.logprob, found.is_greedy) for found in self._score("log-likelihoods", asked)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """log p(text) in nats, over windows that score each token once; the windows are lm-eval's."""
        asked: list[Request] = []
        counts = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self._max_length, 1)
            pairs = [make_disjoint_window(window) for window in windows]
            asked += [Request(tuple(context), tuple(target)) for context, target in pairs]
            counts.append(len(pairs))
        found = iter(self._score("windows", asked))
        return [sum(next(found).logprob for _ in range(count)) for count in counts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """What the model writes after each context, up to one of the strings that the task names."""
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True, default=str), []).append(number)
        texts = [""] * len(requests)
        tell = self._teller("texts", len(requests))
        for members in groups.values():
            prompts = [self.tok_encode(requests[number].args[0]) for number in members]
            told = requests[members[0]].args[1]
            for number, text in zip(members, self._write(prompts, told, tell), strict=True):
                texts[number] = text
        return texts

    def _write(self, prompts: list[list[int]], told: dict[str, Any], tell: Callable[[], None]) -> list[str]:
        settings = normalize_gen_kwargs(told, MAX_GEN_TOKENS)
        temperature = settings.get("temperature", 1.0) if settings["do_sample"] else 0.0
        for name, neutral in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
            if temperature and settings.get(name, neutral) != neutral:
                raise DataError(
                    f"the task draws its texts with {name} {settings[name]}, which `mlxllm eval` does not do"
                )
        stop = [text for text in settings["until"] if text]
        if self._chat is not None:
            stop += [self._words.decode([end]) for end in self._chat.stop_ids]
        max_tokens, max_length = settings["max_gen_toks"], self._max_length
        keys = [json.dumps(["text", prompt, stop, max_tokens, max_length]) for prompt in prompts]
        # Drawn texts are not kept: several of one prompt are to differ.
        cache = self._cache if not temperature else None
        known = {at: cache.get(key) for at, key in enumerate(keys) if cache is not None and key in cache}
        for _ in known:
            tell()
        missing = [at for at in range(len(prompts)) if at not in known]

        def done(number: int, text: str) -> None:
            at = missing[number]
            known[at] = text
            if cache is not None:
                cache.put(keys[at], text)
            tell()

        with self._at_work():
            write_until(
                self._model,
                self._words,
                [prompts[at] for at in missing],
                max_tokens=max_tokens,
                stop=stop,
                temperature=temperature,
                max_length=max_length,
                done=done,
            )
        return [known[at] for at in range(len(prompts))]

    def _score(self, what: str, requests: list[Request]) -> list[Scored]:
        keys = [json.dumps(["score", *_shown(request), self._max_length]) for request in requests]
        tell = self._teller(what, len(requests))
        found: dict[int, Scored] = {}
        for at, key in enumerate(keys):
            if self._cache is not None and key in self._cache:
                found[at] = Scored(*self._cache.get(key))
                _check_number(found[at])
                tell()
        missing = [at for at in range(len(requests)) if at not in found]

        def done(number: int, scored: Scored) -> None:
            _check_number(scored)
            at = missing[number]
            found[at] = scored
            if self._cache is not None:
                self._cache.put(keys[at], [scored.logprob, scored.is_greedy])
            tell()

        with self._at_work():
            Scorer(self._model, self._max_length)([requests[at] for at in missing], done)
        return [found[at] for at in range(len(requests))]

    def _teller(self, what: str, total: int) -> Callable[[], None]:
        count = 0

        def tell() -> None:
            nonlocal count
            count += 1
            if self._progress is not None:
                self._progress(what, count, total)

        return tell

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self.working = True
        yield
        self.working = False  # not in a `finally`: it is asked when something went wrong


def _check_number(scored: Scored) -> None:
    if not math.isfinite(scored.logprob):
        raise ModelError(
            "the model's log-likelihoods are not numbers; its weights cannot be used (did the run diverge?)"
        )


def _shown(request: Request) -> tuple[list[int], list[int]]:
    return list(request.context), list(request.target)
