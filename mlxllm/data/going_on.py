"""Going on with an earlier build: what of it still holds, and the same data for what is fetched."""

from collections.abc import Callable, Sequence

from mlxllm.data.draft import BuildCommand, BuildState, Draft
from mlxllm.data.sources import Source, open_source
from mlxllm.data.weights import Weight
from mlxllm.visible import counted

_ANOTHER = {
    "sources": "other sources",
    "tokenizer": "another tokenizer",
    "tokenizer_fingerprint": "another tokenizer",
    "val_split": "another --val-split",
    "shard_tokens": "files of another size",
    "recipes": "other rules of cleaning",
    "overlap": "other evaluation sets",
    "drop_overlap": "another way with what overlaps evaluation sets",
}
"""What is said of each field of a command that is another one now."""


def pinned_sources(sources: Sequence[tuple[Source, Weight | None]], earlier: Sequence[str] = ()) -> list[Source]:
    """What is fetched stays the same data while a build goes on, be it tomorrow: as `earlier` has it, else as it is now."""
    fixed = []
    for number, (source, _) in enumerate(sources):
        if number < len(earlier):
            fixed.append(source if earlier[number] == source.spec else open_source(earlier[number]))
        else:
            pinned = getattr(source, "pinned", None)
            fixed.append(source if pinned is None else pinned())
    return fixed


def earlier_state(draft: Draft, command: BuildCommand, tell: Callable[[str], None]) -> BuildState | None:
    """How far an earlier build is that had come to nothing which this one would do differently.

    Weights are of no matter before the end, nor are sources that it had not begun, unless a tokenizer learned from them.
    """
    state = draft.state()
    if state is None:
        return None
    begun = len(state.entries) + bool(state.current.reading.digest)
    if command.tokenizer_fingerprint is None:
        begun = max(len(state.command.sources), len(command.sources))
    for field, what in _ANOTHER.items():
        earlier, now = getattr(state.command, field), getattr(command, field)
        if field == "sources":
            earlier, now = ([spec for spec, _ in of[:begun]] for of in (earlier, now))
        elif field == "recipes":
            earlier, now = earlier[:begun], now[:begun]
        if earlier != now:
            tell(f"an interrupted build of this name had {what}, so this one starts over")
            return None
    tell(f"an interrupted build is continued: {counted(state.documents, 'document')} there already")
    alike = [one == other for (one, _), (other, _) in zip(state.command.sources, command.sources, strict=False)]
    pinned = state.command.pinned[: [*alike, False].index(False)]
    return state.model_copy(update={"command": command.model_copy(update={"pinned": pinned})})
