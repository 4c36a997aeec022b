"""Spoiling files as an accident or an enemy would: bytes flipped, cut, put in; JSON values that are absurd."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

ABSURD: tuple[Any, ...] = (
    *(0, 1, -1, 7, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**9, 10**18, 10**400, -(10**30)),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")),
    *("", "768", "silu", "text", "\ud800", "\x1b[2J", "a\nb", "../../etc/passwd", "é" * 300, "x" * 5_000),
    *(None, True, False, [], {}, [[]], [None], [-1], [2**40, 2**40], [0, 2**62], {"a": {"b": [1]}}, ["a"] * 300),
)
"""Values that do not belong where they are put."""


def mutate_json(value: Any, chance: random.Random) -> bytes:
    """`value` with one to three of its parts spoiled, as text; now and then the text is spoiled as well."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        _spoil_part(value, chance)
    text = json.dumps(value).encode()
    if chance.random() < 0.05:  # deep nesting has to be text: Python's own writer refuses it
        text = text.replace(b"]", b"[" * 3_000 + b"]" * 3_001, 1)
    if chance.random() < 0.05:
        text = text[:-1] + b"," + text[1:]  # every key twice
    return mutate_bytes(text, chance) if chance.random() < 0.15 else text


def _spoil_part(value: Any, chance: random.Random) -> None:
    """Change one part of an object or list, at any depth."""
    places: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        each = pending.pop()
        keys = list(each) if isinstance(each, dict) else list(range(len(each)))
        places += [(each, key) for key in keys]
        pending += [each[key] for key in keys if isinstance(each[key], dict | list)]
    if not places:
        return
    parent, key = chance.choice(places)
    ways: list[Callable[[], None]] = [
        lambda: parent.__setitem__(key, copy.deepcopy(chance.choice(ABSURD))),
        lambda: parent.__setitem__(key, _near(parent[key], chance)),
        lambda: parent.__delitem__(key),
        lambda: _rename(parent, key, chance),
        lambda: parent.__setitem__(key, copy.deepcopy(parent[chance.choice([k for p, k in places if p is parent])])),
    ]
    chance.choice((ways[0], ways[0], ways[1], ways[1], ways[2], ways[3], ways[4]))()


def _near(value: Any, chance: random.Random) -> Any:
    """What is nearly right, which is harder to see."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        half = value + 0.5 if abs(value) < 2**60 else 0.5
        return chance.choice((value + 1, value - 1, value * 2, value // 2, -value, value * 2**20, half))
    if isinstance(value, float):
        return chance.choice((-value, value * 1e10, str(value), [value]))
    if isinstance(value, str):
        return chance.choice((value + "x", value[:-1], value.upper(), value * 50, [value], {value: value}))
    if isinstance(value, list):
        return chance.choice((value + value, value[:-1], value[::-1], [value], tuple(value) * 100, {"0": value}))
    return [value]


def _rename(parent: Any, key: Any, chance: random.Random) -> None:
    if isinstance(parent, dict):
        parent[chance.choice(("", "x" * 3_000, "__metadata__", "\ud800", f"{key}x", "a\nb", "\x1b[2J"))] = parent.pop(
            key
        )
    else:
        parent.insert(0, copy.deepcopy(parent[key]))


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """`content` with bits flipped, bytes put in or taken out, or cut off."""
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(out)) if out else 0
        way = chance.randrange(5)
        if way == 0 and out:
            out[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            out[at:at] = chance.randbytes(chance.choice((1, 2, 8, 100)))
        elif way == 2:
            del out[at : at + chance.choice((1, 4, 64))]
        elif way == 3:
            del out[at:]
        else:
            out[at : at + 8] = bytes(8)
    return bytes(out)


def mutate_safetensors(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose header lies, whose length is another, or that is spoiled anywhere."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    way = chance.random()
    if way < 0.1:
        wrong = chance.choice((0, 1, length - 1, length + 1, len(content), 10**8, 10**8 + 1, 2**40, 2**63, 2**64 - 1))
        return wrong.to_bytes(8, "little") + content[8:]
    if way < 0.25:
        return mutate_bytes(content, chance)
    if way < 0.35:
        return content[: chance.randrange(len(content))]
    header = mutate_json(json.loads(header), chance)
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data))] if chance.random() < 0.5 else data + chance.randbytes(9)
    return len(header).to_bytes(8, "little") + header + data
