"""The three kinds of training: what each reads, and the task that it makes of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm.config import DpoConfig, RunConfig
from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.records import Message
from mlxllm.conversation.report import Report
from mlxllm.data.shards import TokenDataset
from mlxllm.evaluation.answer_loss import SftValidation
from mlxllm.evaluation.pair_rows import PairShapes
from mlxllm.evaluation.preferences import DpoValidation
from mlxllm.model.transformer import Transformer
from mlxllm.runs import RunDirectory
from mlxllm.tokenizer import Tokenizer
from mlxllm.training import dpo, sft
from mlxllm.training.compare import check_same_tokenizer
from mlxllm.training.objectives import next_token_objective
from mlxllm.training.pretrain import open_dataset, pretrain_task, with_vocabulary
from mlxllm.training.references import references
from mlxllm.training.task import Task


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer and where it lies; a run takes a copy."""

    tokenizer: Tokenizer
    directory: Path


@dataclass(frozen=True)
class Material:
    """What a configuration names, opened."""

    data: TokenDataset | sft.SftData | dpo.DpoData
    words: TokenizerFiles

    @property
    def fingerprint(self) -> str:
        """Of the data."""
        return self.data.fingerprint

    @property
    def report(self) -> Report | None:
        """What became of the records; None for a dataset, whose build has said it."""
        return None if isinstance(self.data, TokenDataset) else self.data.report

    @property
    def val_report(self) -> Report | None:
        """What became of the records held out; None where they are of the same files as the others."""
        return None if isinstance(self.data, TokenDataset) else self.data.val_report

    @property
    def num_tokens(self) -> int:
        """Tokens to train on, once through."""
        data = self.data
        return data.train.num_tokens if isinstance(data, TokenDataset) else data.num_tokens

    @property
    def summary(self) -> str:
        """What there is to train on, in a line."""
        data = self.data
        if isinstance(data, TokenDataset):
            return f"{data.train.num_tokens:,} tokens"
        return data.summary


def open_material(
    config: RunConfig, words: TokenizerFiles | None, *, resuming: bool = False
) -> tuple[RunConfig, Material]:
    """Open the data of a run, and fill in what follows from them: vocabulary, number of steps.

    Args:
        config: names the data.
        words: of the base model; a dataset brings its own, which must be the same.
        resuming: see `open_dataset`.

    Raises:
        ConfigError, DataError: see `pretrain.open_dataset`, `sft.open_sft_data`, `dpo.open_dpo_data`.
    """
    if config.method == "pretrain":
        dataset = open_dataset(config, resuming=resuming)
        if words is not None:
            check_same_tokenizer(
                words.tokenizer.fingerprint, dataset.name, dataset.tokenizer.fingerprint, config.base_model
            )
        config = with_vocabulary(config, dataset)
        return config, Material(dataset, TokenizerFiles(dataset.tokenizer, dataset.tokenizer_directory))
    assert words is not None, "fine-tuning begins with a model"
    chat_format = chat_format_of(words.tokenizer, words.directory)
    data: sft.SftData | dpo.DpoData
    if config.method == "sft":
        data = sft.open_sft_data(config, chat_format)
        rows = len(data.train.inputs)
    else:
        data = dpo.open_dpo_data(config, chat_format)
        rows = len(data.train)
    if config.train.epochs is not None:
        a_step = config.train.batch_size * config.train.grad_accum_steps
        steps = max(1, math.ceil(config.train.epochs * rows / a_step))
        # Said in steps from here on: a resumed run does the same ones.
        config = config.with_values(train={"max_steps": steps, "epochs": None})
    return config, Material(data, words)


def make_task(config: RunConfig, material: Material, run: RunDirectory, reference: Callable[[], Transformer]) -> Task:
    """The task of a run.

    Args:
        config: resolved.
        material: opened for it.
        run: keeps the reference's log-probabilities.
        reference: gives the model as it is before the first step, where a preference loss has to ask it.
    """
    data, words = material.data, material.words
    if isinstance(data, TokenDataset):
        return pretrain_task(config, data)
    a_step = config.train.batch_size * config.train.grad_accum_steps
    chat_format = chat_format_of(words.tokenizer, words.directory)
    shared: dict[str, Any] = {
        "method": config.method,
        "stage": config.method,
        "tokenizer": words.tokenizer,
        "tokenizer_directory": words.directory,
        "fingerprint": data.fingerprint,
        "about": {"dataset": ", ".join(Path(r).name for r in config.data.records), "tokenizer": words.tokenizer.kind},
        "prompt_ids": _Prompt(chat_format),
        "stop_ids": {*chat_format.stop_ids, *words.tokenizer.stop_ids},
    }
    if isinstance(data, sft.SftData):
        return Task(
            rows=sft.sft_rows(data, a_step, config.train.seed),
            objective=next_token_objective(config.train),
            validation=SftValidation(data.val, config.train.batch_size) if data.val is not None else None,
            num_tokens=data.num_tokens,
            tokens_per_step=a_step * data.train.inputs.shape[1],
            **shared,
        )
    shapes = PairShapes([*data.train, *data.val], config.data.max_seq_len)
    known = references(config, data, shapes, run, reference)
    train = [shapes.row(p, r) for p, r in zip(data.train, known[: len(data.train)], strict=True)]
    val = [shapes.row(p, r) for p, r in zip(data.val, known[len(data.train) :], strict=True)]
    return Task(
        rows=dpo.dpo_rows(train, a_step, config.train.seed),
        objective=dpo.dpo_objective(config),
        validation=DpoValidation(val, config.dpo or DpoConfig(), config.train) if val else None,
        num_tokens=data.num_tokens,
        tokens_per_step=round(a_step * data.num_tokens / len(data.train)),
        **shared,
    )


class _Prompt:
    """What a sample begins with: the question of a user, up to where the answer is to come."""

    def __init__(self, chat_format: ChatFormat) -> None:
        self._format = chat_format

    def __call__(self, prompt: str) -> list[int]:
        return self._format.generation_prompt([Message("user", prompt)])
