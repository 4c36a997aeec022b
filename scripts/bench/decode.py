"""Greedy tokens a second, and seconds from process start to the first token: ours, mlx-lm, transformers, llama.cpp.

A random Llama of 27.8M parameters in float32; one sequence, then eight at once (ours and mlx-lm's). Each side runs in a
process of its own, in turns, and must write the same tokens. The start is that of the command line, `mlxllm sample` and
`mlx_lm generate`, from start to end of a process that writes one token. llama.cpp takes part where
$MLXLLM_LLAMA_CPP_PYTHON names an interpreter that has llama-cpp-python.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import llama
from common import BENCH, ROOT, BenchError, Side, machine, mebibytes, parser, ratio_text, run, say, worker
from train_throughput import check_same_mlx

from mlxllm.export.llama_cpp_reader import PYTHON_VARIABLE

PEERS = {"mlx-lm": "peers/mlx_lm_decode.py", "transformers": "peers/transformers_decode.py"}
PROMPT = "Once upon a time there was a small machine that counted tokens. "
STD = 0.15
"""With the usual 0.02 a random model with a tied head repeats its last token, and equal texts would prove nothing."""


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    llama.add_shape(made)
    made.add_argument("--max-tokens", type=int, default=256, metavar="N", help="tokens of a continuation")
    made.add_argument("--sequences", type=int, default=8, metavar="N", help="continued at once, beside one alone")
    made.add_argument("--repeats", type=int, default=2, metavar="N", help="timed continuations of a process")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="processes of each side, in turns")
    made.add_argument("--cold", action="store_true", help="count the first start as well, which reads from the disk")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Ours, mlx-lm, transformers, llama.cpp, ours, ...; then the starts, in turns as well."""
    if args.max_tokens < 2 or args.repeats < 1 or args.rounds < 1 or not 1 <= args.sequences <= len(PROMPT):
        raise BenchError(
            f"--max-tokens must be 2 or more, --repeats and --rounds 1 or more, --sequences 1 to {len(PROMPT)}"
        )
    model = temporary / "model"
    parameters = llama.make(args, model, STD)
    length = ("--max-tokens", args.max_tokens, "--repeats", args.repeats)
    options = ("--model", model, "--prompt", PROMPT, *length, "--sequences", args.sequences)
    gguf = None if args.ours_only else llama_cpp_file(model, temporary)

    ours, llama_cpp = Side("ours"), Side("llama.cpp")
    peers = {} if args.ours_only else {name: Side(name) for name in PEERS}
    for number in range(args.rounds):
        what = f"round {number + 1} of {args.rounds}"
        result = worker(Path(sys.executable), "ours/decode_model.py", *options, what=f"{what}: ours")
        ours.add(result, "tok_per_sec", "prefill_seconds", "footprint", "batch_tok_per_sec")
        check_text(ours, args.max_tokens)
        for name, side in peers.items():
            result = worker(args.peers_python, PEERS[name], *options, what=f"{what}: {name}")
            batch = ("batch_tok_per_sec",) if "batch_tok_per_sec" in result else ()
            side.add(result, "tok_per_sec", "prefill_seconds", "footprint", *batch)
            check_same_text(ours, side)
        if gguf is not None:
            ids = json.dumps(ours.facts["prompt_ids"])
            where = ("--model", gguf, "--prompt-ids", ids, *length)
            python = Path(os.environ[PYTHON_VARIABLE])
            result = worker(python, "peers/llama_cpp_decode.py", *where, what=f"{what}: llama.cpp")
            llama_cpp.add(result, "tok_per_sec", "prefill_seconds", "footprint")
            check_same_text(ours, llama_cpp)
    if gguf is not None:
        peers["llama.cpp"] = llama_cpp
    for number in range(1 if args.cold else 0, args.rounds + 1):
        say(f"process start to first token, {'not counted' if number == 0 else f'round {number} of {args.rounds}'}")
        for side, command in starts(model, ours, peers, args.peers_python):
            seconds = timed(command)
            if number:
                side.samples.setdefault("start", []).append(seconds)
    return outcome(ours, peers, parameters)


def llama_cpp_file(model: Path, temporary: Path) -> Path | None:
    """The model for llama.cpp; None where nobody names an interpreter that has it."""
    if not os.environ.get(PYTHON_VARIABLE):
        return None
    file = temporary / "model.gguf"
    worker(Path(sys.executable), "ours/write_gguf.py", "--model", model, "--out", file, what="the model as a GGUF file")
    return file


def check_text(side: Side, length: int) -> None:
    """The text is as long as asked for, and says something.

    Raises:
        BenchError: it does not; equal texts would then prove little.
    """
    token_ids = side.facts["token_ids"]
    if len(token_ids) != length:
        raise BenchError(f"{side.name} wrote {len(token_ids)} tokens instead of {length}")
    if len(set(token_ids)) < min(8, length // 2):
        raise BenchError(f"{side.name} wrote only {len(set(token_ids))} different tokens; choose other weights")


def check_same_text(ours: Side, peer: Side) -> None:
    """Raises BenchError where two sides read or write different tokens."""
    for key in ("prompt_ids", "token_ids"):
        mine, theirs = ours.facts[key], peer.facts[key]
        if mine != theirs:
            pairs = zip(mine, theirs, strict=False)
            at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(mine), len(theirs)))
            raise BenchError(
                f"ours and {peer.name} differ in {key} from number {at} on: {mine[at : at + 4]} and "
                f"{theirs[at : at + 4]}; speeds of different texts are not compared"
            )
    for number, theirs in enumerate(peer.facts.get("batch_ids", [])):
        if theirs != ours.facts["batch_ids"][number]:
            raise BenchError(
                f"of sequences that are continued at once, ours and {peer.name} differ in number {number}; "
                f"speeds of different texts are not compared"
            )


def starts(model: Path, ours: Side, peers: dict[str, Side], peers_python: Path) -> list[tuple[Side, list[str]]]:
    """The command of each side that writes one token."""
    options = ["--model", str(model), "--prompt", PROMPT, "--max-tokens", "1", "--temp", "0"]
    commands = [(ours, [sys.executable, "-m", "mlxllm", "sample", *options])]
    if "mlx-lm" in peers:
        script = str(BENCH / "peers" / "mlx_lm_command.py")
        commands.append((peers["mlx-lm"], [str(peers_python), script, "generate", *options]))
    return commands


def timed(command: list[str]) -> float:
    """Seconds from the start of a process to its end.

    Raises:
        BenchError: it failed.
    """
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if "mlxllm" in command:
        env["PYTHONPATH"] = str(ROOT)
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    seconds = time.perf_counter() - begun
    if done.returncode or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise BenchError(f"`{' '.join(command[1:4])}` failed: {last}")
    return seconds


def outcome(ours: Side, peers: dict[str, Side], parameters: int) -> dict[str, Any]:
    """The table and the numbers."""
    ratios = {name: ours.median("tok_per_sec") / side.median("tok_per_sec") for name, side in peers.items()}
    sides = (ours, *peers.values())
    start = peers["mlx-lm"].median("start") / ours.median("start") if peers else None
    batches = {s.name: s.median("batch_tok_per_sec") for s in sides if "batch_tok_per_sec" in s.samples}
    count = len(ours.facts["batch_ids"])
    table = [
        (
            *("", "tokens a second", "ours / it", f"{count} sequences at once", "ours / it"),
            *("start to first token, s", "its / ours", "process peak"),
        ),
        *(
            (
                side.name,
                side.shown("tok_per_sec"),
                ratio_text(ratios.get(side.name)),
                side.shown("batch_tok_per_sec") if side.name in batches else "",
                ratio_text(batches["ours"] / batches[side.name]) if side.name in batches and side is not ours else "",
                side.shown("start", "{:.2f}") if "start" in side.samples else "",
                ratio_text(start) if side.name == "mlx-lm" else "",
                mebibytes(side.median("footprint")),
            )
            for side in sides
        ),
    ]
    o = ours.facts
    about = machine() | {"mlx": o["mlx"], "blas": o["blas"], "device": o["device"], "compiled": o["compiled"]}
    if peers:
        check_same_mlx(o, peers["mlx-lm"].facts)
        about |= {"mlx_lm": peers["mlx-lm"].facts["version"], "transformers": peers["transformers"].facts["version"]}
        about |= {key: peers["transformers"].facts[key] for key in ("torch", "threads")}
    if "llama.cpp" in peers:
        facts = peers["llama.cpp"].facts
        about |= {"llama_cpp_python": facts["version"], "llama_cpp_threads": facts["threads"]}
    return {
        "title": "decode: a random Llama, greedy",
        "table": table,
        "ratio": ratios.get("mlx-lm"),
        "ratio_transformers": ratios.get("transformers"),
        "ratio_llama_cpp": ratios.get("llama.cpp"),
        "ratio_batch": batches["ours"] / ours.median("tok_per_sec"),
        "ratio_batch_mlx_lm": batches["ours"] / batches["mlx-lm"] if "mlx-lm" in batches else None,
        "ratio_start": start,
        "tok_per_sec": {side.name: side.samples["tok_per_sec"] for side in sides},
        "batch_tok_per_sec": {side.name: side.samples.get("batch_tok_per_sec") for side in sides},
        "sequences": count,
        "start_seconds": {side.name: side.samples.get("start") for side in sides},
        "prefill_seconds": {side.name: side.samples["prefill_seconds"] for side in sides},
        "footprint": {side.name: side.samples["footprint"] for side in sides},
        "parameters": parameters,
        "tokens": len(o["token_ids"]),
        "machine": about,
    }


if __name__ == "__main__":
    run(main, arguments())
