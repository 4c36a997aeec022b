"""A plain loop over texts in one process: encode each, write its ids behind each other. Needs nothing of this project."""

import argparse
import json
import os
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def main():
    """Texts from JSON lines; ids as 16-bit numbers, with one that ends each text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=["sentencepiece", "tokenizers"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import numpy as np

    if args.library == "sentencepiece":
        from sentencepiece import SentencePieceProcessor

        encode = SentencePieceProcessor(model_file=str(args.model)).encode
        end = 0
    else:
        from tokenizers import Tokenizer

        plain = Tokenizer.from_file(str(args.model))
        end = plain.token_to_id("<|endoftext|>")

        def encode(text):
            return plain.encode(text, add_special_tokens=False).ids

    tokens = documents = 0
    with open(args.texts, encoding="utf-8") as texts, open(args.out, "wb") as out:
        for line in texts:
            ids = [*encode(json.loads(line)["text"]), end]
            out.write(np.array(ids, np.uint16).tobytes())
            tokens += len(ids)
            documents += 1
    print(json.dumps({"tokens": tokens, "documents": documents}), flush=True)


if __name__ == "__main__":
    main()
