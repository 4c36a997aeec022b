"""One stage of our data pipeline in one process, timed; the last line of stdout is its result."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.clean.duplicates import DuplicateIndex
from mlxllm.data.clean.exact import exact_hashes
from mlxllm.data.clean.near_duplicates import band_keys_of
from mlxllm.data.clean.recipes import recipe, with_settings
from mlxllm.data.sources import Document, Dropped, list_sources, open_source

ENOUGH_SECONDS, MOST_REPEATS = 1.0, 9
BATCH = 256
"""Documents of a batch, as a worker of the build has them."""


def main() -> None:
    """The stage that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    print(json.dumps(STAGES[args.stage](args.folder)))


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of some repetitions, about a second of them, and what came out."""
    seconds: list[float] = []
    while True:
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) >= ENOUGH_SECONDS or len(seconds) == MOST_REPEATS:
            return {"seconds": seconds, "documents": result}


def read(kind: str, name: str) -> Callable[[Path], dict[str, Any]]:
    """All documents of a file."""

    def stage(folder: Path) -> dict[str, Any]:
        if kind not in {known.kind for known in list_sources()}:
            return {"missing": f"source {kind}"}
        source = open_source(f"{kind}:{folder / name}")
        return timed(lambda: sum(1 for _ in source.documents()))

    return stage


def clean(folder: Path) -> dict[str, Any]:
    """The recipe `web`, without the rules that datatrove has no part for, or needs a download."""
    documents = [Document(text, str(number), "pages") for number, text in enumerate(pages(folder))]
    web = with_settings(recipe("web"), ["mojibake=off", "language=off", "personal_data=off"])
    cleaner = Cleaner(web)
    cleaner.clean(documents[0])
    return timed(lambda: sum(not isinstance(cleaner.clean(document), Dropped) for document in documents))


def web(folder: Path) -> dict[str, Any]:
    """The recipe `web` as it is."""
    documents = [Document(text, str(number), "pages") for number, text in enumerate(pages(folder))]
    cleaner = Cleaner(recipe("web"))
    cleaner.clean(documents[0])
    return timed(lambda: sum(not isinstance(cleaner.clean(document), Dropped) for document in documents))


def minhash(folder: Path) -> dict[str, Any]:
    """From texts to the keys of their bands."""
    texts = pages(folder)
    band_keys_of(texts[:BATCH])
    return timed(lambda: sum(int(band_keys_of(batch)[1].sum()) for batch in batches(texts)))


def duplicates(folder: Path) -> dict[str, Any]:
    """From keys to the documents that are duplicates."""
    hashed = [(exact_hashes(batch), *band_keys_of(batch)) for batch in batches(pages(folder))]

    def look() -> int:
        index = DuplicateIndex()
        return sum(reason is not None for batch in hashed for reason in index.look_batch(*batch))

    return timed(look)


def batches(texts: Sequence[str]) -> list[Sequence[str]]:
    """As workers have them."""
    return [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]


def pages(folder: Path) -> list[str]:
    """The texts of the pages."""
    with open(folder / "pages.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


STAGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "read_jsonl": read("text", "texts.jsonl"),
    "read_parquet": read("refinedweb", "pages.parquet"),
    "read_warc": read("commoncrawl", "pages.warc.gz"),
    "clean": clean,
    "web": web,
    "minhash": minhash,
    "duplicates": duplicates,
}

if __name__ == "__main__":
    main()
