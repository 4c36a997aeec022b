"""Measures the `stories` corpus: words, repetition, compressibility, speed; beside another text if one is given.

python scripts/stories_report.py [--stories 20000] [--seed 0] [--compare FILE]
"""

import argparse
import bz2
import lzma
import re
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from mlxllm.data.sources.stories import ending_of, stories


def main() -> None:
    """Prints one measurement a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=20_000, help="how many stories to measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", type=Path, help="a text to compress beside ours, at equal length")
    args = parser.parse_args()

    next(stories(args.seed))  # the templates of a first story are compiled before the clock starts
    start = time.perf_counter()
    book = list(islice(stories(args.seed), args.stories))
    seconds = time.perf_counter() - start
    texts = [story.text for story in book]
    lengths = [len(text.split()) for text in texts]
    vocabulary = Counter(word for text in texts for word in words(text))
    sentences = [s for text in texts for s in re.split(r"(?<=[.!?]) |\n", text)]

    show("stories", len(texts))
    show("stories a second", round(len(texts) / seconds))
    show("words a story", f"mean {sum(lengths) / len(lengths):.1f}, {min(lengths)} to {max(lengths)}")
    show("distinct words", len(vocabulary))
    show("distinct words used 20 times or more", sum(n >= 20 for n in vocabulary.values()))
    show("exact duplicate stories", len(texts) - len(set(texts)))
    show("sentences met before", share(1 - len(set(sentences)) / len(sentences)))
    long = [s for s in sentences if s.count(" ") >= 7]
    show("... of 8 words or more", share(1 - len(set(long)) / len(long)))
    show("distinct 4-grams in 200k words", share(distinct_4grams(texts, 200_000)))
    show("kind endings", share(sum(s.facts.ending == "kind" for s in book) / len(book)))
    show("endings told right by their words", share(sum(ending_of(s.text) == s.facts.ending for s in book) / len(book)))

    ours = "\n\n".join(texts).encode()
    report_compression("ours, first MB", [ours[:1_000_000]])
    if args.compare:
        theirs = args.compare.read_bytes()
        windows = [ours[i * len(theirs) : (i + 1) * len(theirs)] for i in range(20)]
        report_compression(f"ours, {len(theirs):,} bytes, mean of 20", [w for w in windows if len(w) == len(theirs)])
        report_compression(f"{args.compare.name}, {len(theirs):,} bytes", [theirs])
        their_texts = [theirs.decode("utf-8", "replace")]
        count = len(their_texts[0].split())
        show(f"distinct 4-grams in {count:,} words, theirs", share(distinct_4grams(their_texts, count)))
        show(f"distinct 4-grams in {count:,} words, ours", share(distinct_4grams(texts, count)))


def words(text: str) -> list[str]:
    """The words of a text in lower case, without possessive endings."""
    return re.findall(r"[a-z]+(?:'[a-rt-z]+)?(?:-[a-z]+)*", text.lower())


def distinct_4grams(texts: list[str], limit: int) -> float:
    """The share of distinct sequences of four words among the first `limit` words."""
    run = [word for text in texts for word in text.lower().split()][:limit]
    grams = [tuple(run[i : i + 4]) for i in range(len(run) - 3)]
    return len(set(grams)) / len(grams)


def report_compression(name: str, chunks: list[bytes]) -> None:
    """Bits a byte under two compressors, the mean over the chunks."""
    for label, compress in (("lzma", lambda b: lzma.compress(b, preset=9)), ("bz2", bz2.compress)):
        rates = [8 * len(compress(chunk)) / len(chunk) for chunk in chunks]
        show(f"bits a byte ({label}), {name}", f"{sum(rates) / len(rates):.3f}")


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"


def show(name: str, value: object) -> None:
    """One line of the report."""
    print(f"{name:<52} {value}")


if __name__ == "__main__":
    main()
