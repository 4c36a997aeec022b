"""Direct preference optimisation: two answers to a prompt, and the chosen one is to become the likelier (arXiv:2305.18290).

A pair is one row, prompt + chosen + rejected (evaluation/pair_rows.py): both answers look at one prompt, which is
computed once, and neither at the other.

Shapes: P pairs, T tokens of a row, A tokens of both answers of a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlxllm.config import DpoConfig, RunConfig
from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.opening import open_preferences
from mlxllm.conversation.preferences import Pair, pairs
from mlxllm.conversation.report import Report
from mlxllm.evaluation.pair_rows import KEYS, Row, fingerprint_of
from mlxllm.evaluation.pair_scoring import answer_logprobs, answer_sides
from mlxllm.evaluation.preference_losses import Pairs, pair_losses, pair_metrics
from mlxllm.model.transformer import Transformer
from mlxllm.training.optimizers import Arrays
from mlxllm.training.records import split_records
from mlxllm.training.rows import RowLoader
from mlxllm.training.step import TOKENS, Objective
from mlxllm.visible import counted


@dataclass(frozen=True)
class DpoData:
    """Pairs as ids."""

    train: list[Pair]
    val: list[Pair]
    report: Report
    fingerprint: str
    """SHA-256 of all ids."""
    val_report: Report | None = None
    """Of what is held out, where other files or another part of a folder have it."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all training pairs, the prompt counted with each answer."""
        return sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in self.train)

    @property
    def summary(self) -> str:
        """What there is to train on, in a line."""
        held = f"; {len(self.val):,} held out" if self.val else ""
        return f"{counted(len(self.train), 'pair')}, {self.num_tokens:,} tokens{held}"


def open_dpo_data(config: RunConfig, chat_format: ChatFormat) -> DpoData:
    """Read and encode what `data.records` and `data.val_records` name.

    Raises:
        ConfigError: there is no such file, or the template cannot be used.
        DataError: a file is damaged, or no pair is left.
    """
    longest = config.data.max_seq_len + 1
    split = split_records(
        config.data,
        open_preferences,
        lambda records, report: pairs(records, chat_format, report, max_seq_len=longest),
    )
    fingerprint = fingerprint_of((*split.train, None, *split.val))
    return DpoData(split.train, split.val, split.report, fingerprint, split.val_report)


def dpo_objective(config: RunConfig) -> Objective:
    """The preference loss of a batch of pairs, summed, with the metrics that are watched."""
    dpo, chunk = config.dpo or DpoConfig(), config.train.loss_chunk_tokens

    def objective(
        model: Transformer,
        inputs: mx.array,
        segments: mx.array,
        positions: mx.array,
        answer_at: mx.array,
        answers: mx.array,
        answer_of: mx.array,
        reference: mx.array,
    ) -> tuple[mx.array, mx.array, Arrays]:
        policy = answer_logprobs(model, inputs, segments, positions, answer_at, answers, answer_of, chunk=chunk)
        scored = Pairs(policy, reference, mx.sum(answer_sides(answer_of), axis=-1))
        count = mx.array(inputs.shape[0], dtype=mx.float32)
        loss = mx.sum(pair_losses(scored, dpo))
        balance = model.balance_loss()
        if balance is not None and model.training:
            loss = loss + model.config.router_aux_loss_coef * balance * count
        sums = {name: mx.sum(m) for name, m in pair_metrics(scored, dpo).items()}
        # The prompt is counted with each answer.
        tokens = 2 * mx.sum(answer_at[:, 0] + 1) + mx.sum(answer_of > 0)
        return loss, count, {**sums, TOKENS: tokens.astype(mx.float32)}

    return objective


def dpo_rows(rows: Sequence[Row], rows_per_step: int, seed: int) -> RowLoader:
    """The loader of training pairs; the pairs of a step are about equally long."""
    return RowLoader(rows, KEYS, rows_per_step, seed, lengths=[row["inputs"].shape[-1] for row in rows])
