"""Every architecture in and out again: what transformers, mlx-lm, PEFT and llama.cpp compute, and what mlxllm computes.

In: small random models made and saved by transformers, read here. Out: the same models exported (plain, packed, as
GGUF, adapters alone) and read by every library that is installed. Compared are token ids, the largest difference of any
logit, and greedy tokens. Exit code 1 where one is red.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import common
import mlx.core as mx
import numpy as np
import receipt
from roundtrip_cases import ADAPTERS, MODELS, OWN, PACKED, adapted, own_model

from mlxllm.errors import UserError
from mlxllm.export.adapters import write_mlx_adapter, write_peft_adapter
from mlxllm.export.asking import GREEDY_TOKENS, POSITIONS
from mlxllm.export.formats import FORMATS, Order, export
from mlxllm.export.judging import bounds_for
from mlxllm.export.measuring import measure
from mlxllm.export.sample_text import PROMPT, SAMPLES
from mlxllm.export.verified import Verification
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.parity.receipts import Row, largest, pair

RANDOM_TEXTS = 1000
GGUF = "f32"


@dataclass(frozen=True)
class Line:
    """One reader of one model."""

    model: str
    direction: str
    """`in`, or `out`."""
    form: str
    """`hf`, a packing, `gguf`, or whose layout of adapters."""
    reader: str
    """Who made it (in), or who read it (out)."""
    status: str
    """`passed`, `failed`, `not installed`, `skipped`."""
    version: str = ""
    ids_equal: bool | None = None
    max_logit_difference: float | None = None
    greedy_equal: bool | None = None
    note: str = ""


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout, and the table on stderr")
    made.add_argument("--markdown", action="store_true", help="print the table that the README shows")
    made.add_argument("--only", metavar="NAME,NAME", help=f"models: {', '.join([*MODELS, *OWN])}; by default all")
    made.add_argument("--forms", metavar="F,F", help="hf, packed, gguf, adapters; by default all")
    receipt.with_receipt(made)
    made.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        metavar="PATH",
        help="an interpreter that has torch, transformers, peft and mlx-lm; by default this one",
    )
    args = made.parse_args()
    if args.receipt and (args.only or args.forms):
        made.error("a receipt is about all models and forms; leave out --only and --forms, or --receipt")
    return args


def main(args: argparse.Namespace, folder: Path) -> Iterator[Line]:
    """All lines, as they come."""
    chosen = args.only.split(",") if args.only else [*MODELS, *OWN]
    forms = args.forms.split(",") if args.forms else ["hf", "packed", "gguf", "adapters"]
    if unknown := [name for name in chosen if name not in (*MODELS, *OWN)]:
        raise UserError(f"--only names {unknown[0]!r}; known are {', '.join([*MODELS, *OWN])}")
    cases = {name: MODELS[name] for name in MODELS if name in chosen}
    loaded: dict[str, LoadedModel] = {}
    if cases:
        job = {"folder": str(folder), "cases": cases, "texts": texts(), "prompt": PROMPT}
        job |= {"max_tokens": GREEDY_TOKENS, "positions": POSITIONS}
        theirs = common.peer(args.peers_python, "transformers_models.py", job, folder)
        for name in cases:
            loaded[name] = load_model(str(folder / name))
            yield inward(name, loaded[name], theirs[name], np.load(folder / f"{name}.npy"))
    loaded |= {name: own_model(*OWN[name]) for name in OWN if name in chosen}
    for name, model in loaded.items():
        if "hf" in forms:
            yield from outward(name, "hf", model, folder / f"{name}-out")
        if "gguf" in forms and "gguf" in FORMATS:
            yield from outward(name, "gguf", model, folder / f"{name}-gguf", dtype=GGUF)
        for packing in PACKED.get(name, ()) if "packed" in forms else ():
            yield from outward(name, packing, model, folder / f"{name}-{packing}", quantize=packing)
    if "adapters" in forms:
        yield from with_adapters({name: loaded[name] for name in ADAPTERS if name in loaded}, args.peers_python, folder)


def texts() -> list[str]:
    """The fixed ones, and random strings of all of Unicode."""
    drawn = random.Random(6)
    planes = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x4E00, 0x9FFF), (0x1F300, 0x1F700), (0, 0xD7FF))

    def one() -> str:
        low, high = drawn.choice(planes)
        return "".join(chr(drawn.randint(low, high)) for _ in range(drawn.randint(1, 24)))

    return [*SAMPLES, *(one() for _ in range(RANDOM_TEXTS))]


def inward(name: str, ours: LoadedModel, theirs: dict[str, Any], logits: np.ndarray) -> Line:
    """A model of transformers, read here."""
    found = measure(ours, theirs["sequence"], PROMPT, GREEDY_TOKENS)
    ids = [list(ours.tokenizer.encode(text)) for text in texts()] == theirs["ids"]
    difference = float(np.abs(found.logits - logits).max())
    greedy = list(found.greedy) == theirs["greedy"]
    passed = ids and greedy and difference <= bound(logits)
    status = "passed" if passed else "failed"
    return Line(name, "in", "hf", "transformers", status, theirs["version"], ids, difference, greedy)


def bound(logits: np.ndarray) -> float:
    """What a logit may differ by: as verification has it."""
    return float(bounds_for("float32").logits * max(1.0, float(np.abs(logits).max()) / 5))


def outward(name: str, form: str, model: LoadedModel, path: Path, **how: str) -> Iterator[Line]:
    """An export, read by whoever is installed."""
    try:
        told = export("gguf" if form == "gguf" else "hf", Order(model, path, **how)).verification
    except UserError as error:
        verification = getattr(error, "verification", None)
        if not isinstance(verification, Verification):
            yield Line(name, "out", form, "mlxllm", "failed", note=str(error))
            return
        told = verification
    assert told is not None
    for row in told.rows:
        values = (row.status, row.version, row.ids_equal, row.max_logit_difference, row.greedy_equal, row.note)
        yield Line(name, "out", form, row.reader, *values)


def with_adapters(bases: dict[str, LoadedModel], python: Path, folder: Path) -> Iterator[Line]:
    """Adapters alone, on their exported base."""
    cases, ours = {}, {}
    for name, base in bases.items():
        for label, lora, layouts in ADAPTERS[name]:
            model = adapted(base, lora)
            for layout in layouts:
                path = folder / f"{name}-{label}-{layout}"
                (write_peft_adapter if layout == "peft" else write_mlx_adapter)(model, path)
                where = folder / f"{name}-out" if (folder / f"{name}-out").is_dir() else folder / name
                cases[path.name] = {"base": str(where), "adapter": str(path), "reader": layout}
                ours[path.name] = (name, label, layout, model)
    if not cases:
        return
    first = next(iter(ours.values()))[3]
    sequence = [i for text in SAMPLES for i in first.tokenizer.encode(text)][:POSITIONS]
    prompt = list(first.tokenizer.encode(PROMPT))
    job = {"cases": cases, "sequence": sequence, "prompt_ids": prompt, "max_tokens": GREEDY_TOKENS}
    theirs = common.peer(python, "adapted_models.py", job, folder)
    for key, (name, label, layout, model) in ours.items():
        found, logits = measure(model, sequence, PROMPT, GREEDY_TOKENS), np.load(folder / f"{key}.npy")
        difference = float(np.abs(found.logits - logits).max())
        greedy = list(found.greedy) == theirs[key]["greedy"]
        status = "passed" if greedy and difference <= bound(found.logits) else "failed"
        yield Line(name, "out", label, layout, status, theirs[key]["version"], None, difference, greedy)


def show(lines: Sequence[Line], file: Any) -> None:
    """Every line of the table."""
    rows = [("model", "", "form", "reader", "result", "ids", "logits", "greedy", "")]
    for line in lines:
        found = (word(line.ids_equal), number(line.max_logit_difference), word(line.greedy_equal), line.note)
        who = f"{line.reader} {line.version}".strip()
        rows.append((line.model, line.direction, line.form, who, line.status, *found))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=file)


def markdown(lines: Sequence[Line]) -> list[str]:
    """One row a model, and one for each packing and each kind of adapters; a column for each direction and reader."""
    columns = list(dict.fromkeys((line.direction, line.reader) for line in lines))
    cells = {(line.model, weights(line), line.direction, line.reader): cell(line) for line in lines}
    rows = sorted(dict.fromkeys((line.model, weights(line)) for line in lines), key=lambda row: row[1] != PLAIN)
    head = ["model", "weights", *(f"{direction}: {reader}" for direction, reader in columns)]
    made = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        made.append(f"| {' | '.join((*row, *(cells.get((*row, *column), '') for column in columns)))} |")
    return made


def told(args: argparse.Namespace, lines: Sequence[Line]) -> receipt.Told:
    """For the receipt: comparisons that were made, and the largest difference of any logit by reader.

    A packed model is compared with the plain one that it was made from as well, which tells what packing costs.
    """
    made = [line for line in lines if line.status in ("passed", "failed")]
    good = sum(line.status == "passed" for line in made)
    rows: list[Row] = [pair("comparisons, and those in which ids, logits and greedy tokens agree", len(made), good, 0)]
    groups: dict[tuple[str, str, str], list[float]] = {}
    for line in made:
        if line.max_logit_difference is not None:
            what = "packed" if line.reader == "mlxllm" and weights(line) != PLAIN else "exact"
            groups.setdefault((line.direction, line.reader, what), []).append(line.max_logit_difference)
    for (direction, reader, what), found in groups.items():
        packed = ", packed against plain" if what == "packed" else ""
        rows.append(largest(f"any logit, {direction}: {reader}{packed}", max(found)))
    readers = {line.reader: line.version for line in made if line.version and line.reader != "mlxllm"}
    return receipt.Told("roundtrip", rows, seed=0, versions=readers, note="small random models on 256 tokens")


PLAIN = "float32"


def weights(line: Line) -> str:
    """What left: plain weights whatever the file, a packing, or adapters."""
    return PLAIN if line.form in ("hf", "gguf") else line.form


def cell(line: Line) -> str:
    """The largest difference of any logit; where it failed, what else is not equal."""
    if line.status in ("not installed", "skipped"):
        return "-"
    if line.status == "passed":
        return number(line.max_logit_difference)
    wrong = [what for what, equal in (("ids", line.ids_equal), ("greedy", line.greedy_equal)) if equal is False]
    return " ".join(["**failed**", number(line.max_logit_difference), *wrong])


def word(equal: bool | None) -> str:
    """Of a comparison."""
    return "-" if equal is None else "equal" if equal else "differ"


def number(value: float | None) -> str:
    """Of a difference."""
    return "-" if value is None else f"{value:.1e}" if value else "0"


if __name__ == "__main__":
    asked = arguments()
    begun = time.monotonic()
    mx.set_default_device(mx.cpu)
    found: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="mlxllm-roundtrip-") as temporary:
        try:
            for each in main(asked, Path(temporary)):
                found.append(replace(each, note=each.note.replace(temporary, "")))
                print(f"{each.model} {each.direction} {each.form} {each.reader}: {each.status}", file=sys.stderr)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
    red = sum(line.status == "failed" for line in found)
    if asked.json:
        print(json.dumps({"passed": not red, "failed": red, "lines": [asdict(line) for line in found]}))
    elif asked.markdown:
        print("\n".join(markdown(found)))
    else:
        show(found, sys.stdout)
    if asked.receipt:
        receipt.keep(told(asked, found), begun)
    sys.exit(1 if red else 0)
