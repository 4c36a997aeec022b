"""Ablations whose runs are made up: for what is computed from them."""

from collections.abc import Mapping, Sequence

from mlxllm.ablation.record import Ablation, Outcome, Planned, Point

SEEDS = (42, 43, 44)


def outcome(variant: str, seed: int, losses: Sequence[float | None], seconds: float = 0.1, **more: object) -> Outcome:
    """A run of ten steps with a validation after each fifth."""
    points = tuple(
        Point(step=5 * n, loss=loss, bits_per_byte=loss if loss is None else 2 * loss) for n, loss in enumerate(losses)
    )
    fields = {"status": "finished" if losses[-1] is not None else "diverged", **more}
    return Outcome.model_validate(
        {
            "variant": variant,
            "seed": seed,
            "run": f"x-{variant}-s{seed}",
            "step": 10,
            "validations": points,
            "seconds_per_step": seconds,
            **fields,
        }
    )


def ablation(final: Mapping[str, Sequence[float | None]], seconds: Mapping[str, float] | None = None) -> Ablation:
    """Of the last losses of each variant, by seed; a shorter list has runs that have not ended."""
    outcomes = [
        outcome(name, seed, (4.0, 3.0, loss), (seconds or {}).get(name, 0.1))
        for name, losses in final.items()
        for seed, loss in zip(SEEDS, losses, strict=False)
    ]
    return Ablation(
        preset="char-tiny",
        dataset="d",
        settings=(),
        steps=10,
        minutes=None,
        tokens_per_step=8,
        seeds=SEEDS,
        variants=tuple(Planned(name=n, changes=(f"{n}=1",), settings=(), parameters=100) for n in final),
        outcomes=tuple(outcomes),
    )
