"""What one should know of a dataset before training on it, as sentences; read off its manifest."""

from collections.abc import Iterator

from mlxllm.data.manifest import Manifest
from mlxllm.data.weights import Weight

_HARDLY_READ = 0.5
"""Epochs below which it is told that shares leave most of a source out."""


def cautions(manifest: Manifest) -> Iterator[str]:
    """Empty splits, shares that cost text, too much held out, and sources of which validation tells nothing."""
    for name, split, remedy in (
        ("train", manifest.train, "give more text or a smaller --val-split"),
        ("validation", manifest.val, "give more text or a larger --val-split"),
    ):
        if not split.tokens:
            yield f"the {name} split is empty, so `mlxllm train` will refuse this dataset; {remedy}"
    limited = _limited_by_shares(manifest)
    if limited:
        yield limited
    if manifest.val.tokens > manifest.train.tokens:
        why = "" if limited else ": a few long documents decide; give more of them"
        yield (
            f"more is held out than is left to learn from ({manifest.val.tokens:,} of "
            f"{manifest.val.tokens + manifest.train.tokens:,} tokens){why}"
        )
    for name, source in manifest.sources.items():
        if manifest.val.tokens and source.documents_kept and not source.val.documents:
            yield f"source {name!r}: it has nothing to be held out, so validation tells nothing of it"


def _limited_by_shares(manifest: Manifest) -> str:
    """Which source is so small for its share that the others are hardly read, or nothing."""
    shared = {
        name: source
        for name, source in manifest.sources.items()
        if source.weight is not None and not Weight.parse(source.weight).times and source.tokens
    }
    hardly = [name for name, source in shared.items() if source.epochs < _HARDLY_READ]
    if not hardly:
        return ""
    small = max(shared, key=lambda name: shared[name].epochs)
    unread = ", ".join(f"{name!r} ({shared[name].epochs:.2g} of it)" for name in hardly)
    return (
        f"shares leave most of {unread} unread: {small!r} is so small for its share (@{shared[small].weight}) that it is "
        f"read {shared[small].epochs:.3g} times, and sets the size of all; give it a smaller share, or raise --max-epochs"
    )
