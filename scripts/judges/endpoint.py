#!/usr/bin/env python3
"""A judge for `mlxllm versus --judge` that asks an OpenAI-compatible endpoint: `mlxllm serve`, Ollama, LM Studio.

mlxllm versus A B --judge "scripts/judges/endpoint.py --url http://127.0.0.1:11434/v1 --model qwen3:8b"
"""

import argparse
import json
import re
import sys
import urllib.error
import urllib.request

ASKED = """You compare two answers to the same question. Judge how correct, helpful and well written they are, not how long,
and not which comes first.

[Question]
{prompt}

[Answer A]
{a}

[Answer B]
{b}

Reply with one word: A if answer A is better, B if answer B is better, TIE if they are equally good."""


def main() -> int:
    """Judge each line of stdin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="where the endpoint is")
    parser.add_argument("--model", required=True, help="its name there")
    parser.add_argument("--timeout", type=float, default=90, help="seconds for one answer")
    args = parser.parse_args()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = ask(
                args.url, args.model, args.timeout, ASKED.format(**{key: asked[key] for key in ("prompt", "a", "b")})
            )
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            print(f"{args.url} does not answer: {why}", file=sys.stderr)
            return 1
        print(json.dumps({"id": asked["id"], **verdict(said)}), flush=True)
    return 0


def ask(url: str, model: str, timeout: float, text: str) -> str:
    """What the model says."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 1024}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


def verdict(said: str) -> dict[str, str]:
    """The last of the three words, behind whatever was thought aloud."""
    words = re.findall(r"\b(A|B|TIE|Tie|tie)\b", re.sub(r"<think>.*?</think>", "", said, flags=re.DOTALL))
    return {"winner": words[-1].lower()} if words else {"error": f"no verdict in {said[:200]!r}"}


if __name__ == "__main__":
    sys.exit(main())
