"""Scored choices a second of a multiple-choice task: ours, and lm-eval's own class for models of transformers.

A random Llama in float32 and a file of questions in JSON lines (`query`, `choices`, `gold`). Each side runs in a process
of its own, in turns, gets the same pairs of context and choice, and must find the same log-likelihoods.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import llama
from common import BenchError, Side, machine, mebibytes, parser, ratio_text, run, worker

SMALL = {"layers": 4, "hidden": 256, "heads": 8, "kv_heads": 4, "inner": 704}
TOLERANCE = 1e-3
"""Nats, of each choice."""


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    llama.add_shape(made)
    made.set_defaults(**SMALL)
    made.add_argument(
        "--task", type=Path, required=True, metavar="FILE", help="JSON lines with query, choices and gold"
    )
    made.add_argument("--limit", type=int, default=100, metavar="N", help="questions")
    made.add_argument("--shots", type=int, default=5, metavar="N", help="solved examples in the second measurement")
    made.add_argument("--batch-sizes", default="1,8,32", metavar="B,...", help="of lm-eval; the fastest counts")
    made.add_argument("--rounds", type=int, default=2, metavar="N", help="processes of each side, in turns")
    return made.parse_args()


def main(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Without examples and with them: ours, lm-eval, ours, ..."""
    if args.limit < 1 or args.shots < 1 or args.rounds < 1:
        raise BenchError("--limit, --shots and --rounds must be 1 or more")
    questions = read(args.task)
    if len(questions) < args.shots + args.limit:
        raise BenchError(
            f"{args.task} has {len(questions)} questions, and {args.shots} examples and {args.limit} questions are asked for"
        )
    model = temporary / "model"
    parameters = llama.make(args, model, std=0.1)
    results = {}
    for shots in (0, args.shots):
        asked = temporary / f"{shots}.json"
        asked.write_text(json.dumps(pairs(questions, shots, args.shots, args.limit)))
        results[shots] = measure(args, model, asked, f"{shots} examples")
    return outcome(results, parameters, args)


def read(path: Path) -> list[dict[str, Any]]:
    """The questions of a file, those in plain ASCII: the peer's tokenizer of the random model knows no other characters.

    Raises:
        BenchError: it is something else.
    """
    try:
        questions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        for question in questions:
            question["choices"][question["gold"]], question["query"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BenchError(
            f"{path} is not a file of questions in JSON lines with query, choices and gold: {error}"
        ) from None
    return [question for question in questions if json.dumps(question, ensure_ascii=False).isascii()]


def pairs(questions: list[dict[str, Any]], shots: int, held_back: int, limit: int) -> list[tuple[str, str]]:
    """(context, choice) of all choices; the questions are the same with examples and without."""
    examples = "".join(f"{q['query']}\nAnswer: {q['choices'][q['gold']]}\n\n" for q in questions[:shots])
    asked = questions[held_back : held_back + limit]
    return [(f"{examples}{q['query']}\nAnswer:", f" {choice}") for q in asked for choice in q["choices"]]


def measure(args: argparse.Namespace, model: Path, asked: Path, what: str) -> tuple[Side, Side | None]:
    """Both sides on the same pairs.

    Raises:
        BenchError: they do not find the same.
    """
    ours, theirs = Side("ours"), None if args.ours_only else Side("lm-eval, transformers")
    options = ("--model", model, "--pairs", asked)
    for number in range(args.rounds):
        which = f"{what}, round {number + 1} of {args.rounds}"
        ours.add(
            worker(Path(sys.executable), "ours/score_pairs.py", *options, what=f"{which}: ours"), "rate", "footprint"
        )
        if theirs is not None:
            more = ("--batch-sizes", args.batch_sizes)
            result = worker(args.peers_python, "peers/lm_eval_score.py", *options, *more, what=f"{which}: lm-eval")
            theirs.add(result, "rate", "footprint")
            for at, (mine, other) in enumerate(zip(ours.facts["logprobs"], theirs.facts["logprobs"], strict=True)):
                if abs(mine - other) > TOLERANCE:
                    raise BenchError(f"choice {at} has {mine:.5f} nats in ours and {other:.5f} in lm-eval")
    return ours, theirs


def outcome(results: dict[int, tuple[Side, Side | None]], parameters: int, args: argparse.Namespace) -> dict[str, Any]:
    """The table and the numbers."""
    table = [("", "examples", "choices a second", "ours / it", "process peak")]
    ratios: dict[int, float | None] = {}
    for shots, (ours, theirs) in results.items():
        ratios[shots] = None if theirs is None else ours.median("rate") / theirs.median("rate")
        for side in (ours, theirs):
            if side is not None:
                ratio = ratio_text(ratios[shots]) if side is theirs else ""
                peak = mebibytes(side.median("footprint"))
                table.append((side.name, str(shots), side.shown("rate"), ratio, peak))
    ours, theirs = results[0]
    about = machine() | {key: ours.facts[key] for key in ("mlx", "blas", "device")}
    if theirs is not None:
        about |= {key: theirs.facts[key] for key in ("lm_eval", "transformers", "torch", "threads", "batch_size")}
    pairs_of = list(zip(*(side.facts["logprobs"] for side in results[0] if side), strict=True))
    return {
        "title": f"evaluate: {args.limit} questions of {args.task.name}, a random Llama of {parameters:,} parameters",
        "table": table,
        "ratio": ratios[0],
        "ratio_shots": ratios[args.shots],
        "rate": {shots: {s.name: s.samples["rate"] for s in sides if s} for shots, sides in results.items()},
        "largest_difference": max(abs(p[0] - p[-1]) for p in pairs_of),
        "choices": len(pairs_of),
        "parameters": parameters,
        "machine": about,
    }


if __name__ == "__main__":
    run(main, arguments())
