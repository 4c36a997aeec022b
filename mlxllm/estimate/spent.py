"""What the stages of a model have cost, counted from their runs, and what is published of large models beside it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlxllm.config import RunConfig
from mlxllm.estimate.counts import count_parameters, count_trained
from mlxllm.estimate.work import flops_per_token
from mlxllm.runs import RunDirectory, RunSummary, ancestors, read_json, summarise
from mlxllm.settings import parse_config


@dataclass(frozen=True)
class Spent:
    """What one stage has cost so far."""

    run: str
    method: str
    """`pretrain`, `sft` or `dpo`."""
    parameters: int
    """Weights that a token passes through: fewer than all in a mixture of experts."""
    trained_parameters: int
    tokens: int
    """That were computed: see `computed_tokens`."""
    flops: float
    """Operations of forward and backward passes, attention's products among them; neither validation, samples nor the
    reference of preferences."""
    seconds: float
    """Of training, pauses left out."""

    @property
    def flops_per_second(self) -> float:
        """0 where no time was measured."""
        return self.flops / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Published:
    """A large model, as its paper has it."""

    name: str
    parameters: float
    """N, weights that a token passes through."""
    tokens: float
    """D, of pre-training."""
    source: str

    @property
    def flops(self) -> float:
        """6 N D (arXiv:2001.08361): attention's products are a few percent at these widths."""
        return 6 * self.parameters * self.tokens


PUBLISHED = (
    Published("GPT-3", 174.6e9, 300e9, "arXiv:2005.14165"),
    Published("Chinchilla", 70e9, 1.4e12, "arXiv:2203.15556"),
    Published("SmolLM2 1.7B", 1.7e9, 11e12, "arXiv:2502.02737"),
    Published("Llama 3.1 405B", 405e9, 15.6e12, "arXiv:2407.21783"),
    Published("DeepSeek-V3", 37e9, 14.8e12, "arXiv:2412.19437"),
)
"""By their dates."""


def spent_by(run: RunDirectory) -> list[Spent]:
    """The stages that made a run's model, the first one first; each whole, also where the next began before its end.

    Raises:
        ConfigError: the settings of a run cannot be used.
        RunError: a run cannot be read.
    """
    found = []
    for stage in ancestors(run):
        config = parse_config(read_json(stage.run.config), str(stage.run.config))
        summary = summarise(stage.run)
        tokens = computed_tokens(config, summary)
        found.append(
            Spent(
                run=stage.run.address,
                method=config.method,
                parameters=count_parameters(config.model, active=True),
                trained_parameters=count_trained(config),
                tokens=tokens,
                flops=float(tokens * flops_per_token(config)),
                seconds=summary.seconds,
            )
        )
    return found


def computed_tokens(config: RunConfig, summary: RunSummary) -> int:
    """Tokens that went through the model in training: rows are full, but for those of preferences, whose tokens are told."""
    if config.method == "dpo":
        return summary.tokens or 0
    return summary.step * config.train.batch_size * config.train.grad_accum_steps * config.data.max_seq_len


def beside(stages: Sequence[Spent]) -> dict[str, Any]:
    """The stages with their shares of all operations, and the published models measured by them, as plain values.

    `seconds_here` is how long a published model would take at the speed of the first stage; None where that is not known.
    """
    total = sum(stage.flops for stage in stages)
    rate = stages[0].flops_per_second if stages else 0.0
    return {
        "stages": [{**asdict(stage), "share": stage.flops / total if total else None} for stage in stages],
        "flops": total,
        "published": [
            {
                **asdict(model),
                "flops": model.flops,
                "times": model.flops / total if total else None,
                "seconds_here": model.flops / rate if rate else None,
            }
            for model in PUBLISHED
        ],
    }
