"""Documents and megabytes a second of each stage of the data pipeline, beside datatrove, datasketch and plain loops.

Both sides read the same files, each in a process of its own, in turns. Tokenizing is the whole command `mlxllm data
build`, from the start of its process to its end, on the cores that there are; beside it stands a loop in one process
that encodes with sentencepiece, or with tokenizers, and writes the ids.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    BENCH,
    ROOT,
    BenchError,
    Side,
    agree,
    core_count,
    machine,
    mlxllm,
    parser,
    ratio_text,
    run,
    say,
    worker,
)

STAGES = {
    "read_jsonl": ("reading JSON lines", "texts", "datatrove"),
    "read_parquet": ("reading parquet", "pages", "datatrove"),
    "read_warc": ("WARC: reading and extraction", "html", "datatrove"),
    "clean": ("cleaning: Gopher, FineWeb, C4", "pages", "datatrove"),
    "web": ("cleaning: `web`, all of it", "pages", None),
    "minhash": ("MinHash: texts to band keys", "pages", "datasketch"),
    "datatrove_minhash": ("the same", "pages", "datatrove"),
    "duplicates": ("band keys to duplicates", "pages", "datasketch"),
}
"""What a stage is called, what its bytes are counted of, and its peer."""
SAME_COUNT = {"read_jsonl": 0.0, "read_parquet": 0.0, "minhash": 0.0, "datatrove_minhash": 0.01, "duplicates": 0.1}
"""How far the documents that come out may differ, as a share; cleaning and extraction are not the same everywhere."""
LOOPS = ("sentencepiece", "tokenizers")


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    made.add_argument(
        "--data", default="", metavar="SOURCE", help="texts of your own, as `data build --source` has them"
    )
    made.add_argument("--megabytes", type=float, default=40, metavar="N", help="text to read and to tokenize")
    made.add_argument("--pages", type=int, default=500, metavar="N", help="pages for the other stages")
    made.add_argument("--vocabulary", type=int, default=8192, metavar="N", help="ids of the tokenizers")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="processes of each side, in turns")
    made.add_argument("--stages", nargs="+", choices=[*STAGES, "tokenize"], metavar="STAGE", help="only some stages")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Stage by stage."""
    if args.rounds < 1 or args.pages < 1 or args.megabytes <= 0:
        raise BenchError("--rounds and --pages must be 1 or more, --megabytes more than 0")
    chosen = args.stages or [*STAGES, "tokenize"]
    options = ["--pages", args.pages, "--megabytes", args.megabytes, "--vocabulary", args.vocabulary]
    if args.data:
        options += ["--data", args.data]
    sizes = worker(Path(sys.executable), "ours/data_material.py", "--out", temporary, *options, what="making texts")
    stages = {name: measured(name, args, temporary) for name in STAGES if name in chosen}
    tokenizing = tokenized(args, temporary) if "tokenize" in chosen else None
    return outcome(args, sizes, stages, tokenizing)


def measured(name: str, args: argparse.Namespace, folder: Path) -> tuple[Side, Side | None]:
    """Both sides of a stage; a side whose part is not there has no samples, and says what is missing."""
    title, _, peer_name = STAGES[name]
    own_stage = "minhash" if name == "datatrove_minhash" else name
    ours, peer = Side("ours"), None if args.ours_only or peer_name is None else Side(peer_name)
    for number in range(args.rounds):
        what = f"{title}, round {number + 1} of {args.rounds}"
        take(ours, worker(Path(sys.executable), "ours/data_stage.py", own_stage, folder, what=f"{what}: ours"))
        if peer is not None and "missing" not in peer.facts:
            take(peer, worker(args.peers_python, "peers/data_stage.py", name, folder, what=f"{what}: {peer.name}"))
    if peer is not None and peer.samples and ours.samples and name in SAME_COUNT:
        agree(f"documents of {title}", ours.facts["documents"], peer.facts["documents"], SAME_COUNT[name])
    return ours, peer


def take(side: Side, result: dict[str, Any]) -> None:
    """A worker's numbers, where it has any."""
    labels = [label for label in ("seconds", "prepared_seconds") if label in result]
    side.add(result, *labels)


def tokenized(args: argparse.Namespace, folder: Path) -> dict[str, Side]:
    """`mlxllm data build` and the loops, by name."""
    home = {"MLXLLM_HOME": str(folder / "home")}
    texts, pages = folder / "texts.jsonl", folder / "pages.jsonl"
    say("training a tokenizer")
    size = str(args.vocabulary)
    mlxllm("tokenizer", "train", "bench", "--kind", "bpe", "--vocab-size", size, "--input", pages, environment=home)
    models = {
        "sentencepiece": folder / "home" / "tokenizers" / "bench" / "tokenizer.model",
        "tokenizers": folder / "plain-tokenizer.json",
    }
    sides = {name: Side(name) for name in ("ours", *(() if args.ours_only else LOOPS))}
    for number in range(args.rounds):
        for name, side in sides.items():
            say(f"tokenizing and sharding, round {number + 1} of {args.rounds}: {name}")
            if name == "ours":
                command = [sys.executable, "-m", "mlxllm", "data", "build", f"bench-{number}", "--tokenizer", "bench"]
                command += ["--source", f"text:{texts}", "--json"]
                environment = {**home, "PYTHONPATH": str(ROOT)}
            else:
                command = [sys.executable, str(BENCH / "peers" / "tokenize_loop.py"), name]
                command += ["--texts", str(texts), "--model", str(models[name]), "--out", str(folder / "ids.bin")]
                environment = {}
            seconds, result = timed(command, environment)
            tokens = result["tokens"] if name != "ours" else sum(s["tokens"] for s in result["sources"].values())
            side.add({"seconds": seconds, "tokens": tokens}, "seconds")
    if not args.ours_only:
        agree("tokens", sides["ours"].facts["tokens"], sides["sentencepiece"].facts["tokens"], 1e-3)
    return sides


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, dict[str, Any]]:
    """Seconds from the start of a process to its end, and the object that it printed last.

    Raises:
        BenchError: it failed.
    """
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    seconds = time.perf_counter() - begun
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BenchError(f"`{' '.join(command[1:4])}` failed: {last}")
    return seconds, json.loads(done.stdout.splitlines()[-1])


def outcome(
    args: argparse.Namespace,
    sizes: dict[str, dict[str, int]],
    stages: dict[str, tuple[Side, Side | None]],
    tokenizing: dict[str, Side] | None,
) -> dict[str, Any]:
    """The table and the numbers."""
    table = [("stage", "documents a second", "MB a second", "peer", "documents a second", "MB a second", "ratio")]
    ratios: dict[str, float] = {}
    found: dict[str, Any] = {}
    for name, (ours, peer) in stages.items():
        title, of, _ = STAGES[name]
        if ours.samples and peer is not None and peer.samples:
            ratios[name] = peer.median("seconds") / ours.median("seconds")
        found[name] = {side.name: facts(side, sizes[of]) for side in (ours, peer) if side is not None}
        shown = (*rates(ours, sizes[of]), peer.name if peer else "", *(rates(peer, sizes[of]) if peer else ("", "")))
        table.append((title, *shown, ratio_text(ratios.get(name))))
        if name == "minhash" and peer is not None and peer.samples:
            least = peer.median("prepared_seconds")
            ratios["minhash_of_ready_ngrams"] = least / ours.median("seconds")
            ready = (f"{peer.name}, from 5-grams", *seconds_to_rates(least, sizes[of]))
            table.append(("the same", *shown[:2], *ready, ratio_text(ratios["minhash_of_ready_ngrams"])))
    if tokenizing is not None:
        own = tokenizing["ours"]
        found["tokenize"] = {name: facts(side, sizes["texts"]) for name, side in tokenizing.items()}
        loops = [side for name, side in tokenizing.items() if name != "ours"]
        if not loops:
            table.append(("tokenizing and sharding", *rates(own, sizes["texts"]), "", "", "", ""))
        for side in loops:
            ratios[side.name] = side.median("seconds") / own.median("seconds")
            shown = (*rates(own, sizes["texts"]), f"{side.name} loop", *rates(side, sizes["texts"]))
            table.append(("tokenizing and sharding", *shown, ratio_text(ratios[side.name])))
    faster_loop = min((ratios[name] for name in LOOPS if name in ratios), default=None)
    return {
        "title": f"data: {sizes['texts']['bytes'] / 1e6:,.0f} MB in {sizes['texts']['documents']:,} texts, "
        f"{sizes['pages']['bytes'] / 1e6:,.1f} MB in {sizes['pages']['documents']:,} pages",
        "table": table,
        "ratio": faster_loop,
        "ratio_minhash": ratios.get("minhash"),
        "ratios": ratios,
        "stages": found,
        "sizes": sizes,
        "machine": machine() | {"cores_used": core_count()},
    }


def facts(side: Side, size: dict[str, int]) -> dict[str, Any]:
    """The samples of a side, and what they were of."""
    return {
        **side.samples,
        "of": size,
        **{k: v for k, v in side.facts.items() if k in ("documents", "tokens", "missing", "by_hash")},
    }


def rates(side: Side, size: dict[str, int]) -> tuple[str, str]:
    """Documents and megabytes a second for the table; what is missing where there are none."""
    if not side.samples:
        return (f"no {side.facts['missing']}", "")
    return seconds_to_rates(side.median("seconds"), size)


def seconds_to_rates(seconds: float, size: dict[str, int]) -> tuple[str, str]:
    """For the table."""
    return f"{size['documents'] / seconds:,.0f}", f"{size['bytes'] / seconds / 1e6:,.1f}"


if __name__ == "__main__":
    run(main, arguments())
