"""A plan as text for people; the numbers are those of `planning.overview`."""

import sys
from collections.abc import Iterator
from typing import Any

from mlxllm.cli.table import field_lines
from mlxllm.cli.terminal import fold
from mlxllm.planning.budgets import parse_budget
from mlxllm.planning.remedies import as_options

_NAMES = 11
"""Columns of the names in front, without the gap."""
_LONG = 24 * 3600
"""Seconds of training beyond which a budget of time is worth asking for."""
_PARTS = ("embedding", "attention", "feed_forward", "norms", "head")


def lines(shown: dict[str, Any]) -> Iterator[str]:
    """The lines of a plan."""
    parameters, flops, needs, tokens = (shown[k] for k in ("parameters", "flops_per_token", "memory", "tokens"))
    if shown["proposal"] is not None:
        yield from _proposal(shown)
    every = parameters["all"]
    parts = ", ".join(f"{n.replace('_', '-')} {_count(parameters[n])}" for n in _PARTS if parameters[n])
    trained = f"; trained {_count(parameters['trained'])}" if parameters["trained"] != every else ""
    used = f"; a token uses {_count(parameters['active'])}" if parameters["active"] != every else ""
    yield _row("parameters", f"{_count(every)}{trained}{used}")
    yield _row("", parts)
    if not shown["vocabulary"]["known"]:
        yield _row("", f"with a vocabulary of {shown['vocabulary']['size']:,}, since no --data says how large it is")
    by_part = {k: v for k, v in flops.items() if isinstance(v, dict)}
    forward = sum(part["forward"] for part in by_part.values())
    yield _row(
        "operations",
        f"{_count(flops['all'])} a token: forward {_count(forward)}, backward {_count(flops['all'] - forward)}",
    )
    told = ", ".join(f"{n.replace('_', ' ')} {_count(p['forward'] + p['backward'])}" for n, p in by_part.items())
    yield _row("", f"{told} (scores at {flops['context']:,} tokens)")
    yield from _memory(needs)
    yield from _tokens(tokens)
    yield from _time(shown)
    yield from _tuning(shown["fine_tuning"])


def _proposal(shown: dict[str, Any]) -> Iterator[str]:
    proposal = shown["proposal"]
    yield f"for {shown['budget']}: {proposal['why']}"
    per = f"{proposal['tokens_per_parameter']:.3g} tokens a parameter"
    yield per + (f", {proposal['epochs']:.2g} times through the dataset" if proposal["epochs"] is not None else "")
    if parse_budget(shown["budget"]).seconds is None:  # the largest model for a memory may be far too large for a life
        seconds = shown["time"]["seconds_compute_optimal"]
        night = "; --budget overnight proposes what this machine trains in a night" if seconds > _LONG else ""
        yield fold(f"compute-optimal training of it takes {_duration(seconds)} here{night}", sys.stdout)
    yield ""
    yield f"  {proposal['command']}"
    yield ""


def _memory(needs: dict[str, Any]) -> Iterator[str]:
    verdict = "fits" if needs["fits"] else "too much for this machine"
    if not needs["fits"] and needs["peak"] <= needs["machine"]:
        verdict = "tight, close other programs"
    measured = f"; {_size(needs['measured_peak'])} measured in a few steps" if needs["measured_peak"] else ""
    there = f"of the machine's {_size(needs['machine'])}"
    yield _row("memory", f"{_size(needs['peak'])} at its peak, {there}: {verdict}{measured}")
    copy = f"{'half-precision ' if needs['device'] == 'gpu' else ''}copy of the weights for validation"
    lasting = [("weights", "weights"), ("held", copy), ("base", "frozen base"), ("optimizer", "optimizer state")]
    passing = [("gradients", "gradients"), ("activations", "activations"), ("logits", "logits")]
    passing += [("update", "optimizer step"), ("validation", "validation pass")]
    yield _row("", "lasting: " + ", ".join(f"{w} {_size(needs[k])}" for k, w in lasting if needs[k]))
    yield _row("", "passing, not all at once: " + ", ".join(f"{w} {_size(needs[k])}" for k, w in passing if needs[k]))
    if needs["activations_recomputed"] is not None:
        kept, again = needs["activations_kept"], needs["activations_recomputed"]
        yield _row(
            "",
            f"activations {_size(kept)} kept, {_size(again)} with gradient checkpointing "
            f"(peak {_size(needs['peak_recomputed'])})",
        )
    if needs["would_fit"] is not None:
        yield _row("", f"would fit: {as_options(needs['would_fit'])}")
    elif not needs["fits"]:
        yield _row("", "no smaller batch is enough: make the model or data.max_seq_len smaller")
    full = f"{_size(needs['kv_cache'])} for one text of {needs['kv_cache_tokens']:,} tokens"
    yield _row(
        "generation",
        f"keys and values take {full}; MLX's cache of freed memory may take {_size(needs['mlx_cache_limit'])} more",
    )


def _tokens(tokens: dict[str, Any]) -> Iterator[str]:
    run = f"{_count(tokens['run'])} in {tokens['steps']:,} steps of {tokens['a_step']:,}"
    if tokens["epochs"] is not None:
        run += f", {tokens['epochs']:.2g} times through the dataset's {_count(tokens['dataset'])}"
    yield _row("tokens", run)
    best, over = _count(tokens["compute_optimal"]), _count(tokens["overtrained"])
    yield _row("", f"compute-optimal {best} (20 a parameter, arXiv:2203.15556); as Llama 3 8B, for use: {over} (1,875)")
    if tokens["dataset"] and tokens["compute_optimal"] > tokens["most_epochs"] * tokens["dataset"]:
        most = _count(tokens["most_epochs"] * tokens["dataset"])
        yield _row(
            "", f"the dataset gives {most} at four times through, beyond which repeats teach little (arXiv:2305.16264)"
        )


def _time(shown: dict[str, Any]) -> Iterator[str]:
    time, energy = shown["time"], shown["energy"]
    rate = f"{time['tokens_per_second']:,.0f} tokens a second"
    yield _row(
        "time", f"{_duration(time['seconds'])}, {_duration(time['seconds_per_step'])} a step, {rate} ({time['source']})"
    )
    yield _row("", f"compute-optimal would take {_duration(time['seconds_compute_optimal'])}")
    if energy is not None:
        yield _row("energy", f"about {_energy(energy['watt_hours'])}, an estimate from --watts {energy['watts']:g}")


def _tuning(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield f"{'fine-tuning it':<16}{'trained':>10}{'gradients, moments':>20}{'memory':>12}{'1,000 tokens in':>17}"
    for name, one in found.items():
        time = _duration(1000 * one["seconds_per_token"])
        beside, peak = _size(one["update_bytes"]), _size(one["peak_bytes"])
        yield f"{name:<16}{_count(one['trained_parameters']):>10}{beside:>20}{peak:>12}{time:>17}"


def _row(name: str, text: str) -> str:
    """A line; on a terminal what does not fit goes on below the text."""
    return "\n".join(field_lines([(name.ljust(_NAMES), text)], sys.stdout))


def _count(number: float) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _duration(seconds: float) -> str:
    for unit, length in (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length * (2 if unit in ("years", "days") else 1):
            return f"{seconds / length:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


def _energy(watt_hours: float) -> str:
    return f"{watt_hours / 1000:.3g} kWh" if watt_hours >= 1000 else f"{watt_hours:.3g} Wh"
