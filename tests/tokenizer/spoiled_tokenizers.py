"""Thousands of spoiled tokenizers, opened one after the other: run as a program, it prints what came of them.

    python -m tests.tokenizer.spoiled_tokenizers FOLDER SEED NUMBER

FOLDER holds sound tokenizers, one a folder. Each mutant either opens and encodes a text, or is refused in a sentence.
"""

import collections
import copy
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from mlxllm.errors import DataError
from mlxllm.tokenizer.hub import HubTokenizer
from mlxllm.tokenizer.hub_files import read_hub_files
from tests.peak import peak_kib

_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**32 + 5,
    2**64,
    1e308,
    "",
    "x" * 5000,
    "\x00",
    "(a+)+$",
    "(?:",
    "((a{999}){999}){999}",
    [],
    {},
    [[]],
    {"String": ""},
    {"Regex": "(\\w*)*x"},
    {"Regex": "["},
    {"type": "Nonsense"},
    {"type": "Sequence", "pretokenizers": [], "normalizers": [], "decoders": []},
    {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 300},
    {"type": "Metaspace", "replacement": "ab", "prepend_scheme": "sometimes"},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA/////w=="},
)
_TEXT = "Hello, quick world! 1234 größer\n\n  </s> <|im_start|>日本"


def mutated(sound: bytes, draw: random.Random) -> bytes:
    """A file with one to three things wrong, in its bytes or in its structure."""
    if draw.random() < 0.35:
        return _bytes_changed(sound, draw)
    content = json.loads(sound)
    for _ in range(draw.randrange(1, 3)):
        holder, key = _place(content, draw)
        if holder is None:
            return json.dumps(draw.choice(_VALUES)).encode()
        kind = draw.random()
        if kind < 0.2:
            del holder[key]
        elif kind < 0.3 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind < 0.35:
            holder[key] = _deep(draw.choice((50, 200, 5000)))
            if draw.random() < 0.5:
                return json.dumps(content).replace('"deep"', "[" * 20000).encode()
        else:
            holder[key] = copy.deepcopy(draw.choice(_VALUES))
    return json.dumps(content).encode()


def _bytes_changed(sound: bytes, draw: random.Random) -> bytes:
    spoiled = bytearray(sound)
    kind = draw.random()
    at = draw.randrange(len(spoiled))
    if kind < 0.3:
        return bytes(spoiled[:at])
    if kind < 0.5:
        return bytes(spoiled[:at] + spoiled[at : at + draw.randrange(1, 400)] * 2 + spoiled[at:])
    for _ in range(draw.randrange(1, 6)):
        spoiled[draw.randrange(len(spoiled))] = draw.choice(b'{}[],:"0123456789aeiou\xc3\xff\x00\\')
    return bytes(spoiled)


def _place(content: Any, draw: random.Random) -> tuple[Any, Any]:
    """Somewhere in the structure: what holds it, and under which key."""
    holder, key = None, None
    while isinstance(content, dict | list) and content:
        holder = content
        key = draw.choice(list(content)) if isinstance(content, dict) else draw.randrange(len(content))
        content = holder[key]
        if holder is not None and draw.random() < 0.15:
            break
    return holder, key


def _deep(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(min(depth, 200)):
        value = [value]
    return value


def main() -> None:
    folder, seed, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    sound = [read_hub_files(each) for each in sorted(folder.iterdir())]
    draw = random.Random(seed)
    told: collections.Counter[str] = collections.Counter()
    slowest, began = 0.0, time.monotonic()
    for _ in range(number):
        files = dict(draw.choice(sound))
        if "tokenizer.json" in files:
            files["tokenizer.json"] = mutated(files["tokenizer.json"], draw)
        else:
            files["tokenizer.model"] = _bytes_changed(files["tokenizer.model"], draw)
        start = time.monotonic()
        try:
            tokenizer = HubTokenizer(files, "the folder")
            told["opened"] += 1
            ids = tokenizer.encode(_TEXT)
            tokenizer.decode(ids)
            tokenizer.encode_with_specials(_TEXT)
            told["used"] += 1
        except DataError as error:
            sentence = str(error)
            assert "\n" not in sentence, sentence
            assert len(sentence) < 1000, sentence
            told["refused"] += 1
        slowest = max(slowest, time.monotonic() - start)
    peak = peak_kib() / 1024
    seconds = time.monotonic() - began
    print(json.dumps({**told, "slowest": slowest, "seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()
