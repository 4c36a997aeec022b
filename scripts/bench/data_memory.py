"""Peak memory of `mlxllm data build` over little and over much text, all of its processes together.

JSON lines of made-up English are written to a temporary folder, the larger one a beginning of the other; each is built
with the same tokenizer. The resident memory of the process and of its children is added up several times a second.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import ROOT, BenchError, machine, mlxllm, parser, run, say

_WORDS = 60_000
_LOOK_SECONDS = 0.1


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    made.add_argument("--megabytes", type=float, nargs=2, default=(100, 2000), metavar="N", help="text, twice")
    made.add_argument("--recipe", default="none", metavar="R", help="how it is cleaned; web also finds duplicates")
    made.add_argument("--workers", type=int, metavar="N", help="processes of a build; by default one for each core")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """The smaller build, then the larger one."""
    environment = {"MLXLLM_HOME": str(temporary / "home")}
    texts = [temporary / f"{size:g}.jsonl" for size in args.megabytes]
    for path, size in zip(texts, args.megabytes, strict=True):
        say(f"writing {size:,g} MB of text")
        write_text(path, int(size * 1e6))
    say("training a tokenizer")
    mlxllm(
        "tokenizer", "train", "t", "--kind", "bpe", "--vocab-size", 8192, "--input", texts[0], environment=environment
    )
    rows = []
    for path, size in zip(texts, args.megabytes, strict=True):
        say(f"building {size:,g} MB")
        rows.append(build(path, args, environment))
        path.unlink()
    ratio = rows[0]["peak_bytes"] / rows[1]["peak_bytes"]
    table = [("text", "documents", "seconds", "MB a second", "peak memory")]
    for size, row in zip(args.megabytes, rows, strict=True):
        speed, peak = size / row["seconds"], row["peak_bytes"] / 2**20
        table.append(
            (f"{size:,g} MB", f"{row['documents']:,}", f"{row['seconds']:.1f}", f"{speed:.1f}", f"{peak:,.0f} MiB")
        )
    title = f"data build, recipe {args.recipe}: peak memory of all its processes"
    return {"ratio": ratio, "builds": rows, "title": title, "table": table, "machine": machine()}


def build(path: Path, args: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any]:
    """Time, documents and peak memory of one build."""
    command = [sys.executable, "-m", "mlxllm", "data", "build", "d", "--source", f"text:{path}", "--tokenizer", "t"]
    command += ["--recipe", args.recipe, "--force", "--json"]
    command += ["--workers", str(args.workers)] if args.workers else []
    began, peak = time.monotonic(), 0
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    ) as process:
        while process.poll() is None:
            peak = max(peak, resident_bytes(process.pid))
            time.sleep(_LOOK_SECONDS)
        seconds = time.monotonic() - began
        assert process.stdout is not None
        assert process.stderr is not None
        if process.returncode:
            raise BenchError(f"the build failed: {process.stderr.read().strip().splitlines()[-1]}")
        label = json.loads(process.stdout.read())
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "documents": sum(source["documents_read"] for source in label["sources"].values()),
        "kept": sum(source["documents_kept"] for source in label["sources"].values()),
    }


def resident_bytes(process: int) -> int:
    """Of a process and its children; `ps` knows it on macOS and on Linux."""
    listed = subprocess.run(["ps", "-Ao", "pid=,ppid=,rss="], capture_output=True, text=True, check=True).stdout
    found = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return 1024 * sum(rss for pid, parent, rss in found if process in (pid, parent))


def write_text(path: Path, size: int) -> None:
    """So many bytes of documents of sentences, words as often as in language: the one of rank r as 1 / r (Zipf 1949)."""
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlcumwfgypbvk", k=rng.randint(2, 9))) for _ in range(_WORDS)]
    weights = [1 / (rank + 1) for rank in range(_WORDS)]
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < size:
            drawn = iter(rng.choices(words, weights, k=60_000))
            for _ in range(100):
                sentences = [" ".join(next(drawn) for _ in range(12)).capitalize() + "." for _ in range(40)]
                text = "\n".join(" the ".join(sentences[start : start + 4]) for start in range(0, 40, 4))
                file.write(json.dumps({"text": text}) + "\n")
                written += len(text)


if __name__ == "__main__":
    parsed = arguments()
    run(main, parsed)
