"""Write the material of the data benchmark: pages of real English sentences, as text, parquet and WARC.

Sentences of the Python documentation and of the stories, drawn at random, some of their words exchanged for others. One
page in twenty comes again as it is, and one in twenty with a few words changed.
"""

import argparse
import gzip
import html
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from mlxllm.data.sources import open_source
from mlxllm.errors import UserError

AGAIN, NEARLY = 0.05, 0.05
"""Shares of the pages that come again, as they are or nearly."""
_STORIES = 1500
_SENTENCE = re.compile(r"(?<![.\w])[A-Z][a-z]+(?: [\w',()-]+){4,30}[.!?](?=\s)")
_MENU = "".join(f'<li><a href="/{word}">{word}</a></li>' for word in "home news about help contact archive".split())


def main() -> None:
    """All files into one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--megabytes", type=float, required=True)
    parser.add_argument("--data", default="", help="a source of texts instead of made ones")
    parser.add_argument("--vocabulary", type=int, required=True)
    args = parser.parse_args()
    found = given(args.data) if args.data else made()
    size = count = 0
    pages: list[str] = []
    with open(args.out / "texts.jsonl", "w", encoding="utf-8") as file:
        for text in found:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count, size = count + 1, size + len(text.encode())
            if len(pages) < args.pages:
                pages.append(text)
            if size >= args.megabytes * 1e6 and len(pages) == args.pages:
                break
    if not pages:
        raise UserError(f"{args.data!r} holds no documents")
    with open(args.out / "pages.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in pages)
    write_parquet(args.out / "pages.parquet", pages)
    html_bytes = write_warc(args.out / "pages.warc.gz", pages)
    train_plain_bpe(args.out / "plain-tokenizer.json", pages, args.vocabulary)
    print(
        json.dumps(
            {
                "texts": {"documents": count, "bytes": size},
                "pages": {"documents": len(pages), "bytes": sum(len(text.encode()) for text in pages)},
                "html": {"documents": len(pages), "bytes": html_bytes},
            }
        )
    )


def given(spec: str) -> Iterator[str]:
    """The texts of a source, again and again with their number in front, so that no two are the same."""
    number = 0
    while True:
        before = number
        for document in open_source(spec).documents():
            if document.text.strip():
                yield document.text if before == 0 else f"Copy {number} of a text.\n{document.text}"
                number += 1
        if number == before:
            return


def made() -> Iterator[str]:
    """Pages without end."""
    drawn = random.Random(0)
    texts = [document.text for document in open_source("pydocs").documents()]
    texts += [document.text for document, _ in zip(open_source("stories").documents(), range(_STORIES), strict=False)]
    sentences = list(dict.fromkeys(" ".join(s.split()) for text in texts for s in _SENTENCE.findall(text)))
    words = [word for sentence in sentences for word in sentence.split()[1:-1]]
    earlier: list[str] = []
    while True:
        chance = drawn.random()
        if len(earlier) > 20 and chance < AGAIN:
            yield drawn.choice(earlier)
        elif len(earlier) > 20 and chance < AGAIN + NEARLY:
            yield changed(drawn, drawn.choice(earlier), words, 0.003)
        else:
            chosen = drawn.sample(sentences, min(len(sentences), 5 + int(drawn.lognormvariate(3.4, 0.8))))
            lines = [" ".join(chosen[i : i + 4]) for i in range(0, len(chosen), 4)]
            page = changed(drawn, "\n".join(lines), words, 0.08)
            if len(earlier) < 2000:
                earlier.append(page)
            yield page


def changed(drawn: random.Random, text: str, words: list[str], share: float) -> str:
    """The text with this share of its words exchanged."""
    return re.sub(r"(?<= )\w+(?= )", lambda match: drawn.choice(words) if drawn.random() < share else match[0], text)


def write_parquet(path: Path, pages: list[str]) -> None:
    """In the columns of RefinedWeb."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    urls = [f"https://pages.invalid/{number}" for number in range(len(pages))]
    table = pa.table({"content": pages, "url": urls, "dump": ["CC-MAIN-2024-22"] * len(pages)})
    pq.write_table(table, path, row_group_size=1000, compression="zstd")


def write_warc(path: Path, pages: list[str]) -> int:
    """As Common Crawl does: a gzip member for each response; how many bytes of HTML there are."""
    size = 0
    with open(path, "wb") as file:
        for number, page in enumerate(pages):
            paragraphs = "".join(f"<p>{html.escape(line)}</p>\n" for line in page.split("\n"))
            body = (
                f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Page {number}</title>'
                "<style>body { margin: 2em; }</style><script>var shown = 0; function show() { shown += 1; }</script>"
                f"</head><body><nav><ul>{_MENU}</ul></nav><main><article><h1>Page {number}</h1>\n{paragraphs}</article>"
                f"</main><footer>All rights reserved. {_MENU}</footer></body></html>"
            ).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2024-05-18T01:58:10Z\r\n"
                f"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\n"
                f"WARC-Target-URI: https://pages.invalid/{number}\r\n"
                f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
            ).encode()
            packed = io.BytesIO()
            with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as member:
                member.write(head + answer + b"\r\n\r\n")
            file.write(packed.getvalue())
            size += len(body)
    return size


def train_plain_bpe(path: Path, pages: list[str], vocabulary: int) -> None:
    """A byte-level BPE of the library `tokenizers`, for its plain loop."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    plain.train_from_iterator(pages, trainer)
    plain.save(str(path))


if __name__ == "__main__":
    main()
