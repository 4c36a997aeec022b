#!/usr/bin/env python3
"""The smallest judge for `mlxllm versus --judge`: the longer answer wins. Copy it and put your own judgement in its place."""

import json
import sys

for line in sys.stdin:
    asked = json.loads(line)
    a, b = len(asked["a"]), len(asked["b"])
    print(json.dumps({"id": asked["id"], "winner": "a" if a > b else "b" if b > a else "tie"}), flush=True)
