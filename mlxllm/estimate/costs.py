"""What a run costs in one object: counts and bytes."""

from dataclasses import asdict, dataclass

from mlxllm.config import RunConfig
from mlxllm.estimate.counts import count_parameters, count_trained, tokens_per_pass
from mlxllm.estimate.memory import memory
from mlxllm.estimate.work import flops_per_token

_FLOAT32 = 4


@dataclass(frozen=True)
class Costs:
    """Counts and bytes."""

    parameters: int
    """All weights, adapters among them."""
    trained_parameters: int
    """Weights that training moves: all, or the adapters."""
    active_parameters: int
    """Weights that one token passes through: fewer than all in a mixture of experts."""
    tokens_per_step: int
    """Tokens of one update at most: of preferences, of both answers with their prompt."""
    tokens: int
    """Tokens of the whole run."""
    flops_per_token: int
    """Floating-point operations of forward and backward pass, a token."""
    training_bytes: int
    """The peak of `memory`; an estimate. The reference of dpo takes none: it is asked beforehand."""
    checkpoint_bytes: int
    """One checkpoint on disk."""

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def estimate(config: RunConfig) -> Costs:
    """The costs of a run."""
    model, train = config.model, config.train
    base, active, trained = count_parameters(model), count_parameters(model, active=True), count_trained(config)
    extra = trained if config.lora is not None else 0
    tokens_per_step = train.grad_accum_steps * tokens_per_pass(config)
    moments = 1 if train.optimizer == "lion" else 2  # Muon keeps one for most: an upper bound
    # An adapter is saved once more, in the layout that others load.
    copies = 1 + moments + (config.lora is not None)
    return Costs(
        parameters=base + extra,
        active_parameters=active + extra,
        trained_parameters=trained,
        tokens_per_step=tokens_per_step,
        tokens=tokens_per_step * train.max_steps,
        flops_per_token=flops_per_token(config),
        training_bytes=memory(config).peak,
        checkpoint_bytes=trained * _FLOAT32 * copies,
    )
