"""One stage of the data pipeline with datatrove or datasketch, timed; needs nothing of this project.

A library that is not there is told as {"missing": its name}.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

NGRAM, BANDS, ROWS = 5, 14, 8
ENOUGH_SECONDS, MOST_REPEATS = 1.0, 9


def timed(work):
    """Seconds of some repetitions, about a second of them, and what came out."""
    seconds = []
    while True:
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) >= ENOUGH_SECONDS or len(seconds) == MOST_REPEATS:
            return {"seconds": seconds, "documents": result}


def pages(folder):
    """The texts of the pages."""
    with open(folder / "pages.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def read_jsonl(folder):
    """Reader of JSON lines."""
    from datatrove.pipeline.readers import JsonlReader

    reader = JsonlReader(str(folder), glob_pattern="texts.jsonl")
    return timed(lambda: sum(1 for _ in reader.run()))


def read_parquet(folder):
    """Reader of parquet."""
    from datatrove.pipeline.readers import ParquetReader

    reader = ParquetReader(str(folder), glob_pattern="pages.parquet", text_key="content")
    return timed(lambda: sum(1 for _ in reader.run()))


def read_warc(folder):
    """Reader of WARC, and the text of the pages by trafilatura, as for FineWeb."""
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader

    reader = WarcReader(str(folder), glob_pattern="pages.warc.gz")
    extractor = Trafilatura()
    extractor.extract("<html><body><p>The first one loads code.</p></body></html>")
    return timed(lambda: sum(bool(extractor.extract(document.text)) for document in reader.run()))


def clean(folder):
    """The filters of FineWeb that need no download."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = [GopherRepetitionFilter(), GopherQualityFilter(), FineWebQualityFilter(), C4QualityFilter()]
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(pages(folder))]
    for step in filters:
        step.filter(Document(text=documents[0].text, id="first"))
    return timed(lambda: sum(all(step.filter(document) is True for step in filters) for document in documents))


def shingles(text):
    """5-grams of the words of normalised text."""
    words = re.sub(r"\d+", "0", re.sub(r"[^\w\s]|_", " ", text.lower())).split()
    return [" ".join(words[i : i + NGRAM]).encode() for i in range(len(words) - NGRAM + 1)]


def hash_functions():
    """datasketch's own, and a fast one where there is one."""
    found = {"sha1": {}}
    try:
        import xxhash

        found["xxh32"] = {"hashfunc": xxhash.xxh32_intdigest}
    except ImportError:
        pass
    return found


def minhash(folder):
    """MinHash of datasketch from texts, with its faster hash function; and from 5-grams that are there already."""
    from datasketch import MinHash

    texts = pages(folder)

    def sketch(grams, options):
        made = MinHash(num_perm=BANDS * ROWS, **options)
        made.update_batch(grams)
        return made

    prepared = [shingles(text) for text in texts]
    results = {}
    for name, options in hash_functions().items():
        sketch(prepared[0], options)
        whole = timed(lambda options=options: sum(bool(sketch(shingles(text), options)) for text in texts))
        given = timed(lambda options=options: sum(bool(sketch(grams, options)) for grams in prepared))
        results[name] = {**whole, "prepared_seconds": given["seconds"]}
    medians = {name: statistics.median(result["seconds"]) for name, result in results.items()}
    return results[min(medians, key=medians.get)] | {"by_hash": medians}


def datatrove_minhash(folder):
    """The signatures of datatrove."""
    import tempfile

    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    texts = pages(folder)
    with tempfile.TemporaryDirectory() as temporary:
        step = MinhashDedupSignature(temporary)

        def signature(text):
            found = step.get_shingles(text)
            return step.get_signature(found) if found.size else None

        signature(texts[0])
        return timed(lambda: sum(signature(text) is not None for text in texts))


def duplicates(folder):
    """The index of datasketch: asked for each document, which it then remembers."""
    from datasketch import MinHash, MinHashLSH

    made = []
    for text in pages(folder):
        sketch = MinHash(num_perm=BANDS * ROWS)
        sketch.update_batch(shingles(text))
        made.append(sketch)

    def look():
        index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        found = 0
        for number, sketch in enumerate(made):
            found += bool(index.query(sketch))
            index.insert(number, sketch)
        return found

    return timed(look)


STAGES = {
    function.__name__: function
    for function in (read_jsonl, read_parquet, read_warc, clean, minhash, datatrove_minhash, duplicates)
}


def main():
    """The stage that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    try:
        result = STAGES[args.stage](args.folder)
    except ImportError as error:
        result = {"missing": error.name or str(error)}
    sys.stdout.flush()
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
