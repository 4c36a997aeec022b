"""Everything that can be told of a configuration before it runs, as plain values: what `plan` prints and --json carries."""

from dataclasses import dataclass
from typing import Any

from mlxllm.budget import Cost, seconds_of
from mlxllm.config import RunConfig
from mlxllm.estimate import (
    Place,
    count_parameters,
    count_trained,
    estimate,
    flops_by_part,
    here,
    kv_cache_bytes,
    memory,
    parameters_by_part,
)
from mlxllm.estimate.memory import cache_limit_bytes
from mlxllm.planning.proposals import MOST_EPOCHS, OPTIMAL_TOKENS, OVERTRAINED_TOKENS, START_SECONDS, USABLE_SHARE
from mlxllm.planning.remedies import first_that_fits
from mlxllm.presets import preset_config

_TUNING = {"sft": ("sft", {}), "lora": ("sft-lora", {}), "qlora": ("sft-lora", {"lora": {"quantize": "affine4"}})}
_TUNING |= {"dpo": ("dpo", {}), "dpo, lora": ("dpo-lora", {})}


@dataclass(frozen=True)
class Basis:
    """How fast a configuration is, and how that is known."""

    cost: Cost
    source: str
    measured_peak: int | None = None
    """Bytes of the steps that were measured, if any were."""


def overview(
    config: RunConfig,
    basis: Basis,
    memory_bytes: int,
    *,
    tokens: int | None = None,
    val_tokens: int | None = None,
    watts: float | None = None,
    place: Place | None = None,
) -> dict[str, Any]:
    """The plan of a configuration.

    Args:
        config: with the size of the vocabulary.
        basis: what a step costs.
        memory_bytes: of the machine.
        tokens: of the dataset; None where none is named.
        val_tokens: of its validation split.
        watts: of the machine at work; energy is told only with it.
        place: where it trains; by default here.
    """
    place = place or here(config)
    costs, needs = estimate(config), memory(config, place, val_tokens)
    seconds = START_SECONDS + seconds_of(config.train, basis.cost)
    per_token = basis.cost.step / costs.tokens_per_step
    again = not config.model.dropout and (config.lora is None or not config.lora.dropout)
    recomputed = [config.with_values(train={"gradient_checkpointing": on}) for on in (False, True)] if again else []
    optimal = OPTIMAL_TOKENS * costs.parameters
    limit = int(USABLE_SHARE * memory_bytes)
    return {
        "preset": config.preset,
        "method": config.method,
        "parameters": {
            "all": costs.parameters,
            "trained": costs.trained_parameters,
            "active": costs.active_parameters,
            **parameters_by_part(config.model),
        },
        "flops_per_token": {
            "all": costs.flops_per_token,
            "context": config.data.max_seq_len,
            **{name: part.as_dict() for name, part in flops_by_part(config).items()},
        },
        "memory": {
            **needs.as_dict(),
            "activations_kept": memory(recomputed[0], place).activations if recomputed else needs.activations,
            "activations_recomputed": memory(recomputed[1], place).activations if recomputed else None,
            "peak_recomputed": memory(recomputed[1], place, val_tokens).peak if recomputed else None,
            "kv_cache": kv_cache_bytes(config, place),
            "kv_cache_tokens": config.model.max_position_embeddings,
            "mlx_cache_limit": cache_limit_bytes(memory_bytes),
            "machine": memory_bytes,
            "measured_peak": basis.measured_peak,
            "device": place.device,
            "fits": needs.peak <= limit,
            "would_fit": first_that_fits(config, limit, place, val_tokens) if needs.peak > limit else None,
        },
        "tokens": {
            "a_step": costs.tokens_per_step,
            "run": costs.tokens,
            "steps": config.train.max_steps,
            "dataset": tokens,
            "epochs": costs.tokens / tokens if tokens else None,
            "compute_optimal": optimal,
            "overtrained": OVERTRAINED_TOKENS * costs.parameters,
            "most_epochs": MOST_EPOCHS,
        },
        "time": {
            "source": basis.source,
            "seconds_per_step": basis.cost.step,
            "tokens_per_second": 1 / per_token,
            "seconds": seconds,
            "seconds_compute_optimal": optimal * per_token,
        },
        "energy": {"watts": watts, "watt_hours": watts * seconds / 3600, "is_estimate": True} if watts else None,
    }


def tunings(config: RunConfig, pace: Any, place: Place | None = None) -> dict[str, dict[str, Any]]:
    """What fine-tuning a model of this shape would take, by name: memory, trained weights, time a token.

    Args:
        config: whose model is tuned.
        pace: a configuration -> its `Cost`.
        place: where; by default here.
    """
    found: dict[str, dict[str, Any]] = {}
    shape = {**config.model.model_dump(), "dropout": 0.0}
    longest = min(512, config.model.max_position_embeddings)
    for name, (preset, changes) in _TUNING.items():
        asked = {"model": shape, "data": {"max_seq_len": longest}, **changes}
        asked["train"] = {"compute_dtype": config.train.compute_dtype}
        one = preset_config(preset).with_values(**asked)
        costs, needs = estimate(one), memory(one, place)
        found[name] = {
            "trained_parameters": count_trained(one),
            "share": count_trained(one) / count_parameters(one.model),
            "peak_bytes": needs.peak,
            "update_bytes": needs.gradients + needs.optimizer,
            "tokens_per_step": costs.tokens_per_step,
            "seconds_per_token": pace(one).step / costs.tokens_per_step,
        }
    return found
