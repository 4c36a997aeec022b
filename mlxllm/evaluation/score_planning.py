"""Which requests are computed together: a context once for all its targets, a beginning once for all contexts with it.

A row is a context and behind it, side by side, its targets. Each target sees the context and itself and stands where it
would stand alone, so that one pass scores all of them.

Shapes: B rows, T tokens of the longest, N positions whose logits are wanted, M tokens that are scored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

Ids = tuple[int, ...]

_TRUNK_SHARE = 2
_LEAST_ROW = 256
_PREFIX_ROOM = 8
"""A batch may hold so many times its tokens in keys and values of the shared beginning."""


@dataclass
class Tree:
    """A context and the targets that are scored after it."""

    context: Ids
    targets: dict[Ids, list[int]] = field(default_factory=dict)
    """Target -> the numbers of the requests that ask for it."""


@dataclass
class Family:
    """Contexts that begin with the same tokens."""

    prefix: Ids
    """What is computed once; may be empty."""
    trees: list[Tree]


@dataclass
class Row:
    """One text of a batch, without the prefix."""

    token_ids: list[int]
    positions: list[int]
    """Where each token stands, the prefix counted."""
    segments: list[int]
    """0 for the context, which all see, and a number for each target."""
    wants: list[tuple[int, int, int]]
    """(place in the row, id whose log-probability after it is wanted, number of the target among those of the row)."""
    requests: list[list[int]]
    """For each target the numbers of the requests that ask for it."""


@dataclass
class Batch:
    """Rows of one family, padded on the right to one length."""

    token_ids: np.ndarray
    """(B, T)"""
    positions: np.ndarray
    """(B, T)"""
    segments: np.ndarray | None
    """(B, T), -1 for padding; None where each row is a single text."""
    at: np.ndarray
    """(N,) places in the flattened rows, increasing."""
    row_of: np.ndarray
    """(M,) index into `at` of each scored token, increasing."""
    wanted: np.ndarray
    """(M,) their ids."""
    target_of: np.ndarray
    """(M,) which of `requests` each belongs to."""
    requests: list[list[int]]
    """For each target the numbers of the requests that ask for it."""


def trees(requests: Sequence[tuple[Ids, Ids]], max_length: int) -> list[Tree]:
    """Requests by context; what is too long loses tokens at its beginning."""
    found: dict[Ids, Tree] = {}
    for number, (context, target) in enumerate(requests):
        if len(context) + len(target) > max_length + 1:
            ids = (*context, *target)[-(max_length + 1) :]
            count = min(len(target), len(ids) - 1)
            context, target = ids[:-count], ids[-count:]
        tree = found.setdefault(context, Tree(context))
        tree.targets.setdefault(target, []).append(number)
    return list(found.values())


def families(found: Sequence[Tree], least_gain: int) -> list[Family]:
    """Trees by the beginning of their contexts, where computing it once saves `least_gain` tokens or more.

    In sorted order the contexts with one beginning stand together, and how many tokens neighbours share tells which. A
    stretch is one family, or falls apart where its neighbours share least if the parts would save more.
    """
    ordered = sorted(found, key=lambda tree: np.array(tree.context, dtype=">u4").tobytes())
    arrays = [np.array(tree.context) for tree in ordered]
    shared = np.array([_shared(a, b) for a, b in pairwise(arrays)], dtype=np.int64)
    stretches = _stretches(shared, len(ordered), least_gain)
    result: list[Family] = []
    behind = 0
    alone: list[Tree] = []
    for start, stop in stretches:
        alone += ordered[behind:start]
        shortest = min(len(tree.context) for tree in ordered[start:stop])
        own = min(int(shared[start : stop - 1].min()), shortest - 1)
        result.append(Family(ordered[start].context[:own], ordered[start:stop]))
        behind = stop
    alone += ordered[behind:]
    return [*([Family((), alone)] if alone else []), *result]


def _stretches(shared: np.ndarray, count: int, least_gain: int) -> list[tuple[int, int]]:
    """The stretches of 0 ... count that save most as families, in order; `shared` is what each shares with the next."""
    nodes = [(0, count)]
    children: list[range] = []
    for start, stop in nodes:  # grows meanwhile: the parts of a stretch stand behind it
        inner = shared[start : stop - 1]
        first = len(nodes)
        if len(inner) and inner.sum() >= least_gain:  # what its parts could save at most
            cuts = (start + 1 + np.flatnonzero(inner == inner.min())).tolist()
            nodes += [part for part in zip([start, *cuts], [*cuts, stop], strict=True) if part[1] - part[0] > 1]
        children.append(range(first, len(nodes)))
    best = [0] * len(nodes)
    whole = [False] * len(nodes)
    for number in reversed(range(len(nodes))):
        gain, parts = _gain(shared, *nodes[number]), sum(best[child] for child in children[number])
        whole[number] = gain >= max(parts, least_gain)
        best[number] = gain if whole[number] else parts
    chosen: list[tuple[int, int]] = []
    waiting = [0]
    while waiting:
        number = waiting.pop()
        if whole[number]:
            chosen.append(nodes[number])
        elif best[number]:
            waiting += children[number]
    return sorted(chosen)


def _gain(shared: np.ndarray, start: int, stop: int) -> int:
    """Tokens that are saved where ordered[start:stop] is one family."""
    count = stop - start - 1
    return int(shared[start : stop - 1].min()) * count if count > 0 else 0


def _shared(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens both begin with."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length


def rows(family: Family) -> Iterator[Row]:
    """The rows of a family; a context with very many targets comes in several."""
    skipped = len(family.prefix)
    for tree in family.trees:
        trunk = list(tree.context[skipped:])
        if len(tree.targets) == 1:
            [(target, numbers)] = tree.targets.items()
            ids = [*trunk, *target[:-1]]
            wants = [(len(trunk) - 1 + i, token, 0) for i, token in enumerate(target)]
            yield Row(ids, list(range(skipped, skipped + len(ids))), [0] * len(ids), wants, [numbers])
            continue
        room = max(_TRUNK_SHARE * len(trunk), _LEAST_ROW)
        row = _trunk_row(trunk, skipped)
        for target, numbers in tree.targets.items():
            if row.requests and len(row.token_ids) + len(target) - 1 > room:
                yield row
                row = _trunk_row(trunk, skipped)
            _add_target(row, len(trunk), skipped, target, numbers)
        yield row


def _trunk_row(trunk: list[int], skipped: int) -> Row:
    return Row(list(trunk), list(range(skipped, skipped + len(trunk))), [0] * len(trunk), [], [])


def _add_target(row: Row, trunk: int, skipped: int, target: Ids, numbers: list[int]) -> None:
    begin, number = len(row.token_ids), len(row.requests)
    inputs = target[:-1]
    row.token_ids += inputs
    row.positions += range(skipped + trunk, skipped + trunk + len(inputs))
    row.segments += [number + 1] * len(inputs)
    row.wants += [((begin + i - 1) if i else trunk - 1, token, number) for i, token in enumerate(target)]
    row.requests.append(numbers)


def batches(family: Family, batch_tokens: int, longest: int) -> Iterator[Batch]:
    """The rows of a family, the longest first, in batches of few shapes.

    Args:
        family: see `families`.
        batch_tokens: tokens of a batch at most, padding counted; a longer row is a batch by itself.
        longest: no row may be padded beyond so many positions, the prefix counted.
    """
    waiting = sorted(rows(family), key=lambda row: -len(row.token_ids))
    skipped = len(family.prefix)
    start = 0
    while start < len(waiting):
        needed = len(waiting[start].token_ids)
        # A row of several targets is longer than the positions that it takes.
        length = max(needed, min(bucket(needed), longest - skipped))
        size = max(1, min(batch_tokens // length, _PREFIX_ROOM * batch_tokens // (skipped + length)))
        yield _batch(waiting[start : start + size], length)
        start += size


def bucket(length: int) -> int:
    """The length that a row is padded to: at most an eighth or 8 tokens more, so that shapes are few."""
    step = 8
    while length > 8 * step:
        step *= 2
    return -(-length // step) * step


def _batch(members: list[Row], length: int) -> Batch:
    shape = (len(members), length)
    ids, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    segments = np.full(shape, -1, np.int32)
    scored: list[tuple[int, int, int]] = []
    requests: list[list[int]] = []
    for number, row in enumerate(members):
        count = len(row.token_ids)
        ids[number, :count], positions[number, :count] = row.token_ids, row.positions
        segments[number, :count] = row.segments
        scored += [(number * length + place, token, len(requests) + target) for place, token, target in row.wants]
        requests += row.requests
    place, wanted, target_of = np.array(sorted(scored), np.int64).T
    at, row_of = np.unique(place, return_inverse=True)
    several = any(row.segments[-1] for row in members)
    return Batch(ids, positions, segments if several else None, at, row_of, wanted, target_of, requests)
