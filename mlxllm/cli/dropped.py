"""`mlxllm data inspect NAME --dropped REASON`: what a build left out, with the beginning of its text."""

import json
import sys
from difflib import get_close_matches

from mlxllm import paths
from mlxllm.cli.sampling import say
from mlxllm.cli.terminal import fold
from mlxllm.errors import DataError
from mlxllm.visible import visible

ALL = "all"


def inspect_dropped(name: str, reason: str, json_: bool) -> None:
    """Print the examples of one reason, or of all, be it none; a part of a reason's name will do.

    Raises:
        DataError: nothing was left out for that reason, or the examples are not there.
    """
    from mlxllm.data.manifest import DROPPED_FILE, read_manifest

    directory = paths.existing("datasets", name)
    counted: dict[str, int] = {}
    for source in read_manifest(directory).sources.values():
        for counts in (source.dropped, source.mended):
            for each, count in counts.items():
                counted[each] = counted.get(each, 0) + count
    chosen = [each for each in counted if reason in (each, ALL)] or [each for each in counted if reason in each]
    if not counted and reason == ALL:
        if json_:
            print(json.dumps({"name": directory.name, "counts": {}, "examples": []}))
        say(f"dataset {directory.name!r}: nothing was left out, nor mended")
        return
    if not chosen:
        near = get_close_matches(reason, counted, n=1, cutoff=0.4)
        known = f"did you mean {near[0]!r}?" if near else f"the reasons are {', '.join(sorted(counted)) or 'none'}"
        raise DataError(f"dataset {directory.name!r} left out nothing for the reason {reason!r}; {known}")
    try:
        lines = (directory / DROPPED_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise DataError(
            f"dataset {directory.name!r} has no {DROPPED_FILE} with examples; build it anew to see them"
        ) from None
    examples = [example for line in lines if (example := json.loads(line))["reason"] in chosen]
    if json_:
        print(
            json.dumps(
                {"name": directory.name, "counts": {each: counted[each] for each in chosen}, "examples": examples}
            )
        )
        return
    for each in chosen:
        print(f"=== {each}: {counted[each]:,} ===")
        for example in examples:
            if example["reason"] == each:
                detail = f": {example['detail']}" if example["detail"] else ""
                print(fold(f"--- {example['where']}{detail}", sys.stdout))
                print("\n".join(_steady(line) for line in example["text"].splitlines()) + "\n")


def _steady(line: str) -> str:
    """Nothing in a text can steer the terminal."""
    return "".join(c if c == " " else visible(c) for c in line)
