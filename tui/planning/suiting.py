"""What suits a model and its records better than the recipe of fine-tuning, which is made for large models and many."""

from dataclasses import dataclass

from mlxllm.config import RunConfig
from mlxllm.presets import SMALL_MODEL_RATES, enough_epochs

_SMALL_MODEL = 5_000_000


@dataclass(frozen=True)
class Suited:
    """What a run takes where nothing else is chosen; None is the recipe's."""

    learning_rate: float | None = None
    epochs: float | None = None


def better_rate(config: RunConfig, parameters: int) -> float | None:
    """The learning rate at which a small model moves, where it hardly does at that of `config`; None where it does."""
    if config.method == "pretrain" or config.lora is not None or not 0 < parameters < _SMALL_MODEL:
        return None
    rate = SMALL_MODEL_RATES[config.method]
    return rate if config.train.learning_rate < rate / 5 else None


def better_epochs(config: RunConfig, rows: int) -> float | None:
    """Times through few records at the rate of small models; None where those of `config` are enough.

    Args:
        config: with the recipe's epochs.
        rows: of one time through, packed conversations or pairs.
    """
    epochs = enough_epochs(config.train.batch_size * config.train.grad_accum_steps / rows)
    return float(epochs) if config.train.epochs is not None and epochs > config.train.epochs else None
