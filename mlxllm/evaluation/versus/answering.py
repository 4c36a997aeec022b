"""A model's answers to many prompts, kept on the disk as they come, so that an interrupted comparison goes on."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256

from mlxllm import paths
from mlxllm.config import SampleConfig
from mlxllm.conversation.asking import asked_of
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.lines import append_objects, parse_object
from mlxllm.conversation.trials import Answer, Prompt
from mlxllm.inference.batch import generate_batch
from mlxllm.inference.length import Length
from mlxllm.inference.session import Session
from mlxllm.model.hf_folder import BASE
from mlxllm.model.loading import LoadedModel

FOLDER = "answers"
"""In the cache."""

_AT_ONCE = 32
"""Prompts that are answered side by side."""


class Answering:
    """Answers prompts by one model with one way of sampling."""

    def __init__(self, loaded: LoadedModel, sample: SampleConfig) -> None:
        """Answer by this model; a base model continues the prompt as a text.

        Args:
            loaded: the model.
            sample: how tokens are chosen. Prompts that stand in one place of the list have the same seed in all models.
        """
        self._loaded, self._sample, tokenizer = loaded, sample, loaded.tokenizer
        self._format = chat_format_of(tokenizer, loaded.tokenizer_directory) if loaded.kind != BASE else None
        self._stops = {*tokenizer.stop_ids, *(self._format.stop_ids if self._format is not None else ())}
        self._length = Length(loaded)

    def __call__(self, prompts: Sequence[Prompt], told: Callable[[int], None] = lambda _: None) -> list[Answer]:
        """The answers, in order; those that were written before come from the disk.

        Args:
            prompts: what is asked.
            told: called with how many are there, at the beginning and after each few.

        Raises:
            ConfigError: a prompt is too long for the memory.
            DataError: the model's chat template does not take it.
        """
        asked = [self._ids(prompt) for prompt in prompts]
        settings = self._sample.model_dump(mode="json")
        named = json.dumps([self._loaded.fingerprint, settings, sorted(self._stops), asked])
        path = paths.folder("cache") / FOLDER / f"{sha256(named.encode()).hexdigest()[:32]}.jsonl"
        found: dict[int, Answer] = {}
        with suppress(OSError):
            for raw in filter(None, map(parse_object, path.read_bytes().splitlines())):
                with suppress(KeyError, TypeError, ValueError):
                    number, text, cut_off = int(raw["number"]), str(raw["text"]), bool(raw["cut_off"])
                    found[number] = self._answer(number, text, cut_off)
        told(len(found))
        for start in range(0, len(prompts), _AT_ONCE):
            # Always the same ones together: what is drawn for one depends on its place among them.
            numbers = range(start, min(start + _AT_ONCE, len(prompts)))
            if all(number in found for number in numbers):
                continue
            written = self._write([asked[number] for number in numbers], start)
            new = []
            for number, (text, cut_off) in zip(numbers, written, strict=True):
                found[number] = self._answer(number, text, cut_off)
                new.append({"number": number, "text": text, "cut_off": cut_off})
            with suppress(OSError):  # a cache that cannot be written costs the next comparison some time
                append_objects(path, *new)
            told(len(found))
        return [found[number] for number in range(len(prompts))]

    def _ids(self, prompt: Prompt) -> list[int]:
        tokenizer, asked = self._loaded.tokenizer, asked_of(prompt, base=self._format is None)
        if isinstance(asked, str):
            ids = tokenizer.encode_begun(asked) or list(tokenizer.start_ids)
        else:
            assert self._format is not None
            ids = self._format.generation_prompt(asked)
        self._length.check(len(ids))
        return ids

    def _answer(self, number: int, text: str, cut_off: bool) -> Answer:
        loaded, sample = self._loaded, self._sample
        seed, settings = self._seed(number), sample.model_dump(exclude={"seed"})
        return Answer(text, loaded.address, seed, loaded.fingerprint, loaded.step, settings, cut_off)

    def _seed(self, number: int) -> int:
        return (self._sample.seed + number // _AT_ONCE) % (1 << 32)

    def _write(self, asked: Sequence[Sequence[int]], start: int) -> list[tuple[str, bool]]:
        """Text of each answer, and whether it was cut off."""
        model, sample = self._loaded.model, self._sample.model_copy(update={"seed": self._seed(start)})
        config, longest = self._loaded.config, max(map(len, asked)) + sample.max_tokens
        ends = config.positions in ("learned", "sinusoidal") and longest > config.max_position_embeddings
        if sample.repetition_penalty != 1 or ends:
            return [self._write_alone(ids, sample) for ids in asked]
        written = generate_batch(model, self._loaded.tokenizer, asked, sample, stop_ids=self._stops)
        decode = self._loaded.tokenizer.decode_continued
        return [(decode(ids).strip(), len(ids) >= sample.max_tokens) for ids in written]

    def _write_alone(self, ids: Sequence[int], sample: SampleConfig) -> tuple[str, bool]:
        """One by one: a penalty is not for answers side by side, and where positions end, it tells that they did."""
        session = Session(self._loaded.model, self._loaded.tokenizer)
        generation = session.generate(list(ids), sample, stop_ids=self._stops)
        text = "".join(token.text for token in generation)
        return text.strip(), generation.stats.finish_reason != "stop"
