"""Pre-training: the next token of rows cut from one long stream."""

import numpy as np

from mlxllm import paths
from mlxllm.config import RunConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.errors import ConfigError, DataError
from mlxllm.evaluation.passage import SplitValidation, first_of
from mlxllm.evaluation.perplexity import Evaluator
from mlxllm.training.loader import TokenLoader
from mlxllm.training.objectives import next_token_objective
from mlxllm.training.task import Task

READ_WHOLE_BYTES = 2 << 30
"""A dataset up to this size is read and hashed before a run goes on with it: a few seconds."""


def open_dataset(config: RunConfig, *, resuming: bool = False) -> TokenDataset:
    """The dataset that a configuration names, with two splits to work with.

    Args:
        config: names it.
        resuming: it has been trained on before, and must be the same to the last byte; see `READ_WHOLE_BYTES`.

    Raises:
        ConfigError: none is named, or there is none of that name.
        DataError: it is damaged or has an empty split.
    """
    if not config.data.dataset:
        raise ConfigError("no dataset is named; give one with --data NAME (`mlxllm data build` makes one)")
    directory = paths.existing("datasets", config.data.dataset)
    verify = resuming and sum(p.stat().st_size for p in directory.glob("*.bin")) <= READ_WHOLE_BYTES
    dataset = TokenDataset.open(directory, verify=verify)
    for split in (dataset.train, dataset.val):
        if split.num_tokens < 2:
            raise DataError(
                f"dataset {dataset.name!r} has an empty {split.name} split; rebuild it with more text or another --val-split"
            )
    return dataset


def with_vocabulary(config: RunConfig, dataset: TokenDataset) -> RunConfig:
    """The configuration with rows for every token id of the dataset.

    Raises:
        ConfigError: `model.vocab_size` is set to less.
    """
    vocab = config.model.vocab_size or dataset.vocab_size
    if vocab < dataset.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {vocab:,}, but dataset {dataset.name!r} has token ids up to {dataset.vocab_size - 1:,}; "
            f"leave model.vocab_size out or set it to {dataset.vocab_size:,} or more"
        )
    return config.with_values(model={"vocab_size": vocab})


class TokenRows:
    """A token loader's rows as inputs and targets."""

    def __init__(self, loader: TokenLoader) -> None:
        self.loader = loader

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Inputs and targets of update `step`, (A * B, T) each."""
        rows = self.loader.batch(step)
        return rows[:, :-1], rows[:, 1:]


def pretrain_task(config: RunConfig, dataset: TokenDataset) -> Task:
    """What `train` trains on; `config` is resolved."""
    train, length = config.train, config.data.max_seq_len
    loader = TokenLoader(dataset.train, length, train.batch_size * train.grad_accum_steps, train.seed)
    return Task(
        method="pretrain",
        rows=TokenRows(loader),
        objective=next_token_objective(config.train),
        validation=SplitValidation(
            Evaluator(
                dataset.val,
                dataset.tokenizer.byte_lengths(),
                length,
                batch_size=max(1, 4096 // length),
                lanes=train.lanes,
            ),
            first_of(dataset.val, dataset.tokenizer.eot_id),
        ),
        tokenizer=dataset.tokenizer,
        tokenizer_directory=dataset.tokenizer_directory,
        fingerprint=dataset.fingerprint,
        num_tokens=dataset.train.num_tokens,
        tokens_per_step=loader.tokens_per_step,
        about={"dataset": dataset.name, "tokenizer": dataset.manifest.tokenizer.kind},
    )
