"""How a model judges held-out preferences: its implicit rewards, what training's validation shows, and plain likelihoods.

Shapes: P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlxllm.config import DpoConfig, TrainConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.evaluation.intervals import mean_and_error
from mlxllm.evaluation.pair_rows import CHOSEN, PairShapes, Row, batches_by_length, stacked
from mlxllm.evaluation.pair_scoring import answer_sides, answer_token_logprobs, of_answers, scoring
from mlxllm.evaluation.passage import Watch, cut_around
from mlxllm.evaluation.preference_losses import REFERENCE_FREE, Pairs, pair_losses, pair_metrics
from mlxllm.model.transformer import Transformer
from mlxllm.scores import STDERR

_WITHOUT_REFERENCE = ("logps/chosen", "logps/rejected")
"""What of training's metrics is known where there is no reference."""


@dataclass(frozen=True)
class DpoScore:
    """How held-out pairs are judged; `metrics` are the means of `preference_losses.pair_metrics`."""

    loss: float
    pairs: int
    metrics: Mapping[str, float]

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {"loss": self.loss, "bits_per_byte": None, "pairs": self.pairs, **self.metrics}


class DpoValidation:
    """Scores held-out pairs, B at a time."""

    def __init__(self, rows: Sequence[Row], dpo: DpoConfig, train: TrainConfig) -> None:
        """Keep the pairs.

        Args:
            rows: each with its reference; see `PairShapes.row`.
            dpo: the loss.
            train: B, and what is computed in.
        """
        self._rows, self._dpo, self._train = rows, dpo, train
        self._batches = batches_by_length([row["inputs"].shape[-1] for row in rows], train.batch_size)
        first = rows[0]
        prompt, chosen = first["inputs"][first["segments"] == 0], first["answers"][first["answer_of"] == CHOSEN]
        scored = np.arange(len(prompt) + len(chosen)) >= len(prompt)
        self.passage, _ = cut_around(np.concatenate([prompt, chosen]), scored)

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return len(self._batches)

    def __call__(
        self, model: Transformer, max_batches: int | None = None, *, watch: Watch | None = None
    ) -> dict[str, DpoScore]:
        """The score under "all"; dropout is off meanwhile. `watch` gets the losses of `passage`, the first chosen answer."""
        means = {name: float(values.mean()) for name, values in self.of_each(model, max_batches, watch).items()}
        count = sum(len(batch) for batch in self._batches[:max_batches])
        means = {name: value for name, value in means.items() if name not in ("acc", "acc_norm")}
        return {"all": DpoScore(means.pop("loss"), count, means)}

    def of_each(
        self, model: Transformer, max_batches: int | None = None, watch: Watch | None = None
    ) -> dict[str, np.ndarray]:
        """Loss and metrics of each pair, (P,) float64 each, and which answer is the likelier one: see `likelier`."""
        found: dict[str, list[np.ndarray]] = {}
        size, chunk = self._train.batch_size, self._train.loss_chunk_tokens
        batches = self._batches[:max_batches]
        with scoring(model, self._train):
            for batch in batches:
                *arrays, reference = stacked([self._rows[i] for i in batch], size)
                each = answer_token_logprobs(model, *arrays[:5], chunk=chunk, learn=False)
                policy = of_answers(each, arrays[-1])
                if watch is not None and 0 in batch:
                    watch(-np.array(each[batch.index(0)])[: int(self.passage.scored.sum())])
                lengths = mx.sum(answer_sides(arrays[-1]), axis=-1)
                scored = Pairs(*(each[: len(batch)] for each in (policy, reference, lengths)))
                values = {"loss": pair_losses(scored, self._dpo), **pair_metrics(scored, self._dpo), **likelier(scored)}
                mx.eval(values)
                for name, value in values.items():
                    found.setdefault(name, []).append(np.array(value, dtype=np.float64))
        order = np.argsort(np.concatenate(batches))
        return {name: np.concatenate(parts)[order] for name, parts in found.items()}


def likelier(pairs: Pairs) -> dict[str, mx.array]:
    """Whether the chosen answer is the likelier one, without any reference: (P,) of 0, 1, and 0.5 for a tie.

    `acc` compares log pi of the whole answers, which favours short ones; `acc_norm` the means over their tokens.
    """
    means = pairs.policy / mx.maximum(pairs.lengths, 1)
    return {
        name: mx.where(s[:, 0] == s[:, 1], 0.5, (s[:, 0] > s[:, 1]).astype(mx.float32))
        for name, s in (("acc", pairs.policy), ("acc_norm", means))
    }


def preference_values(
    model: Transformer,
    all_pairs: Sequence[Pair],
    shapes: PairShapes,
    reference: np.ndarray | None,
    dpo: DpoConfig,
    train: TrainConfig,
) -> dict[str, np.ndarray]:
    """What a model makes of each pair, (P,) float64 each.

    Args:
        model: is asked which answer it prefers.
        all_pairs: at least one.
        shapes: what they are padded to.
        reference: (P, 2) log-probabilities of both answers under the reference; None where there is none, and then
            nothing is said of rewards, unless the loss has them without one.
        dpo: the loss, whose rewards they are.
        train: how many pairs at a time, and what is computed in.
    """
    known = np.zeros((len(all_pairs), 2)) if reference is None else reference
    rows = [shapes.row(pair, ref) for pair, ref in zip(all_pairs, known, strict=True)]
    values = DpoValidation(rows, dpo, train).of_each(model)
    if reference is None and dpo.loss not in REFERENCE_FREE:
        values = {name: values[name] for name in ("acc", "acc_norm", *_WITHOUT_REFERENCE)}
    return values


def preference_metrics(values: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Means over pairs, each with its standard error under its name with `_stderr`."""
    metrics: dict[str, float | None] = {}
    for name, value in values.items():
        metrics[name], metrics[name + STDERR] = mean_and_error(value)
    return metrics


@dataclass(frozen=True)
class Moved:
    """A pair, and how far training has moved it. Log-probabilities of whole answers in nats, the chosen one first."""

    index: int
    """Which of the pairs, from 0."""
    before: tuple[float, float]
    """Under the reference."""
    after: tuple[float, float]
    beta: float

    @property
    def margin(self) -> float:
        """beta h: how much more the chosen answer has gained than the rejected one, 0 before training."""
        return self.beta * ((self.after[0] - self.before[0]) - (self.after[1] - self.before[1]))

    @property
    def loss(self) -> float:
        """-log sigmoid(beta h), log 2 before training (DPO, arXiv:2305.18290, eq. 7)."""
        return float(np.logaddexp(0.0, -self.margin))


def most_moved(values: Mapping[str, np.ndarray], reference: np.ndarray, beta: float) -> Moved:
    """The pair whose margin against the reference is largest, the first of equals.

    Args:
        values: of `preference_values`.
        reference: (P, 2), as it was given there.
        beta: of the rewards.
    """
    after = np.stack([values["logps/chosen"], values["logps/rejected"]], axis=-1)  # (P, 2)
    gains = after - reference
    index = int(np.argmax(gains[:, 0] - gains[:, 1]))
    (chosen, rejected), (chosen_now, rejected_now) = reference[index].tolist(), after[index].tolist()
    return Moved(index, (chosen, rejected), (chosen_now, rejected_now), beta)
