"""`mlxllm runs show RUN --compute`: what the stages of a model have cost, beside models whose numbers are published."""

from typing import Any

from mlxllm.cli.run_view import duration
from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_table

_YEAR = 31_557_600
_STAGES = {"pretrain": "pre-training", "sft": "SFT", "dpo": "DPO"}


def print_compute(found: dict[str, Any]) -> None:
    """Show what `estimate.spent.beside` says."""
    stages = found["stages"]
    rows = [
        (
            _STAGES[one["method"]],
            one["run"],
            _count(one["trained_parameters"]),
            _count(one["tokens"]),
            f"{one['flops']:.2g}",
            duration(one["seconds"]),
            "-" if one["share"] is None else f"{100 * one['share']:.1f} %",
        )
        for one in stages
    ]
    print_table(("stage", "run", "trained", "tokens", "operations", "time", "share"), rows)
    print()
    header = ("published", "N", "D", "6 N D", "times yours", "at your speed", "source")
    table = [
        (
            one["name"],
            _count(one["parameters"]),
            _count(one["tokens"]),
            f"{one['flops']:.2g}",
            "-" if one["times"] is None else f"{one['times']:.1g}",
            "-" if one["seconds_here"] is None else _years(one["seconds_here"]),
            one["source"],
        )
        for one in found["published"]
    ]
    print_table(header, table)
    first = stages[0]
    rule = 6 * first["parameters"] * first["tokens"]
    say(
        f"N: weights that a token uses; D: tokens. Of {first['run']}, 6 N D is {rule:.2g}; counted part by part, with "
        f"attention's products and without the lookup of embeddings, it is {first['flops']:.2g}"
    )


def _years(seconds: float) -> str:
    """In years to one digit, as it is a sketch."""
    years = float(f"{seconds / _YEAR:.1g}")
    return f"{years:,.0f} years" if years >= 1 else f"{years:g} years"


def _count(value: float) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}"
