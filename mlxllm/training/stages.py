"""The stages after pre-training in a quickstart: how time is divided, and the recipes of small models with little of it."""

from collections.abc import Sequence
from pathlib import Path

from mlxllm.config import DataConfig, DpoConfig, RunConfig, SampleConfig, TrainConfig

BASE_SHARE, SFT_SHARE = 0.4, 0.92
"""When pre-training and then `sft` are over, as shares of the time for all: a model has to read before it can answer,
answering takes longer to learn, and preferring one ending to another is learned in seconds."""

SIZING_SHARE = 0.5
"""The share of the time whose operations the model has to be small enough for; see `sizing.choose`."""

LEAST_SHARE = 0.06
"""What a stage gets at least, though all of it takes longer then: a stage before it may have been slowed down."""

LESSONS_PER_SECOND = 25
"""Conversations for each second of `sft`, with their short pages: a laptop's CPU reads them once or twice."""
PAIRS_PER_SECOND = 10
"""The same of pairs and `dpo`."""
_HELD_OUT = 0.02


def sft_recipe(records: Sequence[Path], base: RunConfig, prompt: str) -> RunConfig:
    """Supervised fine-tuning of the model that `base` has trained; `train.max_steps` is left to be measured.

    Args:
        records: conversations.
        base: how the model was trained.
        prompt: what it is asked between the steps.
    """
    return RunConfig(
        preset="quickstart",
        method="sft",
        data=DataConfig(
            records=tuple(str(path) for path in records), val_split=_HELD_OUT, max_seq_len=base.data.max_seq_len
        ),
        train=_train(base.train, prompt, learning_rate=1e-2, muon_learning_rate=2e-2),
        sample=SampleConfig(temperature=0.5, max_tokens=200),
    )


def dpo_recipe(records: Sequence[Path], base: RunConfig, prompt: str) -> RunConfig:
    """Preference optimisation of the model after `sft_recipe`; see there for the arguments.

    The chosen answers' likelihood is learned as well (`sft_weight`): with the preference alone a small model that moves
    this fast makes both answers unlikely, and what it writes instead makes no sense.
    """
    recipe = sft_recipe(records, base, prompt)
    preference = DpoConfig(beta=0.3, sft_weight=1.0)
    return recipe.model_copy(update={"method": "dpo", "dpo": preference}).with_values(
        train={"learning_rate": 5e-4, "muon_learning_rate": 1e-3}
    )


def stage_kernels(base: RunConfig) -> RunConfig:
    """What `KernelsAhead` has to know to compile both stages' steps."""
    return dpo_recipe([], base, "").model_copy(update={"model": base.model})


def _train(base: TrainConfig, prompt: str, *, learning_rate: float, muon_learning_rate: float) -> TrainConfig:
    return base.model_copy(
        update={
            "learning_rate": learning_rate,
            "muon_learning_rate": muon_learning_rate,
            "schedule": "linear",
            "warmup_steps": 10,
            "early_stop_evals": 0,
            "sample_prompt": prompt,
            "max_steps": 1000,
        }
    )
